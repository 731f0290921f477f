"""Blocks of values as VTK data sets, and the model that a data set carries in its field data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vtkmodules.vtkCommonCore import vtkStringArray
from vtkmodules.vtkCommonDataModel import vtkDataObject
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline

from amgsrn_core.volume import Extent, GridGeometry
from amgsrn_core.volume.vtk.dataset import (
    VTKExtent as VTKExtent,
)
from amgsrn_core.volume.vtk.dataset import (
    new_dataset as new_dataset,
)
from amgsrn_core.volume.vtk.dataset import (
    set_arrays as set_arrays,
)
from amgsrn_core.volume.vtk.dataset import (
    set_description as set_description,
)
from amgsrn_core.volume.vtk.dataset import (
    set_geometry as set_geometry,
)
from amgsrn_core.volume.vtk.dataset import (
    whole_extent as whole_extent,
)

MODEL = "amgsrn_model"
STATE = "amgsrn_state"


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


def to_slices(extent: Sequence[int]) -> Extent:
    """Return VTK's extent as half-open ranges along z, y, x."""
    x0, x1, y0, y1, z0, z1 = extent
    return slice(z0, z1 + 1), slice(y0, y1 + 1), slice(x0, x1 + 1)


def is_empty(extent: Sequence[int]) -> bool:
    """Tell whether a rank has nothing to do for this extent."""
    return any(extent[2 * i] > extent[2 * i + 1] for i in range(3))
