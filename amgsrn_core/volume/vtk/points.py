"""The points, or the centres of the cells, of any VTK data set, a part at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume.vtk.data import import_vtk


class DatasetPoints:
    """World coordinates of a vtkDataSet's points or cell centres.

    Parameters
    ----------
    dataset : vtkDataSet
        Image data, a rectilinear grid, or anything with points of its own.
    cells : bool
        Take the centres of the cells.

    Attributes
    ----------
    count : int

    Raises
    ------
    VolumeError
        It is no vtkDataSet.
    """

    def __init__(self, dataset: Any, *, cells: bool = False) -> None:
        if not dataset.IsA("vtkDataSet"):
            raise VolumeError(f"{dataset.GetClassName()} has no points to sample at.")
        self.count = int(dataset.GetNumberOfCells() if cells else dataset.GetNumberOfPoints())
        self._points = _lookup(dataset, cells) if self.count else np.empty((0, 3)).__getitem__

    def __getitem__(self, part: slice) -> np.ndarray:
        """Return some of the points, float64 [n, 3], columns x, y, z."""
        return np.asarray(self._points(part), dtype=np.float64)


def _lookup(dataset: Any, cells: bool) -> Callable[[slice], np.ndarray]:
    to_numpy = import_vtk("util.numpy_support").vtk_to_numpy
    if cells:
        centres = import_vtk("vtkCommonCore").vtkDoubleArray()
        centres.SetNumberOfComponents(3)
        centres.SetNumberOfTuples(dataset.GetNumberOfCells())
        import_vtk("vtkFiltersCore").vtkCellCenters.ComputeCellCenters(dataset, centres)
        return to_numpy(centres).__getitem__
    if dataset.IsA("vtkPointSet"):
        return to_numpy(dataset.GetPoints().GetData()).__getitem__
    extent = dataset.GetExtent()
    if dataset.IsA("vtkImageData"):
        lines = [np.arange(extent[2 * i], extent[2 * i + 1] + 1.0) for i in range(3)]
        matrix = dataset.GetIndexToPhysicalMatrix()
        rows = np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(3)])
    elif dataset.IsA("vtkRectilinearGrid"):
        lines = [to_numpy(getattr(dataset, f"Get{axis}Coordinates")()) for axis in "XYZ"]
        rows = np.eye(3, 4)
    else:
        raise VolumeError(f"{dataset.GetClassName()} has no points to sample at.")
    shape = tuple(len(line) for line in reversed(lines))

    def on_grid(part: slice) -> np.ndarray:
        z, y, x = np.unravel_index(np.arange(part.start, part.stop), shape)
        index = np.stack([lines[0][x], lines[1][y], lines[2][z]], axis=1)
        return np.asarray(index @ rows[:, :3].T + rows[:, 3])

    return on_grid
