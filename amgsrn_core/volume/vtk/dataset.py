"""Fields as VTK data sets: their grid, their arrays with units, and what else is known of them.

VTK has a place for an array's units (vtkDataArray::UNITS_LABEL). The names, units and directions of
axes, calendars and the source's attributes travel in the field data, as text; filters pass it on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from amgsrn_core.volume.block import Block
from amgsrn_core.volume.curvilinear import Coordinates
from amgsrn_core.volume.description import Described, describe
from amgsrn_core.volume.geometry import GridGeometry
from amgsrn_core.volume.vtk.data import import_vtk
from amgsrn_core.volume.vtk.known import DESCRIPTION, units_key


class Placed(Protocol):
    """A volume or a model, as far as its place goes."""

    @property
    def geometry(self) -> GridGeometry:
        """Where the samples lie, in index space if there are coordinates."""

    @property
    def coordinates(self) -> Coordinates | None:
        """Where the samples of a curvilinear grid lie in the world."""


VTKExtent = tuple[int, int, int, int, int, int]
"""First and last sample (inclusive) along x, y, z."""


def new_dataset(geometry: GridGeometry, coordinates: Coordinates | None = None) -> Any:
    """Return an empty data set of the kind that holds this geometry, in index space or not."""
    model = import_vtk("vtkCommonDataModel")
    if coordinates is not None:
        return model.vtkStructuredGrid()
    return model.vtkImageData() if geometry.is_uniform else model.vtkRectilinearGrid()


def whole_extent(geometry: GridGeometry) -> VTKExtent:
    """Return the extent of all samples."""
    nz, ny, nx = geometry.dims
    return 0, nx - 1, 0, ny - 1, 0, nz - 1


def set_geometry(dataset: Any, geometry: GridGeometry, extent: VTKExtent) -> None:
    """Give a vtkImageData or vtkRectilinearGrid the place of an extent of `geometry`."""
    dataset.SetExtent(*extent)
    if dataset.IsA("vtkImageData"):
        dataset.SetOrigin(geometry.origin)
        dataset.SetSpacing(geometry.spacing)
        dataset.SetDirectionMatrix(*geometry.direction.ravel().tolist())
        return
    x, y, z = (
        _vtk_array(axis.coordinates[extent[2 * i] : extent[2 * i + 1] + 1].copy())
        for i, axis in enumerate(reversed(geometry.axes))
    )
    dataset.SetXCoordinates(x)
    dataset.SetYCoordinates(y)
    dataset.SetZCoordinates(z)


def set_places(dataset: Any, geometry: GridGeometry, extent: VTKExtent, field: Placed) -> None:
    """Give a data set of :func:`new_dataset` the place of an extent of `geometry`.

    Where the field has coordinates, the geometry is a grid in the index space of these.
    """
    if field.coordinates is None or not dataset.IsA("vtkStructuredGrid"):
        set_geometry(dataset, geometry, extent)
        return
    dataset.SetExtent(*extent)
    z, y, x = (
        axis.to_index(other.coordinates[extent[2 * i] : extent[2 * i + 1] + 1])
        for i, axis, other in zip((2, 1, 0), field.geometry.axes, geometry.axes)
    )
    points = import_vtk("vtkCommonCore").vtkPoints()
    points.SetData(_vtk_array(np.ascontiguousarray(field.coordinates.at(z, y, x).reshape(-1, 3))))
    dataset.SetPoints(points)


def set_arrays(
    dataset: Any,
    block: Block,
    name: str,
    components: Sequence[str],
    units: Sequence[str] = (),
    *,
    suffix: str = "",
) -> None:
    """Put a field's values, NaN where they are missing, on the points of a data set.

    The components of one array stay together; scalars that belong together are arrays of their
    own again. Names get the suffix. The first array of all is the active one.
    """
    values = block.with_nan()
    points = dataset.GetPointData()
    units = tuple(units) or ("",) * len(components)
    for array_name, members in stored_arrays(name, components).items():
        array = new_array(values[members].reshape(len(members), -1).T, array_name + suffix)
        for number, member in enumerate(members if len(members) > 1 else ()):
            array.SetComponentName(number, components[member])
        own = {units[member] for member in members}
        _set_units(array, own.pop() if len(own) == 1 else "")
        points.AddArray(array)
    points.SetActiveScalars(points.GetArrayName(0))


def stored_arrays(name: str, components: Sequence[str]) -> dict[str, list[int]]:
    """Return the arrays that a field's components make, and which components each has.

    Scalars that were trained together are arrays of their own again.
    """
    if len(components) > 1 and name == "_".join(components):
        return {component: [number] for number, component in enumerate(components)}
    return {name: list(range(len(components)))}


def new_array(values: np.ndarray, name: str) -> Any:
    """Return a VTK array of values [N, components], or [N]."""
    array = _vtk_array(np.ascontiguousarray(values))
    array.SetName(name)
    return array


def set_description(dataset: Any, field: Described) -> None:
    """Note in a data set's field data what is known of the field that it shows."""
    array = import_vtk("vtkCommonCore").vtkStringArray()
    array.SetName(DESCRIPTION)
    array.InsertNextValue(json.dumps(describe(field)))
    dataset.GetFieldData().AddArray(array)


def _set_units(array: Any, units: str) -> None:
    if units:
        array.GetInformation().Set(units_key(), units)


def _vtk_array(values: np.ndarray) -> Any:
    return import_vtk("util.numpy_support").numpy_to_vtk(values, deep=True)
