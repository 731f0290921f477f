"""Training as a CUDA graph: recorded and repeated on the CPU, against steps without one."""

from __future__ import annotations

import dataclasses
import logging
import types

import numpy as np
import pytest
import torch
from support.graphs_on_cpu import RecordedGraphs

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.networks import initial_network
from amgsrn_core.training import Command, step
from amgsrn_core.training.batches import DataBatches, HostBatches
from amgsrn_core.training.checkpoint import CheckpointFile
from amgsrn_core.training.draws import HashedNumbers, _scrambled, _signed
from amgsrn_core.training.fit import fit
from amgsrn_core.training.graph_step import GraphStep
from amgsrn_core.training.optimisers import Adam
from amgsrn_core.training.sampling import HashedSampler, PointSampler, TrainingData
from amgsrn_core.training.schedule import Rates, rates
from amgsrn_core.training.torch_step import TorchStep

CPU = torch.device("cpu")
SIZE = {"grids": 3, "grid_shape": (4, 5, 6), "width": 16, "hash_log2_size": 8}
KINDS = {
    "adaptive": ({}, {}),
    "tv": ({}, {"tv": 1e-3, "l1": 1e-3}),
    "linear": ({}, {"targets": "linear"}),
    "density": ({}, {"motion": "density"}),
    "dense": ({"encoder": "dense"}, {}),
    "hash": ({"encoder": "hash"}, {"l1": 1e-3}),
}


def case(kind: str, **more):
    network, training = KINDS[kind]
    random = torch.Generator().manual_seed(0)
    cells = torch.arange(3, 300, 2, dtype=torch.int32)
    data = TrainingData(torch.rand(2, 7, 8, 9, generator=random), cells)
    size = NetworkConfig(**SIZE, **network)
    config = TrainingConfig(
        iterations=40, batch=300, device="cpu", **{"backend": "torch", **training, **more}
    )
    return initial_network(size, torch.zeros(2), torch.ones(2), seed=2), data, config


class WithoutGraph(TorchStep):
    """Today's step, with the numbers of a graph."""

    def _batches_of(self, data):
        sampler = HashedSampler(data, self._config.batch, self._config.seed)
        return DataBatches(data, sampler, self._config)


def phases(iteration: int) -> Rates:
    """Rates at which grids move, rest, and move again; exact in float32."""
    high = 2.0 ** -(8 + iteration % 3)
    return Rates(high, high / 4, 0.0 if 8 <= iteration < 16 else high / 8)


def run(step, start: int, stop: int) -> list[float]:
    return [float(step.descend(i, phases(i))) for i in range(start, stop)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_does_what_the_step_does(kind):
    graphs, results = RecordedGraphs(), []
    for make in (WithoutGraph, lambda *parts: GraphStep(*parts, graphs)):
        network, data, config = case(kind)
        step = make(network, data, config)
        losses = run(step, 0, 24)
        results.append((losses, *network.parameters(), *step.state().values()))
    for expected, found in zip(*results):
        assert torch.equal(torch.as_tensor(expected), torch.as_tensor(found))
    phases_seen = 1 if kind in ("dense", "hash") else 3
    assert graphs.captured == phases_seen and graphs.warmed == 3 * phases_seen
    assert graphs.replayed == 24 - graphs.warmed


@pytest.mark.parametrize("kind", ["adaptive", "density"])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(kind):
    network, data, config = case(kind)
    step = GraphStep(network, data, config, RecordedGraphs())
    whole = run(step, 0, 24)
    for stop in (6, 12):
        network, data, config = case(kind)
        first = GraphStep(network, data, config, RecordedGraphs())
        losses = run(first, 0, stop)
        saved = {name: value.clone() for name, value in first.state().items()}
        parameters = {name: value.clone() for name, value in network.state_dict().items()}
        run(first, stop, stop + 5)  # goes on: what was saved does not follow
        network, data, config = case(kind)
        network.load_state_dict(parameters)
        second = GraphStep(network, data, config, RecordedGraphs())
        second.restore(saved)
        assert losses + run(second, stop, 24) == whole


def test_a_step_that_is_restored_forgets_its_graph():
    network, data, config = case("adaptive")
    step = GraphStep(network, data, config, RecordedGraphs())
    run(step, 0, 3)
    saved = {name: value.clone() for name, value in step.state().items()}
    parameters = {name: value.clone() for name, value in network.state_dict().items()}
    expected = run(step, 3, 7)
    network.load_state_dict(parameters)
    step.restore(saved)
    assert run(step, 3, 7) == expected


def test_a_run_with_graphs_is_stopped_and_continued(monkeypatch, tmp_path):
    network, data, config = case("adaptive")
    config = dataclasses.replace(config, iterations=60, checkpoint_seconds=0.0)
    made = []

    def make_step(*parts):
        made.append(RecordedGraphs())
        return GraphStep(*parts, made[-1])

    monkeypatch.setattr("amgsrn_core.training.fit.make_step", make_step)
    monkeypatch.setattr("amgsrn_core.training.fit._PATIENCE_SECONDS", 0.0)
    whole = fit(network, data, config)
    expected = network.state_arrays()
    file = CheckpointFile(tmp_path / "run", "fingerprint")
    for stop in (11, 30, 61):
        network, data, _ = case("adaptive")

        def observer(progress, stop=stop):
            return Command.STOP if progress.iteration >= stop else Command.CONTINUE

        result = fit(network, data, config, checkpoints=file, observer=observer)
    assert result.completed and sum(graphs.replayed for graphs in made[1:]) > 30
    for name, value in network.state_arrays().items():
        np.testing.assert_array_equal(value, expected[name])
    np.testing.assert_array_equal(result.history.array(), whole.history.array())


@pytest.mark.parametrize(
    ("backend", "device", "kind"),
    [("auto", "cuda:1", "graph"), ("torch", "cuda:1", "plain"), ("tcnn", "cuda", "plain")],
)
def test_graphs_are_for_backend_auto_on_cuda(monkeypatch, backend, device, kind):
    monkeypatch.setattr(step, "GraphStep", lambda *_: "graph")
    monkeypatch.setattr(step, "TorchStep", lambda *_: "plain")
    network = types.SimpleNamespace(
        minimum=types.SimpleNamespace(device=torch.device(device)), config=NetworkConfig()
    )
    assert step.make_step(network, None, TrainingConfig(backend=backend)) == kind


class Failing(RecordedGraphs):
    def capture(self, work):
        super().capture(work)
        raise RuntimeError("CUDA error: operation not permitted\nmore lines")


def test_without_graphs_the_same_happens_and_one_line_says_so(caplog):
    results = []
    for graphs in (RecordedGraphs(), Failing()):
        network, data, config = case("adaptive")
        with caplog.at_level(logging.INFO):
            losses = run(GraphStep(network, data, config, graphs), 0, 20)
        results.append((losses, *network.parameters()))
    for expected, found in zip(*results):
        assert torch.equal(torch.as_tensor(expected), torch.as_tensor(found))
    assert graphs.captured == 1
    (message,) = caplog.messages
    assert message.endswith("slower: CUDA error: operation not permitted")


def test_data_in_the_computers_memory_are_copied_into_a_graphs():
    class OnHost(GraphStep):
        def _batches_of(self, data):
            sampler = PointSampler(data, self._config.batch, self._config.seed)
            return HostBatches(self._device, data, sampler, self._config)

    network, data, config = case("adaptive")
    expected = run(TorchStep(network, data, config), 0, 20)
    network, data, config = case("adaptive")
    graphs = RecordedGraphs()
    assert run(OnHost(network, data, config, graphs), 0, 20) == expected
    assert graphs.replayed == 11


def test_what_a_graph_must_not_do_is_seen_by_the_stand_in():
    """The recording catches a host that reads or says something that changes."""
    network, data, config = case("adaptive")

    class Reading(GraphStep):
        def _learn(self, points, targets, moves):
            return super()._learn(points, targets, moves).add(0.0 * float(targets.mean()))

    step = Reading(network, data, config, RecordedGraphs())
    run(step, 0, 4)
    assert step._graphs is None

    class Saying(GraphStep):
        def _learn(self, points, targets, moves):
            group = self._optimiser.param_groups[0]
            kept, group["lr"] = group["lr"], self._rates[0]
            loss = super()._learn(points, targets, moves)
            group["lr"] = kept
            return loss

    results = []
    for kind in (GraphStep, Saying):
        network, data, config = case("adaptive")
        results.append(run(kind(network, data, config, RecordedGraphs()), 0, 8))
    assert results[0] != results[1]


def test_rates_in_tensors_are_as_good_as_numbers():
    # Up to their rounding to float32: the schedule's rates are not exact there.
    results = []
    for as_rate in (float, torch.tensor):
        random = torch.Generator().manual_seed(1)
        parameters = [torch.randn(3, 4, generator=random), torch.randn(5, generator=random)]
        optimiser = Adam([{"params": [p]} for p in parameters], (0.9, 0.95))
        for number in range(50):
            for parameter, group in zip(parameters, optimiser.param_groups):
                parameter.grad = torch.randn(parameter.shape, generator=random)
                group["lr"] = as_rate(rates(TrainingConfig(iterations=50), number).features)
            optimiser.step()
        results.append(torch.cat([p.reshape(-1) for p in parameters]))
    torch.testing.assert_close(*results, rtol=2e-6, atol=2e-6)


def test_a_graph_trains_as_well_as_today():
    found = []
    for make in (TorchStep, lambda *parts: GraphStep(*parts, RecordedGraphs())):
        network, data, config = case("adaptive")
        z, y, x = torch.meshgrid(*[torch.linspace(0, 3, n) for n in (7, 8, 9)], indexing="ij")
        data = TrainingData(torch.stack([x * y / 9, (z + x).sin()]), None)
        step = make(network, data, config)
        losses = [float(step.descend(i, rates(config, i))) for i in range(40)]
        found.append(np.mean(losses[-5:]))
        assert found[-1] < 0.2 * losses[0]
    assert found[1] == pytest.approx(found[0], rel=0.3)


def twin(seed: int, number: int, count: int) -> np.ndarray:
    """SplitMix64 in NumPy's numbers without a sign."""
    golden = np.uint64(0x9E3779B97F4A7C15)

    def scrambled(z):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    with np.errstate(over="ignore"):
        start = scrambled(np.array([seed], np.uint64) * golden)
        places = np.arange(1, 2 * count + 1, dtype=np.uint64) + (np.uint64(number) << np.uint64(33))
        hashed = scrambled(start + places * golden)
    halves = np.stack([hashed >> np.uint64(40), (hashed >> np.uint64(8)) & np.uint64(0xFFFFFF)], 1)
    return halves.reshape(count, 4).astype(np.float32) * np.float32(2.0**-24)


def test_random_numbers_are_those_of_splitmix64():
    # Its published first outputs from the state 1234567.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    state = torch.tensor(1234567) + torch.arange(1, 4) * _signed(0x9E3779B97F4A7C15)
    assert [int(n) % 2**64 for n in _scrambled(state)] == published
    for seed, number in ((0, 0), (1, 0), (0, 1), (2**31 - 1, 99_999_999)):
        found = HashedNumbers(seed, 50, CPU).batch(torch.tensor(number))
        np.testing.assert_array_equal(found.numpy(), twin(seed, number, 50))


def test_random_numbers_are_even_and_know_nothing_of_each_other():
    numbers = torch.stack([HashedNumbers(7, 4096, CPU).batch(torch.tensor(n)) for n in range(64)])
    assert numbers.min() >= 0.0 and numbers.max() < 1.0
    counts = torch.histc(numbers, 64, 0.0, 1.0)
    expected = numbers.numel() / 64
    assert ((counts - expected) ** 2 / expected).sum() < 64 + 5 * np.sqrt(2 * 64)
    columns = [numbers[..., k].reshape(-1) for k in range(4)]
    columns += [numbers.roll(k, 0)[..., 0].reshape(-1) for k in (2, 16)]
    columns += [numbers.roll(1, 0)[..., 0].reshape(-1), numbers.roll(1, 1)[..., 0].reshape(-1)]
    columns.append(HashedNumbers(8, 4096, CPU).batch(torch.tensor(3))[:, 0].repeat(64))
    apart = torch.corrcoef(torch.stack(columns)).fill_diagonal_(0.0)
    assert apart.abs().max() < 5 / np.sqrt(4096 * 64)


def test_hashed_points_cover_the_cells_evenly():
    data = TrainingData(torch.zeros(1, 5, 6, 7), None)
    index, local = HashedSampler(data, 1200, 3).draw(torch.tensor(5))
    cells = index.floor().long()
    counts = torch.bincount(cells[:, 0] + 6 * (cells[:, 1] + 5 * cells[:, 2]), minlength=120)
    assert counts.min() >= 8 and counts.max() <= 12
    assert local.abs().max() <= 1.0
