"""NetCDF files by the CF conventions: variables, axes, packed and missing numbers."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sample_volumes import coordinate, field, ramp, write_netcdf

from amgsrn_core.errors import VariableNotFoundError, VolumeError
from amgsrn_core.volume import Axis, open_volume, write_volume
from amgsrn_core.volume.netcdf.library import import_netcdf4


def opened(path: Path, values: np.ndarray, **attributes: Any) -> Any:
    return open_volume(write_netcdf(path / "v.nc", {"v": field(values, **attributes)}))


# --- which variable


def test_the_only_volume_needs_no_name(tmp_path: Path) -> None:
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "z": coordinate("z", [0, 1], axis="Z", bounds="z_bounds"),
            "z_bounds": (("z", "two"), np.array([[0, 0.5], [0.5, 1]]), {}),
            "height": (("z", "y", "x"), ramp(2, 3, 4), {}),
            "mask": (("y", "x"), ramp(3, 4), {}),
            "temperature": field(ramp(2, 3, 4), units="K", coordinates="height"),
        },
    )
    volume = open_volume(path)
    assert (volume.name, volume.components, volume.units) == (
        "temperature",
        ("temperature",),
        ("K",),
    )


def test_flat_variables_are_no_choice(tmp_path: Path) -> None:
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "rain": (("time", "y", "x"), ramp(5, 3, 4), {}),
            "surface": (("level", "y", "x"), ramp(1, 3, 4), {}),
            "t": field(ramp(2, 3, 4)),
        },
    )
    assert open_volume(path).name == "t"


def test_a_choice_lists_what_there_is(tmp_path: Path) -> None:
    path = write_netcdf(tmp_path / "a.nc", {"t": field(ramp(2, 3, 4)), "s": field(ramp(2, 3, 4))})
    for wanted in (None, "salt"):
        with pytest.raises(VariableNotFoundError) as caught:
            open_volume(path, wanted)
        assert "t (z 2, y 3, x 4); s (z 2, y 3, x 4)" in str(caught.value)
    assert isinstance(caught.value, KeyError)


@pytest.mark.parametrize("name", ["z", "z_bounds"])
def test_coordinates_never_become_data(tmp_path: Path, name: str) -> None:
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "z": coordinate("z", [0, 1], bounds="z_bounds"),
            "z_bounds": (("z", "two"), np.array([[0, 0.5], [0.5, 1]]), {}),
            "t": field(ramp(2, 3, 4)),
        },
    )
    with pytest.raises(VariableNotFoundError, match="coordinate variable, not data"):
        open_volume(path, name)


def test_an_auxiliary_volume_can_be_named(tmp_path: Path) -> None:
    path = write_netcdf(
        tmp_path / "a.nc",
        {"height": field(ramp(2, 3, 4)), "t": field(-ramp(2, 3, 4), coordinates="height")},
    )
    assert open_volume(path).name == "t"
    assert open_volume(path, "height").name == "height"


def test_text_variables_are_no_data(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with import_netcdf4().Dataset(str(path), "w") as dataset:
        for name, size in zip("zyxn", (2, 3, 4, 5)):
            dataset.createDimension(name, size)
        dataset.createVariable("text", "S1", ("z", "y", "x", "n"))
        dataset.createVariable("words", str, ("z", "y", "x"))
        dataset.createVariable("v", "f4", ("z", "y", "x"))[:] = ramp(2, 3, 4)
    assert open_volume(path).name == "v"


def test_variables_in_groups_have_paths(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with import_netcdf4().Dataset(str(path), "w") as dataset:
        for name, size in zip("zyx", (2, 3, 4)):
            dataset.createDimension(name, size)
        dataset.createVariable("x", "f8", ("x",))[:] = [10, 20, 30, 40]
        group = dataset.createGroup("run1")
        group.createVariable("v", "f4", ("z", "y", "x"))[:] = ramp(2, 3, 4)
        dataset.createVariable("v", "f4", ("z", "y", "x"))[:] = 0 * ramp(2, 3, 4)
    volume = open_volume(path, "run1/v")
    assert volume.name == "v"
    assert volume.geometry.bounds[:2] == (10, 40)
    assert np.array_equal(volume.read().values[0], ramp(2, 3, 4))
    assert open_volume(path, ["v", "run1/v"]).components == ("v", "run1/v")


def test_several_variables_are_components(tmp_path: Path) -> None:
    u, v = ramp(2, 3, 4), -ramp(2, 3, 4)
    v[1, 2, 3] = np.nan
    path = write_netcdf(
        tmp_path / "a.nc", {"u": field(u, units="m s-1"), "v": field(v, units="knot")}
    )
    volume = open_volume(path, ["v", "u"])
    assert volume.components == ("v", "u")
    assert volume.units == ("knot", "m s-1")
    block = volume.read()
    assert block.values.shape == (2, 2, 3, 4)
    # A voxel is valid only if all of its components are, and 0 otherwise.
    assert np.argwhere(~block.valid).tolist() == [[1, 2, 3]]
    assert block.values[:, 1, 2, 3].tolist() == [0, 0]
    assert np.array_equal(block.values[1].ravel()[:-1], u.ravel()[:-1])


def test_components_must_share_their_grid(tmp_path: Path) -> None:
    path = write_netcdf(
        tmp_path / "a.nc",
        {"u": field(ramp(2, 3, 4)), "v": (("z", "y", "xs"), ramp(2, 3, 5), {})},
    )
    with pytest.raises(VolumeError, match="not on the same grid"):
        open_volume(path, ["u", "v"])


# --- which axis


@pytest.mark.parametrize("order", list(itertools.permutations(("lev", "lat", "lon"))))
@pytest.mark.parametrize("by", ["axis", "standard_name", "units"])
def test_attributes_tell_the_axes_apart(tmp_path: Path, order: tuple[str, ...], by: str) -> None:
    attributes = {
        "axis": ("Z", "Y", "X"),
        "standard_name": ("air_pressure", "latitude", "longitude"),
        "units": ("hPa", "degrees_north", "degrees_east"),
    }[by]
    names = ("lev", "lat", "lon")
    values = ramp(2, 3, 4)
    variables: dict[str, Any] = {
        name: coordinate(name, np.arange(size), **{by: value})
        for name, size, value in zip(names, values.shape, attributes)
    }
    variables["v"] = (order, values.transpose([names.index(name) for name in order]), {})
    volume = open_volume(write_netcdf(tmp_path / "a.nc", variables))
    assert [axis.name for axis in volume.geometry.axes] == list(names)
    assert np.array_equal(volume.read().values[0], values)


def test_without_attributes_the_files_order_counts(tmp_path: Path) -> None:
    path = write_netcdf(tmp_path / "a.nc", {"v": (("x", "y", "z"), ramp(2, 3, 4), {})})
    volume = open_volume(path)
    assert [axis.name for axis in volume.geometry.axes] == ["x", "y", "z"]
    assert volume.geometry.bounds == (0, 3, 0, 2, 0, 1)


def test_a_partly_labelled_variable(tmp_path: Path) -> None:
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "c": coordinate("c", np.arange(4), positive="up"),
            "v": (("a", "b", "c"), ramp(2, 3, 4), {}),
        },
    )
    assert [axis.name for axis in open_volume(path).geometry.axes] == ["c", "a", "b"]


def test_an_auxiliary_coordinate_gives_the_axis(tmp_path: Path) -> None:
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "depth": (("z",), np.array([0.0, 10, 30]), {"positive": "down", "units": "m"}),
            "v": field(ramp(3, 3, 4), coordinates="depth"),
        },
    )
    axis = open_volume(path).geometry.axes[0]
    assert (axis.coordinates.tolist(), axis.negated) == ([-30, -10, 0], True)


def test_up_is_up_and_axes_ascend(tmp_path: Path) -> None:
    values = ramp(3, 2, 2)
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "z": coordinate("z", [0, 10, 100], positive="down", units="m", standard_name="depth"),
            "y": coordinate("y", [60, -60], units="degrees_north"),
            "v": field(values),
        },
    )
    volume = open_volume(path)
    z, y, _ = volume.geometry.axes
    assert z.coordinates.tolist() == [-100, -10, 0]
    assert (z.descending, z.negated, z.standard_name) == (True, True, "depth")
    assert (y.coordinates.tolist(), y.descending, y.negated) == ([-60, 60], True, False)
    assert np.array_equal(volume.read().values[0], values[::-1, ::-1])


def test_levels_that_descend_downwards_keep_their_order(tmp_path: Path) -> None:
    # 1000 hPa first: reversed and negated cancel each other out.
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "z": coordinate("z", [1000, 500, 10], positive="down", units="hPa"),
            "v": field(ramp(3, 2, 2)),
        },
    )
    volume = open_volume(path)
    z = volume.geometry.axes[0]
    assert (z.coordinates.tolist(), z.descending, z.negated) == ([-1000, -500, -10], False, True)
    assert np.array_equal(volume.read().values[0], ramp(3, 2, 2))


def test_longitudes_jump_by_no_more_than_one_turn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Nobody said that -9999 stands for none; it is no longitude all the same.
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "x": coordinate("x", [-9999, 10, 5, 0], units="degrees_east"),
            "v": field(ramp(2, 3, 4)),
        },
    )
    assert open_volume(path).geometry.axes[2].coordinates.tolist() == [0, 1, 2, 3]
    assert "'x' are not strictly monotonic" in caplog.text


def test_longitudes_may_pass_the_date_line(tmp_path: Path) -> None:
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "x": coordinate("x", [350, 355, 0, 5], units="degrees_east"),
            "v": field(ramp(2, 3, 4)),
        },
    )
    axis = open_volume(path).geometry.axes[2]
    assert axis.coordinates.tolist() == [-10, -5, 0, 5]
    assert axis.file_coordinates.tolist() == [350, 355, 0, 5]


@pytest.mark.parametrize(
    ("stored", "world"),
    [
        ([5, 0, 355, 350], [-10, -5, 0, 5]),
        ([170, 175, 180, -175], [170, 175, 180, 185]),
        ([170, 175, -180, -175], [170, 175, 180, 185]),
        ([-175, 180, 175, 170], [170, 175, 180, 185]),
        ([180, 270, 0, 90], [-180, -90, 0, 90]),
        ([270, 360, 90, 180], [-90, 0, 90, 180]),
        ([10, 170, 350, 5], [10, 170, 350, 365]),
        ([335.05, 359.95, 0.05, 44.95], [-24.95, -0.05, 0.05, 44.95]),
        ([350, 355, 360, 365], [350, 355, 360, 365]),
    ],
)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_longitudes_come_back_as_they_were(
    tmp_path: Path, stored: list[float], world: list[float], dtype: str
) -> None:
    lon = np.array(stored, dtype)
    path = write_netcdf(
        tmp_path / "a.nc",
        {"x": (("x",), lon, {"units": "degrees_east"}), "v": field(ramp(2, 3, 4))},
    )
    volume = open_volume(path)
    axis = volume.geometry.axes[2]
    assert np.allclose(axis.coordinates, world, atol=1e-4)
    assert np.array_equal(axis.file_coordinates, lon.astype("f8"))
    assert Axis.from_json(json.loads(json.dumps(axis.to_json()))) == axis
    write_volume(tmp_path / "b.nc", volume.read().values, volume.geometry)
    with import_netcdf4().Dataset(str(tmp_path / "b.nc")) as dataset:
        assert np.array_equal(dataset["x"][:], lon.astype("f8"))
        assert np.array_equal(dataset["data"][:], ramp(2, 3, 4))
    # Between the samples beside the jump, too.
    finer = axis.resampled(2 * axis.size - 1).file_coordinates
    assert np.allclose(finer[::2], lon)
    lowest = -180 if lon.min() < 0 else 0
    assert axis.wrap is None or (finer.min() >= lowest and finer.max() <= lowest + 360)


@pytest.mark.parametrize(
    ("useless", "reason"),
    [
        ([0, 0, 0], "not strictly monotonic"),
        ([0, 2, 1], "not strictly monotonic"),
        ([0, np.nan, 2], "missing at 1 of 3"),
        ([0, 1, np.inf], "not all finite"),
        ([0, 1, 9.96921e36], "missing at 1 of 3"),
        ([0, 9.96921e36, 9.96921e36], "missing at 2 of 3"),
    ],
)
def test_useless_coordinates_are_counted(
    tmp_path: Path, useless: list[float], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_netcdf(
        tmp_path / "a.nc",
        {"y": coordinate("y", useless, missing_value=9.96921e36), "v": field(ramp(2, 3, 4))},
    )
    assert open_volume(path).geometry.axes[1].coordinates.tolist() == [0, 1, 2]
    assert f"'y' are {reason}" in caplog.text
    assert open_volume(path).geometry.axes[1].size == 3
    assert len(caplog.records) == 1  # once for each file, not for each step of a series


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"valid_min": -180.0, "valid_max": 180.0}, "valid range, -180 to 180"),
        ({"valid_range": np.array([0.0, 90.0])}, "valid range, 0 to 90"),
        ({"valid_max": 100.0}, "valid range, -inf to 100"),
        ({"missing_value": 0.0}, "fill value, 0;"),
        ({"_FillValue": 315.0}, "fill value, 315;"),
        ({"missing_value": 1e20}, ""),
    ],
)
def test_a_sloppy_valid_range_does_not_unmake_an_axis(
    tmp_path: Path, attributes: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    lon = np.arange(8) * 45.0
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "x": coordinate("x", lon, units="degrees_east", **attributes),
            "time": coordinate("time", lon, units="hours since 2000-01-01", **attributes),
            "v": (("time", "z", "y", "x"), ramp(8, 2, 3, 8), {}),
        },
    )
    volume = open_volume(path)
    axis = volume.geometry.axes[2]
    assert (axis.coordinates.tolist(), axis.units) == (lon.tolist(), "degrees_east")
    assert volume.time is not None and volume.time.values == tuple(lon)
    told = [record for record in caplog.records if "time steps" not in record.getMessage()]
    assert said in caplog.text and len(told) == (2 if said else 0)


def test_a_packed_axis_with_a_sloppy_range(tmp_path: Path) -> None:
    packed = {"scale_factor": 0.5, "add_offset": 10.0, "valid_range": np.array([0, 1], "i2")}
    path = write_netcdf(
        tmp_path / "a.nc",
        {"y": (("y",), np.array([-1, 0, 1], "i2"), packed), "v": field(ramp(2, 3, 4))},
    )
    assert open_volume(path).geometry.axes[1].coordinates.tolist() == [9.5, 10, 10.5]


def test_packed_coordinates(tmp_path: Path) -> None:
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "y": (("y",), np.array([0, 1, 2], "i2"), {"scale_factor": 0.1, "add_offset": 50.0}),
            "v": field(ramp(2, 3, 4)),
        },
    )
    assert np.allclose(open_volume(path).geometry.axes[1].coordinates, [50, 50.1, 50.2], atol=1e-12)


def test_dimensions_of_one_sample_are_dropped(tmp_path: Path) -> None:
    values = ramp(1, 2, 1, 3, 4)
    path = write_netcdf(tmp_path / "a.nc", {"v": (("member", "z", "band", "y", "x"), values, {})})
    volume = open_volume(path)
    assert volume.dims == (2, 3, 4)
    assert np.array_equal(volume.read().values[0], values[0, :, 0])


# --- which numbers


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF4_CLASSIC", "NETCDF3_CLASSIC"])
@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "f4", "f8"])
def test_types_and_formats(tmp_path: Path, dtype: str, kind: str) -> None:
    values = ramp(2, 3, 4, dtype=dtype)
    volume = open_volume(write_netcdf(tmp_path / "a.nc", {"v": field(values)}, kind))
    assert volume.source_dtype == np.dtype(dtype)
    assert volume.source_nbytes == values.nbytes
    block = volume.read()
    assert block.valid is None
    assert block.values.dtype == (np.float64 if dtype in ("i4", "f8") else np.float32)
    assert block.values.flags.c_contiguous
    assert np.array_equal(block.values[0], values)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i8", "u8"])
def test_types_of_netcdf4_only(tmp_path: Path, dtype: str) -> None:
    values = ramp(2, 3, 4, dtype=dtype)
    assert np.array_equal(opened(tmp_path, values).read().values[0], values)


@pytest.mark.parametrize("dtype", ["i2", "i4", "f4", "f8"])
def test_big_endian(tmp_path: Path, dtype: str) -> None:
    values = ramp(2, 3, 4, dtype=dtype)
    values[0, 0, 0] = 99
    path = write_netcdf(
        tmp_path / "a.nc", {"v": field(values.astype(f">{dtype}"), missing_value=99)}, endian="big"
    )
    block = open_volume(path).read()
    assert np.array_equal(block.values[0].ravel()[1:], values.ravel()[1:])
    assert np.argwhere(~block.valid).tolist() == [[0, 0, 0]]


def test_packed_numbers(tmp_path: Path) -> None:
    stored = ramp(2, 3, 4, dtype="i2")
    stored[0, 0, 0] = -999
    volume = opened(
        tmp_path, stored, scale_factor=0.01, add_offset=273.15, _FillValue=np.int16(-999)
    )
    block = volume.read()
    expected = (stored * 0.01 + 273.15).astype(np.float32)
    assert np.array_equal(block.values[0][block.valid], expected[block.valid])
    assert np.argwhere(~block.valid).tolist() == [[0, 0, 0]]
    assert volume.source_dtype == np.int16
    assert volume.missing.fill_value is None
    assert "-999" in volume.missing.meaning


def test_several_missing_values(tmp_path: Path) -> None:
    values = ramp(2, 3, 4)
    values[0, 0, :3] = [-1e30, -999, np.nan]
    volume = opened(
        tmp_path, values, _FillValue=np.float32(-1e30), missing_value=np.array([-999.0, -888.0])
    )
    assert np.argwhere(~volume.read().valid).tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2]]
    assert volume.missing.fill_value == np.float32(-1e30)
    assert volume.missing.meaning == "_FillValue -1e+30; missing_value -999, -888; NaN"


def test_missing_values_with_more_digits_than_the_data(tmp_path: Path) -> None:
    values = ramp(2, 3, 4)
    values[1, 1, 1] = -999.9
    assert np.argwhere(~opened(tmp_path, values, missing_value=-999.9).read().valid).tolist() == [
        [1, 1, 1]
    ]


def test_a_missing_value_that_no_stored_number_can_have(tmp_path: Path) -> None:
    values = ramp(2, 3, 4, dtype="u1")
    volume = opened(tmp_path, values, missing_value=np.array([-1e30, 0.5, np.nan]))
    assert volume.read().valid is None


def test_infinite_fill_values_are_missing(tmp_path: Path) -> None:
    values = ramp(2, 3, 4)
    values[0, 0, 0] = np.inf
    volume = opened(tmp_path, values, _FillValue=np.float32(np.inf))
    assert np.argwhere(~volume.read().valid).tolist() == [[0, 0, 0]]
    assert volume.missing.fill_value is None


def test_never_written_numbers_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with import_netcdf4().Dataset(str(path), "w") as dataset:
        for name, size in zip("zyx", (2, 3, 4)):
            dataset.createDimension(name, size)
        dataset.createVariable("v", "f4", ("z", "y", "x"))[0] = ramp(3, 4)
    block = open_volume(path).read()
    assert block.valid[0].all()
    assert not block.valid[1].any()


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"valid_min": np.float32(3)}, range(3, 25)),
        ({"valid_max": np.float32(20)}, range(1, 21)),
        ({"valid_range": np.array([3, 20], "f4")}, range(3, 21)),
        ({"valid_min": np.float32(3), "valid_max": np.float32(20)}, range(3, 21)),
        ({"valid_range": "all of them"}, range(1, 25)),
    ],
)
def test_valid_ranges(tmp_path: Path, attributes: dict, expected: range) -> None:
    block = opened(tmp_path, ramp(2, 3, 4), **attributes).read()
    valid = np.ones((2, 3, 4), bool) if block.valid is None else block.valid
    assert block.values[0][valid].tolist() == list(expected)


def test_a_valid_range_does_not_cut_off_its_own_ends(tmp_path: Path) -> None:
    values = (ramp(2, 3, 4) / 10).astype("f4")
    # 0.1 as float64 is less than as float32, 2.4 is more.
    assert opened(tmp_path, values, valid_min=0.1, valid_max=2.4).read().valid is None


def test_valid_range_of_packed_numbers(tmp_path: Path) -> None:
    stored = ramp(2, 3, 4, dtype="i2")
    packed = {"scale_factor": 10.0, "add_offset": 0.0}
    as_stored = opened(tmp_path, stored, valid_range=np.array([3, 20], "i2"), **packed)
    assert int(as_stored.read().valid.sum()) == 18
    unpacked = opened(tmp_path, stored, valid_range=np.array([30.0, 50.0]), **packed)
    assert unpacked.read().values[0][unpacked.read().valid].tolist() == [30, 40, 50]


CLASSIC = "NETCDF3_CLASSIC"
FULL = np.linspace(0, 1, 24).reshape(2, 3, 4)


@pytest.mark.parametrize("kind", ["NETCDF4", CLASSIC])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
@pytest.mark.parametrize("bounds", ["valid_range", "valid_max", "both", "wider", "none"])
def test_bounds_of_unsigned_numbers_are_stored_in_the_same_bits(
    tmp_path: Path, dtype: str, kind: str, bounds: str
) -> None:
    top = np.iinfo(dtype).max
    counts = np.round(FULL * (top - 6)).astype(dtype)
    counts[0, 1, 2], counts[1, 0, 0] = top, top - 2  # the fill, and what is beyond the range
    signed = dtype.replace("u", "i")
    low, high = np.array([0, top - 6], dtype).view(signed)
    attributes: dict[str, Any] = {
        "valid_range": {"valid_range": np.array([low, high])},
        "valid_max": {"valid_max": high},
        "both": {"valid_min": low, "valid_max": high},
        "wider": {"valid_range": np.array([0.0, float(top - 6)])},
        "none": {},
    }[bounds]
    if kind == CLASSIC or dtype != "u4":
        attributes["_FillValue"] = np.array(top, dtype).view(signed)[()]
    else:
        attributes["missing_value"] = np.array([-1], signed)
    path = write_netcdf(
        tmp_path / "a.nc",
        {"v": field(counts.view(signed), _Unsigned="true", **attributes)},
        kind,
    )
    volume = open_volume(path)
    block = volume.read()
    missing = counts == top if bounds == "none" else counts > top - 6
    assert np.array_equal(~block.valid, missing)
    assert np.array_equal(block.values[0][block.valid], counts[~missing].astype(volume.dtype))
    assert volume.source_dtype == np.dtype(dtype) and f"{top:g}" in volume.missing.meaning
    if bounds != "none":
        assert "-" not in volume.missing.meaning.replace("-inf", "").replace("e+", "")


@pytest.mark.parametrize(
    "attributes",
    [
        {"valid_range": np.array([0, 255], "i2")},
        {"valid_range": np.array([0.0, 255.0])},
        {"valid_min": np.int16(0), "valid_max": np.int16(255)},
        {"valid_max": np.int16(255)},
        {"valid_range": np.array([0, -1], "i1")},  # 255 as a byte
        {"valid_min": np.int8(0), "valid_max": np.int8(-1)},
    ],
)
def test_a_byte_with_a_range_to_255_is_unsigned(tmp_path: Path, attributes: dict) -> None:
    counts = np.round(1 + FULL * 254).astype("u1")
    path = write_netcdf(tmp_path / "a.nc", {"v": field(counts.view("i1"), **attributes)}, CLASSIC)
    volume = open_volume(path)
    block = volume.read()
    assert block.valid is None and np.array_equal(block.values[0], counts)
    assert volume.source_dtype == np.uint8
    path = write_netcdf(
        tmp_path / "b.nc",
        {"v": field(counts.view("i1"), **attributes, _FillValue=np.int8(-1))},
        CLASSIC,
    )
    volume = open_volume(path)
    assert np.argwhere(~volume.read().valid).tolist() == [[1, 2, 3]]
    assert volume.missing.fill_value == 255
    packed = {"scale_factor": np.float32(0.5), "add_offset": np.float32(0)}
    whole = {name: np.asarray(value).astype("i2") for name, value in attributes.items()}
    path = write_netcdf(
        tmp_path / "c.nc", {"v": field(counts.view("i1"), **whole, **packed)}, CLASSIC
    )
    assert np.array_equal(open_volume(path).read().values[0], counts / 2)


def test_a_byte_with_a_range_of_signed_numbers_stays_signed(tmp_path: Path) -> None:
    values = np.arange(-12, 12, dtype="i1").reshape(2, 3, 4)
    for bounds in ([0, 127], [-128, 255], [0, 300], [-10, 10], [-10, -1]):
        low, high = bounds
        block = opened(tmp_path, values, valid_range=np.array(bounds, "i2")).read()
        valid = (values >= low) & (values <= high)
        assert np.array_equal(np.ones_like(valid) if block.valid is None else block.valid, valid)
        assert np.array_equal(block.values[0][valid], values[valid])


def test_shorts_with_a_range_of_unsigned_numbers_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counts = np.round(FULL * 65535).astype("u2")
    for bounds in (np.array([0, 65535], "i4"), np.array([0, -1], "i2")):
        volume = opened(tmp_path, counts.view("i2"), valid_range=bounds)
        assert np.array_equal(volume.read().values[0], counts) and volume.read().valid is None
    assert "one of unsigned numbers" in caplog.text


@pytest.mark.parametrize("said", ["false", "False"])
def test_unsigned_false_means_signed(tmp_path: Path, said: str) -> None:
    values = np.arange(-12, 12, dtype="i1").reshape(2, 3, 4)
    for stored in (values, values.view("u1")):
        volume = opened(tmp_path, stored, _Unsigned=said)
        assert np.array_equal(volume.read().values[0], values)
        assert volume.source_dtype == np.int8
        filled = opened(
            tmp_path, stored, _Unsigned=said, _FillValue=np.array(-12, "i1").view(stored.dtype)[()]
        )
        assert np.argwhere(~filled.read().valid).tolist() == [[0, 0, 0]]
        assert filled.missing.fill_value == -12
        bounds = np.array([-10, 10], "i1").view(stored.dtype)
        ranged = opened(tmp_path, stored, _Unsigned=said, valid_range=bounds).read()
        assert np.array_equal(ranged.valid, abs(values + 0.0) <= 10)


@pytest.mark.parametrize("endian", ["little", "big"])
def test_signs_of_either_byte_order(tmp_path: Path, endian: str) -> None:
    counts = np.round(FULL * 65000).astype("u2")
    stored = counts.view("i2")
    stored = stored.astype(stored.dtype.newbyteorder(endian))
    path = write_netcdf(
        tmp_path / "a.nc",
        {"v": field(stored, _Unsigned="true", valid_range=np.array([0, -6], "i2"))},
        endian=endian,
    )
    assert np.array_equal(open_volume(path).read().values[0], counts)


def test_never_written_unsigned_numbers_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with import_netcdf4().Dataset(str(path), "w") as dataset:
        for name, size in zip("zyx", (2, 3, 4)):
            dataset.createDimension(name, size)
        variable = dataset.createVariable("v", "i2", ("z", "y", "x"))
        variable.setncattr("_Unsigned", "true")
        variable[0] = np.arange(12).reshape(3, 4)
    valid = open_volume(path).read().valid
    assert valid[0].all() and not valid[1].any()


def test_unpacked_bounds_do_not_cut_off_their_own_ends(tmp_path: Path) -> None:
    # 65530 * float32(0.001) is a little more than float32(65.53).
    counts = np.round(FULL * 65530).astype("u2")
    packed = {"scale_factor": np.float32(0.001), "valid_range": np.array([0, 65.53], "f4")}
    assert opened(tmp_path, counts, **packed).read().valid is None
    packed["valid_range"] = np.array([0, 65.529], "f4")
    assert np.argwhere(~opened(tmp_path, counts, **packed).read().valid).tolist() == [[1, 2, 3]]


def test_bounds_of_the_wider_type_of_the_packing_are_unpacked(tmp_path: Path) -> None:
    stored = ramp(2, 3, 4, dtype="i2")
    volume = opened(
        tmp_path, stored, scale_factor=np.int32(10), valid_range=np.array([30, 50], "i4")
    )
    assert volume.read().values[0][volume.read().valid].tolist() == [30, 40, 50]
    volume = opened(
        tmp_path,
        stored,
        scale_factor=10.0,
        add_offset=0.0,
        valid_min=np.int16(3),
        valid_max=50.0,
    )
    assert volume.read().values[0][volume.read().valid].tolist() == [30, 40, 50]


@pytest.mark.parametrize(
    ("scale", "bounds", "dtype"),
    [("f4", "f8", "i2"), ("f8", "f4", "i2"), ("i4", "f4", "i2"), ("f4", "i4", "i2")],
)
def test_bounds_of_another_type_than_the_packing_are_stored_numbers(
    tmp_path: Path, scale: str, bounds: str, dtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    packed = {"scale_factor": np.array(10, scale)[()], "valid_range": np.array([3, 20], bounds)}
    block = opened(tmp_path, ramp(2, 3, 4, dtype=dtype), **packed).read()
    assert block.values[0][block.valid].tolist() == list(range(30, 210, 10))
    # What is stored as whole numbers has seldom a range of others: that must not be silent.
    assert ("valid_range of 'v'" in caplog.text) == (bounds[0] == "f")


def test_floating_point_is_wider_than_whole_numbers(tmp_path: Path) -> None:
    for dtype in ("i4", "i8"):
        packed = {"scale_factor": np.float32(10), "valid_range": np.array([30, 50], "f4")}
        block = opened(tmp_path, ramp(2, 3, 4, dtype=dtype), **packed).read()
        assert block.values[0][block.valid].tolist() == [30, 40, 50]
    # The wider of scale factor and offset is float32, not float64, which holds the values of both.
    packed = {"scale_factor": np.int32(10), "add_offset": np.float32(0)}
    block = opened(tmp_path, ramp(2, 3, 4), valid_range=np.array([3, 5], "f4"), **packed).read()
    assert block.values[0][block.valid].tolist() == [30, 40, 50]


def test_packed_floats_are_unpacked_in_double_precision(tmp_path: Path) -> None:
    stored = np.random.default_rng(3).normal(0, 1e4, (8, 9, 10)).astype("f4")
    packed = {"scale_factor": 0.3, "add_offset": 1234.567}
    values = opened(tmp_path, stored, **packed).read().values[0]
    assert np.array_equal(values.astype("f4"), (stored.astype("f8") * 0.3 + 1234.567).astype("f4"))


def test_a_missing_value_beyond_the_type_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volume = opened(tmp_path, ramp(2, 3, 4, dtype="i1"), missing_value=np.int16(255))
    assert volume.read().valid is None
    assert "missing_value 255 of 'v' is beyond its type (int8)" in caplog.text


def test_unsigned_bytes_in_classic_files(tmp_path: Path) -> None:
    values = np.linspace(0, 255, 24).astype("u1").reshape(2, 3, 4)
    path = write_netcdf(
        tmp_path / "a.nc",
        {"v": field(values.view("i1"), _Unsigned="true", _FillValue=np.int8(-1))},
        "NETCDF3_CLASSIC",
    )
    volume = open_volume(path)
    block = volume.read()
    assert volume.source_dtype == np.uint8
    assert np.argwhere(~block.valid).tolist() == [[1, 2, 3]]
    assert np.array_equal(block.values[0].ravel()[:-1], values.ravel()[:-1])


# --- everything together


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET"]))
    return {
        "kind": kind,
        "dims": draw(st.tuples(*[st.integers(2, 5)] * 3)),
        "dtype": draw(st.sampled_from(["i2", "i4", "f4", "f8"])),
        "endian": draw(st.sampled_from(["little", "big"])) if kind == "NETCDF4" else "native",
        "order": draw(st.permutations([0, 1, 2])),
        "descending": draw(st.tuples(*[st.booleans()] * 3)),
        "negated": draw(st.booleans()),
        "times": draw(st.sampled_from([None, 1, 3])),
        "packed": draw(st.booleans()),
        "missing": draw(st.lists(st.integers(0, 7), max_size=4)),
        "chunked": kind == "NETCDF4" and draw(st.booleans()),
        "seed": draw(st.integers(0, 1000)),
    }


@settings(max_examples=80, deadline=None)
@given(case=files(), data=st.data())
def test_any_file_reads_as_what_was_stored(case: dict[str, Any], data: st.DataObject) -> None:
    random = np.random.default_rng(case["seed"])
    world = random.integers(-1000, 1000, case["dims"]).astype(case["dtype"])
    for flat in case["missing"]:
        world.flat[flat] = -9999
    attributes: dict[str, Any] = {"_FillValue": world.dtype.type(-9999)}
    if case["packed"]:
        attributes |= {"scale_factor": 0.5, "add_offset": -7.0}

    variables: dict[str, Any] = {}
    stored = world
    for position, name in enumerate("zyx"):
        values = np.cumsum(random.uniform(0.1, 3.0, world.shape[position]))
        down = name == "z" and case["negated"]
        if case["descending"][position]:
            values = values[::-1]
        if case["descending"][position] != down:
            stored = np.flip(stored, position)
        extra = {"positive": "down"} if down else {}
        variables[name] = coordinate(name, values, axis=name.upper(), **extra)
    names = ["zyx"[i] for i in case["order"]]
    stored = stored.transpose(case["order"])
    step = None
    if case["times"]:
        names.insert(1, "time")
        variables["time"] = coordinate(
            "time", np.arange(case["times"]), units="days since 2000-1-1"
        )
        step = data.draw(st.integers(0, case["times"] - 1))
        stored = np.stack([stored if i == step else stored - 1 for i in range(case["times"])], 1)
    options: dict[str, Any] = (
        {"zlib": True, "chunksizes": [1] * len(names)} if case["chunked"] else {}
    )

    if case["endian"] != "native":
        options["endian"] = case["endian"]
        stored = stored.astype(stored.dtype.newbyteorder(case["endian"]))
    variables["v"] = (tuple(names), stored, attributes)

    with tempfile.TemporaryDirectory() as folder:
        path = write_netcdf(Path(folder) / "case.nc", variables, case["kind"], **options)
        volume = open_volume(path, time=step)
        starts = [data.draw(st.integers(0, n - 1)) for n in volume.dims]
        extent = tuple(
            slice(a, data.draw(st.integers(a + 1, n))) for a, n in zip(starts, volume.dims)
        )
        whole, part = volume.read(), volume.read(extent)

    missing = world == -9999
    expected = world.astype("f8")
    if case["packed"]:
        expected = expected * 0.5 - 7.0
    expected = np.where(missing, 0, expected).astype("f4")
    assert np.array_equal(whole.values[0], expected)
    assert np.array_equal(np.ones_like(missing) if whole.valid is None else whole.valid, ~missing)
    assert np.array_equal(part.values[0], expected[extent])
    for axis, name in zip(volume.geometry.axes, "zyx"):
        assert np.array_equal(axis.file_coordinates, variables[name][1])


def test_bounds_between_two_stored_numbers_tell_them_apart_however_rough_their_type(tmp_path):
    counts = np.arange(-30, 30, dtype="i2").reshape(3, 4, 5)
    packing = {"scale_factor": np.float32(2e-5), "add_offset": np.float32(100.5)}
    bound = np.array([100.49999, 100.50051], "f4")  # in the middle of -1 and 0, and of 25 and 26
    path = write_netcdf(tmp_path / "a.nc", {"v": field(counts, valid_range=bound, **packing)})
    valid = open_volume(path).read().valid
    assert np.array_equal(valid, (counts >= 0) & (counts <= 25))
