"""Penalties on the features: their gradient, in both backends, and what they do to a training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.kernel_cases import library, needs_kernels

from amgsrn_core import volume_from_array
from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.model import load_brick
from amgsrn_core.networks import initial_network
from amgsrn_core.runs import train
from amgsrn_core.training.native_step import NativeStep
from amgsrn_core.training.regularisation import add_penalty_gradient, penalty
from amgsrn_core.training.sampling import TrainingData
from amgsrn_core.training.schedule import Rates
from amgsrn_core.training.torch_step import TorchStep

__all__ = ["library"]

SIZE = NetworkConfig(grids=3, grid_shape=(5, 6, 7), width=24)


@pytest.mark.parametrize(("tv", "l1"), [(0.7, 0.0), (0.0, 0.3), (0.7, 0.3)])
def test_the_gradient_is_autograds(tv, l1):
    features = torch.randn(2, 3, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    penalty(features, tv, l1).backward()
    gradient = torch.ones_like(features)
    add_penalty_gradient(gradient, features, tv, l1)
    torch.testing.assert_close(gradient, 1.0 + features.grad)


def test_penalties_are_what_they_are_called():
    features = torch.zeros(1, 1, 2, 2, 2)
    features[0, 0, :, :, 1] = -3.0  # a step along x, and half of the nodes
    assert float(penalty(features, 1.0, 0.0)) == 9.0
    assert float(penalty(features, 0.0, 1.0)) == 1.5


@needs_kernels
@pytest.mark.parametrize(("tv", "l1"), [(2.0, 0.0), (0.0, 2.0), (2.0, 2.0)])
def test_native_steps_follow_the_reference(library, tv, l1):
    data = TrainingData(torch.from_numpy(blob(20))[None], None)
    config = TrainingConfig(batch=3000, tv=tv, l1=l1, device="cpu")
    ends = []
    for step_of in (TorchStep, lambda *a: NativeStep(library, *a)):
        net = initial_network(SIZE, torch.zeros(1), torch.ones(1), seed=2)
        with torch.no_grad():  # far enough from 0 that no sign depends on rounding
            net.feature_grids += 0.5 * torch.randn(
                net.feature_grids.shape, generator=torch.Generator().manual_seed(3)
            )
        start = net.feature_grids.detach().clone()
        step = step_of(net, data, config)
        for i in range(6):
            step.descend(i, Rates(3e-3, 1e-3, 1e-3))
        step.publish()
        ends.append(net.feature_grids.detach() - start)
    reference, native = ends
    assert (reference - native).norm() <= 0.03 * reference.norm()


@pytest.mark.parametrize("option", ["tv", "l1"])
def test_a_penalty_makes_features_smoother_and_smaller(tmp_path, option):
    def measure(weight):
        config = TrainingConfig(iterations=150, batch=1000, device="cpu", **{option: weight})
        path = tmp_path / f"{weight}.amgsrn"
        train(volume_from_array(blob(16)), path, SIZE, config)
        features = torch.from_numpy(load_brick(path, 0)["feature_grids"])
        return float(penalty(features, float(option == "tv"), float(option == "l1")))

    assert measure(0.01) < 0.5 * measure(0.0)


def test_total_variation_of_a_hash_grid_is_refused(tmp_path):
    network = NetworkConfig(encoder="hash", grids=2, hash_log2_size=6)
    config = TrainingConfig(iterations=2, batch=100, tv=0.1, device="cpu")
    with pytest.raises(ConfigurationError, match="no neighbours"):
        train(volume_from_array(blob(8)), tmp_path / "m.amgsrn", network, config)


def test_penalties_belong_to_a_runs_substance():
    assert TrainingConfig(tv=0.1).substance() != TrainingConfig().substance()
    assert TrainingConfig(log_grids=5, tensorboard="x").substance() == TrainingConfig().substance()
    assert np.isclose(TrainingConfig(l1=0.1).substance()["l1"], 0.1)


def blob(n: int) -> np.ndarray:
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n)] * 3, indexing="ij")
    return np.exp(-3 * (x * x + 2 * y * y + (z - 0.2) ** 2)).astype(np.float32)
