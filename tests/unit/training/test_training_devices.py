"""Training on another device, for which PyTorch's meta device stands: it has shapes and no numbers.

Whoever reads a number there gets an error, and the operators are watched for what makes the host
wait for a GPU, and for tensors of several devices.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from support.graphs_on_cpu import RecordedGraphs
from support.operators import Operators
from torch.utils._python_dispatch import TorchDispatchMode

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.kernels import load
from amgsrn_core.networks import initial_network, reference
from amgsrn_core.networks.products import products
from amgsrn_core.training.batches import DataBatches, HostBatches
from amgsrn_core.training.compressing.finetune import _gradients
from amgsrn_core.training.compressing.rounding import Rounding
from amgsrn_core.training.graph_step import GraphStep
from amgsrn_core.training.sampling import HashedSampler, PointSampler, TrainingData
from amgsrn_core.training.schedule import Rates
from amgsrn_core.training.torch_step import TorchStep

META, CPU = torch.device("meta"), torch.device("cpu")
KINDS = {
    "adaptive": ({}, {}),
    "linear": ({}, {"targets": "linear"}),
    "tv": ({}, {"tv": 1e-3, "l1": 1e-3}),
    "density": ({}, {"motion": "density"}),
    "still": ({}, {"motion": "none"}),
    "dense": ({"encoder": "dense"}, {}),
    "hash": ({"encoder": "hash"}, {"l1": 1e-3}),
}


def network_and_config(kind: str, device: torch.device, **more):
    network, training = KINDS[kind]
    size = NetworkConfig(grids=3, grid_shape=(4, 5, 6), width=16, hash_log2_size=8, **network)
    config = TrainingConfig(batch=200, device="cpu", **{"backend": "torch", **training, **more})
    net = initial_network(size, torch.zeros(2), torch.ones(2), seed=2)
    return net.to(device), config


def data_on(device: torch.device) -> TrainingData:
    values = torch.rand(2, 7, 8, 9, generator=torch.Generator().manual_seed(0))
    return TrainingData(values.to(device), torch.arange(3, 300, 2, dtype=torch.int32).to(device))


class Hashed(TorchStep):
    """The plain step; the meta device has no generator."""

    def _batches_of(self, data):
        if data.values.device != self._device:
            return super()._batches_of(data)
        return DataBatches(data, HashedSampler(data, self._config.batch, 0), self._config)


@pytest.mark.parametrize("where", [META, CPU], ids=["data there", "data here"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_iteration_never_waits_for_the_device(kind, where):
    for make in (Hashed, lambda *parts: GraphStep(*parts, RecordedGraphs())):
        network, config = network_and_config(kind, META)
        step = make(network, data_on(where), config)
        step.descend(0, Rates(1e-3, 1e-3, 1e-3))
        for iteration, motion in ((1, 1e-3), (2, 0.0), (3, 0.0)):
            with Operators() as operators:
                loss = step.descend(iteration, Rates(1e-3, 1e-3, motion))
            assert loss.device == META
            assert not operators.waits and not operators.mixed


@pytest.mark.parametrize("where", [META, CPU], ids=["data there", "data here"])
@pytest.mark.parametrize("kind", ["adaptive", "linear", "dense"])
def test_fine_tuning_computes_gradients_without_waiting(kind, where, monkeypatch):
    monkeypatch.setattr("amgsrn_core.training.batches.PointSampler", HashedSampler)
    network, config = network_and_config(kind, META)
    gradients = _gradients(network, data_on(where), config)
    gradients(0, network.feature_grids, network.weights)
    with torch.no_grad(), Operators() as operators:
        loss, by_grids, by_weights = gradients(1, network.feature_grids, network.weights)
    assert not operators.waits and not operators.mixed
    assert {t.device for t in (loss, by_grids, *by_weights)} == {META}


def test_a_host_that_waits_is_seen():
    there = torch.rand(5, device=META)
    for reading in (
        lambda: torch.rand(5)[torch.rand(5) > 0.5],
        lambda: float(torch.rand(5).sum()),
        lambda: torch.rand(5).to(META),
        lambda: there.copy_(torch.rand(5)),
    ):
        with Operators() as operators:
            reading()
        assert operators.waits


def batches(backend: str, cubic: bool = True) -> tuple[HostBatches, DataBatches]:
    config = TrainingConfig(batch=200, backend=backend, targets="cubic" if cubic else "linear")
    data = data_on(CPU)
    return (
        HostBatches(CPU, data, PointSampler(data, 200, 4), config),
        DataBatches(data, PointSampler(data, 200, 4), config),
    )


@pytest.mark.parametrize("backend", ["torch", "auto", "tcnn"])
@pytest.mark.parametrize("cubic", [True, False])
def test_batches_drawn_ahead_are_those_of_the_reference_in_any_order(backend, cubic):
    ahead, plain = batches(backend, cubic)
    for number in (0, 1, 2, 7, 8, 3, 3, 4):
        for found, expected in zip(ahead.draw(number), plain.draw(number)):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
            assert backend != "torch" or torch.equal(found, expected)


@pytest.mark.skipif(load() is None, reason="the CPU kernels are not built here")
def test_the_kernels_draw_what_stays_on_the_host(monkeypatch):
    monkeypatch.setattr("amgsrn_core.training.batches.cubic_targets", None)
    ahead, _ = batches("auto")
    ahead.draw(0)
    with pytest.raises(TypeError):
        batches("torch")[0].draw(0)


def test_the_next_batch_is_drawn_while_this_one_is_used():
    ahead, _ = batches("torch")
    begun, drawn = [], ahead._on_host
    second = threading.Event()

    def on_host(number):
        begun.append((number, threading.current_thread() is threading.main_thread()))
        if number == 1:
            second.set()
        return drawn(number)

    ahead._on_host = on_host
    ahead.draw(0)
    assert second.wait(30)
    ahead.draw(1)
    assert begun[:2] == [(0, False), (1, False)]


def test_the_host_is_only_a_few_batches_ahead_of_a_gpu(monkeypatch):
    sent, waited = [], []

    class Event:
        def record(self, stream):
            sent.append(self)

        def synchronize(self):
            waited.append(self)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    ahead, _ = batches("auto")
    for _ in range(10):
        ahead._wait_for_an_earlier_one()
    assert waited == sent[:6]


def test_determinants_are_those_of_lapack():
    maps = torch.randn(20, 3, 4, dtype=torch.float64, requires_grad=True)
    found = reference.triple_products(maps[:, :, :3])
    expected = torch.linalg.det(maps[:, :, :3])
    torch.testing.assert_close(found, expected)
    slopes = [torch.autograd.grad(v.square().sum(), maps)[0] for v in (found, expected)]
    torch.testing.assert_close(*slopes)


class Precisions(TorchDispatchMode):
    """Notes the kind of products that a GPU would use, operator by operator."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, set[bool]] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().split(".")[0]
        if name in ("aten::mm", "aten::bmm", "aten::baddbmm", "aten::mv", "aten::addmm"):
            kind = self.found.setdefault(name, set())
            kind.add(torch.backends.cuda.matmul.fp32_precision == "tf32" if NEW else switch())
        return function(*args, **(kwargs or {}))


NEW = hasattr(torch.backends.cuda.matmul, "fp32_precision")


def switch() -> bool:
    return torch.backends.cuda.matmul.allow_tf32


@pytest.fixture(params=["allow_tf32", "fp32_precision"])
def a_process_that_uses_tf32(request):
    matmul = torch.backends.cuda.matmul
    if request.param == "fp32_precision" and not NEW:
        pytest.skip("this PyTorch has no such switch")
    before = getattr(matmul, request.param)
    setattr(matmul, request.param, True if request.param == "allow_tf32" else "tf32")
    yield
    assert getattr(matmul, request.param) in (True, "tf32"), "the process's choice was lost"
    setattr(matmul, request.param, before)
    matmul.allow_tf32 = False


@pytest.mark.parametrize("precision", ["float32", "fast"])
@pytest.mark.parametrize("kind", ["adaptive", "density", "dense"])
def test_products_are_float32_but_for_a_fast_decoder(a_process_that_uses_tf32, kind, precision):
    network, config = network_and_config(kind, CPU, precision=precision)
    step = TorchStep(network, data_on(CPU), config)
    with Precisions() as precisions:
        step.descend(0, Rates(1e-3, 1e-3, 1e-3))
    found = precisions.found
    assert found["aten::baddbmm"] == {False}  # the maps
    # The decoder, forwards and backwards.
    assert (True in found["aten::mm"]) == (precision == "fast")
    assert precision == "fast" or set().union(*found.values()) == {False}
    with Precisions() as precisions, torch.no_grad():
        network(torch.zeros(5, 3))
        network.density(torch.zeros(5, 3))
    network.with_gradient(torch.zeros(5, 3))
    assert set().union(*precisions.found.values()) == {False}


def test_targets_and_rounding_are_float32(a_process_that_uses_tf32):
    network, config = network_and_config("adaptive", CPU)
    data = data_on(CPU)
    unit = {"feature_grids": np.ones((3, 2), np.float32)}
    unit |= {f"decoder.{i}.weight": np.ones(1) for i in range(3)}
    with Precisions() as precisions:
        DataBatches(data, PointSampler(data, 50, 0), config).draw(0)
        Rounding(network, unit).numbers(network.feature_grids, 1.0)
    assert set(precisions.found) >= {"aten::bmm", "aten::mm"}
    assert set().union(*precisions.found.values()) == {False}


def test_a_precision_lasts_as_long_as_it_is_asked_for():
    matmul = torch.backends.cuda.matmul
    assert not matmul.allow_tf32
    with pytest.raises(KeyError), products(fast=True):
        assert matmul.allow_tf32
        with products():
            assert not matmul.allow_tf32
        assert matmul.allow_tf32
        raise KeyError
    assert not matmul.allow_tf32
