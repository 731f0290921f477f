"""A network's feature grids as boxes in the world."""

from __future__ import annotations

import math

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import (
    VTK_HEXAHEDRON,
    vtkCellArray,
    vtkCompositeDataSet,
    vtkMultiBlockDataSet,
    vtkUnstructuredGrid,
)

from amgsrn_core.volume import GridGeometry

# VTK's order of a hexahedron's corners.
_CORNERS = np.array(
    [
        (-1, -1, -1),
        (1, -1, -1),
        (1, 1, -1),
        (-1, 1, -1),
        (-1, -1, 1),
        (1, -1, 1),
        (1, 1, 1),
        (-1, 1, 1),
    ],
    dtype=np.float64,
)


def fill_boxes(
    output: vtkMultiBlockDataSet, transforms: np.ndarray, geometry: GridGeometry
) -> None:
    """Put one box per feature grid into a multi-block data set.

    A grid covers the points that its affine map sends into [-1, 1]^3; the box is that region in
    the world.

    Parameters
    ----------
    output : vtkMultiBlockDataSet
        Gets a block "Grid i" with one cell per grid. The cell's arrays are `grid`, its number, and
        `density`, what the grid adds to the feature density inside its box.
    transforms : ndarray, shape [G, 3, 4]
        From the volume's local coordinates to each grid's.
    geometry : GridGeometry
        The volume's place in the world.
    """
    output.SetNumberOfBlocks(len(transforms))
    for number, corners in enumerate(box_corners(transforms)):
        name = f"Grid {number}"
        output.GetMetaData(number).Set(vtkCompositeDataSet.NAME(), name)
        if corners is None:
            continue
        box = _hexahedron(geometry.local_to_world(corners))
        determinant = float(np.linalg.det(transforms[number, :, :3].astype(np.float64)))
        for key, value in (
            ("grid", np.array([number], dtype=np.int32)),
            ("density", np.array([determinant / (2.0 * math.pi) ** 1.5])),
        ):
            array = numpy_to_vtk(value, deep=True)
            array.SetName(key)
            box.GetCellData().AddArray(array)
        output.SetBlock(number, box)


def box_corners(transforms: np.ndarray) -> list[np.ndarray | None]:
    """Return the corners [8, 3] of each grid in the volume's local coordinates.

    A map that squeezes space flat has no box; its entry is None.
    """
    corners: list[np.ndarray | None] = []
    for transform in np.asarray(transforms, dtype=np.float64):
        linear, shift = transform[:, :3], transform[:, 3]
        if not np.isfinite(transform).all() or abs(np.linalg.det(linear)) < 1e-12:
            corners.append(None)
        else:
            corners.append(np.linalg.solve(linear, (_CORNERS - shift).T).T)
    return corners


def _hexahedron(corners: np.ndarray) -> vtkUnstructuredGrid:
    points = vtkPoints()
    points.SetDataTypeToDouble()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(corners), deep=True))
    cells = vtkCellArray()
    cells.InsertNextCell(8, list(range(8)))
    grid = vtkUnstructuredGrid()
    grid.SetPoints(points)
    grid.SetCells(VTK_HEXAHEDRON, cells)
    return grid
