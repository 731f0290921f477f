"""Volumes in memory, and what all volumes share: extents, slabs, the check of the values."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sample_volumes import field, ramp, write_netcdf

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume import (
    GridGeometry,
    MissingValues,
    TimeAxis,
    Volume,
    open_volume,
    volume_from_array,
)
from amgsrn_core.volume.netcdf.library import import_netcdf4


def test_a_scalar_array() -> None:
    values = ramp(2, 3, 4, dtype="f8")
    volume = volume_from_array(values, name="density", units="kg", spacing=(1, 2, 3))
    assert (volume.name, volume.components, volume.units) == ("density", ("density",), ("kg",))
    assert (volume.dims, volume.n_components, volume.source) == ((2, 3, 4), 1, "memory")
    assert volume.geometry.bounds == (0, 3, 0, 4, 0, 3)
    assert volume.source_nbytes == 24 * 8
    block = volume.read()
    assert (block.values.dtype, block.values.shape, block.valid) == (np.float64, (1, 2, 3, 4), None)
    assert np.array_equal(block.values[0], values)


@pytest.mark.parametrize(
    ("count", "names"), [(2, ("v_0", "v_1")), (3, ("v_x", "v_y", "v_z")), (1, ("v",))]
)
def test_components_get_names(count: int, names: tuple[str, ...]) -> None:
    assert volume_from_array(ramp(count, 2, 3, 4), name="v").components == names


def test_masked_arrays_and_masks_combine() -> None:
    values = np.ma.masked_equal(ramp(2, 2, 3, 4), 1)
    valid = np.ones((2, 3, 4), bool)
    valid[1, 1, 1] = False
    values[1, 0, 0, 3] = np.nan
    block = volume_from_array(values, valid=valid).read()
    assert np.argwhere(~block.valid).tolist() == [[0, 0, 0], [0, 0, 3], [1, 1, 1]]
    assert (block.values[:, ~block.valid] == 0).all()


def test_the_array_is_not_copied() -> None:
    values = ramp(2, 3, 4)
    volume = volume_from_array(values)
    values[0, 0, 0] = 77
    assert volume.read().values[0, 0, 0, 0] == 77


@pytest.mark.parametrize("dtype", ["?", "i1", "u8", "f2", ">f4", ">i2", "f8"])
def test_any_real_type(dtype: str) -> None:
    values = (ramp(2, 3, 4) % 2).astype(dtype)
    assert np.array_equal(volume_from_array(values).read().values[0], values.astype("f4"))


@given(st.data())
def test_any_extent_is_the_same_part_of_the_whole(data: st.DataObject) -> None:
    values = ramp(2, 4, 5, 6)
    values[0, ::2, 1, 3] = np.nan
    volume = volume_from_array(values)
    whole = volume.read()
    extent = []
    for size in volume.dims:
        start = data.draw(st.integers(0, size - 1))
        extent.append(slice(start, data.draw(st.integers(start + 1, size))))
    z, y, x = extent
    part = volume.read((z, y, x))
    assert np.array_equal(part.values, whole.values[:, z, y, x])
    expected = whole.valid[z, y, x]
    assert np.array_equal(np.ones_like(expected) if part.valid is None else part.valid, expected)
    # None means that nothing is missing, never that nobody looked.
    assert (part.valid is None) == bool(expected.all())


@given(st.integers(2, 30), st.integers(1, 9), st.integers(1, 2000))
def test_slabs_cover_everything_once(nz: int, chunk: int, max_bytes: int) -> None:
    volume = volume_from_array(np.zeros((nz, 3, 4), "f4"))
    volume.__class__ = type("Chunked", (type(volume),), {"_chunk_depth": chunk})
    extents = list(volume.slabs(max_bytes))
    assert [z.start for z, _, _ in extents] == [0, *[z.stop for z, _, _ in extents[:-1]]]
    assert extents[-1][0].stop == nz
    slices = max(1, max_bytes // 48)
    for z, y, x in extents:
        assert (y, x) == (slice(0, 3), slice(0, 4))
        assert 1 <= z.stop - z.start <= slices
    if slices >= chunk:
        assert all(z.start % chunk == 0 for z, _, _ in extents)


def test_check_returns_the_range_of_the_valid_voxels() -> None:
    values = ramp(2, 3, 4, 5)
    values[1, 0, 0, 0] = np.nan
    values[0, 2, 3, 4] = np.nan
    summary = volume_from_array(values).check()
    assert summary.minimum.tolist() == [2, 62]
    assert summary.maximum.tolist() == [59, 119]
    assert (summary.valid_count, summary.n_points) == (58, 60)
    assert summary.minimum.dtype == np.float64


def test_check_goes_slab_by_slab(monkeypatch: pytest.MonkeyPatch) -> None:
    values = ramp(8, 3, 4)
    values[5] = np.nan
    volume = volume_from_array(values)
    monkeypatch.setattr("amgsrn_core.volume.volume._SLAB_BYTES", 1)
    summary = volume.check()
    assert (summary.minimum[0], summary.maximum[0], summary.valid_count) == (1, 96, 84)


def test_large_reads_go_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amgsrn_core.volume.volume._PIECE_BYTES", 1)
    values = ramp(2, 8, 3, 4)
    values[0, 6, 1, 1] = np.nan
    block = volume_from_array(values).read((slice(2, 8), slice(0, 3), slice(1, 4)))
    assert np.argwhere(~block.valid).tolist() == [[4, 1, 0]]
    block.values[:, 4, 1, 0] = values[:, 6, 1, 1]
    assert np.array_equal(block.values, values[:, 2:8, :, 1:4], equal_nan=True)


def test_a_field_with_one_constant_component_is_no_constant_field() -> None:
    values = np.stack([ramp(2, 3, 4), np.full((2, 3, 4), 5.0)])
    assert volume_from_array(values).check().minimum.tolist() == [1, 5]


def test_a_geometry_can_be_given() -> None:
    geometry = GridGeometry.uniform((2, 3, 4), origin=(7, 8, 9))
    volume = volume_from_array(ramp(2, 3, 4), geometry=geometry, missing=MissingValues("land"))
    assert volume.geometry is geometry
    assert volume.missing.meaning == "land"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"geometry": GridGeometry.uniform((2, 3, 5))}, "geometry has"),
        ({"components": ["a", "b"]}, "2 names"),
        ({"units": ["m", "s"]}, "2 units"),
        ({"valid": np.ones((2, 3, 5), bool)}, "mask"),
        ({"spacing": (1, 0, 1)}, "spacing greater than zero"),
        ({"spacing": (1, 1, -2)}, "spacing greater than zero"),
        ({"origin": (np.nan, 0, 0)}, "finite origin"),
    ],
)
def test_contradicting_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        volume_from_array(ramp(2, 3, 4), **arguments)


@pytest.mark.parametrize("time", ["2026-01-01", np.datetime64("2026-01-01"), None])
def test_a_time_that_is_no_number_is_refused(time: Any) -> None:
    with pytest.raises(VolumeError, match=r"The times of 'time' are numbers, not .*units"):
        TimeAxis((time,))


def test_a_volume_is_an_interface() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Volume()  # type: ignore[abstract, call-arg]


@pytest.mark.parametrize("chunks", [None, (64, 64, 64)])
def test_a_brick_of_a_huge_file_needs_little_memory(tmp_path: Path, chunks: Any) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    brick = ramp(64, 64, 64)
    # 4.3 GB on paper; only the brick's own pages are ever on the disk.
    path = tmp_path / "huge.nc"
    with import_netcdf4().Dataset(str(path), "w") as dataset:
        for name in "zyx":
            dataset.createDimension(name, 1024)
        variable = dataset.createVariable(
            "v", "f4", ("z", "y", "x"), fill_value=False, chunksizes=chunks
        )
        variable[512:576, 640:704, 320:384] = brick
    assert path.stat().st_size > (4e9 if chunks is None else 1e6)
    program = f"""
import numpy as np
from amgsrn_core.volume import open_volume

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

before = peak()
block = open_volume({str(path)!r}).read((slice(512, 576), slice(640, 704), slice(320, 384)))
assert block.values[0, 0, 0, 0] == 1 and block.values[0, -1, -1, -1] == 64**3
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 200


def test_reading_never_touches_more_than_the_extent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_netcdf(tmp_path / "a.nc", {"v": field(ramp(6, 7, 8))})
    volume: Any = open_volume(path)
    shapes = []
    original = volume._read_raw
    monkeypatch.setattr(
        volume, "_read_raw", lambda *a: shapes.append((raw := original(*a)).shape) or raw
    )
    volume.read((slice(1, 3), slice(2, 6), slice(7, 8)))
    assert shapes == [(2, 4, 1)]
