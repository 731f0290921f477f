"""tiny-cuda-nn's decoder against the reference: on CUDA, elsewhere a model of its arithmetic."""

from __future__ import annotations

import contextlib
import sys
import types

import numpy as np
import pytest
import torch
from support import tcnn_on_cpu

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.kernels.backend import backend_name, native_library
from amgsrn_core.networks import decode, initial_network
from amgsrn_core.networks.fused import FusedDecoder, difference, weight_list
from amgsrn_core.networks.interpolation import cubic_targets
from amgsrn_core.original.decoder import list_from_matrices
from amgsrn_core.training.compressing.finetune import _gradients
from amgsrn_core.training.sampling import PointSampler, TrainingData
from amgsrn_core.training.schedule import Rates
from amgsrn_core.training.torch_step import TorchStep

CPU = torch.device("cpu")
SIZES = [
    (NetworkConfig(grids=16, width=64), 1),
    (NetworkConfig(grids=5, features=1, width=16, layers=1), 3),
    (NetworkConfig(grids=9, width=32, layers=4), 17),
]


@pytest.fixture
def arithmetic(monkeypatch):
    monkeypatch.setitem(sys.modules, "tinycudann", tcnn_on_cpu.module())


@pytest.mark.parametrize(("config", "outputs"), SIZES)
def test_its_arithmetic_is_the_references_up_to_rounding(arithmetic, config, outputs):
    assert 0.0 < difference(FusedDecoder(config, outputs, CPU), config, outputs, CPU) < 0.05


def test_weights_are_listed_as_in_its_checkpoints():
    matrices = [torch.rand(32, 10), torch.rand(32, 32), torch.rand(3, 32)]
    expected = list_from_matrices([m.numpy() for m in matrices])
    np.testing.assert_array_equal(weight_list(matrices).numpy(), expected)


def test_training_with_it_follows_the_reference(arithmetic):
    data = TrainingData(torch.rand(1, 9, 9, 9, generator=torch.Generator().manual_seed(0)), None)
    size = NetworkConfig(grids=3, grid_shape=(5, 5, 5), width=16)
    config = TrainingConfig(batch=20_000, device="cpu")
    changes = []
    for fused in (False, True):
        net = initial_network(size, torch.zeros(1), torch.ones(1), seed=2)
        start = [p.detach().clone() for p in net.parameters()]
        if fused:
            net.decode = FusedDecoder(size, 1, CPU)
        step = TorchStep(net, data, config)
        losses = [float(step.descend(i, Rates(3e-3, 1e-3, 1e-3))) for i in range(6)]
        changes.append([p.detach() - s for p, s in zip(net.parameters(), start)])
        assert losses[-1] < losses[0]
    for reference, fused in zip(*changes):
        # Adam's steps know little of a gradient but its sign, which rounding turns near 0.
        assert (reference - fused).norm() < 0.2 * reference.norm()


def test_gradients_of_the_default_batch_stay_within_half():
    # Longer, and on more fields: tests/benchmarks/tcnn_training.py
    batch, iterations = 65536, 20  # what is chosen on a GPU
    expected = tcnn_on_cpu.losses("waves", "reference", batch, iterations)
    for accumulation in ("float32", "half"):
        found = tcnn_on_cpu.losses("waves", accumulation, batch, iterations)
        assert np.isfinite(found).all()
        assert np.mean(found[-5:]) == pytest.approx(np.mean(expected[-5:]), rel=0.05)


def test_it_is_built_on_the_gpu_that_computes(monkeypatch):
    current = [0]

    @contextlib.contextmanager
    def device(number):
        current.append(number.index)
        yield
        current.pop()

    def network(*_):
        assert current[-1] == 1, "built on another GPU"

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setitem(sys.modules, "tinycudann", types.SimpleNamespace(Network=network))
    FusedDecoder(NetworkConfig(), 1, torch.device("cuda:1"))


def test_an_old_one_that_fits_no_gpu_here_is_refused_in_a_sentence(monkeypatch, tmp_path):
    (tmp_path / "tinycudann.py").write_text("if _C is None:\n    raise OSError('none')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tinycudann", raising=False)
    with pytest.raises(ConfigurationError, match=r"name '_C' is not defined.*backend auto"):
        FusedDecoder(NetworkConfig(), 1, CPU)


def test_fine_tuning_decodes_as_the_network_is_measured(arithmetic):
    data = TrainingData(torch.rand(1, 5, 5, 5, generator=torch.Generator().manual_seed(0)), None)
    size = NetworkConfig(grids=3, grid_shape=(5, 5, 5), width=16)
    config = TrainingConfig(batch=500, device="cpu", backend="torch")
    net = initial_network(size, torch.zeros(1), torch.ones(1), seed=2)
    net.decode = FusedDecoder(size, 1, CPU)
    with torch.no_grad():
        net.feature_grids.normal_(generator=torch.Generator().manual_seed(0))
    found, _, _ = _gradients(net, data, config)(3, net.feature_grids, net.weights)
    index, points = PointSampler(data, config.batch, config.seed + 1).draw(3)
    targets = cubic_targets(data.values, index)
    with torch.no_grad():
        expected = (net.normalised(points) - targets).square().mean()
        exact = (decode(net.encode(points, net.transforms), net.weights) - targets).square().mean()
    assert abs(found - expected) < 0.1 * abs(found - exact)


def test_it_is_refused_where_it_cannot_work(monkeypatch):
    assert native_library("tcnn", "cuda:0") is None and backend_name("cuda:0", "tcnn") == "tcnn"
    with pytest.raises(ConfigurationError, match="CUDA only, not on cpu"):
        native_library("tcnn", "cpu")
    with pytest.raises(ConfigurationError, match="16, 32, 64, 128, not 24"):
        FusedDecoder(NetworkConfig(width=24), 1, CPU)
    monkeypatch.setitem(sys.modules, "tinycudann", None)
    with pytest.raises(ConfigurationError, match="install its"):
        FusedDecoder(NetworkConfig(), 1, CPU)


def test_a_network_evaluates_with_it(arithmetic, monkeypatch):
    # As on CUDA, where the choice of a backend allows it.
    monkeypatch.setattr("amgsrn_core.networks.network.native_library", lambda *_: None)
    net = initial_network(NetworkConfig(grids=3, width=16), torch.zeros(2), torch.ones(2), seed=2)
    with torch.no_grad():
        net.feature_grids.normal_(generator=torch.Generator().manual_seed(0))
        points = torch.rand(50, 3, generator=torch.Generator().manual_seed(1))
        expected = net(points)
        net.use_backend("tcnn")
        values = net(points)
    assert not torch.equal(values, expected)
    torch.testing.assert_close(values, expected, atol=0.01 * float(expected.abs().max()), rtol=0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize(("config", "outputs"), SIZES)
def test_tiny_cuda_nn_agrees_with_the_reference(config, outputs):
    pytest.importorskip("tinycudann")
    device = torch.device("cuda")
    assert difference(FusedDecoder(config, outputs, device), config, outputs, device) < 0.05
