"""Blocks of values as VTK data sets, and the model that a data set carries in its field data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkStringArray
from vtkmodules.vtkCommonDataModel import vtkDataObject, vtkImageData, vtkRectilinearGrid
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline

from amgsrn_core.volume import Block, Extent, GridGeometry

MODEL = "amgsrn_model"
STATE = "amgsrn_state"

VTKExtent = tuple[int, int, int, int, int, int]
"""First and last sample (inclusive) along x, y, z."""


def announce(info: Any, geometry: GridGeometry) -> None:
    """Tell the pipeline which grid an output port is going to have."""
    info.Set(vtkStreamingDemandDrivenPipeline.WHOLE_EXTENT(), whole_extent(geometry), 6)
    info.Set(vtkDataObject.ORIGIN(), geometry.origin, 3)
    info.Set(vtkDataObject.SPACING(), geometry.spacing, 3)
    info.Set(vtkDataObject.DIRECTION(), geometry.direction.ravel().tolist(), 9)


def announce_times(info: Any, times: Sequence[float]) -> None:
    """Tell the pipeline which times an output port has, ascending; without any it has no time."""
    info.Remove(vtkStreamingDemandDrivenPipeline.TIME_STEPS())
    info.Remove(vtkStreamingDemandDrivenPipeline.TIME_RANGE())
    if times:
        info.Set(vtkStreamingDemandDrivenPipeline.TIME_STEPS(), list(times), len(times))
        info.Set(vtkStreamingDemandDrivenPipeline.TIME_RANGE(), [times[0], times[-1]], 2)


def set_geometry(dataset: Any, geometry: GridGeometry, extent: VTKExtent) -> None:
    """Give a vtkImageData or vtkRectilinearGrid the place of an extent of `geometry`."""
    dataset.SetExtent(*extent)
    if isinstance(dataset, vtkImageData):
        dataset.SetOrigin(geometry.origin)
        dataset.SetSpacing(geometry.spacing)
        dataset.SetDirectionMatrix(*geometry.direction.ravel().tolist())
        return
    x, y, z = (
        numpy_to_vtk(axis.coordinates[extent[2 * i] : extent[2 * i + 1] + 1].copy(), deep=True)
        for i, axis in enumerate(reversed(geometry.axes))
    )
    dataset.SetXCoordinates(x)
    dataset.SetYCoordinates(y)
    dataset.SetZCoordinates(z)


def set_arrays(
    dataset: Any, block: Block, name: str, components: Sequence[str], *, suffix: str = ""
) -> None:
    """Put a model's values, which are NaN where they are missing, on the points of a data set.

    The components of one array stay together; scalars that were trained together are arrays of
    their own again. Names get the suffix; the last arrays that are set are the active ones.
    """
    values = block.values
    points = dataset.GetPointData()
    if len(components) > 1 and name == "_".join(components):
        for component, component_name in enumerate(components):
            array = _array(values[component].reshape(-1, 1), component_name + suffix)
            points.AddArray(array)
        first = components[0]
    else:
        first = name
        array = _array(values.reshape(len(values), -1).T, name + suffix)
        for component, component_name in enumerate(components if len(components) > 1 else ()):
            array.SetComponentName(component, component_name)
        points.AddArray(array)
    points.SetActiveScalars(first + suffix)


def set_model(dataset: Any, path: str, checksum: str, step: int = 0) -> None:
    """Note in a data set's field data which model, and which step of it, it is a picture of."""
    array = vtkStringArray()
    array.SetName(MODEL)
    array.InsertNextValue(path)
    array.InsertNextValue(checksum)
    if step:
        array.InsertNextValue(str(step))
    dataset.GetFieldData().AddArray(array)


def get_model(dataset: Any) -> tuple[str, str, int] | None:
    """Return path, checksum and step of the model that a data set carries, or None."""
    array = dataset.GetFieldData().GetAbstractArray(MODEL)
    if array is None or array.GetNumberOfValues() < 2:
        return None
    step = int(array.GetValue(2)) if array.GetNumberOfValues() > 2 else 0
    return array.GetValue(0), array.GetValue(1), step


def set_state(dataset: Any, state: str) -> None:
    """Note in a data set's field data how far the training is that it shows."""
    array = vtkStringArray()
    array.SetName(STATE)
    array.InsertNextValue(state)
    dataset.GetFieldData().AddArray(array)


def is_in_training(dataset: Any) -> bool:
    """Tell whether a data set shows a model that is going to be."""
    return dataset is not None and dataset.GetFieldData().GetAbstractArray(STATE) is not None


def new_dataset(geometry: GridGeometry) -> Any:
    """Return an empty data set of the kind that holds this geometry."""
    return vtkImageData() if geometry.is_uniform else vtkRectilinearGrid()


def whole_extent(geometry: GridGeometry) -> VTKExtent:
    """Return the extent of all samples."""
    nz, ny, nx = geometry.dims
    return 0, nx - 1, 0, ny - 1, 0, nz - 1


def to_slices(extent: Sequence[int]) -> Extent:
    """Return VTK's extent as half-open ranges along z, y, x."""
    x0, x1, y0, y1, z0, z1 = extent
    return slice(z0, z1 + 1), slice(y0, y1 + 1), slice(x0, x1 + 1)


def is_empty(extent: Sequence[int]) -> bool:
    """Tell whether a rank has nothing to do for this extent."""
    return any(extent[2 * i] > extent[2 * i + 1] for i in range(3))


def _array(values: np.ndarray, name: str) -> Any:
    array = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
    array.SetName(name)
    return array
