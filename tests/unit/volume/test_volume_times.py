"""Choosing a time step by index, value or date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.sample_volumes import ramp, write_netcdf

from amgsrn_core.errors import VolumeError
from amgsrn_core.runs.series import time_axis
from amgsrn_core.volume import Volume, open_series, open_volume, write_volume
from amgsrn_core.volume.netcdf.library import import_netcdf4

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


# --- which dimension is time

FILL = 9.9692099683868690e36  # the library's own
SINCE = {"units": "hours since 2000-01-01"}
SPACE = (("lev", 2), ("lat", 3), ("lon", 4))


def many(path: Path, *lead: tuple[str, int], unlimited: str = "", **coordinates: Any) -> Path:
    """Write a variable with dimensions before lev, lat, lon, and some 1-D variables."""
    dimensions = (*lead, *SPACE)
    with import_netcdf4().Dataset(str(path), "w") as dataset:
        for name, size in dimensions:
            dataset.createDimension(name, None if name == unlimited else size)
        values = ramp(*(size for _, size in dimensions))
        dataset.createVariable("v", "f4", tuple(n for n, _ in dimensions))[:] = values
        for name, (numbers, attributes) in coordinates.items():
            variable = dataset.createVariable(name, "f8", (name,))
            variable[:] = numbers
            variable.setncatts(attributes)
    return path


@pytest.mark.parametrize(
    ("lead", "coordinates", "name", "units"),
    [
        ([("time", 3)], {}, "time", ""),
        ([("Time", 3)], {}, "Time", ""),
        ([("t", 3)], {}, "t", ""),
        ([("step", 3)], {}, "step", ""),
        ([("valid_time", 3)], {}, "valid_time", ""),
        ([("time_counter", 3)], {}, "time_counter", ""),
        ([("ocean_time", 3)], {"ocean_time": ([0, 1, 2], {"units": "second"})}, "ocean_time", ""),
        ([("when", 3)], {"when": ([0, 1, 2], {"units": "days"})}, "when", "days"),
        ([("when", 3)], {"when": ([0, 1, 2], SINCE)}, "when", SINCE["units"]),
        ([("when", 3)], {"when": ([0, 1, 2], {"axis": "T"})}, "when", ""),
        (
            [("step", 3)],
            {"step": ([0, 1, 2], {"units": "h", "standard_name": "forecast_period"})},
            "step",
            "h",
        ),
        ([("number", 1), ("time", 3)], {"time": ([0, 1, 2], SINCE)}, "time", SINCE["units"]),
        ([("time", 3), ("number", 1)], {"time": ([0, 1, 2], SINCE)}, "time", SINCE["units"]),
        (
            [("reference", 1), ("time", 3)],
            {
                "reference": ([0], {**SINCE, "standard_name": "forecast_reference_time"}),
                "time": ([0, 1, 2], SINCE),
            },
            "time",
            SINCE["units"],
        ),
        (
            [("time", 1), ("step", 3)],
            {"time": ([0], SINCE), "step": ([0, 1, 2], {"units": "hours"})},
            "step",
            "hours",
        ),
        (
            [("reference", 1), ("time", 1), ("tile", 1)],
            {"reference": ([0], SINCE), "time": ([6], SINCE)},
            "time",
            SINCE["units"],
        ),
    ],
)
def test_what_is_time_is_found(
    tmp_path: Path, lead: list[tuple[str, int]], coordinates: Any, name: str, units: str
) -> None:
    path = many(tmp_path / "a.nc", *lead, **coordinates)
    steps = dict(lead)[name]
    volume = open_volume(path, time=steps - 1)
    assert volume.time is not None and volume.time.name == name
    assert (len(volume.time.values), volume.time.units) == (steps, units or volume.time.units)
    values = ramp(*(size for _, size in (*lead, *SPACE))).reshape(steps, 2, 3, 4)
    assert np.array_equal(volume.read().values[0], values[-1])
    assert [axis.name for axis in volume.geometry.axes] == ["lev", "lat", "lon"]


def test_an_unlimited_dimension_may_be_time_and_that_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volume = open_volume(many(tmp_path / "a.nc", ("record", 3), unlimited="record"))
    assert volume.time is not None and volume.time.values == (0, 1, 2)
    assert "unlimited dimension 'record' of 'v' is taken for time" in caplog.text


@pytest.mark.parametrize(
    ("lead", "coordinates", "words"),
    [
        ([("number", 4), ("time", 3)], {}, "4 dimensions beside time .*ncks -d number,0"),
        ([("record", 3)], {}, "none of which is known as time .*ncrename -d record,time"),
        ([("a", 3), ("b", 2)], {}, "5 dimensions, none of which is known as time"),
        ([("step", 3), ("t", 2)], {}, "5 dimensions, none of which"),
        (
            [("number", 4)],
            {"number": ([0, 1, 2, 3], {"standard_name": "realization"})},
            "number 4, lev 2",
        ),
        (
            [("reference", 2), ("step", 3)],
            {
                "reference": ([0, 1], SINCE),
                "step": ([0, 1, 2], {"standard_name": "forecast_period", "units": "hours"}),
            },
            r"2 time dimensions of several steps \(reference 2 and step 3\).*ncks -d reference,0",
        ),
    ],
)
def test_what_cannot_be_decided_is_refused(
    tmp_path: Path, lead: list[tuple[str, int]], coordinates: Any, words: str
) -> None:
    with pytest.raises(VolumeError, match=words) as caught:
        open_volume(many(tmp_path / "a.nc", *lead, **coordinates))
    assert ("beside time" in str(caught.value)) is ("time" in dict(lead))


def test_a_map_in_model_time_is_no_volume(tmp_path: Path) -> None:
    about = {"units": "second", "field": "time, scalar, series"}
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "ocean_time": (("ocean_time",), np.arange(5.0), about),
            "zeta": (("ocean_time", "y", "x"), ramp(5, 3, 4), {}),
            "temp": (("ocean_time", "z", "y", "x"), ramp(5, 2, 3, 4), {}),
        },
    )
    assert open_volume(path).name == "temp"


def test_seismic_time_is_depth(tmp_path: Path) -> None:
    for name in ("twt", "two_way_time", "travel_time"):
        path = write_netcdf(
            tmp_path / f"{name}.nc",
            {
                name: ((name,), np.arange(4.0), {"units": "ms"}),
                "v": (("inline", "crossline", name), ramp(2, 3, 4), {}),
            },
        )
        volume = open_volume(path)
        assert volume.time is None and volume.dims == (2, 3, 4)


# --- times that do not ascend


def series_file(path: Path, times: Any, **attributes: Any) -> Path:
    values = np.stack([ramp(2, 3, 4) + 100 * step for step in range(len(times))])
    return write_netcdf(
        path,
        {
            "time": (("time",), np.asarray(times), {**SINCE, **attributes}),
            "v": (("time", "z", "y", "x"), values, {}),
        },
    )


@pytest.mark.parametrize(
    ("times", "wanted", "order"),
    [
        ([3.0, 2, 1, 0], "all", [3, 2, 1, 0]),
        ([2.0, 0, 3, 1], "all", [1, 3, 0, 2]),
        ([2.0, 0, 3, 1], "1:", [1, 3, 2]),
        ([2.0, 0, 3, 1], "2,0", [0, 2]),
        ([0.0, 1, 1, 2], "0,1,3", [0, 1, 3]),
        ([0.0, FILL, 1, 2], "0,2,3", [0, 2, 3]),
    ],
)
def test_a_series_is_in_the_order_of_its_times(
    tmp_path: Path, times: list[float], wanted: str, order: list[int]
) -> None:
    volumes = open_series(series_file(tmp_path / "a.nc", times), times=wanted)
    assert [v.time.index for v in volumes if v.time is not None] == order
    assert [v.read().values.min() for v in volumes] == [1 + 100 * step for step in order]
    axis = time_axis(volumes)
    assert axis.steps == tuple(order) and axis.index == order[0]


@pytest.mark.parametrize(
    ("times", "attributes", "words"),
    [
        ([0.0, 1, 1, 2], {}, r"'time' step 2 has that of step 1 \(2000-01-01T01:00:00\); .*0,1,3"),
        ([1.0, 0, 1, 0], {}, r"step 2 has that of step 0 .*, step 3 has that of step 1 .*0,1,"),
        ([0.0, 1, FILL, 3], {}, "step 2 has none; choose other steps, as in 0,1,3, or mend"),
        ([0.0, np.nan, 2], {}, "step 1 has none; .* 0,2,"),
        (np.array([0, 1, -2147483647], "i4"), {}, "step 2 has none; .* 0,1,"),
        ([0.0, -1, 2], {"missing_value": -1.0}, "step 1 has none; .* 0,2,"),
        ([FILL] * 3, {}, "step 0 has none, step 1 has none, step 2 has none; choose one step, or"),
    ],
)
def test_repeated_and_missing_times_are_named(
    tmp_path: Path, times: list[float], attributes: Any, words: str
) -> None:
    path = series_file(tmp_path / "a.nc", np.array(times), **attributes)
    with pytest.raises(VolumeError, match=words):
        open_series(path)
    for step in range(len(times)):  # one step is no series
        volume = open_volume(path, time=step)
        assert volume.read().values.min() == 1 + 100 * step


def test_a_step_without_a_time_is_listed_as_such(tmp_path: Path) -> None:
    path = series_file(tmp_path / "a.nc", [0.0, FILL, 2])
    with pytest.raises(VolumeError, match=r"0 \(2000-01-01T00:00:00\), 1 \(no time\), 2 \(2000-"):
        open_volume(path, time=7)
    volume = open_volume(path, time=1)
    assert volume.time is not None and np.isnan(volume.time.value)
    assert open_volume(path, time="2000-01-01T02").time.index == 2
    # What is written has no time either.
    write_volume(tmp_path / "b.nc", volume.read().values, volume.geometry, time=volume.time)
    assert open_volume(tmp_path / "b.nc").time is None


def test_steps_in_another_order_name_those_that_fall(tmp_path: Path) -> None:
    path = series_file(tmp_path / "a.nc", [0.0, 1, 2])
    with pytest.raises(VolumeError, match=r"1 \(step 2\) comes after 2"):
        time_axis([open_volume(path, time=step) for step in (0, 2, 1)])


# --- one meaning, and the nearest


@pytest.mark.parametrize("step", [1, 1.0, "1", "1.0"])
def test_a_number_means_the_same_however_it_is_written(tmp_path: Path, step: Any) -> None:
    volume = timed(tmp_path, step)
    assert volume.time is not None
    assert volume.time.index == 1


@pytest.mark.parametrize("step", [2, "2.0"])
def test_an_index_that_is_also_a_time_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, step: Any
) -> None:
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "time": (("time",), np.array([0.0, 2, 4, 6]), {"units": HOURS}),
            "v": (("time", "z", "y", "x"), VALUES, {}),
        },
    )
    volume = open_volume(path, time=step)
    assert volume.time is not None
    assert volume.time.index == 2
    assert "2 is the index of a step of 'v' (2005-08-28T04:00:00); the step at" in caplog.text
    other = open_volume(path, time="t=2").time
    assert other is not None
    assert other.index == 1


@pytest.mark.parametrize(
    ("step", "index"),
    [("2005-08-28T16:00", 1), ("2005-08-28T17", 2), ("1999-01-01", 0), ("t=20", 2), (99.5, 3)],
)
def test_the_nearest_step_is_taken_where_that_is_asked_for(
    tmp_path: Path, step: Any, index: int
) -> None:
    path = Path(timed(tmp_path).source)
    volume = open_volume(path, time=step, time_method="nearest")
    assert volume.time is not None
    assert volume.time.index == index
    with pytest.raises(VolumeError, match="nearest"):
        open_volume(path, time=step)
    with pytest.raises(ValueError, match="exact or nearest"):
        open_volume(path, time_method="linear")


def test_neighbours_are_named(tmp_path: Path) -> None:
    words = r"neighbours are 1 \(2005-08-28T15:00:00\) and 2 \(2005-08-28T18:00:00\)"
    with pytest.raises(VolumeError, match=words):
        timed(tmp_path, "2005-08-28T16:00")


def test_the_first_step_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    timed(tmp_path)
    assert "'v' has 4 time steps; this is the first, 0 (2005-08-28T12:00:00)." in caplog.text
    caplog.clear()
    timed(tmp_path, 0)
    open_series(tmp_path / "a.nc")
    assert not caplog.text
