"""The blended field by tensors, against the one in the computer's memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.operators import Operators
from support.sample_models import SMALL_NETWORK, small_brick, small_index
from torch.utils._python_dispatch import TorchDispatchMode

from amgsrn_core import NeuralVolume
from amgsrn_core.errors import EvaluationMemoryError
from amgsrn_core.field import blended_field, point_batches
from amgsrn_core.field.blending import Blend
from amgsrn_core.field.device_field import DeviceField, DeviceGridPoints
from amgsrn_core.model import BrickRecord
from amgsrn_core.model.box import Box
from amgsrn_core.networks import SceneNetwork, initial_network
from amgsrn_core.rendering.field import NeuralField
from amgsrn_core.volume import Axis, GridGeometry
from amgsrn_core.volume.grid_points import GridPoints
from amgsrn_core.volume.partition import partition

DIMS = (18, 17, 19)
CPU = torch.device("cpu")
TURNED = np.array([[0.8, -0.6, 0.1], [0.6, 0.8, 0.0], [0.0, 0.1, 1.0]])
KINDS = {
    "one brick": {"counts": (1, 1, 1)},
    "masked": {"counts": (1, 1, 1), "mask": True},
    "bricks": {},
    "masked bricks": {"mask": True},
    "without ghost cells": {"ghost": 0},
    "many": {"counts": (4, 4, 4), "ghost": 1},
    "with a hole": {"missing": (3, 6)},
    "turned": {"geometry": GridGeometry.uniform(DIMS, (5.0, -3.0, 2.0), (1.0, 1.3, 0.7), TURNED)},
}


def model_of(counts=(2, 2, 2), ghost=2, mask=False, missing=(), components=("u", "v"), **options):
    index = small_index(DIMS, components, **options)
    parts = partition(DIMS, counts, ghost)
    states = ["missing" if n in missing else "network" for n in range(len(parts))]
    records = [BrickRecord(p.extent, p.ghosted, state=s) for p, s in zip(parts, states)]
    index = index.replace(bricks=tuple(records))
    bricks = [small_brick(index, seed) for seed in range(len(records))]
    if mask:
        valid = np.random.default_rng(1).random(DIMS) > 0.2
        for brick, record in zip(bricks, records):
            brick["mask"] = valid[record.ghosted]
    return NeuralVolume(index, bricks, device="cpu", backend="torch")


@pytest.fixture
def on_device(monkeypatch):
    """Return a function that makes a model whose points are routed by tensors."""

    def make(**options) -> NeuralVolume:
        with monkeypatch.context() as patch:
            patch.setattr(blended_field, "DEVICES", ("cpu",))
            return model_of(**options)

    return make


def places(count: int = 3000) -> np.ndarray:
    """Return points of the index space, also on samples, between them, on faces and outside."""
    last = np.array(DIMS[::-1]) - 1.0
    points = np.random.default_rng(0).uniform(-0.05, 1.05, (count, 3)) * last
    points[: count // 4] = np.rint(points[: count // 4] * 2) / 2
    points[-1] = last + 5e-4
    return points


@pytest.mark.parametrize("kind", KINDS)
def test_points_have_the_same_values(kind, on_device):
    expected, model = model_of(**KINDS[kind]), on_device(**KINDS[kind])
    values = expected.sample_index(places())
    assert np.isnan(values).any() and not np.isnan(values).all()
    np.testing.assert_allclose(model.sample_index(places()), values, rtol=1e-6, atol=1e-6)
    found = NeuralField(expected).values(torch.from_numpy(places())).numpy()
    np.testing.assert_allclose(found, values, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_renderers_are_those_of_samples(kind):
    model = model_of(**KINDS[kind])
    _, expected = model._field.with_gradient(places())
    inside = ~np.isnan(expected).any(axis=(1, 2))
    field = NeuralField(model)
    found = field.gradients(torch.from_numpy(places()), lambda values: values[:, 1]).numpy()
    # A few points lie on the face of a cell of the feature grids, or where a brick is cut.
    apart = np.abs(found[inside] - expected[inside, 1]).max(axis=1)
    assert np.quantile(apart, 0.7) < 1e-4
    assert np.isfinite(found).all()


@pytest.mark.parametrize("kind", KINDS)
def test_grids_are_made_on_the_device(kind, on_device):
    expected, model = model_of(**KINDS[kind]), on_device(**KINDS[kind])
    finer = GridGeometry(
        tuple(Axis(a.name, np.linspace(a.coordinates[0] - 0.3, a.coordinates[-1], 11))
              for a in expected.geometry.axes), expected.geometry.direction,
    )  # fmt: skip
    part = (slice(3, 9), slice(2, 11), slice(0, 7))
    for geometry, extent in ((None, None), (finer, part)):
        for name in ("reconstruct_block", "density_block"):
            found, there = (getattr(m, name)(geometry, extent) for m in (model, expected))
            np.testing.assert_allclose(found.values, there.values, rtol=1e-6, atol=1e-6)
            assert (found.valid is None) == (there.valid is None)
            assert found.valid is None or np.array_equal(found.valid, there.valid)


class Traffic(TorchDispatchMode):
    """Counts the bytes that operators write, but for views."""

    written = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        is_view = any(r.alias_info is not None for r in function._schema.returns)
        if isinstance(result, torch.Tensor) and not is_view:
            self.written += result.nbytes
        return result


class Counted:
    """Evaluates nothing, and counts how often and at how many points."""

    def __init__(self) -> None:
        self.calls = self.points = 0

    def __call__(self, network: SceneNetwork, local: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.points += len(local)
        return local[:, :1]


def test_a_point_meets_only_its_own_bricks():
    points = np.abs(places(20_000)).clip(max=np.array(DIMS[::-1]) - 1.0)
    written, waits = {}, {}
    for counts in ((2, 2, 2), (4, 4, 4)):
        model = model_of(counts=counts, ghost=1)
        field, evaluate = NeuralField(model)._field, Counted()
        with Traffic() as traffic:
            field.evaluated(torch.from_numpy(points), evaluate, 1)
        parts = Blend.of_bricks(model.index.bricks, DIMS).parts(points)
        assert evaluate.points == len(parts.points)
        assert evaluate.calls == len(model.index.bricks)
        written[counts] = traffic.written / len(parts.points)
        with Operators() as operators:
            field.evaluated(torch.from_numpy(points), evaluate, 1)
        waits[counts] = sum(operators.waits.values())
    # 8 bricks and 64: about as much for each place where a brick is evaluated, as few waits. With
    # 64 more of the places lie in fades.
    assert written[4, 4, 4] < 1.5 * written[2, 2, 2] < 1500
    assert waits[4, 4, 4] == waits[2, 2, 2] <= 6


def meta_field(dims=DIMS) -> DeviceField:
    """Return a field of one brick that has shapes and no numbers."""
    last = np.array(dims[::-1]) - 1.0
    meta = torch.device("meta")
    valid = np.ones(dims, dtype=bool)

    class Brick:
        network = initial_network(SMALL_NETWORK, torch.zeros(1), torch.ones(1), seed=0).to(meta)

    brick = Brick()
    brick.valid = valid
    blend = Blend(np.array([[[-np.inf] * 3, [np.inf] * 3]]), np.zeros((1, 2, 3)), dims)
    return DeviceField(
        dims=dims,
        blend=blend,
        boxes=Box(np.zeros((1, 3)), last[None]),
        brick=lambda _: brick,
        sizes=[SMALL_NETWORK],
        device=meta,
    )


def test_the_host_never_waits_for_the_device():
    field, geometry = meta_field(), GridGeometry.uniform(DIMS)
    grid = DeviceGridPoints(
        GridPoints(geometry, geometry, geometry.resolve(None)), torch.device("meta")
    )
    field.evaluated(grid.index(slice(0, 10)), SceneNetwork.forward, 1)  # brings the mask there
    with Operators() as operators, torch.inference_mode():
        points = grid.index(slice(0, 5000))
        assert field.evaluated(points, SceneNetwork.forward, 1).shape == (5000, 1)
    assert not operators.waits and not operators.mixed


def limited(most: int):
    """Return a network's evaluation on a device where at most so many points fit."""

    def evaluate(network, local):
        if len(local) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return network.forward(local)

    return evaluate


@pytest.mark.parametrize("kind", ["one brick", "bricks"])
def test_batches_shrink_until_they_fit(kind, monkeypatch):
    given_back = []
    monkeypatch.setattr(point_batches, "give_back_memory", given_back.append)
    field = NeuralField(model_of(**KINDS[kind]))._field
    points = torch.from_numpy(places(20_000))
    expected = field.evaluated(points, SceneNetwork.forward, 2)
    found = field.evaluated(points, limited(700), 2)
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert given_back == [CPU] * len(given_back) and given_back
    # It is remembered: the next picture does not run out of memory again.
    given_back.clear()
    field.evaluated(points, limited(700), 2)
    assert not given_back
    slopes = field.gradients(points, SceneNetwork.forward, 2, lambda values: values[:, 0])
    found = field.gradients(points, limited(700), 2, lambda values: values[:, 0])
    torch.testing.assert_close(found, slopes, equal_nan=True)


def test_what_does_not_fit_at_all_is_one_sentence():
    field = NeuralField(model_of())._field
    with pytest.raises(EvaluationMemoryError, match=r"cpu has not enough memory .* another one"):
        field.evaluated(torch.from_numpy(places()), limited(0), 2)


def test_memory_that_runs_out_under_a_sample_is_survived(on_device, monkeypatch):
    expected, model = model_of(), on_device()
    values, (other, _) = expected.sample(places()), expected.sample_with_gradient(places())
    monkeypatch.setattr(SceneNetwork, "normalised", _limited_normalised(SceneNetwork.normalised))
    np.testing.assert_allclose(model.sample(places()), values, atol=1e-6)
    np.testing.assert_allclose(model.sample_with_gradient(places())[0], other, atol=1e-6)


def _limited_normalised(normalised):
    def evaluate(network, points):
        if len(points) > 300:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return normalised(network, points)

    return evaluate
