"""The reference network against an independent evaluation and the original code's answers."""

from __future__ import annotations

import itertools
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from support.paths import SHARED

from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import ArchiveError
from amgsrn_core.networks import (
    decode,
    encode,
    feature_density,
    initial_network,
    network_from_state,
    reference,
)

REFERENCE = SHARED / "reference"


def naive_features(points: np.ndarray, grids: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    """Trilinear sampling with zeros outside, written as the sum over eight corners."""
    count, channels, *shape = grids.shape
    result = np.zeros((len(points), count, channels))
    for n, g in itertools.product(range(len(points)), range(count)):
        local = transforms[g, :, :3] @ points[n] + transforms[g, :, 3]
        voxel = (local + 1) / 2 * (np.array(shape[::-1]) - 1)  # x, y, z
        base = np.floor(voxel).astype(int)
        for corner in itertools.product((0, 1), repeat=3):
            x, y, z = base + corner
            if 0 <= x < shape[2] and 0 <= y < shape[1] and 0 <= z < shape[0]:
                weight = np.prod(1 - np.abs(voxel - (x, y, z)))
                result[n, g] += weight * grids[g, :, z, y, x]
    return result.reshape(len(points), -1)


def random_network(seed: int = 0, outputs: int = 2) -> Any:
    config = NetworkConfig(grids=3, features=2, grid_shape=(4, 5, 6), layers=2, width=16)
    network = initial_network(config, torch.zeros(outputs), torch.ones(outputs), seed)
    with torch.no_grad():
        network.feature_grids.uniform_(-1, 1, generator=torch.Generator().manual_seed(seed))
    return network


def test_features_are_trilinear_with_zeros_outside() -> None:
    network = random_network()
    points = np.random.default_rng(0).uniform(-1.6, 1.6, (200, 3))
    points[:8] = list(itertools.product((-1.0, 1.0), repeat=3))
    features = encode(
        torch.tensor(points), network.feature_grids.double(), network.transforms.double()
    )
    expected = naive_features(
        points,
        network.feature_grids.detach().double().numpy(),
        network.transforms.detach().double().numpy(),
    )
    assert np.abs(features.detach().numpy() - expected).max() < 1e-9
    assert (expected == 0).any() and (np.abs(expected) > 0.1).any()


def test_density_follows_the_formula() -> None:
    transforms = random_network().transforms.detach().double()
    points = np.random.default_rng(1).uniform(-1.2, 1.2, (50, 3))
    expected = np.zeros(50)
    for a in transforms.numpy():
        local = points @ a[:, :3].T + a[:, 3]
        scale = np.linalg.det(a[:, :3]) / (2 * math.pi) ** 1.5
        expected += scale * np.exp(-0.5 * (local**20).sum(1))
    density = feature_density(torch.tensor(points), transforms)
    assert np.allclose(density.numpy(), expected, rtol=1e-9)


def test_density_and_its_gradient_stay_finite_far_away() -> None:
    transforms = random_network().transforms
    density = feature_density(torch.tensor([[1e6, -1e30, 3.0]]), transforms)
    density.sum().backward()
    assert density.item() == 0.0 and torch.isfinite(transforms.grad).all()


def test_decoder_has_no_biases_and_a_linear_output() -> None:
    network = random_network()
    assert torch.equal(decode(torch.zeros(3, 6), network.weights), torch.zeros(3, 2))
    features = torch.randn(7, 6)
    first, second, last = (w.detach().numpy() for w in network.weights)
    hidden = np.maximum(np.maximum(features.numpy() @ first.T, 0) @ second.T, 0)
    assert np.allclose(decode(features, network.weights).detach(), hidden @ last.T, atol=1e-6)


def test_values_are_scaled_to_each_components_range() -> None:
    config = NetworkConfig(grids=1, grid_shape=(2, 2, 2))
    low, high = torch.tensor([10.0, -5.0]), torch.tensor([30.0, 5.0])
    network = initial_network(config, low, high, seed=0)
    points = torch.rand(20, 3) * 2 - 1
    expected = network.normalised(points) * torch.tensor([20.0, 10.0]) + low
    assert torch.allclose(network(points), expected)


def test_a_seed_gives_the_same_network_and_another_seed_another() -> None:
    first, again, other = random_network(3), random_network(3), random_network(4)
    for name, value in first.state_arrays().items():
        assert np.array_equal(value, again.state_arrays()[name])
    assert not np.array_equal(
        first.state_arrays()["transforms"], other.state_arrays()["transforms"]
    )


def test_a_state_makes_the_same_network() -> None:
    network = random_network()
    state = network.state_arrays()
    copy = network_from_state(network.config, state, network.minimum, network.maximum)
    points = torch.rand(50, 3) * 2 - 1
    assert torch.equal(copy(points), network(points))


@pytest.mark.parametrize("change", ["missing", "shape"])
def test_a_wrong_state_is_named(change: str) -> None:
    network = random_network()
    state = network.state_arrays()
    if change == "missing":
        del state["decoder.1.weight"]
    else:
        state["decoder.1.weight"] = np.zeros((3, 3), np.float32)
    with pytest.raises(ArchiveError, match=r"decoder\.1\.weight"):
        network_from_state(network.config, state, network.minimum, network.maximum)


class _TensorsOnly:
    """Stands in for the pickle module and admits tensors and plain containers only.

    torch's own safe loader does not read the protocol of these files.
    """

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) == ("collections", "OrderedDict") or module.startswith("torch"):
                return super().find_class(module, name)
            raise pickle.UnpicklingError(f"{module}.{name} is not admitted")


def test_answers_are_those_of_the_original_code() -> None:
    folder = REFERENCE / "upstream_models" / "apm_s64_small"
    if not folder.exists():
        pytest.skip("the original's trained models are not here")
    answers = np.load(REFERENCE / "upstream_outputs" / "apm_s64_small.npz")
    state = torch.load(folder / "model.ckpt.tar", weights_only=False, pickle_module=_TensorsOnly)[
        "state_dict"
    ]
    points = torch.tensor(answers["coords"])
    transforms = state["encoder.transformation_matrices"][:, :3]
    features = encode(points, state["encoder.feature_grids"], transforms)
    assert np.abs(features.numpy() - answers["features"]).max() < 1e-5
    names = ("decoder.0.linear.weight", "decoder.1.linear.weight", "decoder.2.weight")
    low, high = answers["volume_min"], answers["volume_max"]
    values = decode(features, [state[n] for n in names]).numpy() * (high - low) + low
    assert np.abs(values - answers["output"]).max() < 1e-5 * (high - low).max()
    density = feature_density(points, transforms).numpy()
    assert np.abs(density - answers["feature_density"].ravel()).max() < 1e-5


def test_points_are_mapped_at_once_as_grid_by_grid():
    points = torch.rand(1000, 3) * 2 - 1
    results = []
    for mapped in (reference._mapped_by_grid, reference._mapped_at_once):
        torch.manual_seed(0)
        transforms = (torch.eye(3, 4) + 0.1 * torch.randn(5, 3, 4)).requires_grad_()
        local = mapped(points, transforms)
        assert local.shape == (5, 1000, 3)
        (local.sin() * torch.arange(1.0, 4.0)).sum().backward()
        results.append((local.detach(), transforms.grad))
    for one, other in zip(*results):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
