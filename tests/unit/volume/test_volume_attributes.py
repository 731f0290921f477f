"""Attributes of a source on their way through a model's records and back into files."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.sample_volumes import coordinate, ramp, write_netcdf

from amgsrn_core.errors import ArchiveError
from amgsrn_core.system.json_fields import Fields
from amgsrn_core.volume import (
    Attributes,
    Volume,
    VolumeWriter,
    export_volume,
    open_volume,
    write_volume,
)
from amgsrn_core.volume.netcdf.library import import_netcdf4


def source(path: Path, **of_data: Any) -> Path:
    """Write a file with attributes of every kind."""
    write_netcdf(
        path,
        {
            "time": coordinate("time", [0, 6], units="hours since 2000-01-01", long_name="when"),
            "depth": coordinate(
                "depth", [0, 10, 30], units="m", positive="down", standard_name="depth", note="CTD"
            ),
            "lat": coordinate("lat", [10, 0, -10, -20], units="degrees_north", axis="Y"),
            "t": (
                ("time", "depth", "lat", "i"),
                ramp(2, 3, 4, 5),
                {
                    "units": "degC",
                    "long_name": "temperature",
                    "standard_name": "sea_water_temperature",
                    "cell_methods": "time: mean",
                    "_FillValue": np.float32(-1),
                    "coordinates": "elsewhere",
                    "flag_values": np.array([1, 2, 3], "i2"),
                    "quality": np.float64("inf"),
                    **of_data,
                },
            ),
        },
    )
    with import_netcdf4().Dataset(str(path), "a") as dataset:
        dataset.setncatts({"Conventions": "CF-1.6", "title": "A cruise", "institution": "MBL"})
        dataset.setncatts({"history": "2001: made", "cruise": np.int32(7), "x": [0.5, 1.5]})
    return path


def attributes_of(path: Path) -> dict[str, dict[str, Any]]:
    with import_netcdf4().Dataset(str(path)) as dataset:
        owners = {"": dataset, **dataset.variables}
        return {
            name: {key: owner.getncattr(key) for key in owner.ncattrs()}
            for name, owner in owners.items()
        }


def copy_of(volume: Volume, path: Path, values: np.ndarray | None = None) -> Path:
    block = volume.read()
    return write_volume(
        path,
        block.with_nan() if values is None else values,
        volume.geometry,
        name=volume.name,
        components=volume.components,
        units=volume.units,
        missing=volume.missing,
        time=volume.time,
        attributes=volume.attributes,
        made_by="copy of it",
    )


def test_they_come_back_in_a_netcdf_file(tmp_path: Path) -> None:
    first = source(tmp_path / "a.nc")
    found = attributes_of(copy_of(open_volume(first, "t"), tmp_path / "b.nc"))
    before = attributes_of(first)
    assert "elsewhere" not in str(found)
    for name in ("time", "depth", "lat", "t"):
        # Ours says besides what CF knows anyway: which axis it is, and the calendar.
        more = {"axis", "calendar", "standard_name"} | {"coordinates"}
        for key in before[name].keys() | found[name].keys():
            if key not in more or key in before[name].keys() & found[name].keys():
                assert np.array_equal(found[name][key], before[name][key]), (name, key)
    assert "i" not in found  # its samples are merely counted
    assert found[""]["title"] == "A cruise"
    assert found[""]["institution"] == "MBL"
    assert found[""]["cruise"] == 7
    assert found[""]["x"].tolist() == [0.5, 1.5]
    newest, *older = found[""]["history"].split("\n")
    assert newest.endswith("amgsrn copy of it")
    assert older == ["2001: made"]


def test_they_survive_json_and_the_hand_over(tmp_path: Path) -> None:
    volume = open_volume(source(tmp_path / "a.nc"), "t")
    known = volume.attributes
    assert known is not None
    assert known.components[0]["quality"] == math.inf
    text = json.dumps(known.to_json(), allow_nan=False)
    assert Attributes.from_json(Fields(json.loads(text))) == known
    assert open_volume(export_volume(volume, tmp_path / "folder")).attributes == known
    assert known.axes[2] is None  # it has no coordinate variable


@pytest.mark.parametrize(
    "damage",
    [
        {"axes": [None, None]},
        {"components": 3},
        {"file": ["a"]},
        {"file": {"a": None}},
        {"time": {"a": [["b"]]}},
        {"file": {"a": {"number": "many"}}},
    ],
)
def test_damage_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(ArchiveError):
        Attributes.from_json(Fields({**Attributes().to_json(), **damage}))


def test_a_valid_range_is_kept_only_where_the_values_are_in_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volume = open_volume(source(tmp_path / "a.nc", valid_max=np.float32(200)), "t")
    inside = attributes_of(copy_of(volume, tmp_path / "b.nc"))
    assert inside["t"]["valid_max"] == 200
    caplog.set_level(logging.WARNING)
    values = volume.read().with_nan()
    values[0, 0, 0, 0] = 201
    path = copy_of(volume, tmp_path / "c.nc", values)
    assert "valid_max of 't' is left out" in caplog.text
    assert open_volume(path, "t").read().valid is None


def test_a_packed_range_does_not_come_back(tmp_path: Path) -> None:
    packed = {"scale_factor": 0.5, "add_offset": 3.0, "valid_range": np.float32([0, 300])}
    found = attributes_of(
        copy_of(open_volume(source(tmp_path / "a.nc", **packed), "t"), tmp_path / "b.nc")
    )
    assert not {"scale_factor", "add_offset", "valid_range"} & found["t"].keys()


def test_an_attribute_that_is_too_long_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volume = open_volume(source(tmp_path / "a.nc", table=np.zeros(20_000)), "t")
    assert "table" in caplog.text
    assert volume.attributes is not None
    assert "table" not in volume.attributes.components[0]


def test_as_many_as_components_are_needed(tmp_path: Path) -> None:
    volume = open_volume(source(tmp_path / "a.nc"), "t")
    with pytest.raises(ValueError, match="unlike its attributes"):
        VolumeWriter(
            tmp_path / "b.nc", volume.geometry, components=("a", "b"), attributes=volume.attributes
        )


def test_what_netcdf_refuses_is_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volume = open_volume(source(tmp_path / "a.nc"), "t")
    assert volume.attributes is not None
    odd = {"a/b": "slash", "": "none", "mixed": ["a", 1], "good": "é", "empty": ""}
    volume.attributes = Attributes(odd, ({},), volume.attributes.axes)
    found = attributes_of(copy_of(volume, tmp_path / "b.nc"))[""]
    assert found["good"] == "é"
    assert found["empty"] == ""
    assert "a/b is left out" in caplog.text
