"""What a training shows, as the trainer's outputs: a preview, a table, boxes."""

from __future__ import annotations

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import (
    VTK_HEXAHEDRON,
    vtkCellArray,
    vtkCompositeDataSet,
    vtkImageData,
    vtkMultiBlockDataSet,
    vtkTable,
    vtkUnstructuredGrid,
)

from amgsrn_paraview import datasets
from amgsrn_paraview.model_file import carry_network
from amgsrn_paraview.session import Shown

# From corners that run through x fastest to VTK's order of a hexahedron's corners.
_HEXAHEDRON = [0, 1, 3, 2, 4, 5, 7, 6]


def fill_preview(output: vtkImageData, shown: Shown) -> None:
    """Show the decoded values; the finished model travels along in the field data."""
    datasets.set_geometry(output, shown.geometry, datasets.whole_extent(shown.geometry))
    preview = datasets.clamped(shown.preview, shown.looks.ranges)
    datasets.set_arrays(output, preview, shown.name, shown.components)
    datasets.set_look(output, shown.geometry, shown.looks, is_preview=True)
    datasets.set_state(output, shown.status.state)
    if shown.model is not None:
        datasets.set_model(output, *shown.model)
        carry_network(output, *shown.model)


def fill_history(output: vtkTable, shown: Shown) -> None:
    """Show one row every few iterations."""
    if shown.live is None:
        return
    for name, column in zip(shown.live.history_columns, shown.live.history.T):
        output.AddColumn(_named(column, name))


def fill_feature_grids(output: vtkMultiBlockDataSet, shown: Shown) -> None:
    """Show a box per feature grid: the region of the world that the grid covers.

    Each is a block "Grid i" with one cell, whose arrays are `grid`, its number, and `density`,
    what the grid adds to the feature density inside its box. A grid that is squeezed flat has no
    box; its block is empty.
    """
    if shown.live is None:
        return
    output.SetNumberOfBlocks(len(shown.live.corners))
    for number, corners in enumerate(shown.live.corners):
        if np.isfinite(corners).all():
            box = _hexahedron(corners[_HEXAHEDRON])
            box.GetCellData().AddArray(_named(np.array([number], dtype=np.int32), "grid"))
            density = shown.live.densities[number : number + 1]
            box.GetCellData().AddArray(_named(density, "density"))
            output.SetBlock(number, box)
        output.GetMetaData(number).Set(vtkCompositeDataSet.NAME(), f"Grid {number}")


def _hexahedron(corners: np.ndarray) -> vtkUnstructuredGrid:
    points = vtkPoints()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(corners, dtype=np.float64), deep=True))
    cells = vtkCellArray()
    cells.InsertNextCell(8, list(range(8)))
    grid = vtkUnstructuredGrid()
    grid.SetPoints(points)
    grid.SetCells(VTK_HEXAHEDRON, cells)
    return grid


def _named(values: np.ndarray, name: str) -> object:
    array = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
    array.SetName(name)
    return array
