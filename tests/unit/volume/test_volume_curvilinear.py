"""The coordinates of curvilinear grids: kept exactly, small, and interpolated in between."""

from __future__ import annotations

import json

import numpy as np
import pytest

from amgsrn_core.errors import ArchiveError
from amgsrn_core.system.json_fields import Fields
from amgsrn_core.volume.curvilinear import Coordinates

DIMS = (4, 5, 6)


def ocean(dtype="f8"):
    """Longitudes and latitudes [y, x] that are turned, depths along z: points [z, y, x, 3]."""
    z, y, x = np.meshgrid(*(np.arange(n, dtype=dtype) for n in DIMS), indexing="ij")
    return np.stack([x + 0.1 * y**2, y - 0.2 * x, np.sqrt(z)], axis=-1).astype(dtype)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_coordinates_come_back_to_the_last_bit(dtype):
    points = ocean(dtype)
    coordinates = Coordinates.of_points(points)
    again = Coordinates.from_json(Fields(json.loads(json.dumps(coordinates.to_json()))), DIMS)
    assert again == coordinates and again.checksum() == coordinates.checksum()
    found = again.at(*(np.arange(n) for n in DIMS))
    assert found.dtype == points.dtype
    np.testing.assert_array_equal(found, points)


def test_what_does_not_change_along_an_axis_is_kept_once():
    shapes = [values.shape for values in Coordinates.of_points(ocean()).arrays]
    assert shapes == [(1, 5, 6), (1, 5, 6), (4, 1, 1)]


def test_between_samples_places_are_interpolated():
    at = Coordinates.of_points(ocean()).at(np.array([0.5]), np.array([1.5]), np.array([0.0, 2.25]))
    np.testing.assert_allclose(at[0, 0, 0], [0.25, 1.5, 0.5])
    np.testing.assert_allclose(at[0, 0, 1], [2.25 + 0.25, 1.5 - 0.45, 0.5])


def test_other_points_are_others():
    points = ocean()
    one = Coordinates.of_points(points)
    points[1, 2, 3, 0] += 1e-9
    other = Coordinates.of_points(points)
    assert one != other and one.checksum() != other.checksum() and one != "one"
    assert one.bounds == pytest.approx((0.0, 6.6, -1.0, 4.0, 0.0, np.sqrt(3)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"dims": [4, 5, 7]}, "those of another grid"),
        ({"type": "<i4"}, "another type or shape"),
        ({"shape": [2, 5, 6]}, "another type or shape"),
        ({"shape": [4, 5, 6]}, "another number of values"),
        ({"shape": [1, 1, 1]}, "another number of values"),
        ({"data": "AAAA"}, "cannot be unpacked"),
        ({"data": "?"}, "cannot be unpacked"),
    ],
)
def test_damage_is_named(change, sentence):
    values = Coordinates.of_points(ocean()).to_json()
    (values if "dims" in change else values["x"]).update(change)
    with pytest.raises(ArchiveError, match=sentence):
        Coordinates.from_json(Fields(values), DIMS)


def test_coordinates_that_are_not_finite_are_refused():
    points = ocean()
    points[0, 0, 0, 1] = np.nan
    values = Coordinates.of_points(points).to_json()
    with pytest.raises(ArchiveError, match="not all finite"):
        Coordinates.from_json(Fields(values), DIMS)
