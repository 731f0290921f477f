"""Importance sampling: where points are drawn, what they count, and what is learned of errors."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from amgsrn_core.config import TrainingConfig
from amgsrn_core.kernels import load
from amgsrn_core.training import importance
from amgsrn_core.training.importance import Blocks, ImportanceSampler
from amgsrn_core.training.sampling import TrainingData, prepare
from amgsrn_core.volume.volume import Block

SHAPE = (12, 10, 15)


@pytest.fixture(autouse=True)
def few_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "MOST_BLOCKS", 40)


def config(batch: int = 1000, **options: object) -> TrainingConfig:
    return TrainingConfig(iterations=10, batch=batch, sampling="importance", **options)


def some_data(masked: bool = False, components: int = 1) -> TrainingData:
    random = np.random.default_rng(0)
    values = random.random((components, *SHAPE)).astype(np.float32)
    valid = random.random(SHAPE) < 0.02 if masked else None
    low, high = np.zeros(components), np.ones(components)
    return prepare(Block(values, valid), low, high, torch.device("cpu"))


def learned(data: TrainingData, batch: int = 1000) -> ImportanceSampler:
    """A sampler that knows other errors of each block, and of one nothing."""
    sampler = ImportanceSampler(data, config(batch))
    sampler.squares = np.random.default_rng(1).random(len(sampler.squares)) ** 4
    sampler.squares[2] = -1.0
    return sampler


def numbers(sampler: ImportanceSampler, index: torch.Tensor) -> torch.Tensor:
    """The flat numbers of the cells that points lie in."""
    nx, ny, nz = sampler.blocks.shape
    x, y, z = (index[:, axis].floor().long() for axis in range(3))
    assert (x < nx).all() and (y < ny).all() and (z < nz).all() and (index >= 0).all()
    return x + nx * (y + ny * z)


@pytest.mark.parametrize("masked", [False, True])
def test_blocks_are_a_partition_of_the_cells(masked: bool) -> None:
    data = some_data(masked)
    blocks = Blocks(data)
    total = 11 * 9 * 14 if data.cells is None else len(data.cells)
    assert int(blocks.starts[-1]) == blocks.counts.sum() == total
    block = torch.from_numpy(np.repeat(np.arange(len(blocks.counts)), blocks.counts))
    inside = torch.arange(total) - blocks.starts[block]
    corner = blocks.corner(block, inside)
    cells = corner[:, 0] + 14 * (corner[:, 1] + 9 * corner[:, 2])
    expected = torch.arange(total) if data.cells is None else data.cells.long()
    assert torch.equal(cells.sort().values, expected)
    across, down = -(-14 // blocks.side), -(-9 // blocks.side)
    x, y, z = (corner[:, axis] // blocks.side for axis in range(3))
    assert torch.equal(block, x + across * (y + down * z))


def test_as_few_cells_are_in_a_block_as_the_number_of_blocks_allows() -> None:
    blocks = Blocks(some_data())
    assert blocks.side == 4 and len(blocks.counts) == 3 * 3 * 4


def test_the_weighted_loss_means_what_the_uniform_loss_does() -> None:
    """By all ticks of a batch, in exact arithmetic: only the weights' rounding is left."""
    sampler = learned(some_data(), batch=64)
    ticks, weights = sampler.shares()
    total = 64 << 24
    there = np.diff(ticks.numpy())
    assert ticks[0] == 0 and ticks[-1] == total and (there > 0).all()
    errors = [Fraction(number * number + 1, 7) for number in range(len(there))]
    cells = [int(count) for count in sampler.blocks.counts]
    uniform = sum(e * n for e, n in zip(errors, cells)) / sum(cells)
    weighted = sum(
        Fraction(int(t), total) * Fraction(float(w)) * e for t, w, e in zip(there, weights, errors)
    )
    assert abs(weighted / uniform - 1) < Fraction(1, 10**7)
    mean = sum(Fraction(int(t), total) * Fraction(float(w)) for t, w in zip(there, weights))
    assert abs(mean - 1) < Fraction(1, 10**7)


def test_most_points_follow_the_errors_and_the_rest_is_even() -> None:
    sampler = learned(some_data())
    ticks, _ = sampler.shares()
    share = np.diff(ticks.numpy()) / float(ticks[-1])
    even = sampler.blocks.counts / sampler.blocks.counts.sum()
    squares = sampler.squares.copy()
    squares[2] = squares[squares >= 0].mean()
    wanted = even * np.sqrt(squares)
    np.testing.assert_allclose(share, 0.8 * wanted / wanted.sum() + 0.2 * even, rtol=1e-6)
    assert (share >= 0.2 * even * (1 - 1e-6)).all()


@pytest.mark.parametrize("masked", [False, True])
def test_draws_are_distributed_by_the_shares_and_evenly_within_blocks(masked: bool) -> None:
    sampler = learned(some_data(masked), batch=2000)
    ticks, _ = sampler.shares()
    drawn = [sampler.places(number, ticks) for number in range(100)]
    blocks = torch.cat([block for _, _, block in drawn]).numpy()
    assert (np.diff(drawn[0][2].numpy()) >= 0).all()
    count = len(blocks)
    share = np.diff(ticks.numpy()) / float(ticks[-1])
    found = np.bincount(blocks, minlength=len(share))
    # Each of a batch's points has a stratum of its own: they scatter less than chance alone.
    chi = ((found - count * share)[share > 0] ** 2 / (count * share[share > 0])).sum()
    assert chi < len(share)
    cells = numbers(sampler, torch.cat([index for index, _, _ in drawn]))
    per_cell = np.bincount(cells.numpy(), minlength=11 * 9 * 14)
    of_block = np.repeat(found / np.maximum(sampler.blocks.counts, 1), sampler.blocks.counts)
    order = sampler.blocks.cells
    if order is None:
        block = torch.from_numpy(np.repeat(np.arange(len(share)), sampler.blocks.counts))
        corner = sampler.blocks.corner(
            block, torch.arange(len(block)) - sampler.blocks.starts[block]
        )
        order = corner[:, 0] + 14 * (corner[:, 1] + 9 * corner[:, 2])
    expected = np.zeros(len(per_cell))
    expected[order.long().numpy()] = of_block
    assert per_cell[expected == 0].sum() == 0  # what is masked is never drawn
    there = expected > 0
    chi = ((per_cell - expected)[there] ** 2 / expected[there]).sum()
    assert chi < there.sum() + 4 * np.sqrt(2.0 * there.sum())


@pytest.mark.skipif(load() is None, reason="the CPU kernels are not built")
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize(("masked", "components"), [(False, 1), (True, 3)])
def test_every_instruction_set_and_number_of_threads_draws_the_references_points(
    masked: bool, components: int, count: int
) -> None:
    data = some_data(masked, components)
    reference, library, before = learned(data, 5000), load(), torch.get_num_threads()
    assert library is not None
    points, targets, weights = reference.draw(3)
    blocks = reference._drawn
    isa = library.isa
    torch.set_num_threads(count)
    try:
        for name in library.isas:
            library.use_isa(name)
            native = ImportanceSampler(data, config(5000), library)
            native.squares = reference.squares
            found = native.draw(3)
            assert torch.equal(found[0], points) and torch.equal(found[2], weights), name
            assert (native._drawn == blocks).all(), name
            torch.testing.assert_close(found[1], targets, atol=2e-6, rtol=1e-5)
    finally:
        library.use_isa(isa)
        torch.set_num_threads(before)


def test_batches_differ_by_number_and_seed() -> None:
    data = some_data()
    ticks, _ = learned(data).shares()
    first = ImportanceSampler(data, config(seed=0)).places(0, ticks)[1]
    assert torch.equal(first, ImportanceSampler(data, config(seed=0)).places(0, ticks)[1])
    assert not torch.equal(first, ImportanceSampler(data, config(seed=0)).places(1, ticks)[1])
    assert not torch.equal(first, ImportanceSampler(data, config(seed=1)).places(0, ticks)[1])


def test_errors_are_learned_block_by_block_and_known_of_unseen_ones_as_the_mean() -> None:
    sampler = ImportanceSampler(some_data(), config())
    even = np.diff(sampler.shares()[0].numpy()) / (1000 << 24)
    np.testing.assert_allclose(even, sampler.blocks.counts / sampler.blocks.counts.sum(), rtol=1e-6)
    sampler._drawn = np.array([3, 3, 5])
    sampler.learn(np.array([1.0, 3.0, 4.0]))
    assert sampler.squares[3] == 2.0 and sampler.squares[5] == 4.0
    assert (np.delete(sampler.squares, [3, 5]) == -1.0).all()
    sampler._drawn = np.array([3])
    sampler.learn(np.array([12.0]))
    assert sampler.squares[3] == pytest.approx(3.0) and sampler.squares[5] == 4.0
    density = np.diff(sampler.shares()[0].numpy()) / sampler.blocks.counts
    ratio = (density[0] - 0.2 * density.mean()) / (density[5] - 0.2 * density.mean())
    assert ratio == pytest.approx(np.sqrt(3.5 / 4.0), rel=0.05)


def test_errors_that_are_no_numbers_change_nothing() -> None:
    sampler = learned(some_data())
    before = sampler.squares.copy()
    for bad in (float("nan"), float("inf")):
        sampler._drawn = np.array([1, 4])
        sampler.learn(np.array([bad, bad]))
    assert (sampler.squares == before).all()
    sampler.squares[:] = 0.0  # nothing left to learn
    assert int(sampler.shares()[0][-1]) == 1000 << 24


def test_a_state_is_restored_exactly_and_without_one_all_is_even() -> None:
    first, second = learned(some_data()), ImportanceSampler(some_data(), config())
    second.restore({})
    assert (second.squares == -1.0).all()
    second.restore(first.state())
    assert (second.squares == first.squares).all()
    for one, other in zip(first.draw(9), second.draw(9)):
        assert torch.equal(one, other)
