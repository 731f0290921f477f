"""Variables named in the shell: lists with commas, and names that have commas themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.sample_volumes import field, ramp, write_netcdf

from amgsrn_core.cli import main
from amgsrn_core.cli.options import variables
from amgsrn_core.errors import VolumeNotFoundError
from amgsrn_core.model import read_index
from amgsrn_core.volume import GridGeometry, export_volume, volume_from_array
from amgsrn_core.volume.netcdf.library import import_netcdf4
from amgsrn_core.volume.open import variable_names

NAMES = ("u", "v", "Temperature, K", "a,b,c", "p [Pa]", "größe (µm)", "rho*U", "x=1", " edge ")
SMALL = ["--iterations", "5", "--grids", "2", "--grid-shape", "4,4,4", "--batch", "256"]
SMALL += ["--device", "cpu"]


def netcdf_file(folder: Path) -> Path:
    names = [name for name in NAMES if name == name.strip()]  # NetCDF strips no blanks: no names
    fields = {name: field(ramp(4, 5, 6) + i) for i, name in enumerate(names)}
    return write_netcdf(folder / "a.nc", fields)


def vtk_file(folder: Path) -> Path:
    model = pytest.importorskip("vtkmodules.vtkCommonDataModel")
    support = pytest.importorskip("vtkmodules.util.numpy_support")
    io = pytest.importorskip("vtkmodules.vtkIOXML")
    image = model.vtkImageData()
    image.SetDimensions(6, 5, 4)
    for number, name in enumerate(NAMES):
        array = support.numpy_to_vtk((ramp(4, 5, 6) + number).ravel(), deep=1)
        array.SetName(name)
        image.GetPointData().AddArray(array)
    writer = io.vtkXMLImageDataWriter()
    writer.SetFileName(str(folder / "a.vti"))
    writer.SetInputData(image)
    writer.SetDataModeToBinary()
    writer.Write()
    return folder / "a.vti"


KINDS = pytest.mark.parametrize("make", [netcdf_file, vtk_file])


@KINDS
@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        (None, None),
        ([], None),
        (["u"], ("u",)),
        (["u,v"], ("u", "v")),
        (["u, v", " p [Pa] "], ("u", "v", "p [Pa]")),
        (["u", "v"], ("u", "v")),
        (["Temperature, K"], ("Temperature, K",)),
        (["u,Temperature, K,v"], ("u", "Temperature, K", "v")),
        (["a,b,c"], ("a,b,c",)),
        (["a,b,c,a,b,c"], ("a,b,c", "a,b,c")),
        (["a,b"], ("a", "b")),  # no such names: the error lists those there are
        (["u,,v,"], ("u", "v")),
        (["größe (µm),rho*U,x=1"], ("größe (µm)", "rho*U", "x=1")),
    ],
)
def test_a_whole_text_is_tried_as_one_name_first(
    tmp_path: Path, make: object, given: list[str] | None, chosen: tuple[str, ...] | None
) -> None:
    assert variables(given, str(make(tmp_path))) == chosen  # type: ignore[operator]


def test_a_name_that_begins_with_a_dash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(netcdf_file(tmp_path))
    assert main(["train", source, "-o", "a.amgsrn", "--variable", "-speed"]) == 2
    assert "--OPTION=-VALUE" in capsys.readouterr().err
    assert main(["train", source, "-o", str(tmp_path / "a.amgsrn"), "--variable=-speed"]) == 1
    assert "There is no variable '-speed'" in capsys.readouterr().err


def test_blanks_around_a_name_count_where_the_file_has_them(tmp_path: Path) -> None:
    assert variables([" edge "], str(vtk_file(tmp_path))) == (" edge ",)
    assert variables([" edge ,u"], str(vtk_file(tmp_path))) == (" edge ", "u")


def test_names_in_groups_and_exported_folders(tmp_path: Path) -> None:
    with import_netcdf4().Dataset(str(tmp_path / "a.nc"), "w") as dataset:
        group = dataset.createGroup("run, 1")
        for name, size in zip("zyx", (2, 3, 4)):
            group.createDimension(name, size)
        for name in ("u", "v"):
            group.createVariable(name, "f4", ("z", "y", "x"))[:] = ramp(2, 3, 4)
    path = str(tmp_path / "a.nc")
    assert variables(["/run, 1/u,run, 1/v"], path) == ("/run, 1/u", "run, 1/v")
    volume = volume_from_array(ramp(2, 3, 4), name="a,b", geometry=GridGeometry.uniform((2, 3, 4)))
    export_volume(volume, tmp_path / "folder")
    assert variables(["a,b"], str(tmp_path / "folder")) == ("a,b",)
    assert "a,b" in variable_names(tmp_path / "folder")
    with pytest.raises(VolumeNotFoundError, match="There is no file"):
        variables(["a,b"], str(tmp_path / "nothing.nc"))


@KINDS
def test_a_name_with_a_comma_goes_through_every_command(
    tmp_path: Path, make: object, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(make(tmp_path))  # type: ignore[operator]
    model = str(tmp_path / "a.amgsrn")
    choice = ["--variable", "Temperature, K"]
    assert main(["train", source, "-o", model, *choice, *SMALL]) == 0
    assert read_index(model).components == ("Temperature, K",)
    assert main(["test", model, "--against", source, *choice]) == 0
    assert main(["test", model, "--against", source]) == 0
    picture = ["-o", str(tmp_path / "a.png"), "--hw", "8,8"]
    assert main(["render", model, "--raw", *choice, *picture]) == 0
    assert main(["render", source, *choice, *picture]) == 0
    smaller = ["compress", model, "-o", str(tmp_path / "b.amgsrn"), "--compress-finetune", "0"]
    assert main([*smaller, "--against", source, *choice]) == 0
    capsys.readouterr()
    assert main(["train", source, "-o", model, "--variable", "a,b", *SMALL]) == 1
    assert "'a'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a\\b", "gr\udcfc\udcdfe", "größe", " a", "a,b"])
@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_file_names_of_every_kind(
    tmp_path: Path, name: str, kind: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    source, model, back = (tmp_path / f"{name}.{end}" for end in ("nc", "amgsrn", "back.nc"))
    # What the library would open instead.
    (tmp_path / "a").mkdir()
    write_netcdf(tmp_path / "a" / "b.nc", {"other": field(ramp(2, 3, 4))}, kind)
    written = write_netcdf(tmp_path / "plain.nc", {"u": field(ramp(4, 5, 6))}, kind)
    written.rename(source)
    assert main(["train", str(source), "-o", str(model), *SMALL]) == 0
    assert read_index(model).source.path == source.name
    for command in (
        ["info", str(model)],
        ["info", str(model), "--json", str(tmp_path / "info.json")],
        ["test", str(model), "--against", str(source), "--json", "-"],
        ["reconstruct", str(model), "-o", str(back)],
        ["test", str(model), "--against", str(back), "--variable", "u"],
        ["render", str(model), "--raw", "-o", str(tmp_path / "a.png"), "--hw", "8,8"],
    ):
        assert main(command) == 0, command
    with open(back, "rb") as file, import_netcdf4().Dataset("m", memory=file.read()) as dataset:
        assert np.isfinite(dataset["u"][:]).all()
