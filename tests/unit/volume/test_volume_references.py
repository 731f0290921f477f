"""Names and paths in NetCDF files with groups: which variable they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.sample_volumes import coordinate, field, ramp, write_netcdf

from amgsrn_core.errors import VariableNotFoundError, VolumeError
from amgsrn_core.volume import Volume, open_volume
from amgsrn_core.volume.netcdf.library import import_netcdf4
from amgsrn_core.volume.netcdf.references import find_variable

LEV, LAT, LON = [0.0, 10, 30], [10.0, 20, 40, 50], [100.0, 110, 130, 140, 160]
VALUES = ramp(3, 4, 5)


def grouped(path: Path, place: Any, coordinates: str = "") -> Path:
    """Write a variable in the group /PRODUCT/DETAIL on dimensions of the root.

    `place` maps lev, lat, lon to the group of their coordinates.
    """
    with import_netcdf4().Dataset(str(path), "w") as dataset:
        units = ("m", "degrees_north", "degrees_east")
        for name, values in zip(("lev", "lat", "lon"), (LEV, LAT, LON)):
            dataset.createDimension(name, len(values))
        group = dataset.createGroup("PRODUCT/DETAIL")
        for name, values, unit in zip(("lev", "lat", "lon"), (LEV, LAT, LON), units):
            where, called = place.get(name, ("/", name))
            owner = dataset if where == "/" else dataset.createGroup(where)
            variable = owner.createVariable(called, "f8", (name,))
            variable[:] = values
            variable.units = unit
        variable = group.createVariable("no2", "f4", ("lev", "lat", "lon"))
        if coordinates:
            variable.coordinates = coordinates
        variable[:] = VALUES
    return path


def has_axes(volume: Volume) -> bool:
    axes = volume.geometry.axes
    return [axis.coordinates.tolist() for axis in axes] == [LEV, LAT, LON] and [
        axis.units for axis in axes
    ] == ["m", "degrees_north", "degrees_east"]


@pytest.mark.parametrize(
    ("place", "coordinates"),
    [
        ({}, ""),
        ({"lon": ("GEO", "lon"), "lev": ("GEO", "height")}, "/GEO/height lat /GEO/lon"),
        ({"lev": ("PRODUCT", "height")}, "height"),
        ({"lev": ("PRODUCT", "height")}, "../height"),
        ({"lev": ("PRODUCT/GRID", "height")}, "../GRID/height"),
        ({"lev": ("PRODUCT/GRID", "height")}, "/PRODUCT/GRID/height"),
        ({"lev": ("GEO", "height")}, "GEO/height"),
        ({"lev": ("PRODUCT/DETAIL", "height")}, "./height"),
        ({"lon": ("PRODUCT/DETAIL", "lon"), "lat": ("PRODUCT", "lat")}, ""),
        # Beside the variable: found by the dimension's own name.
        ({"lon": ("GEO", "lon"), "lat": ("PRODUCT/GRID", "lat")}, ""),
    ],
)
def test_coordinates_anywhere_are_found(
    tmp_path: Path, place: Any, coordinates: str, caplog: pytest.LogCaptureFixture
) -> None:
    volume = open_volume(grouped(tmp_path / "a.nc", place, coordinates))
    assert has_axes(volume) and np.array_equal(volume.read().values[0], VALUES)
    assert not caplog.records


@pytest.mark.parametrize("name", ["/GEO/nothing", "nothing", "../../nothing", "../../../nothing"])
def test_coordinates_that_are_not_there_are_told(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = grouped(tmp_path / "a.nc", {"lev": ("GEO", "height")}, f"{name} lat")
    axis = open_volume(path).geometry.axes[0]
    assert (axis.coordinates.tolist(), axis.units) == ([0, 1, 2], "")
    assert f"'no2' names coordinates that are not in the file: {name}." in caplog.text


def test_two_dimensional_coordinates_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "z": coordinate("z", [0, 1]),
            "lon": (("y", "x"), ramp(3, 4), {"units": "degrees_east"}),
            "v": field(ramp(2, 3, 4), coordinates="lon"),
        },
    )
    assert open_volume(path, "v").geometry.axes[2].coordinates.tolist() == [0, 1, 2, 3]
    assert "coordinates lon of 'v' are two-dimensional" in caplog.text
    assert "along y and x are counted" in caplog.text


def test_a_group_has_dimensions_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with import_netcdf4().Dataset(str(path), "w") as dataset:
        for size, name in ((16, "x"), (5, "y"), (3, "time")):
            dataset.createDimension(name, size)
            dataset.createVariable(name, "f8", (name,))[:] = np.arange(size) * 100.0
        group = dataset.createGroup("fine")
        for name, size in (("time", 2), ("z", 2), ("y", 5), ("x", 4)):
            group.createDimension(name, size)
        group.createVariable("a", "f4", ("time", "z", "y", "x"))[:] = ramp(2, 2, 5, 4)
        group.createVariable("v", "f4", ("z", "y", "x"))[:] = ramp(2, 5, 4)
        child = group.createGroup("child")
        child.createVariable("v", "f4", ("z", "y", "x"))[:] = -ramp(2, 5, 4)
        child.createVariable("y", "f8", ("y",))[:] = [1, 2, 4, 8, 16]
    volume = open_volume(path, "fine/v")
    assert np.array_equal(volume.read().values[0], ramp(2, 5, 4))
    assert volume.geometry.axes[2].coordinates.tolist() == [0, 1, 2, 3]
    # The one in a group below is of the same dimension.
    assert volume.geometry.axes[1].coordinates.tolist() == [1, 2, 4, 8, 16]
    assert open_volume(path, ["fine/v", "fine/child/v"]).n_components == 2
    timed = open_volume(path, "fine/a", 1)
    assert timed.time is not None and timed.time.values == (0, 1)
    assert np.array_equal(timed.read().values[0], ramp(2, 2, 5, 4)[1])


def test_a_dimension_that_the_library_confuses_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with import_netcdf4().Dataset(str(path), "w") as dataset:
        dimensions = [dataset.createDimension(n, s) for n, s in zip("zyx", (2, 3, 6))]
        group = dataset.createGroup("g")
        group.createDimension("x", 4)
        group.createVariable("v", "f4", dimensions)
        dataset.createVariable("w", "f4", dimensions)[:] = ramp(2, 3, 6)
    assert open_volume(path, "w").dims == (2, 3, 6)
    with pytest.raises(VolumeError, match="'v' has the dimension x of a group above"):
        open_volume(path, "g/v")


def test_paths_tell_which_variables_describe_others(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with import_netcdf4().Dataset(str(path), "w") as dataset:
        for name, size in zip("zyx", (2, 3, 4)):
            dataset.createDimension(name, size)
        other = dataset.createGroup("other")
        for owner, name in ((dataset, "height"), (other, "height"), (other, "quality")):
            owner.createVariable(name, "f4", ("z", "y", "x"))[:] = ramp(2, 3, 4)
        variable = dataset.createVariable("v", "f4", ("z", "y", "x"))
        variable.coordinates = "/other/height"
        variable.ancillary_variables = "other/quality"
        variable.cell_measures = "height: other/height"  # a key, no variable
        variable[:] = ramp(2, 3, 4)
        assert find_variable(dataset, "other/height").group().path == "/other"
        assert find_variable(other, "../height").group().path == "/"
        assert find_variable(other, "v") is not None
    with pytest.raises(VariableNotFoundError, match=r"holds 2 volumes.*: height .*; v "):
        open_volume(path)


def test_types_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with import_netcdf4().Dataset(str(path), "w") as dataset:
        for name, size in zip("zyx", (2, 3, 4)):
            dataset.createDimension(name, size)
        dimensions = ("z", "y", "x")
        states = {f"state{i}": i for i in range(20)}
        kinds = {
            "cloud": dataset.createEnumType(np.uint8, "cloud_t", states),
            "label": str,
            "letters": "S1",
            "pairs": dataset.createCompoundType(np.dtype([("a", "f4"), ("b", "f4")]), "pair"),
            "lists": dataset.createVLType(np.float32, "list"),
        }
        for name, kind in kinds.items():
            dataset.createVariable(name, kind, dimensions)
    with pytest.raises(VariableNotFoundError, match=r"cloud \(categories .*; label \(text\)"):
        open_volume(path)
    for name, words in (
        ("cloud", r"categories \(the enum type cloud_t: 0 state0, .*7 state7, \.\.\.\)"),
        ("label", "text"),
        ("letters", "characters"),
        ("pairs", r"records \(the type pair\)"),
        ("lists", r"lists of varying length \(the type list\)"),
    ):
        with pytest.raises(VariableNotFoundError, match=f"'{name}' holds {words}, not numbers"):
            open_volume(path, name)
