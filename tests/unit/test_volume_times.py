"""Choosing a time step by index, value or date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_volumes import ramp, write_netcdf

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume import Volume, open_volume

HOURS = "hours since 2005-08-28 00:00:00"
VALUES = np.stack([ramp(2, 3, 4) + 100 * step for step in range(4)])


def timed(folder: Path, step: Any = None, **attributes: Any) -> Volume:
    path = write_netcdf(
        folder / "a.nc",
        {
            "time": (("time",), np.array([12.0, 15, 18, 33]), {"units": HOURS, **attributes}),
            "v": (("time", "z", "y", "x"), VALUES, {}),
        },
    )
    return open_volume(path, time=step)


def test_the_first_step_is_the_default(tmp_path: Path) -> None:
    volume = timed(tmp_path)
    assert volume.time is not None
    assert volume.time.values == (12, 15, 18, 33)
    assert (volume.time.index, volume.time.value, volume.time.units) == (0, 12, HOURS)
    assert np.array_equal(volume.read().values[0], VALUES[0])


@pytest.mark.parametrize(
    ("step", "index"),
    [
        (2, 2),
        (np.int64(2), 2),
        (-1, 3),
        ("2", 2),
        ("-1", 3),
        (15.0, 1),
        (15.0000001, 1),
        ("15.0", 1),
        ("2005-08-28T15:00:00", 1),
        ("2005-08-28 18", 2),
        ("2005-08-28T18:00Z", 2),
        ("2005-08-29", 3),
    ],
)
def test_a_step_by_index_value_or_date(tmp_path: Path, step: Any, index: int) -> None:
    volume = timed(tmp_path, step)
    assert volume.time is not None
    assert volume.time.index == index
    assert np.array_equal(volume.read().values[0], VALUES[index])


@pytest.mark.parametrize("step", [4, -5, "4", 16.0, "2005-08-30", "yesterday", "nan"])
def test_an_unknown_step_lists_those_there_are(tmp_path: Path, step: Any) -> None:
    with pytest.raises(VolumeError, match=r"0 \(2005-08-28T12:00:00\), .* 3 \(2005-08-29T09"):
        timed(tmp_path, step)


def test_half_a_date_may_be_too_little(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="more than one time step"):
        timed(tmp_path, "2005-08-28")


def test_other_calendars(tmp_path: Path) -> None:
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "time": (
                ("time",),
                np.array([29.0, 59.0]),
                {"units": "days since 2000-01-01", "calendar": "360_day"},
            ),
            "v": (("time", "z", "y", "x"), VALUES[:2], {}),
        },
    )
    volume = open_volume(path, time="2000-02-30")
    assert volume.time is not None
    assert (volume.time.index, volume.time.calendar) == (1, "360_day")


def test_dates_are_rounded_to_the_second(tmp_path: Path) -> None:
    # 10 minutes are no finite fraction of an hour, and files round them.
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "time": (
                ("time",),
                np.round(347926 + np.arange(4) / 6, 6),
                {"units": "hours since 1970-01-01"},
            ),
            "v": (("time", "z", "y", "x"), VALUES, {}),
        },
    )
    for minute in (10, 20, 30):
        volume = open_volume(path, time=f"2009-09-09T22:{minute}:00")
        assert volume.time is not None
        assert volume.time.index == minute // 10


@pytest.mark.parametrize("units", ["hours", "fortnights since forever", ""])
def test_units_that_are_no_date_still_have_values(tmp_path: Path, units: str) -> None:
    volume = timed(tmp_path, 18.0, units=units)
    assert volume.time is not None
    assert volume.time.index == 2
    with pytest.raises(VolumeError, match=r"1 \(15"):
        timed(tmp_path, "2005-08-28", units=units)


def test_a_time_dimension_without_coordinates_is_counted(tmp_path: Path) -> None:
    path = write_netcdf(tmp_path / "a.nc", {"v": (("time", "z", "y", "x"), VALUES, {})})
    volume = open_volume(path, time=3)
    assert volume.time is not None
    assert volume.time.values == (0, 1, 2, 3)
    assert np.array_equal(volume.read().values[0], VALUES[3])


@pytest.mark.parametrize("position", [0, 1, 3])
def test_time_may_be_any_dimension(tmp_path: Path, position: int) -> None:
    dimensions = ["z", "y", "x"]
    dimensions.insert(position, "t")
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "t": (("t",), np.arange(4.0), {"axis": "T"}),
            "v": (tuple(dimensions), np.moveaxis(VALUES, 0, position), {}),
        },
    )
    assert np.array_equal(open_volume(path, time=2).read().values[0], VALUES[2])


def test_a_single_step_is_squeezed(tmp_path: Path) -> None:
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "time": (("time",), np.array([7.0]), {"units": HOURS}),
            "v": (("time", "z", "y", "x"), VALUES[:1], {}),
        },
    )
    volume = open_volume(path)
    assert volume.dims == (2, 3, 4)
    assert volume.time is not None
    assert volume.time.value == 7


def test_no_time_where_there_is_none(tmp_path: Path) -> None:
    path = write_netcdf(tmp_path / "a.nc", {"v": (("z", "y", "x"), ramp(2, 3, 4), {})})
    assert open_volume(path).time is None
    assert open_volume(path, time=0).time is None
    with pytest.raises(VolumeError, match="no time dimension"):
        open_volume(path, time=1)


def test_no_steps_at_all(tmp_path: Path) -> None:
    path = write_netcdf(
        tmp_path / "a.nc", {"v": (("time", "z", "y", "x"), np.zeros((0, 2, 3, 4), "f4"), {})}
    )
    with pytest.raises(VolumeError, match="without any steps"):
        open_volume(path, "v")


def test_long_lists_are_cut(tmp_path: Path) -> None:
    path = write_netcdf(
        tmp_path / "a.nc", {"v": (("time", "z", "y", "x"), np.zeros((99, 2, 2, 2), "f4"), {})}
    )
    with pytest.raises(VolumeError, match="and 87 more"):
        open_volume(path, "v", 99)


def test_components_share_their_times(tmp_path: Path) -> None:
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "constant": (("z", "y", "x"), ramp(2, 3, 4), {}),
            "v": (("time", "z", "y", "x"), VALUES, {}),
            "w": (("time", "z", "y", "x"), -VALUES, {}),
            "late": (("times", "z", "y", "x"), VALUES[1:], {}),
        },
    )
    values = open_volume(path, ["constant", "v", "w"], 3).read().values
    assert np.array_equal(values, [ramp(2, 3, 4), VALUES[3], -VALUES[3]])
    with pytest.raises(VolumeError, match="different times"):
        open_volume(path, ["v", "late"])
