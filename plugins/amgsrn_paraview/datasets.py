"""Blocks of values as VTK data sets, and the model that a data set carries in its field data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import (
    vtkAbstractArray,
    vtkDataArray,
    vtkInformationVector,
    vtkStringArray,
)
from vtkmodules.vtkCommonDataModel import vtkDataObject
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline

from amgsrn_core.rendering.looks import UNITS_PER_DIAGONAL, outline, suggestion
from amgsrn_core.rendering.proportions import display_scale, displayed_diagonal
from amgsrn_core.volume import Block, Extent, GridGeometry
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
    set_places as set_places,
)
from amgsrn_core.volume.vtk.dataset import (
    whole_extent as whole_extent,
)
from amgsrn_paraview import ranks

if TYPE_CHECKING:
    from amgsrn_core.field.neural_volume import NeuralVolume
    from amgsrn_core.model import LookRecord

MODEL = "amgsrn_model"
STATE = "amgsrn_state"
NETWORK = "amgsrn_network"

# How to show a model, for the plugin NeuralVolume on the client. A client knows no values of
# a field array, but the range of each component: of one tuple these are its values.
SCALE = "amgsrn_scale"
UNIT_DISTANCE = "amgsrn_unit_distance"
LOOK = "amgsrn_look:"
OUTLINE = "amgsrn_outline:"


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


def set_network(dataset: Any, network: bytes | str) -> None:
    """Let a data set carry the network that :mod:`amgsrn_core.field.carried` made bytes of.

    A text stands for none and says why.
    """
    if isinstance(network, str):
        array = vtkStringArray()
        array.InsertNextValue(network)
    else:
        array = numpy_to_vtk(np.frombuffer(network, dtype=np.uint8), deep=True)
    array.SetName(NETWORK)
    dataset.GetFieldData().AddArray(array)


@dataclass(frozen=True)
class Looks:
    """How to show a model, or one that is going to be.

    Attributes
    ----------
    looks : tuple of LookRecord
        Of each component and, where there are several, of the magnitude; empty where nobody knows.
    units : tuple of str
    ranges : tuple of (low, high)
        Of each component.
    """

    looks: tuple[LookRecord, ...]
    units: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...]

    @classmethod
    def of_model(cls, volume: NeuralVolume) -> Looks:
        """Return what a model suggests.

        Where it does not stand in the model's file, several ranks go without: to find it out, each
        would need all bricks.
        """
        index, count = volume.index, len(volume.components)
        seen = [*range(count), *(["magnitude"] if count > 1 else [])]
        known = bool(index.looks) or ranks.ranks() == 1
        looks = tuple(suggestion(volume, what) for what in seen) if known else ()
        return cls(looks, volume.units, tuple(zip(index.value_minimum, index.value_maximum)))


def set_look(dataset: Any, geometry: GridGeometry, looks: Looks, *, is_preview: bool) -> None:
    """Note in a data set's field data how to show a model at first.

    A preview is stretched where its box is uneven, and has the model's ranges. For each array there
    are the control points of its opacity, and its unit as the first component's name, and points
    x, y, z round what they show.
    """
    # ParaView's own volumes keep their unstretched box, to which it would move the camera.
    scale = display_scale(geometry) if is_preview else (1.0, 1.0, 1.0)
    _add_tuple(dataset, SCALE, scale)
    unit_distance = displayed_diagonal(geometry, scale) / UNITS_PER_DIAGONAL
    _add_tuple(dataset, UNIT_DISTANCE, [unit_distance])
    points = dataset.GetPointData()
    for number in range(points.GetNumberOfArrays()):
        array = points.GetArray(number)
        is_vector = array.GetNumberOfComponents() > 1
        if is_preview and not is_vector:
            _declare_range(array, looks.ranges[number])
        if looks.looks:
            look = looks.looks[-1 if is_vector else number]
            added = _add_tuple(dataset, LOOK + array.GetName(), np.ravel(look.opacities))
            added.SetComponentName(0, looks.units[0 if is_vector else number] or "1")
            around = outline(geometry, look)
            if around is not None:
                _add_tuple(dataset, OUTLINE + array.GetName(), around.ravel())


def _declare_range(array: Any, limits: tuple[float, float]) -> None:
    """Make VTK take a range for that of a one-component array, which it would else look up.

    The preview is coarse, so that it may lack the model's lowest and highest values.
    """
    for key in (vtkAbstractArray.PER_COMPONENT(), vtkAbstractArray.PER_FINITE_COMPONENT()):
        about = vtkInformationVector()
        about.SetNumberOfInformationObjects(1)
        about.GetInformationObject(0).Set(vtkDataArray.COMPONENT_RANGE(), limits, 2)
        array.GetInformation().Set(key, about)


def clamped(block: Block, limits: Sequence[tuple[float, float]]) -> Block:
    """Return a block with values [C, z, y, x] within the range of each component.

    Networks leave it a little, which is nothing that the data have.
    """
    low, high = (
        np.array(bound, dtype=block.values.dtype)[:, None, None, None] for bound in zip(*limits)
    )
    return dataclasses.replace(block, values=np.clip(block.values, low, high))


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


def _add_tuple(dataset: Any, name: str, values: Sequence[float] | np.ndarray) -> Any:
    array = _array(np.array([values], dtype=np.float64), name)
    dataset.GetFieldData().AddArray(array)
    return array


def _array(values: np.ndarray, name: str) -> Any:
    array = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
    array.SetName(name)
    return array
