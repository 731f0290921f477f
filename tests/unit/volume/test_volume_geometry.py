"""Axes and geometries: index, local and world coordinates, uneven and turned."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume import Axis, GridGeometry

DEPTHS = np.array([-5000.0, -1000.0, -100.0, -10.0, 0.0])
QUARTER_TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])

steps = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=12)


@st.composite
def axes(draw: st.DrawFn, name: str = "z") -> Axis:
    origin = draw(st.floats(-1e4, 1e4))
    coordinates = origin + np.concatenate([[0.0], np.cumsum(draw(steps))])
    flags = draw(st.booleans()), draw(st.booleans())
    return Axis(name, coordinates, "m", *flags)


@st.composite
def geometries(draw: st.DrawFn) -> GridGeometry:
    angle = draw(st.sampled_from([0.0, 0.3, np.pi / 2]))
    c, s = np.cos(angle), np.sin(angle)
    turned = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    direction = np.eye(3) if angle == 0 else turned
    return GridGeometry((draw(axes("z")), draw(axes("y")), draw(axes("x"))), direction)


def test_uneven_axis_is_piecewise_linear() -> None:
    axis = Axis("depth", DEPTHS)
    assert axis.to_world([0, 0.5, 1, 3.5]).tolist() == [-5000, -3000, -1000, -5]
    assert axis.to_index([-5000, -3000, -55, 0]).tolist() == [0, 0.5, 2.5, 4]


def test_axis_goes_on_linearly_beyond_its_ends() -> None:
    axis = Axis("depth", DEPTHS)
    assert axis.to_world([-1, 5]).tolist() == [-9000, 10]
    assert axis.to_index([-9000, 10]).tolist() == [-1, 5]


def test_nan_has_no_index() -> None:
    axis = Axis("depth", DEPTHS)
    assert np.isnan(axis.to_index(np.nan))
    assert np.isnan(axis.to_world(np.nan))


@pytest.mark.parametrize("start, step", [(0.1, 0.1), (-1e6, 1 / 3), (100.0, 1e-5)])
def test_indices_of_even_axes_are_those_of_a_search(start, step):
    size = 200
    axis = Axis.uniform("x", size, start, step)
    random = np.random.default_rng(0)
    near = [np.nextafter(axis.coordinates, way) for way in (-np.inf, np.inf)]
    inside = start + step * size * random.uniform(-0.1, 1.1, 1000)
    world = np.concatenate([axis.coordinates, *near, inside, [np.nan, np.inf, -np.inf]])
    found = np.clip(np.searchsorted(axis.coordinates, world, "right") - 1, 0, size - 2)
    low, high = axis.coordinates[found], axis.coordinates[found + 1]
    index = axis.to_index(world)
    np.testing.assert_allclose(index, found + (world - low) / (high - low), rtol=0, atol=1e-9)
    assert axis.to_index(axis.coordinates).tolist() == list(range(size))


@given(axes())
def test_samples_map_exactly(axis: Axis) -> None:
    index = np.arange(axis.size)
    assert np.array_equal(axis.to_world(index), axis.coordinates)
    assert np.array_equal(axis.to_index(axis.coordinates), index)


@given(axes(), st.lists(st.floats(-1, 13), min_size=1))
def test_index_and_world_are_inverse(axis: Axis, points: list[float]) -> None:
    # Where a cell is tiny beside its coordinate, the coordinate itself has few digits for it.
    resolution = np.spacing(np.abs(axis.coordinates).max()) / np.diff(axis.coordinates).min()
    back = axis.to_index(axis.to_world(points))
    assert np.allclose(back, points, atol=1e-9 + 1e2 * resolution)


@given(axes(), st.integers(2, 40))
def test_resampling_keeps_ends_and_is_even_in_index_space(axis: Axis, n: int) -> None:
    finer = axis.resampled(n)
    assert finer.size == n
    assert finer.coordinates[0] == axis.coordinates[0]
    assert finer.coordinates[-1] == axis.coordinates[-1]
    assert np.allclose(np.diff(axis.to_index(finer.coordinates)), (axis.size - 1) / (n - 1))
    assert axis.resampled(axis.size) == axis


@given(axes())
def test_axis_survives_json(axis: Axis) -> None:
    assert Axis.from_json(json.loads(json.dumps(axis.to_json()))) == axis


def test_uniform_axis_is_stored_as_three_numbers() -> None:
    stored = Axis.uniform("x", 1000, 0.5, 0.25, "m").to_json()
    assert stored == {"name": "x", "units": "m", "size": 1000, "origin": 0.5, "spacing": 0.25}


def test_file_coordinates_have_the_order_and_sign_of_the_file() -> None:
    axis = Axis("depth", DEPTHS, descending=True, negated=True)
    assert axis.file_coordinates.tolist() == [0, 10, 100, 1000, 5000]
    assert not np.signbit(axis.file_coordinates[0])
    assert Axis("p", DEPTHS, negated=True).file_coordinates.tolist() == [5000, 1000, 100, 10, 0]


@pytest.mark.parametrize(
    ("coordinates", "uniform"),
    [
        (np.arange(5.0), True),
        (np.float32(359) + np.float32(0.1) * np.arange(5, dtype="f4"), True),
        (DEPTHS, False),
        ([0, 1, 2, 3.01], False),
        ([7.0], True),
    ],
)
def test_is_uniform(coordinates: np.ndarray, uniform: bool) -> None:
    assert Axis("x", coordinates).is_uniform is uniform


@pytest.mark.parametrize("bad", [[0, 0], [1, 0], [0, np.nan], [0, np.inf], [], [[0, 1]]])
def test_axis_refuses_coordinates_that_do_not_ascend(bad: list) -> None:
    with pytest.raises(VolumeError, match="xis 'z'"):
        Axis("z", np.array(bad, dtype=float))


@pytest.mark.parametrize(("n", "spacing"), [(0, 1.0), (-3, 1.0), (4, 0.0), (4, -1.0), (4, np.nan)])
def test_uniform_axis_refuses_impossible_sizes(n: int, spacing: float) -> None:
    with pytest.raises(VolumeError, match="needs"):
        Axis.uniform("x", n, 0.0, spacing)


def test_axis_does_not_follow_the_array_it_was_made_of() -> None:
    source = np.arange(4.0)
    axis = Axis("x", source)
    source[0] = -100
    assert axis.coordinates[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        axis.coordinates[0] = 1


def test_geometry_speaks_xyz_outside_and_zyx_inside() -> None:
    geometry = GridGeometry.uniform((2, 3, 4), origin=(10, 20, 30), spacing=(1, 2, 3))
    assert geometry.dims == (2, 3, 4)
    assert geometry.n_points == 24
    assert geometry.origin == (10, 20, 30)
    assert geometry.spacing == (1, 2, 3)
    assert geometry.bounds == (10, 13, 20, 24, 30, 33)
    assert geometry.index_to_world(np.array([[3, 2, 1]])).tolist() == [[13, 24, 33]]


def test_direction_turns_about_the_first_sample() -> None:
    axes = GridGeometry.uniform((2, 3, 4), origin=(10, 20, 30)).axes
    geometry = GridGeometry(axes, QUARTER_TURN)
    assert geometry.index_to_world(np.array([[0, 0, 0]])).tolist() == [[10, 20, 30]]
    # Three steps along x go along the world's y.
    assert geometry.index_to_world(np.array([[3, 0, 0]])).tolist() == [[10, 23, 30]]
    assert geometry.bounds == (8, 10, 20, 23, 30, 31)
    assert not geometry.is_aligned


def test_local_coordinates_have_samples_on_the_corners() -> None:
    geometry = GridGeometry((Axis("z", DEPTHS), Axis.uniform("y", 3), Axis.uniform("x", 2)))
    corners = np.array([[0, 0, 0], [1, 2, 4], [0.5, 1, 2]])
    assert geometry.index_to_local(corners).tolist() == [[-1, -1, -1], [1, 1, 1], [0, 0, 0]]
    assert np.array_equal(geometry.local_to_index(geometry.index_to_local(corners)), corners)
    # The middle of the depth axis in index space is -100 m, not -2500 m.
    assert geometry.world_to_local(np.array([[0.5, 1, -100]])).tolist() == [[0, 0, 0]]
    assert geometry.local_to_world(np.zeros((1, 3))).tolist() == [[0.5, 1, -100]]


@given(geometries(), st.data())
def test_geometry_maps_are_inverse(geometry: GridGeometry, data: st.DataObject) -> None:
    nz, ny, nx = geometry.dims
    part = st.floats(0, 1)
    fractions = data.draw(st.lists(st.tuples(part, part, part), min_size=1, max_size=5))
    index = np.array(fractions) * [nx - 1, ny - 1, nz - 1]
    back = geometry.world_to_index(geometry.index_to_world(index))
    smallest = min(np.diff(axis.coordinates).min() for axis in geometry.axes)
    assert np.allclose(back, index, atol=1e-9 + 1e-9 / smallest)


@given(geometries(), st.data())
def test_a_window_stays_in_place(geometry: GridGeometry, data: st.DataObject) -> None:
    starts = [data.draw(st.integers(0, n - 1)) for n in geometry.dims]
    extent = tuple(
        slice(a, data.draw(st.integers(a + 1, n))) for a, n in zip(starts, geometry.dims)
    )
    window = geometry.window(extent)
    assert window.dims == tuple(part.stop - part.start for part in extent)
    last = np.array([window.dims[::-1]]) - 1.0
    here = window.index_to_world(last)
    there = geometry.index_to_world(last + starts[::-1])
    assert np.allclose(here, there, rtol=1e-9, atol=1e-9)


@given(geometries())
def test_resampling_a_geometry_keeps_its_box(geometry: GridGeometry) -> None:
    assert np.allclose(geometry.resampled((7, 8, 9)).bounds, geometry.bounds, atol=1e-9)
    assert geometry.resampled(geometry.dims) == geometry


@given(geometries())
def test_geometry_survives_json(geometry: GridGeometry) -> None:
    stored = json.loads(json.dumps(geometry.to_json()))
    assert GridGeometry.from_json(stored) == geometry
    assert hash(GridGeometry.from_json(stored)) == hash(geometry)


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"axes": [], "direction": np.eye(3).tolist()},
        {"axes": "xyz", "direction": np.eye(3).tolist()},
        {"axes": [{"name": "z", "size": 2}] * 3, "direction": np.eye(3).tolist()},
        {"axes": [{"name": "z", "size": 1e30, "origin": 0, "spacing": 1}] * 3, "direction": []},
        {"axes": [Axis.uniform("z", 2).to_json()] * 3, "direction": "up"},
        {"axes": [Axis.uniform("z", 2).to_json()] * 3, "direction": [[0] * 3] * 3},
    ],
)
def test_damaged_json_is_refused(bad: dict) -> None:
    with pytest.raises(VolumeError):
        GridGeometry.from_json(bad)


@pytest.mark.parametrize("dims", [(0, 2, 2), (2, -1, 2)])
def test_impossible_resolutions_are_refused(dims: tuple[int, int, int]) -> None:
    with pytest.raises(VolumeError, match="cannot be resampled"):
        GridGeometry.uniform((4, 4, 4)).resampled(dims)


@pytest.mark.parametrize(
    "part", [slice(0, 5), slice(-1, 2), slice(2, 2), slice(3, 1), slice(0, 4, 2)]
)
def test_extents_outside_are_refused(part: slice) -> None:
    with pytest.raises(VolumeError, match="samples 0 to 3"):
        GridGeometry.uniform((4, 4, 4)).window((slice(0, 4), part, slice(0, 4)))


def test_points_must_be_rows_of_three() -> None:
    with pytest.raises(VolumeError, match=r"\[N, 3\]"):
        GridGeometry.uniform((4, 4, 4)).index_to_world(np.zeros((3, 2)))
