"""What is written is read back: NetCDF, .vti, .vtr and exported folders."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sample_volumes import ramp

from amgsrn_core.errors import OutputError, VariableNotFoundError, VolumeError
from amgsrn_core.volume import (
    Axis,
    Block,
    GridGeometry,
    MissingValues,
    TimeAxis,
    Volume,
    VolumeWriter,
    export_volume,
    open_volume,
    volume_from_array,
    write_volume,
)
from amgsrn_core.volume.netcdf.library import import_netcdf4
from amgsrn_core.volume.vtk.layout import laid_out_copy

NOON = TimeAxis((6.0, 12.0), "hours since 2000-01-01", "standard", 1)


@st.composite
def volumes(draw: st.DrawFn, uniform: bool = False) -> Volume:
    dims = draw(st.tuples(*[st.integers(2, 5)] * 3))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    axes = []
    for name, size in zip(("depth", "latitude", "longitude"), dims):
        steps = np.ones(size) if uniform else random.uniform(0.1, 10, size)
        axes.append(
            Axis(
                name,
                random.uniform(-50, 50) + np.cumsum(steps),
                draw(st.sampled_from(["", "m", "degrees_north"])),
                draw(st.booleans()),
                draw(st.booleans()),
            )
        )
    z, y, x = axes
    count = draw(st.integers(1, 3))
    values = random.normal(size=(count, *dims)).astype("f4")
    valid = random.uniform(size=dims) > draw(st.sampled_from([0.0, 0.3]))
    names = ["u", "v", "w"][:count]
    return volume_from_array(
        values,
        name="wind" if count > 1 else "u",
        components=names,
        units=[f"m s-{i}" for i in range(count)],
        geometry=GridGeometry((z, y, x)),
        valid=valid,
        missing=MissingValues(
            "land", draw(st.sampled_from([None, float(np.float32(1e20)), 0.0, -999.0]))
        ),
        time=draw(st.sampled_from([None, NOON])),
    )


def write(volume: Volume, path: Path, slab_bytes: int = 100) -> Path:
    return write_volume(
        path,
        ((extent, volume.read(extent)) for extent in volume.slabs(slab_bytes)),
        volume.geometry,
        name=volume.name,
        components=volume.components,
        units=volume.units,
        missing=volume.missing,
        time=volume.time,
    )


def assert_same_values(one: Volume, other: Volume) -> None:
    first, second = one.read(), other.read()
    assert np.array_equal(first.values, second.values)
    masks = [np.ones(one.dims) if b.valid is None else b.valid for b in (first, second)]
    assert np.array_equal(*masks)


@settings(max_examples=40, deadline=None)
@given(volumes())
def test_netcdf_gives_everything_back(volume: Volume) -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = open_volume(write(volume, Path(folder) / "a.nc"), volume.components)
        assert_same_values(volume, copy)
    assert copy.geometry == volume.geometry
    assert (copy.components, copy.units) == (volume.components, volume.units)
    assert copy.missing.fill_value == volume.missing.fill_value
    assert (copy.time is None) == (volume.time is None)
    if copy.time is not None:
        assert (copy.time.value, copy.time.units) == (12.0, NOON.units)


@settings(max_examples=40, deadline=None)
@given(volumes(), st.sets(st.sampled_from([0, 1, 2])))
def test_rectilinear_grids_keep_world_coordinates(volume: Volume, cuts: set[int]) -> None:
    pytest.importorskip("vtkmodules.vtkIOXML")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.vtr"
        write_in_pieces(volume, path, cuts)
        copy = open_volume(path)
        assert_same_values(volume, copy)
    assert copy.name == volume.name
    assert copy.components == volume.components
    for mine, theirs in zip(copy.geometry.axes, volume.geometry.axes):
        assert np.array_equal(mine.coordinates, theirs.coordinates)


def write_in_pieces(volume: Volume, path: Path, cuts: set[int]) -> None:
    """Write extents that are cut along some axes, in an order of no use."""
    with VolumeWriter(
        path, volume.geometry, name=volume.name, components=volume.components
    ) as writer:
        parts = [
            [slice(0, 1), slice(1, n)] if axis in cuts else [slice(0, n)]
            for axis, n in enumerate(volume.dims)
        ]
        for x in reversed(parts[2]):
            for z in parts[0]:
                for y in reversed(parts[1]):
                    writer.write((z, y, x), volume.read((z, y, x)))


@settings(max_examples=30, deadline=None)
@given(volumes(uniform=True))
def test_image_data_keeps_its_place(volume: Volume) -> None:
    pytest.importorskip("vtkmodules.vtkIOXML")
    with tempfile.TemporaryDirectory() as folder:
        copy = open_volume(write(volume, Path(folder) / "a.vti"))
        assert_same_values(volume, copy)
    assert np.allclose(copy.geometry.bounds, volume.geometry.bounds, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(volumes())
def test_an_exported_folder_is_the_volume(volume: Volume) -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = open_volume(export_volume(volume, Path(folder) / "v"))
        assert_same_values(volume, copy)
        masked = (Path(folder) / "v" / "valid.npy").exists()
    assert masked == (volume.read().valid is not None)
    for name in ("name", "components", "units", "geometry", "missing", "time", "source_dtype"):
        assert getattr(copy, name) == getattr(volume, name)


def test_turned_image_data(tmp_path: Path) -> None:
    pytest.importorskip("vtkmodules.vtkIOXML")
    turn = np.array([[0.0, -1.0, 0.0], [0.6, 0.0, -0.8], [0.8, 0.0, 0.6]])
    geometry = GridGeometry.uniform((2, 3, 4), (7, 8, 9), (0.1, 0.2, 0.3), turn)
    copy = open_volume(write_volume(tmp_path / "a.vti", ramp(2, 3, 4), geometry))
    assert np.array_equal(copy.geometry.direction, turn)
    assert np.allclose(copy.geometry.bounds, geometry.bounds)


def test_vtk_files_have_no_place_for_markup_in_names(tmp_path: Path) -> None:
    pytest.importorskip("vtkmodules.vtkIOXML")
    geometry = GridGeometry.uniform((2, 3, 4))
    name = "a<b & \"c\" 'd'"
    path = write_volume(
        tmp_path / "a.vti", ramp(2, 2, 3, 4), geometry, name=name, components=["<1>", "&2"]
    )
    volume = open_volume(path)
    assert (volume.name, volume.components) == (name, ("<1>", "&2"))


def test_netcdf_follows_the_conventions(tmp_path: Path) -> None:
    z = Axis("depth", [-100, -10, 0], "m", True, True, "depth")
    geometry = GridGeometry((z, Axis.uniform("lat", 2), Axis.uniform("lon", 2)))
    valid = np.ones((3, 2, 2), bool)
    valid[0, 0, 0] = False
    path = write_volume(
        tmp_path / "a.nc",
        ramp(3, 2, 2),
        geometry,
        name="temperature",
        units="degC",
        valid=valid,
        missing=MissingValues("land", 1e20),
        time=NOON,
    )
    with import_netcdf4().Dataset(str(path)) as dataset:
        assert dataset.Conventions.startswith("CF-")
        variable = dataset["temperature"]
        assert variable.dimensions == ("time", "depth", "lat", "lon")
        assert (variable.units, variable._FillValue) == ("degC", np.float32(1e20))
        # The library's own decoding agrees: the sea surface comes first, land is masked.
        decoded = variable[0]
        assert decoded.mask.sum() == 1
        assert decoded.mask[2, 0, 0]
        assert decoded[0].tolist() == [[9, 10], [11, 12]]
        depth = dataset["depth"]
        assert depth[:].tolist() == [0, 10, 100]
        assert (depth.axis, depth.units, depth.positive) == ("Z", "m", "down")
        assert depth.standard_name == "depth"
        assert [dataset[name].axis for name in ("lat", "lon", "time")] == ["Y", "X", "T"]
        assert dataset["time"][:].tolist() == [12]
        assert dataset["time"].units == NOON.units


def test_a_value_that_is_the_fill_value_stays_a_value(tmp_path: Path) -> None:
    values = np.zeros((2, 2, 2), "f4")
    values[1] = 1e20
    for fill in (0.0, 1e20):
        path = write_volume(
            tmp_path / "a.nc",
            values,
            GridGeometry.uniform((2, 2, 2)),
            missing=MissingValues("", fill),
        )
        block = open_volume(path).read()
        assert block.valid is None
        assert np.allclose(block.values[0], values, rtol=1e-6, atol=1e-30)


def test_missing_voxels_come_from_masks_and_nan(tmp_path: Path) -> None:
    values = ramp(2, 3, 4)
    values[0, 0, 0] = np.nan
    masked = np.ma.masked_equal(values, 5)
    valid = np.ones((2, 3, 4), bool)
    valid[1, 2, 3] = False
    path = write_volume(tmp_path / "a.nc", masked, GridGeometry.uniform((2, 3, 4)), valid=valid)
    missing = np.argwhere(~open_volume(path).read().valid).tolist()
    assert missing == [[0, 0, 0], [0, 1, 0], [1, 2, 3]]


@pytest.mark.parametrize("name", ["z", "wind speed/10 m", "1st", "grün", ""])
def test_any_name_becomes_a_legal_variable(tmp_path: Path, name: str) -> None:
    path = write_volume(
        tmp_path / "a.nc", ramp(2, 3, 4), GridGeometry.uniform((2, 3, 4)), name=name
    )
    volume = open_volume(path)
    assert np.array_equal(volume.read().values[0], ramp(2, 3, 4))
    with import_netcdf4().Dataset(str(path)) as dataset:
        assert dataset[volume.name].long_name == name


def test_one_slice_can_be_written(tmp_path: Path) -> None:
    geometry = GridGeometry.uniform((4, 3, 2)).window((slice(1, 2), slice(0, 3), slice(0, 2)))
    for suffix in (".nc", ".vti", ".vtr"):
        assert write_volume(tmp_path / f"a{suffix}", ramp(1, 3, 2), geometry).exists()


def test_a_block_may_be_a_plain_array(tmp_path: Path) -> None:
    geometry = GridGeometry.uniform((2, 3, 4))
    with VolumeWriter(tmp_path / "a.nc", geometry) as writer:
        writer.write(None, ramp(2, 3, 4))
    assert np.array_equal(open_volume(tmp_path / "a.nc").read().values[0], ramp(2, 3, 4))


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    geometry = GridGeometry.uniform((2, 3, 4))
    for suffix in (".nc", ".vti", ".vtr"):
        path = tmp_path / f"a{suffix}"
        path.write_text("the old one")
        with VolumeWriter(path, geometry) as writer:
            writer.write((slice(0, 1), slice(0, 3), slice(0, 4)), ramp(1, 3, 4))
            assert path.read_text() == "the old one"
            writer.write((slice(1, 2), slice(0, 3), slice(0, 4)), ramp(1, 3, 4))
        assert path.stat().st_size > 90
    assert len(list(tmp_path.iterdir())) == 3


def test_a_failure_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    geometry = GridGeometry.uniform((2, 3, 4))
    for suffix in (".nc", ".vti", ".vtr"):
        path = tmp_path / f"a{suffix}"
        path.write_text("the old one")
        with pytest.raises(ZeroDivisionError), VolumeWriter(path, geometry) as writer:
            writer.write((slice(0, 1), slice(0, 3), slice(0, 4)), ramp(1, 3, 4))
            raise ZeroDivisionError
        assert path.read_text() == "the old one"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_gap_is_an_error(tmp_path: Path) -> None:
    geometry = GridGeometry.uniform((2, 3, 4))
    with (
        pytest.raises(OutputError, match="Only 12 of 24"),
        VolumeWriter(tmp_path / "a.nc", geometry) as writer,
    ):
        writer.write((slice(0, 1), slice(0, 3), slice(0, 4)), ramp(1, 3, 4))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (ramp(3, 3, 4), "its extent needs"),
        (ramp(2, 2, 3, 4), "its extent needs"),
        (Block(ramp(1, 2, 3, 4), np.ones((2, 3), bool)), "mask"),
    ],
)
def test_blocks_must_fit_their_extent(tmp_path: Path, block: Any, message: str) -> None:
    with (
        pytest.raises(VolumeError, match=message),
        VolumeWriter(tmp_path / "a.nc", GridGeometry.uniform((2, 3, 4))) as writer,
    ):
        writer.write(None, block)


def test_exporting_again_replaces_the_volume(tmp_path: Path) -> None:
    masked = ramp(2, 3, 4)
    masked[0, 0, 0] = np.nan
    export_volume(volume_from_array(masked, name="old"), tmp_path / "v")
    export_volume(volume_from_array(ramp(3, 3, 3), name="new"), tmp_path / "v")
    volume = open_volume(tmp_path / "v")
    assert (volume.name, volume.dims, volume.read().valid) == ("new", (3, 3, 3), None)
    assert sorted(p.name for p in (tmp_path / "v").iterdir()) == ["values.npy", "volume.json"]


def test_a_failed_export_keeps_the_old_volume(tmp_path: Path) -> None:
    export_volume(volume_from_array(ramp(2, 3, 4), name="old"), tmp_path / "v")
    infinite = np.full((3, 3, 3), np.inf)
    with pytest.raises(VolumeError, match="infinite"):
        export_volume(volume_from_array(infinite), tmp_path / "v")
    assert np.array_equal(open_volume(tmp_path / "v", "old").read().values[0], ramp(2, 3, 4))


@pytest.mark.parametrize(
    "name", ["density", "Dichte des Wassers in g/cm\u00b3", "\u5bc6\u5ea6" * 50]
)
@pytest.mark.parametrize("suffix", [".vti", ".vtr"])
def test_vtk_s_parser_finds_the_arrays_even_when_it_is_patient(
    tmp_path: Path, name: str, suffix: str
) -> None:
    """The tag's name ends a block of 4096 bytes; 38 to 49 characters work, see vtk_layout."""
    path = write_volume(
        tmp_path / f"a{suffix}", ramp(5, 6, 7), GridGeometry.uniform((5, 6, 7)), name=name
    )
    content = path.read_bytes()
    start = content.index(b"<AppendedData")
    assert (start + len(b"<AppendedData")) % 4096 == 0
    tag, after = content[start:].split(b">", 1)
    assert 38 <= len(tag) <= 49
    assert after.startswith(b"\n_")
    np.testing.assert_array_equal(open_volume(path).read().values[0], ramp(5, 6, 7))


def test_a_file_is_laid_out_anew_for_a_vtk_that_does_not_find_its_arrays(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "a.vti", ramp(5, 6, 7), GridGeometry.uniform((5, 6, 7)))
    assert laid_out_copy(path) is None
    content = path.read_bytes()
    start = content.index(b"<AppendedData")
    end = content.index(b">", start) + 1
    arrays = content[end:]
    path.write_bytes(content[:start].rstrip(b" ") + b'<AppendedData encoding="raw">' + arrays)
    with laid_out_copy(path) as copy:
        assert (Path(copy.name).read_bytes().index(b"<AppendedData") + 13) % 4096 == 0
        assert Path(copy.name).read_bytes().endswith(arrays)
        np.testing.assert_array_equal(open_volume(copy.name).read().values[0], ramp(5, 6, 7))
    assert not Path(copy.name).exists()


def test_an_exported_volume_has_one_variable_and_one_time(tmp_path: Path) -> None:
    export_volume(
        volume_from_array(ramp(3, 2, 3, 4), name="wind", components="uvw", time=NOON), tmp_path
    )
    for names in (None, "wind", ["u", "v", "w"]):
        assert open_volume(tmp_path, names).n_components == 3
    with pytest.raises(VariableNotFoundError, match="holds 'wind', not 'rain'"):
        open_volume(tmp_path, "rain")
    for step in (1, 12.0, "2000-01-01T12"):
        assert open_volume(tmp_path, time=step).time == NOON
    with pytest.raises(VolumeError, match="another time step"):
        open_volume(tmp_path, time=0)


def test_exported_arrays_are_mapped(tmp_path: Path) -> None:
    volume: Any = open_volume(export_volume(volume_from_array(ramp(2, 3, 4)), tmp_path / "v"))
    assert all(isinstance(values.base, np.memmap) for values in volume._values)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "something else"},
        {"version": 2},
        {"components": ["a", "b"]},
        {"geometry": {}},
        {"units": 3},
        {"missing": None},
        {"time": {"units": "s"}},
        {"dtype": "colour"},
    ],
)
def test_a_damaged_description_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    export_volume(volume_from_array(ramp(2, 3, 4)), tmp_path)
    description = json.loads((tmp_path / "volume.json").read_text())
    (tmp_path / "volume.json").write_text(json.dumps({**description, **change}))
    with pytest.raises(VolumeError):
        open_volume(tmp_path)
