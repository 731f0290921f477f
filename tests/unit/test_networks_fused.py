"""tiny-cuda-nn's decoder against the reference: on CUDA, elsewhere a model of its arithmetic."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from amgsrn_core.backends import backend_name, native_library
from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.interop.decoder import list_from_matrices
from amgsrn_core.networks import initial_network
from amgsrn_core.networks.fused import FusedDecoder, difference, weight_list
from amgsrn_core.training.sampling import TrainingData
from amgsrn_core.training.schedule import Rates
from amgsrn_core.training.torch_step import TorchStep

SIZES = [
    (NetworkConfig(grids=16, width=64), 1),
    (NetworkConfig(grids=5, features=1, width=16, layers=1), 3),
    (NetworkConfig(grids=9, width=32, layers=4), 17),
]


class FullyFusedMLP(torch.nn.Module):
    """What tiny-cuda-nn's module of that name computes: half precision in blocks of 16.

    Inputs of padding are 1, sums are float32, what a layer writes is half, and so are gradients
    between the layers, which it scales by 128.
    """

    def __init__(self, inputs: int, outputs: int, config: dict) -> None:
        super().__init__()
        assert config["otype"] == "FullyFusedMLP" and config["output_activation"] == "None"
        width, layers = config["n_neurons"], config["n_hidden_layers"]
        columns, rows = -(-inputs // 16) * 16, -(-outputs // 16) * 16
        self.shapes = [(width, columns), *[(width, width)] * (layers - 1), (rows, width)]
        self.outputs = outputs
        self.params = torch.nn.Parameter(torch.rand(sum(a * b for a, b in self.shapes)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = functional.pad(x, (0, self.shapes[0][1] - x.shape[1]), value=1.0).half()
        sizes = [rows * columns for rows, columns in self.shapes]
        matrices = self.params.half().split(sizes)
        for number, (matrix, shape) in enumerate(zip(matrices, self.shapes)):
            hidden = (hidden.float() @ matrix.view(shape).float().T).half()
            if number < len(self.shapes) - 1:
                hidden = hidden.relu()
        return _Scaled.apply(hidden)[:, : self.outputs]


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, gradient):
        assert gradient.dtype == torch.float16 and torch.isfinite(gradient * 128.0).all()
        return gradient


@pytest.fixture
def arithmetic(monkeypatch):
    module = types.SimpleNamespace(Network=FullyFusedMLP)
    monkeypatch.setitem(sys.modules, "tinycudann", module)


@pytest.mark.parametrize(("config", "outputs"), SIZES)
def test_its_arithmetic_is_the_references_up_to_rounding(arithmetic, config, outputs):
    cpu = torch.device("cpu")
    assert 0.0 < difference(FusedDecoder(config, outputs), config, outputs, cpu) < 0.05


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
            net.decode = FusedDecoder(size, 1)
        step = TorchStep(net, data, config)
        losses = [float(step.descend(i, Rates(3e-3, 1e-3, 1e-3))) for i in range(6)]
        changes.append([p.detach() - s for p, s in zip(net.parameters(), start)])
        assert losses[-1] < losses[0]
    for reference, fused in zip(*changes):
        # Adam's steps know little of a gradient but its sign, which rounding turns near 0.
        assert (reference - fused).norm() < 0.2 * reference.norm()


def test_it_is_refused_where_it_cannot_work(monkeypatch):
    assert native_library("tcnn", "cuda:0") is None and backend_name("cuda:0", "tcnn") == "tcnn"
    with pytest.raises(ConfigurationError, match="CUDA only, not on cpu"):
        native_library("tcnn", "cpu")
    with pytest.raises(ConfigurationError, match="16, 32, 64, 128, not 24"):
        FusedDecoder(NetworkConfig(width=24), 1)
    monkeypatch.setitem(sys.modules, "tinycudann", None)
    with pytest.raises(ConfigurationError, match="install its"):
        FusedDecoder(NetworkConfig(), 1)


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
    assert difference(FusedDecoder(config, outputs), config, outputs, torch.device("cuda")) < 0.05
