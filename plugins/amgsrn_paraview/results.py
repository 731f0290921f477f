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
    if len(shown.live.history) < 2 and shown.status.state != "done":
        return  # VTK reports a curve of one point as an error, in the chart that is open by then
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
            box, density = vtkUnstructuredGrid(), shown.live.densities[number : number + 1]
            grid = np.array([number], dtype=np.int32)
            fill_boxes(box, corners[None], grid=grid, density=density)
            output.SetBlock(number, box)
        output.GetMetaData(number).Set(vtkCompositeDataSet.NAME(), f"Grid {number}")


def fill_boxes(output: vtkUnstructuredGrid, corners: np.ndarray, **cell_data: np.ndarray) -> None:
    """Make a cell of each box, given by its corners [N, 8, 3], x fastest, with its data [N]."""
    points, cells = vtkPoints(), vtkCellArray()
    places = np.ascontiguousarray(corners[:, _HEXAHEDRON], dtype=np.float64).reshape(-1, 3)
    points.SetData(numpy_to_vtk(places, deep=True))
    for first in range(0, len(places), 8):
        cells.InsertNextCell(8, range(first, first + 8))
    output.SetPoints(points)
    output.SetCells(VTK_HEXAHEDRON, cells)
    for name, values in cell_data.items():
        output.GetCellData().AddArray(_named(values, name))


def _named(values: np.ndarray, name: str) -> object:
    array = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
    array.SetName(name)
    return array
