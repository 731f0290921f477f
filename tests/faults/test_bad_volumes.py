"""Volumes that cannot be used, and places that cannot be written: one sentence, nothing lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.sample_volumes import coordinate, field, ramp, write_netcdf
from support.small_disk import mounted

from amgsrn_core.errors import (
    AmgsrnError,
    OutputError,
    VariableNotFoundError,
    VolumeError,
    VolumeNotFoundError,
)
from amgsrn_core.volume import (
    Axis,
    GridGeometry,
    VolumeWriter,
    export_volume,
    open_volume,
    volume_from_array,
    write_volume,
)

UNIT = GridGeometry.uniform((2, 3, 4))
is_root = hasattr(os, "geteuid") and os.geteuid() == 0


def one_sentence(error: BaseException) -> bool:
    """Whether a message is a single clear sentence: a capital or a name first, a stop last."""
    message = str(error)
    return (
        "\n" not in message and message.rstrip('"').endswith((".", "netCDF4")) and len(message) > 9
    )


def refused(kind: type[AmgsrnError], text: str, function: Any, *arguments: Any) -> str:
    with pytest.raises(kind, match=text) as caught:
        function(*arguments)
    assert one_sentence(caught.value), str(caught.value)
    return str(caught.value)


# --- the file


def test_a_missing_file(tmp_path: Path) -> None:
    message = refused(VolumeNotFoundError, "There is no file", open_volume, tmp_path / "a.nc")
    assert "a.nc" in message
    with pytest.raises(FileNotFoundError):
        open_volume(tmp_path / "a.nc")


def test_a_file_that_vanishes_after_opening(tmp_path: Path) -> None:
    path = write_netcdf(tmp_path / "a.nc", {"v": field(ramp(2, 3, 4))})
    volume = open_volume(path)
    path.unlink()
    refused(VolumeNotFoundError, "There is no file", volume.read)


def test_a_folder_without_a_volume(tmp_path: Path) -> None:
    refused(VolumeNotFoundError, "folder without a volume", open_volume, tmp_path)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.nc").touch()
    refused(VolumeError, "is empty", open_volume, tmp_path / "a.nc")


@pytest.mark.parametrize("content", [b"<html><body/></html>", b"\0" * 5000, b"PK\3\4"])
def test_a_foreign_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.nc").write_bytes(content)
    refused(VolumeError, "use NetCDF, .vti, .vtr", open_volume, tmp_path / "a.nc")


@pytest.mark.parametrize("kind", ["PolyData", "Collection", "Table"])
def test_another_kind_of_vtk_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.vtp").write_text(f'<?xml version="1.0"?><VTKFile type="{kind}">')
    message = refused(VolumeError, f"holds {kind};", open_volume, tmp_path / "a.vtp")
    assert "open it in ParaView, apply Resample To Image" in message


@pytest.mark.parametrize("kind", ["UnstructuredGrid", "vtkMultiBlockDataSet"])
def test_a_truncated_mesh(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.vtu").write_text(f'<?xml version="1.0"?><VTKFile type="{kind}">')
    refused(VolumeError, "is truncated", open_volume, tmp_path / "a.vtu")


def test_an_empty_mesh_and_one_whose_pieces_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.vtu"
    path.write_text('<?xml version="1.0"?><VTKFile type="UnstructuredGrid"></VTKFile>')
    refused(VolumeError, "is damaged or holds no points", open_volume, path)
    path.write_text(
        '<?xml version="1.0"?><VTKFile type="vtkMultiBlockDataSet" version="1.0">'
        '<vtkMultiBlockDataSet><DataSet index="0" file="a/b.vtu"/></vtkMultiBlockDataSet></VTKFile>'
    )
    refused(VolumeNotFoundError, "There is no file.*b.vtu", open_volume, path)


def test_a_legacy_vtk_file(tmp_path: Path) -> None:
    (tmp_path / "a.vtk").write_text("# vtk DataFile Version 3.0\n")
    refused(VolumeError, "legacy VTK file.*save it as .vti", open_volume, tmp_path / "a.vtk")


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT_DATA"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.95])
def test_a_truncated_netcdf_file(tmp_path: Path, kind: str, part: float) -> None:
    path = write_netcdf(tmp_path / "a.nc", {"v": field(ramp(20, 20, 20))}, kind)
    os.truncate(path, int(path.stat().st_size * part))
    refused(VolumeError, "truncated", lambda: open_volume(path).check())


def test_a_netcdf_file_with_damaged_content(tmp_path: Path) -> None:
    random = np.random.default_rng(1).normal(size=(20, 20, 20)).astype("f4")
    path = write_netcdf(tmp_path / "a.nc", {"v": field(random)}, zlib=True, fletcher32=True)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)
    refused(VolumeError, "damaged", open_volume(path).read)


@pytest.mark.parametrize("suffix", [".vti", ".vtr"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_truncated_vtk_file(tmp_path: Path, suffix: str, part: float) -> None:
    pytest.importorskip("vtkmodules.vtkIOXML")
    path = write_volume(tmp_path / f"a{suffix}", ramp(2, 3, 4), UNIT)
    os.truncate(path, int(path.stat().st_size * part))
    refused(VolumeError, "truncated", open_volume, path)


def test_a_vtk_file_with_damaged_content(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    io = pytest.importorskip("vtkmodules.vtkIOXML")
    path = write_volume(tmp_path / "a.vti", ramp(20, 20, 20), GridGeometry.uniform((20, 20, 20)))
    reader, writer = io.vtkXMLImageDataReader(), io.vtkXMLImageDataWriter()
    for each in (reader, writer):
        each.SetFileName(str(path))
    writer.SetInputConnection(reader.GetOutputPort())
    writer.EncodeAppendedDataOff()
    reader.Update()
    assert writer.Write() == 1  # compressed now
    content = path.read_bytes()
    assert open_volume(path).read().values.max() == 8000
    middle = (content.index(b"AppendedData") + len(content)) // 2
    for damaged in (
        content.replace(b"<Piece ", b"<Pieces "),
        content.replace(b'WholeExtent="0 19', b'WholeExtent="0 -1'),
        content[:middle] + bytes(200) + content[middle + 200 :],
    ):
        path.write_bytes(damaged)
        refused(VolumeError, "damaged", lambda: open_volume(path).read())
    # VTK's own complaints would only bury the sentence.
    assert capfd.readouterr().err == ""


def test_a_damaged_export(tmp_path: Path) -> None:
    export_volume(volume_from_array(ramp(2, 3, 4)), tmp_path)
    values = (tmp_path / "values.npy").read_bytes()
    (tmp_path / "values.npy").write_bytes(values[:-4])
    refused(VolumeError, "missing or damaged", open_volume, tmp_path)
    (tmp_path / "values.npy").unlink()
    refused(VolumeError, "missing or damaged", open_volume, tmp_path)
    (tmp_path / "volume.json").write_text("{")
    refused(VolumeError, "cannot be read", open_volume, tmp_path)


# --- what is in it


def test_an_unknown_variable(tmp_path: Path) -> None:
    path = write_netcdf(tmp_path / "a.nc", {"v": field(ramp(2, 3, 4))})
    refused(VariableNotFoundError, r"no variable 'w'.*v \(z 2, y 3, x 4\)", open_volume, path, "w")
    refused(VariableNotFoundError, "no variable 'w'", open_volume, path, ["v", "w"])


def test_a_file_without_any_volume(tmp_path: Path) -> None:
    path = write_netcdf(
        tmp_path / "a.nc", {"a": (("y", "x"), ramp(3, 4), {}), "b": (("y",), ramp(3), {})}
    )
    refused(VariableNotFoundError, r"a \(y 3, x 4\); b \(y 3\)", open_volume, path)


@pytest.mark.parametrize("shape", [(4,), (3, 4)])
def test_too_few_dimensions(tmp_path: Path, shape: tuple[int, ...]) -> None:
    names = ("y", "x")[-len(shape) :]
    path = write_netcdf(tmp_path / "a.nc", {"v": (names, ramp(*shape), {})})
    for variables in ("v", None):
        refused(VolumeError, "a volume needs three", open_volume, path, variables)
    refused(VolumeError, "a volume needs three", volume_from_array, ramp(*shape))


def test_a_map_that_changes_in_time_is_no_volume(tmp_path: Path) -> None:
    path = write_netcdf(tmp_path / "a.nc", {"v": (("time", "y", "x"), ramp(5, 3, 4), {})})
    refused(VolumeError, r"2 dimensions \(y 3, x 4\)", open_volume, path, "v")


def test_too_many_dimensions(tmp_path: Path) -> None:
    path = write_netcdf(tmp_path / "a.nc", {"v": (("m", "z", "y", "x"), ramp(5, 2, 3, 4), {})})
    refused(VolumeError, "4 dimensions, none .* time .*m 5, z 2.* ncks -d m,0", open_volume, path)
    refused(VolumeError, "a volume needs three", volume_from_array, ramp(2, 2, 2, 3, 4))


@pytest.mark.parametrize("shape", [(1, 3, 4), (2, 3, 1), (1, 1, 1)])
def test_fewer_than_two_samples(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = write_netcdf(tmp_path / "a.nc", {"v": field(ramp(*shape))})
    refused(VolumeError, "fewer than 2 samples along", open_volume, path, "v")
    refused(VolumeError, "fewer than 2 samples along", volume_from_array, ramp(*shape))


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (0, 0, 0)])
def test_sizes_of_zero(shape: tuple[int, ...]) -> None:
    refused(VolumeError, "fewer than 2 samples", volume_from_array, np.zeros(shape))
    refused(VolumeError, "at least one sample|needs a list", GridGeometry.uniform, shape)


def test_negative_sizes() -> None:
    refused(VolumeError, "at least one sample", GridGeometry.uniform, (2, -3, 4))
    refused(VolumeError, "cannot be resampled", UNIT.resampled, (2, -3, 4))
    refused(VolumeError, "empty", UNIT.window, (slice(0, 2), slice(2, 1), slice(0, 4)))


@pytest.mark.parametrize("dtype", ["c8", "U3", "O", "M8[s]"])
def test_arrays_without_real_numbers(dtype: str) -> None:
    refused(VolumeError, "no real numbers", volume_from_array, np.zeros((2, 3, 4), dtype))


def test_a_constant_field(tmp_path: Path) -> None:
    constant = np.full((2, 3, 4), 7.0)
    path = write_netcdf(tmp_path / "a.nc", {"v": field(constant)})
    for volume in (
        open_volume(path),
        volume_from_array(constant, name="v"),
        volume_from_array(np.stack([constant, constant]), name="v"),
    ):
        refused(VolumeError, "'v' is constant", volume.check)
    # Also where everything else is missing.
    constant[0] = np.nan
    refused(VolumeError, "is constant", volume_from_array(constant).check)


@pytest.mark.parametrize("attributes", [{}, {"_FillValue": np.float32(-1)}])
def test_nothing_but_missing_values(tmp_path: Path, attributes: dict[str, Any]) -> None:
    values = np.full((2, 3, 4), attributes.get("_FillValue", np.nan), "f4")
    path = write_netcdf(tmp_path / "a.nc", {"v": field(values, **attributes)})
    refused(VolumeError, "no valid value", open_volume(path).check)
    refused(VolumeError, "no valid value", volume_from_array(values, valid=values > 0).check)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values(tmp_path: Path, value: float) -> None:
    values = ramp(4, 3, 4, dtype="f8")
    values[3, 1, 2] = value
    path = write_netcdf(tmp_path / "a.nc", {"v": field(values)})
    for volume in (open_volume(path), volume_from_array(values)):
        for use in (volume.check, volume.read):
            refused(VolumeError, "infinite values.*z=3, y=1, x=2", use)
        assert volume.read((slice(0, 3), slice(0, 3), slice(0, 4))).valid is None
    refused(VolumeError, "infinite", export_volume, volume_from_array(values), tmp_path / "e")
    assert not (tmp_path / "e" / "volume.json").exists()


def test_numbers_beyond_float32_are_not_infinite(tmp_path: Path) -> None:
    values = ramp(4, 3, 4, dtype="f8")
    values[3, 1, 2] = 1e300
    volume = open_volume(write_netcdf(tmp_path / "a.nc", {"v": field(values)}))
    assert volume.read().values.max() == 1e300
    refused(VolumeError, "'v' go from 1 to 1e\\+300.*missing, or use other units", volume.check)


def test_useless_packing(tmp_path: Path) -> None:
    path = write_netcdf(tmp_path / "a.nc", {"v": field(ramp(2, 3, 4), scale_factor="ten")})
    refused(VolumeError, "scale_factor of 'v'", open_volume, path)


def test_an_axis_of_one_value_is_counted_not_refused(tmp_path: Path) -> None:
    path = write_netcdf(
        tmp_path / "a.nc", {"y": coordinate("y", [5, 5, 5]), "v": field(ramp(2, 3, 4))}
    )
    assert open_volume(path).dims == (2, 3, 4)


def test_more_than_the_memory_can_hold() -> None:
    # 2^60 voxels that take no memory themselves: every one is the same.
    values = np.broadcast_to(np.float32(1), (1 << 20, 1 << 20, 1 << 20))
    refused(VolumeError, "not enough memory", volume_from_array(values).read)


# --- the output


@pytest.mark.parametrize("suffix", [".nc", ".vti", ".vtr"])
def test_outputs_that_cannot_be_written(tmp_path: Path, suffix: str) -> None:
    values = ramp(2, 3, 4)
    refused(OutputError, "does not exist", write_volume, tmp_path / f"no/a{suffix}", values, UNIT)
    (tmp_path / "file").touch()
    refused(OutputError, "write", write_volume, tmp_path / f"file/a{suffix}", values, UNIT)
    (tmp_path / f"d{suffix}").mkdir()
    refused(OutputError, "folder", write_volume, tmp_path / f"d{suffix}", values, UNIT)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"d{suffix}", "file"]


@pytest.mark.skipif(is_root, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    refused(OutputError, "permission", write_volume, tmp_path / "a.nc", ramp(2, 3, 4), UNIT)
    refused(OutputError, "permission", export_volume, volume_from_array(ramp(2, 3, 4)), tmp_path)


def test_unknown_formats(tmp_path: Path) -> None:
    for name in ("a.txt", "a"):
        refused(
            VolumeError, "use .nc, .vti or .vtr", write_volume, tmp_path / name, ramp(2, 3, 4), UNIT
        )


def test_geometries_that_a_format_cannot_hold(tmp_path: Path) -> None:
    uneven = GridGeometry((Axis("z", [0, 1, 5]), Axis.uniform("y", 3), Axis.uniform("x", 4)))
    refused(VolumeError, "write .vtr or .nc", VolumeWriter, tmp_path / "a.vti", uneven)
    turned = GridGeometry(UNIT.axes, np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]))
    for suffix in (".nc", ".vtr"):
        refused(VolumeError, "write .vti", VolumeWriter, tmp_path / f"a{suffix}", turned)
    assert list(tmp_path.iterdir()) == []


def test_exports_that_cannot_be_written(tmp_path: Path) -> None:
    volume = volume_from_array(ramp(2, 3, 4))
    refused(OutputError, "no such file", export_volume, volume, tmp_path / "no" / "v")
    (tmp_path / "file").touch()
    refused(OutputError, "Cannot write", export_volume, volume, tmp_path / "file")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    with mounted(tmp_path / "disk", "1m") as place:
        yield place


LARGE = GridGeometry.uniform((16, 256, 256))  # 4 MB


def test_a_disk_that_is_too_small_is_noticed_before_the_work(small_disk: Path) -> None:
    for suffix in (".nc", ".vti", ".vtr"):
        refused(OutputError, "needs 0.00419 GB", VolumeWriter, small_disk / f"a{suffix}", LARGE)
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("suffix", [".nc", ".vti", ".vtr"])
def test_a_disk_that_fills_up_while_writing(
    small_disk: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VolumeWriter, "_require_space", lambda self: None)
    path = small_disk / f"a{suffix}"
    path.write_text("the old one")
    values = np.random.default_rng(0).normal(size=LARGE.dims)
    refused(OutputError, "disk is full", write_volume, path, values, LARGE)
    assert path.read_text() == "the old one"
    assert list(small_disk.iterdir()) == [path]


def test_a_disk_that_fills_up_while_exporting(small_disk: Path) -> None:
    values = np.random.default_rng(0).normal(size=LARGE.dims)
    volume = volume_from_array(values)
    refused(OutputError, "disk is full", export_volume, volume, small_disk / "v")
    assert list((small_disk / "v").iterdir()) == []
    refused(VolumeNotFoundError, "without a volume", open_volume, small_disk / "v")


def test_a_read_only_disk(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    refused(OutputError, "read-only", write_volume, small_disk / "a.nc", ramp(2, 3, 4), UNIT)
    refused(OutputError, "read-only", export_volume, volume_from_array(ramp(2, 3, 4)), small_disk)
