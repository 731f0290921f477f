"""Meshes in VTK's files, in Python and in the shell."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkMultiBlockDataSet, vtkStructuredGrid
from vtkmodules.vtkFiltersGeneral import vtkDataSetTriangleFilter
from vtkmodules.vtkIOXML import (
    vtkXMLMultiBlockDataWriter,
    vtkXMLStructuredGridWriter,
    vtkXMLUnstructuredGridWriter,
)

from amgsrn_core import open_volume
from amgsrn_core.cli import main
from amgsrn_core.config import MeshConfig
from amgsrn_core.errors import VariableNotFoundError
from amgsrn_core.model import read_index
from amgsrn_core.volume.open import variable_names
from amgsrn_core.volume.vtk.known import SAMPLING

TINY = ["--iterations", "20", "--batch", "256", "--grids", "2", "--grid-shape", "4,4,4"]


def bend():
    """A bent box, as a structured grid, with the point arrays a and b and the cell array c."""
    z, y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in (6, 7, 8)), indexing="ij")
    where = np.stack([x, y + x**2, z], axis=-1).reshape(-1, 3)
    points = vtkPoints()
    points.SetData(numpy_to_vtk(where, deep=True))
    grid = vtkStructuredGrid()
    grid.SetDimensions(8, 7, 6)
    grid.SetPoints(points)
    for name, values in (("a", where[:, 0] + where[:, 2]), ("b", where[:, 1])):
        array = numpy_to_vtk(values, deep=True)
        array.SetName(name)
        grid.GetPointData().AddArray(array)
    cells = numpy_to_vtk(np.arange(5.0 * 6 * 7), deep=True)
    cells.SetName("c")
    grid.GetCellData().AddArray(cells)
    return grid


def write(writer, dataset, path, mode="Binary"):
    writer = writer()
    writer.SetFileName(str(path))
    writer.SetInputData(dataset)
    getattr(writer, f"SetDataModeTo{mode}")()
    assert writer.Write()
    return path


@pytest.fixture
def files(tmp_path):
    """The same mesh in a structured, an unstructured and a multi-block file."""
    grid, cut = bend(), vtkDataSetTriangleFilter()
    cut.SetInputData(grid)
    cut.Update()
    blocks = vtkMultiBlockDataSet()
    blocks.SetBlock(0, grid)
    return {
        "vts": write(vtkXMLStructuredGridWriter, grid, tmp_path / "m.vts"),
        "vtu": write(vtkXMLUnstructuredGridWriter, cut.GetOutput(), tmp_path / "m.vtu", "Appended"),
        "vtm": write(vtkXMLMultiBlockDataWriter, blocks, tmp_path / "m.vtm"),
    }


def test_every_kind_is_sampled_and_told(files, caplog):
    for path in files.values():
        with caplog.at_level(logging.WARNING):
            volume = open_volume(path, "a", mesh=MeshConfig(sampling_dimensions=(9, 10, 11)))
        assert "Sampled on a 11 x 10 x 9 lattice" in caplog.text
        caplog.clear()
        assert volume.dims == (9, 10, 11) and volume.name == "a" and volume.source == str(path)
        assert volume.attributes.file[SAMPLING].startswith("Sampled on")
        block = volume.read()
        z, _, x = np.meshgrid(*(a.coordinates for a in volume.geometry.axes), indexing="ij")
        np.testing.assert_allclose(block.values[0][block.valid], (x + z)[block.valid], atol=1e-5)
        assert 0.3 < block.valid.mean() < 0.6
        assert set(variable_names(path)) == {"a", "b", "c"}


def test_a_structured_grid_in_index_space(files):
    config = MeshConfig(curvilinear="index")
    volume = open_volume(files["vts"], ("a", "b"), mesh=config)
    assert volume.dims == (6, 7, 8) and volume.components == ("a", "b")
    assert volume.variables == ("a", "b")
    points = vtk_to_numpy(bend().GetPoints().GetData()).reshape(6, 7, 8, 3)
    np.testing.assert_array_equal(volume.coordinates.at(*map(np.arange, volume.dims)), points)
    assert open_volume(files["vts"], "c", mesh=config).dims == (5, 6, 7)


def test_a_choice_has_to_be_made_among_arrays(files):
    with pytest.raises(VariableNotFoundError, match=r"3 arrays.*a \(point\).*c \(cell\)"):
        open_volume(files["vtu"])
    with pytest.raises(VariableNotFoundError, match="no array 'd'"):
        open_volume(files["vtm"], "d")


def test_the_shell_trains_and_measures_meshes(files, tmp_path, capsys, caplog):
    model = str(tmp_path / "m.amgsrn")
    mesh = ["train", str(files["vtu"]), "--variable", "a", "-o", model, "--device", "cpu"]
    assert main([*mesh, *TINY, "--sampling-dimensions", "9,10,11"]) == 0
    assert "Sampled on a 11 x 10 x 9 lattice" in caplog.text
    assert read_index(model).geometry.dims == (9, 10, 11)
    assert main(["test", model, "--against", str(files["vtu"]), "--device", "cpu"]) == 0
    assert main([*mesh, *TINY, "--restart", "--fill-values", "-1"]) == 1
    assert "sampled before its fill values" in capsys.readouterr().err
    bricks = [*mesh[:5], str(tmp_path / "b.amgsrn"), "--device", "cpu", "--bricks", "1,1,2"]
    assert main([*bricks, *TINY]) == 0
    curved = str(tmp_path / "c.amgsrn")
    grid = ["train", str(files["vts"]), "--variable", "a", "-o", curved, "--device", "cpu"]
    assert main([*grid, *TINY, "--curvilinear", "index"]) == 0
    assert read_index(curved).coordinates is not None
    assert main(["test", curved, "--against", str(files["vts"]), "--device", "cpu"]) == 0
