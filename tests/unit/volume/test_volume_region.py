"""Regions by the names of axes: as the file counts, refused outside, told where they are cut."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume import Axis, GridGeometry
from amgsrn_core.volume.axis_names import axis_number, to_world
from amgsrn_core.volume.region import index_box, world_box

OCEAN = GridGeometry(
    (
        Axis("level", [-100.0, -50, -10, 0], units="m", negated=True, standard_name="depth"),
        Axis("y", np.arange(-80.0, 81, 10), units="degrees_north"),
        Axis("x", np.arange(20.0, 371, 10), units="degrees_east"),
    )
)


@pytest.mark.parametrize(
    ("name", "number"),
    [("level", 0), ("depth", 0), ("z", 0), ("lat", 1), ("Latitude", 1), ("x", 2), ("lon", 2)],
)
def test_names_of_axes(name: str, number: int) -> None:
    assert axis_number(OCEAN, name) == number


def test_an_unknown_axis_is_told_with_those_there_are() -> None:
    with pytest.raises(VolumeError, match=r"x 20 to 370 degrees_east.*level \(z\) 0 to 100 m down"):
        axis_number(OCEAN, "time")


def test_a_depth_is_positive_by_name() -> None:
    assert world_box(OCEAN, {"depth": (10, 50)}) == [20, 370, -80, 80, -50, -10]
    low, high = index_box(OCEAN, world_box(OCEAN, {"depth": (10, 50), "lon": (30, 60)}))
    assert low.tolist() == [1, 0, 1]
    assert high.tolist() == [2, 16, 4]


@pytest.mark.parametrize(
    ("ends", "world"),
    [((-30, -10), (330, 350)), ((350, 10), (350, 370)), ((-180, 180), (20, 370)), ((30, 40),) * 2],
)
def test_longitudes_are_turned_to_where_the_grid_has_them(
    ends: tuple[float, float], world: tuple[float, float]
) -> None:
    assert tuple(world_box(OCEAN, {"lon": ends})[:2]) == world


def test_the_seam_is_explained() -> None:
    with pytest.raises(VolumeError, match=r"passes the seam.*take 20 to 40 and 340 to 370"):
        world_box(OCEAN, {"lon": (-20, 40)})


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((30, 60, 0, 10, 0, 50), r"along z, 0 to 50 \(its depths are positive by name and"),
        ((30, 60, 0, 10, 10, 50), r"along z, 10 to 50 \(its depths are positive by name and"),
        ((-60, -30, 0, 10, -50, -10), r"along x, -60 to -30 \(.*360 degrees more or less\)"),
        ((30, 60, 95, 99, -50, -10), r"along y, 95 to 99: the volume spans x 20 to 370"),
    ],
)
def test_outside_is_refused_with_the_bounds_and_a_reason(
    box: tuple[float, ...], words: str
) -> None:
    with pytest.raises(VolumeError, match=words):
        index_box(OCEAN, box)


def test_a_negative_depth_by_name_is_explained() -> None:
    with pytest.raises(VolumeError, match="depths are positive by name"):
        index_box(OCEAN, world_box(OCEAN, {"depth": (-50, -20)}))


def test_what_is_cut_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    index_box(OCEAN, world_box(OCEAN, {"depth": (10, 500), "lat": (-10, 10)}))
    assert "cut to where there are data: level (z) 0 to 100 m downwards." in caplog.text


@pytest.mark.parametrize(
    "region", [{"lat": (5, 1)}, {"lat": (0, np.nan)}, {"x": (0, 1), "lon": (0, 1)}]
)
def test_contradictions_are_refused(region: dict) -> None:
    with pytest.raises(VolumeError):
        world_box(OCEAN, region)


def test_points_by_name_are_where_the_file_has_them() -> None:
    level, _, lon = OCEAN.axes
    assert to_world(level, 50).tolist() == -50
    assert to_world(lon, [-10, 0, 10, 20, 375]).tolist() == [350, 360, 370, 20, 375]
