"""The field of several bricks: weights, continuity, bricks without a network, memory, threads."""

from __future__ import annotations

import dataclasses
import itertools
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sample_models import small_brick, small_index, write_small_model

from amgsrn_core import NeuralVolume
from amgsrn_core.errors import ArchiveError, ChecksumError
from amgsrn_core.field.blending import Blend
from amgsrn_core.field.brick_cache import BrickCache
from amgsrn_core.model import BrickRecord, write_archive
from amgsrn_core.networks import network_from_state
from amgsrn_core.volume.partition import partition

DIMS = (9, 10, 12)
SHORT = np.array([1e-7, 0.0, 0.0])


def records_of(dims, counts, ghost) -> tuple[BrickRecord, ...]:
    return tuple(BrickRecord(b.extent, b.ghosted) for b in partition(dims, counts, ghost))


def ensemble(counts=(2, 1, 3), ghost=2, dims=DIMS, **changes):
    """Return a model of untrained bricks, and their states."""
    index = small_index(dims).replace(bricks=records_of(dims, counts, ghost), **changes)
    states = [small_brick(index, seed) for seed in range(len(index.bricks))]
    return NeuralVolume(index, states, device="cpu"), states


def expected_factor(record: BrickRecord, dims, point) -> float:
    """Return r of the formula in the module's text, one point and one axis at a time."""
    product = 1.0
    for own, ghosted, n, p in zip(record.extent, record.ghosted, dims, reversed(point)):
        if own.start > 0:
            reach = own.start - ghosted.start
            low, high = ghosted.start, 2 * own.start - 1 - ghosted.start
            t = (p - low) / (high - low) if reach else float(p >= own.start - 0.5)
            t = min(max(t, 0.0), 1.0)
            product *= t * t * (3 - 2 * t)
        if own.stop < n:
            reach = ghosted.stop - own.stop
            low, high = 2 * own.stop - 1 - (ghosted.stop - 1), ghosted.stop - 1
            t = (high - p) / (high - low) if reach else float(p < own.stop - 0.5)
            t = min(max(t, 0.0), 1.0)
            product *= t * t * (3 - 2 * t)
    return product


@st.composite
def cases(draw):
    dims = tuple(draw(st.integers(4, 14)) for _ in range(3))
    ghost = draw(st.integers(0, 4))
    counts = tuple(draw(st.integers(1, n // 2)) for n in dims)
    points = np.array(
        draw(st.lists(st.tuples(*[st.floats(0, n - 1) for n in dims[::-1]]), min_size=1))
    )
    # Also on samples and half-way between them, where bricks begin and end.
    return dims, counts, ghost, np.concatenate([points, np.rint(points * 2) / 2])


@given(cases())
@settings(deadline=None, max_examples=100)
def test_weights_follow_the_formula_and_sum_to_one(case):
    dims, counts, ghost, points = case
    records = records_of(dims, counts, ghost)
    parts = Blend.of_bricks(records, dims).parts(points)
    weights = np.zeros((len(points), len(records)))
    np.add.at(weights, (parts.points, parts.bricks), parts.weights)
    factors = np.array([[expected_factor(r, dims, p) for r in records] for p in points])
    np.testing.assert_allclose(weights, factors / factors.sum(1, keepdims=True), atol=1e-12)
    assert (np.diff(parts.bricks) >= 0).all()


def test_weights_of_any_partition_into_boxes_sum_to_one():
    z, y = slice(0, 6), slice(0, 7)
    records = (
        BrickRecord((z, y, slice(0, 4)), (z, y, slice(0, 5))),
        BrickRecord((z, slice(0, 3), slice(4, 8)), (z, slice(0, 5), slice(3, 8))),
        BrickRecord((z, slice(3, 7), slice(4, 8)), (z, slice(2, 7), slice(3, 8))),
    )
    points = np.random.default_rng(0).random((500, 3)) * [7, 6, 5]
    parts = Blend.of_bricks(records, (6, 7, 8)).parts(points)
    np.testing.assert_allclose(np.bincount(parts.points, parts.weights), 1, atol=1e-12)
    for record_number in range(3):
        mine = parts.points[parts.bricks == record_number]
        for axis, s in enumerate(reversed(records[record_number].ghosted)):
            assert (points[mine, axis] >= s.start).all()
            assert (points[mine, axis] <= s.stop - 1).all()


def switched(records, cuts) -> tuple[BrickRecord, ...]:
    """Give bricks that are cut along x the domains between `cuts`; they span y and z."""
    whole = [(0.0, n - 1.0) for n in DIMS[:2]]
    return tuple(
        dataclasses.replace(record, domain=(*whole, pair))
        for record, pair in zip(records, zip(cuts, cuts[1:]))
    )


def test_a_point_is_in_the_domain_of_one_brick_only():
    # On a voxel, between two, half-way, and outside of what the bricks have learned.
    cuts = [0.0, 2.0, 5.2, 7.5, 11.0]
    records = switched(records_of(DIMS, (1, 1, 4), 1), cuts)
    points = np.random.default_rng(0).random((1000, 3)) * (np.array(DIMS[::-1]) - 1)
    points[:200, 0] = np.resize([*cuts, *np.nextafter(cuts[1:], 0), *np.nextafter(cuts, 99)], 200)
    points = np.clip(points, 0, np.array(DIMS[::-1]) - 1)
    parts = Blend.of_bricks(records, DIMS).parts(points, gradients=True)
    assert (np.sort(parts.points) == np.arange(len(points))).all()
    assert (parts.weights == 1).all() and not parts.gradients.any()
    expected = np.searchsorted(cuts[1:-1], points[:, 0], side="right")
    np.testing.assert_array_equal(parts.bricks, expected[parts.points])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thousands_of_bricks_along_an_axis_are_routed_exactly(axis):
    size = 9000
    dims, counts = [2, 2, 2], [1, 1, 1]
    dims[axis], counts[axis] = size, 4500
    blend = Blend.of_bricks(records_of(tuple(dims), tuple(counts), 1), tuple(dims))
    points = np.full((size, 3), 0.5)
    points[:, 2 - axis] = np.arange(size)
    parts = blend.parts(points)
    owner = np.empty(size, int)
    owner[parts.points] = parts.bricks
    assert (owner == np.arange(size) // 2).all() and len(parts.points) == size


@pytest.mark.parametrize("ghost", [1, 2, 3])
def test_weight_gradients_are_derivatives_and_continuous(ghost):
    records = records_of(DIMS, (2, 2, 3), ghost)
    blend = Blend.of_bricks(records, DIMS)
    points = np.random.default_rng(1).random((300, 3)) * (np.array(DIMS[::-1]) - 1)
    step = 1e-6

    def dense(at, gradients=False):
        parts = blend.parts(at, gradients)
        out = np.zeros((len(at), len(records), 4))
        out[parts.points, parts.bricks, 0] = parts.weights
        if gradients:
            out[parts.points, parts.bricks, 1:] = parts.gradients
        return out

    exact = dense(points, True)[..., 1:]
    for axis in range(3):
        move = np.eye(3)[axis] * step
        inside = (points[:, axis] > 1e-3) & (points[:, axis] < DIMS[2 - axis] - 1 - 1e-3)
        slope = (dense(points[inside] + move) - dense(points[inside] - move))[..., 0] / (2 * step)
        np.testing.assert_allclose(exact[inside, :, axis], slope, atol=1e-6)
    # Across every end of a brick's fading, value and gradient go on.
    for cut in range(2 * DIMS[2] - 2):
        ends = np.array([[cut / 2, 4.3, 4.4]])
        before, after = dense(ends - SHORT, True), dense(ends + SHORT, True)
        if cut > 0:
            np.testing.assert_allclose(before, after, atol=1e-5)


def alone(index, record, state, points):
    """Return one brick's own network at points in the volume's index space."""
    network = network_from_state(
        index.network, state, torch.tensor(index.value_minimum), torch.tensor(index.value_maximum)
    )
    first = np.array([s.start for s in reversed(record.ghosted)])
    last = np.array([s.stop - 1 for s in reversed(record.ghosted)])
    local = 2 * (points - first) / (last - first) - 1
    with torch.no_grad():
        return network(torch.tensor(local, dtype=torch.float32)).numpy()


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_the_field_is_the_weighted_sum_of_its_bricks(backend):
    model, states = ensemble()
    model = NeuralVolume(model.index, states, device="cpu", backend=backend)
    points = np.random.default_rng(2).random((400, 3)) * (np.array(DIMS[::-1]) - 1)
    expected = np.zeros((400, 1))
    total = np.zeros((400, 1))
    for record, state in zip(model.index.bricks, states):
        factor = np.array([[expected_factor(record, DIMS, p)] for p in points])
        inside = factor[:, 0] > 0
        expected[inside] += factor[inside] * alone(model.index, record, state, points[inside])
        total += factor
    np.testing.assert_allclose(model.sample_index(points), expected / total, atol=1e-4)


def test_the_field_is_continuous_across_every_border():
    model, _ = ensemble(counts=(3, 3, 4), ghost=1)
    random = np.random.default_rng(3)
    cuts = sorted({s for r in model.index.bricks for s in (r.ghosted[2].start, r.extent[2].start)})
    for cut, offset in itertools.product(cuts, (0.0, -0.5)):
        points = random.random((200, 3)) * (np.array(DIMS[::-1]) - 1)
        points[:, 0] = np.clip(cut + offset, 1e-3, DIMS[2] - 1.001)
        left = model.sample_index(points - 1000 * SHORT)
        right = model.sample_index(points + 1000 * SHORT)
        # The steepest slope of these random networks is far below 100 per voxel.
        np.testing.assert_allclose(left, right, atol=2e-2)


def without(index, number, **changes):
    bricks = list(index.bricks)
    bricks[number] = dataclasses.replace(bricks[number], **changes)
    return index.replace(bricks=tuple(bricks))


def test_a_hole_is_missing_and_reported_and_nothing_else():
    model, states = ensemble()
    index = without(model.index, 4, state="missing")
    states[4] = {}
    holed = NeuralVolume(index, states, device="cpu")
    block = holed.reconstruct_block()
    hole = np.zeros(DIMS, bool)
    hole[index.bricks[4].extent] = True
    np.testing.assert_array_equal(block.valid, ~hole)
    assert index.holes == (4,)
    assert np.array_equal(np.isnan(block.values[0]), hole)
    assert holed.n_parameters * 6 == model.n_parameters * 5


def test_nothing_but_holes_opens_too():
    model, _ = ensemble(counts=(1, 1, 2))
    index = without(without(model.index, 0, state="missing"), 1, state="empty")
    holed = NeuralVolume(index, [{}, {}], device="cpu")
    assert not holed.reconstruct_block().valid.any()
    assert np.isnan(holed.feature_corners()).all()


def test_a_constant_brick_has_its_value_and_blends_like_any():
    model, states = ensemble(ghost=1)
    states[1] = {"mask": np.ones(model.index.bricks[1].ghosted_dims, bool)}
    states[1]["mask"][0, 0, 0] = False
    index = without(model.index, 1, state="constant", value_minimum=(7.25,), value_maximum=(7.25,))
    field = NeuralVolume(index, states, device="cpu")
    block = field.reconstruct_block()
    own = block.values[0][index.bricks[1].extent]
    valid = np.ones(DIMS, bool) if block.valid is None else block.valid
    np.testing.assert_allclose(own[valid[index.bricks[1].extent]], 7.25, rtol=1e-6)
    assert field.density_block().values[0][index.bricks[1].extent].max() == 0


def test_a_brick_with_a_range_of_its_own_is_scaled_by_it():
    model, states = ensemble(counts=(1, 1, 2), ghost=1)
    index = without(model.index, 0, value_minimum=(-20.0,), value_maximum=(-10.0,))
    scaled = NeuralVolume(index, states, device="cpu").reconstruct_block().values[0]
    plain = model.reconstruct_block().values[0]
    first = index.bricks[0].extent
    np.testing.assert_allclose(scaled[first], plain[first] - 20, atol=1e-4)


def test_bricks_without_networks_survive_the_file(tmp_path):
    model, states = ensemble()
    index = without(model.index, 0, state="missing")
    index = without(index, 1, state="constant", value_minimum=(3.0,), value_maximum=(3.0,))
    index = without(index, 2, state="empty")
    states[:3] = [{}, {}, {}]
    path = tmp_path / "holes.amgsrn"
    written = write_archive(path, index, states)
    opened = NeuralVolume.open(path, device="cpu", verify=True)
    assert opened.index.to_json() == written.to_json()
    np.testing.assert_array_equal(
        opened.reconstruct_block().values,
        NeuralVolume(index, states, device="cpu").reconstruct_block().values,
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"value_minimum": (1.0,)}, "one entry per component"),
        ({"value_minimum": (2.0,), "value_maximum": (1.0,)}, "not finite"),
        ({"state": "constant", "value_minimum": (1.0,), "value_maximum": (2.0,)}, "more than one"),
    ],
)
def test_a_contradicting_brick_is_refused(changes, words):
    model, _ = ensemble()
    with pytest.raises(ArchiveError, match=words):
        without(model.index, 0, **changes)


def test_bricks_are_loaded_when_needed_and_let_go_of(tmp_path):
    model, states = ensemble()
    path = tmp_path / "model.amgsrn"
    write_archive(path, model.index, states)
    one = model._bricks[0].size()
    lazy = NeuralVolume.open(path, device="cpu", memory_limit=2 * one)
    assert lazy._bricks.held == ()
    lazy.sample_index(np.array([[0.0, 0.0, 0.0]]))
    assert lazy._bricks.held == (0,)
    np.testing.assert_array_equal(lazy.reconstruct_block().values, model.reconstruct_block().values)
    assert len(lazy._bricks.held) == 2 and lazy._bricks.bytes == 2 * one


@pytest.mark.parametrize("ghost", [0, 2])
def test_a_part_of_the_field_needs_the_bricks_near_it_only(tmp_path, ghost):
    whole, states = ensemble(counts=(2, 1, 3), ghost=ghost, dims=(20, 9, 30))
    index = whole.index
    write_archive(tmp_path / "m.amgsrn", index, states)
    model = NeuralVolume.open(tmp_path / "m.amgsrn", device="cpu")
    x0, x1, y0, y1, z0, z1 = index.geometry.bounds
    box = np.array([[x0, x0 + 0.2 * (x1 - x0)], [y0, y1], [z0, z0 + 0.2 * (z1 - z0)]])
    part = model.near(box.ravel())
    points = np.random.default_rng(0).uniform(box[:, 0], box[:, 1], (500, 3))
    np.testing.assert_array_equal(part.sample(points), whole.sample(points))
    assert len(list(part.bricks())) == 1 and model._bricks.held == (0,)
    assert len(list(model.near(index.geometry.bounds).bricks())) == 6


def test_a_part_of_the_field_has_bricks_that_answer_beyond_what_they_learned():
    whole, states = ensemble(counts=(1, 1, 3), ghost=1)
    index = whole.index.replace(bricks=switched(whole.index.bricks, [0.0, 2.0, 3.0, 11.0]))
    model = NeuralVolume(index, states, device="cpu")
    box = np.array([[3.1, 3.9], [0, 9], [0, 8]])
    corners = index.geometry.index_to_world(np.array(list(itertools.product(*box))))
    part = model.near(np.stack([corners.min(axis=0), corners.max(axis=0)], axis=1).ravel())
    points = np.random.default_rng(0).uniform(box[:, 0], box[:, 1], (100, 3))
    np.testing.assert_array_equal(part.sample_index(points), model.sample_index(points))
    assert [brick.record for brick in part.bricks()] == [index.bricks[2]]


def test_a_damaged_brick_is_found_when_it_is_used(tmp_path):
    model, states = ensemble()
    path = tmp_path / "model.amgsrn"
    write_archive(path, model.index, states)
    content = bytearray(path.read_bytes())
    content[-40] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ChecksumError):
        NeuralVolume.open(path, device="cpu", verify=True)


def test_several_threads_share_a_model_that_does_not_fit(tmp_path):
    model, states = ensemble()
    path = tmp_path / "model.amgsrn"
    write_archive(path, model.index, states)
    lazy = NeuralVolume.open(path, device="cpu", memory_limit=model._bricks[0].size())
    expected = model.reconstruct_block().values
    results = {}

    def work(number: int) -> None:
        results[number] = lazy.reconstruct_block().values

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(results[n], expected) for n in range(4))


def test_the_cache_keeps_the_most_recently_used():
    loads: list[int] = []
    cache = BrickCache(5, lambda n: loads.append(n) or n, lambda n: 10, limit=30)
    for number in (0, 1, 2, 0, 3):
        assert cache[number] == number
    assert cache.held == (2, 0, 3) and loads == [0, 1, 2, 3]
    tight = BrickCache(5, lambda n: n, lambda n: 10, limit=1)
    assert list(tight) == [0, 1, 2, 3, 4] and tight.held == (4,)
    with pytest.raises(IndexError):
        cache[5]


def test_a_single_brick_is_read_at_once(tmp_path):
    path = tmp_path / "model.amgsrn"
    write_small_model(path)
    assert NeuralVolume.open(path, device="cpu")._bricks.held == (0,)


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_gradients_are_those_of_the_blended_field(backend):
    model, states = ensemble(ghost=2)
    model = NeuralVolume(model.index, states, device="cpu", backend=backend)
    points = np.random.default_rng(4).random((300, 3)) * (np.array(DIMS[::-1]) - 1.2) + 0.1
    values, gradients = model.sample_with_gradient(points)
    np.testing.assert_allclose(values, model.sample(points), atol=1e-4)
    step = 1e-2
    close = np.zeros(gradients.shape, bool)
    for axis in range(3):
        move = np.eye(3)[axis] * step
        slope = (model.sample(points + move) - model.sample(points - move)) / (2 * step)
        close[..., axis] = np.abs(slope - gradients[..., axis]) < 0.05 * (1 + np.abs(slope))
    # Not where a step crosses a node of a feature grid or a neuron's ReLU.
    assert close.mean() > 0.9
