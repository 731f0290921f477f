"""Precision "fast": bfloat16 operands, float32 sums, and as good a training."""

from __future__ import annotations

import importlib
import logging

import pytest
import torch
from support.kernel_builds import emulating
from support.kernel_cases import CASES, NAMES, arrays, library, network, points
from torch import Tensor

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.kernels import load
from amgsrn_core.kernels.nodes import inside, nodes_from_grids
from amgsrn_core.kernels.training import GradientKernel
from amgsrn_core.networks import encode, initial_network
from amgsrn_core.training import step as steps
from amgsrn_core.training.fit import fit
from amgsrn_core.training.native_step import NativeStep
from amgsrn_core.training.quality import measure
from amgsrn_core.training.sampling import TrainingData

__all__ = ["emulating", "library"]


def rounded(x: Tensor) -> Tensor:
    """The nearest bfloat16 numbers, ties to even."""
    return x.to(torch.float32).to(torch.bfloat16).double()


class RoundedProduct(torch.autograd.Function):
    """x @ weight.t() with rounded operands, forwards and backwards, in float64."""

    @staticmethod
    def forward(context, x, weight):
        context.save_for_backward(x, weight)
        return rounded(x) @ rounded(weight).t()

    @staticmethod
    def backward(context, gradient):
        x, weight = context.saved_tensors
        return rounded(gradient) @ rounded(weight), rounded(gradient).t() @ rounded(x)


def reference(net, at, targets) -> tuple[Tensor, list[Tensor]]:
    """Errors and gradients of features, maps and weights, with rounding in the hidden layers."""
    values = [net.feature_grids, net.transforms, *net.weights]
    values = [value.detach().double().requires_grad_() for value in values]
    neurons = encode(at.double(), values[0], values[1])
    for weight in values[2:-1]:
        neurons = RoundedProduct.apply(neurons, weight).relu()
    errors = (neurons @ values[-1].t() - targets).square().mean(1)
    errors.mean().backward()
    return errors.detach(), [value.grad for value in values]


def native(kernels, net, at, targets, *, fast: bool, parts: int = 3):
    shape = net.feature_grids.shape
    kernel = GradientKernel(kernels, shape, parts, fast=fast)
    grids, transforms, *weights = arrays(net.feature_grids, net.transforms, *net.weights)
    _, errors, decoder, maps = kernel.gradients(
        nodes_from_grids(grids), transforms, weights, at.numpy(), targets.numpy(), moving=True
    )
    gradients = [inside(kernel.node_gradients(), shape), maps, *decoder]
    return torch.from_numpy(errors), [torch.from_numpy(gradient) for gradient in gradients]


def compare(kernels, size, outputs) -> None:
    net, at = network(size, outputs), points(1501)
    targets = torch.rand(1501, outputs, generator=torch.Generator().manual_seed(1))
    errors, gradients = reference(net, at, targets)
    got_errors, got_gradients = native(kernels, net, at, targets, fast=True)
    # A sum in another order may round to the next bfloat16 number: norms, not single numbers.
    assert (got_errors - errors).norm() <= 1e-4 * errors.norm()
    for got, gradient in zip(got_gradients, gradients):
        assert (got - gradient).norm() <= 1e-3 * gradient.norm()


@pytest.mark.parametrize(("size", "outputs"), CASES, ids=NAMES)
def test_operands_are_rounded_and_sums_are_not(emulating, size, outputs):
    assert emulating.has_fast
    compare(emulating, size, outputs)


@pytest.mark.parametrize(("size", "outputs"), CASES, ids=NAMES)
def test_the_processors_own_products_do_the_same(library, size, outputs):
    if not library.has_fast:
        pytest.skip("no products of bfloat16 numbers with this instruction set")
    compare(library, size, outputs)


def test_fast_differs_from_float32_and_only_where_asked(emulating):
    net, at, targets = network(NetworkConfig(grids=4, width=32)), points(300), torch.ones(300, 1)
    exact, fast, again = (
        native(emulating, net, at, targets, fast=fast)[0] for fast in (False, True, True)
    )
    difference = (exact - fast).norm() / exact.norm()
    assert 1e-5 < difference < 1e-2
    assert torch.equal(fast, again)


def test_a_diverging_training_is_noticed(emulating):
    net = network(NetworkConfig(grids=1, grid_shape=(2, 2, 2), width=16))
    with torch.no_grad():
        # A NaN whose rounding carries into its sign.
        net.feature_grids.view(torch.int32).fill_(0x7FFFFFFF)
    errors, _ = native(emulating, net, torch.zeros(5, 3), torch.ones(5, 1), fast=True)
    assert errors.isnan().all()


def test_training_is_as_good(emulating, monkeypatch):
    axis = torch.linspace(-1.0, 1.0, 32)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    values = 0.5 + 0.25 * torch.sin(7 * x * y + 3 * z) + 0.25 * torch.exp(-8 * (x * x + z * z))
    size = NetworkConfig(grids=8, grid_shape=(8, 8, 8), width=32)
    module = importlib.import_module("amgsrn_core.training.fit")
    monkeypatch.setattr(module, "make_step", lambda *parts: NativeStep(emulating, *parts))
    found: dict[str, float] = {}
    for precision in ("float32", "fast"):
        config = TrainingConfig(iterations=200, batch=4096, precision=precision, device="cpu")
        data = TrainingData(values[None].contiguous(), None)
        net = initial_network(size, torch.zeros(1), torch.ones(1), seed=0)
        fit(net, data, config)
        found[precision] = measure(net, data).psnr
    assert found["float32"] > 35
    assert found["fast"] != found["float32"]
    assert found["fast"] == pytest.approx(found["float32"], abs=0.2)


def test_the_log_says_once_where_fast_is_float32(monkeypatch, caplog):
    kernels = load()
    if kernels is not None:
        monkeypatch.setattr(type(kernels), "has_fast", False)
    steps._say_that_nothing_is_faster.cache_clear()
    data = TrainingData(torch.rand(1, 4, 4, 4), None)
    net = network(NetworkConfig(grids=1, grid_shape=(2, 2, 2), width=16))
    with caplog.at_level(logging.INFO, logger="amgsrn_core"):
        for precision in ("float32", "fast", "fast"):
            steps.make_step(net, data, TrainingConfig(precision=precision, device="cpu"))
    assert [record.message for record in caplog.records if "float32" in record.message] == [
        "Precision fast trains in float32 here: there are no products of bfloat16 numbers."
    ]


def test_precision_decides_over_the_result():
    fast, exact = (TrainingConfig(precision=name).substance() for name in ("fast", "float32"))
    assert fast != exact
