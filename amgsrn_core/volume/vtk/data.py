"""VTK's image data and rectilinear grids as volumes: geometry, arrays and blanking, without copies.

VTK lets x run fastest, so its flat arrays are [z, y, x, component] as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from amgsrn_core.errors import VariableNotFoundError, VolumeError
from amgsrn_core.system.extras import require
from amgsrn_core.volume.axis import Axis, longitude_turn, turns_once
from amgsrn_core.volume.curvilinear import Coordinates
from amgsrn_core.volume.geometry import GridGeometry
from amgsrn_core.volume.in_memory import ArrayVolume, component_names
from amgsrn_core.volume.volume import MissingValues, TimeAxis, require_three_axes
from amgsrn_core.volume.vtk.known import description_of, take_description, take_sampling, units_of

logger = logging.getLogger(__name__)

ASSOCIATIONS = ("point", "cell")
MISSING = MissingValues("NaN or blanked")

GHOSTS = "vtkGhostType"
GHOST_ARRAYS = (GHOSTS, "vtkGhostLevels")
"""Names of ghost arrays in files; VTK's readers turn the second, of old files, into the first."""

DUPLICATE = 1
"""VTK's mark of points and cells that another rank answers for."""

# vtkDataSetAttributes.h. The other marks (high or low connectivity, exterior) hide nothing.
_HIDDEN_POINT = 2
_HIDDEN_CELL = 8 | 32  # refined elsewhere, or blanked


def volume_from_vtk(
    dataset: Any,
    array_names: str | Sequence[str],
    association: str = "point",
    *,
    duplicates: bool = False,
    whole: Sequence[int] | None = None,
) -> VTKVolume:
    """Make a volume of arrays of a VTK data set in memory; the values are not copied.

    Parameters
    ----------
    dataset : vtkImageData, vtkRectilinearGrid or vtkStructuredGrid
        Its extent, origin, spacing and direction are kept. Coordinates may descend. A structured
        (curvilinear) grid becomes a volume in its index space, with `coordinates`.
    array_names : str or sequence of str
        Numeric arrays; each component of each becomes a component of the volume.
    association : {"point", "cell"}, default: "point"
        Where the arrays are. Values of cells are taken to lie at the cells' centres.
    duplicates : bool, default: False
        Whether values that another rank answers for (ghost cells) count as values here, too.
    whole : six integers, optional
        VTK's extent of the data set that this one is a piece of.

    Notes
    -----
    NaN, and points or cells that :func:`missing_samples` finds, are invalid voxels. Data of a
    pipeline with time steps keep the time that they are of. Units of arrays are known where VTK
    has them (UNITS_LABEL), and those of the axes, the calendar and attributes where the data come
    from AMGSRN's readers.

    Raises
    ------
    VariableNotFoundError
        No such array; the message lists those there are.
    VolumeError
        Another kind of data set, or fewer than two samples along an axis.
    """
    names = (array_names,) if isinstance(array_names, str) else tuple(array_names)
    geometry = grid_geometry(dataset, association, "_".join(names))
    found = [_find(dataset, association, name) for name in names]
    if not found:
        raise VariableNotFoundError(f"Name at least one array: {list_arrays(dataset)}.")
    values = [view for array in found for view in component_views(array, geometry, geometry.dims)]
    missing = missing_samples(dataset, association, duplicates=duplicates, whole=whole)
    volume = VTKVolume(
        values,
        None if missing is None else ~missing[flips(geometry)],
        name="_".join(names),
        components=name_components(found),
        units=name_units(found),
        geometry=geometry,
        source_dtype=np.result_type(*(value.dtype for value in values)),
        missing=MISSING,
        time=_time(dataset),
        coordinates=_coordinates(dataset, association),
    )
    if whole is None:  # a piece is put together with others, which have no description in common
        take_description(volume, description_of(dataset))
        take_sampling(volume, dataset)
    return volume


class VTKVolume(ArrayVolume):
    """A volume on views of VTK's arrays, one view per component.

    Attributes
    ----------
    arrays : tuple of str
        Names of the arrays, where the data set is of a file.
    """

    arrays: tuple[str, ...] = ()

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the arrays in the file."""
        return self.arrays or super().variables


def _time(dataset: Any) -> TimeAxis | None:
    info = dataset.GetInformation()
    key = import_vtk("vtkCommonDataModel").vtkDataObject.DATA_TIME_STEP()
    return TimeAxis((info.Get(key),)) if info.Has(key) else None


def grid_geometry(dataset: Any, association: str, name: str) -> GridGeometry:
    """Return the geometry of a data set's points or of its cells' centres.

    Raises
    ------
    VolumeError
        Not a structured grid with straight axes, or fewer than two samples along an axis;
        `name` says of what.
    """
    if association not in ASSOCIATIONS:
        raise VolumeError(f"Arrays belong to point or cell, not to '{association}'.")
    is_image = require_grid(dataset)
    cells = association == "cell"
    ends = dataset.GetExtent()
    x, y, z = (max(0, ends[2 * i + 1] - ends[2 * i] + 1 - cells) for i in range(3))
    require_three_axes(name, [("z", z), ("y", y), ("x", x)])
    if dataset.IsA("vtkStructuredGrid"):
        x0, y0, z0 = (float(start) + 0.5 * cells for start in ends[::2])
        return GridGeometry.uniform((z, y, x), (x0, y0, z0))
    return _image_geometry(dataset, cells) if is_image else _rectilinear_geometry(dataset, cells)


def require_grid(dataset: Any) -> bool:
    """Raise VolumeError for other data sets than volumes; return whether it is image data."""
    is_image = dataset is not None and dataset.IsA("vtkImageData")
    others = ("vtkRectilinearGrid", "vtkStructuredGrid")
    if not is_image and (dataset is None or not any(map(dataset.IsA, others))):
        kind = "nothing" if dataset is None else dataset.GetClassName()
        raise VolumeError(
            f"A volume needs image data, a rectilinear grid or a mesh, not {kind}; put a filter in "
            "front that makes one of these of it, such as Resample To Image."
        )
    return is_image


def _coordinates(dataset: Any, association: str) -> Coordinates | None:
    """Return where the points of a structured grid are, or its cells' centres."""
    if not dataset.IsA("vtkStructuredGrid"):
        return None
    x0, x1, y0, y1, z0, z1 = dataset.GetExtent()
    points = to_numpy(dataset.GetPoints().GetData())
    points = points.reshape(z1 - z0 + 1, y1 - y0 + 1, x1 - x0 + 1, 3)
    if not np.isfinite(points).all():
        raise VolumeError("The structured grid has points that are not finite; mend them first.")
    for axis in range(3) if association == "cell" else ():
        low, high = _neighbours(points, axis)
        points = (0.5 * (low + high)).astype(points.dtype)
    return Coordinates.of_points(points)


def component_views(
    array: Any, geometry: GridGeometry, shape: tuple[int, int, int]
) -> list[np.ndarray]:
    """Return views [z, y, x], ascending along every axis, one per component of a VTK array.

    `shape` (z, y, x) is the part of the geometry that the array covers.
    """
    values = columns(array, shape)[flips(geometry)]
    return [values[..., component] for component in range(values.shape[-1])]


def columns(array: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """Return a VTK array as [z, y, x, component] in VTK's order, a view if need not be a copy."""
    values = to_numpy(array)
    if len(values) != np.prod(shape):
        raise VolumeError(
            f"The array '{array.GetName()}' has {len(values)} values for {np.prod(shape)} samples; "
            "the data set is damaged."
        )
    return values.reshape(*shape, -1)


def joined_frame(path: Any, frames: Sequence[Any]) -> Any:
    """Return a data set without arrays in the place of several pieces together.

    Raises
    ------
    VolumeError
        The pieces are not of one grid.
    """
    first = frames[0]
    if len(frames) == 1:
        return first
    ends = np.array([frame.GetExtent() for frame in frames])
    whole = [int(f(ends[:, i])) for i in range(0, 6, 2) for f, i in ((np.min, i), (np.max, i + 1))]
    joined = first.NewInstance()
    joined.SetExtent(whole)
    differ = VolumeError(f"The pieces of '{path}' are not of one grid; they are of several runs.")
    if first.IsA("vtkImageData"):
        places = [(f.GetOrigin(), f.GetSpacing(), _direction(f).ravel().tolist()) for f in frames]
        if any(not np.allclose(np.hstack(place), np.hstack(places[0])) for place in places):
            raise differ
        joined.SetOrigin(first.GetOrigin())
        joined.SetSpacing(first.GetSpacing())
        joined.SetDirectionMatrix(first.GetDirectionMatrix())
        return joined
    support = import_vtk("util.numpy_support")
    for axis, letter in enumerate("XYZ"):
        low, high = whole[2 * axis : 2 * axis + 2]
        line = np.full(high - low + 1, np.nan)
        for frame, own in zip(frames, ends):
            values = to_numpy(getattr(frame, f"Get{letter}Coordinates")()).ravel()
            part = line[own[2 * axis] - low : own[2 * axis + 1] - low + 1]
            known = ~np.isnan(part)
            if not np.allclose(part[known], values[known]):
                raise differ
            part[:] = values
        getattr(joined, f"Set{letter}Coordinates")(support.numpy_to_vtk(line, deep=True))
    return joined


def flips(geometry: GridGeometry) -> tuple[slice, ...]:
    """Return the index that makes an array [z, y, x] in VTK's order ascend along every axis."""
    return tuple(slice(None, None, -1 if axis.descending else 1) for axis in geometry.axes)


def missing_samples(
    dataset: Any,
    association: str,
    *,
    duplicates: bool = False,
    whole: Sequence[int] | None = None,
) -> np.ndarray | None:
    """Return which points or cells have no value, bool [z, y, x] in VTK's order, or None.

    Parameters
    ----------
    dataset : vtkImageData or vtkRectilinearGrid
    association : {"point", "cell"}
    duplicates : bool, default: False
        Whether samples that another rank answers for count as values.
    whole : six integers, optional
        VTK's extent of the data set that this one is a piece of: cells beyond a piece may be
        visible.

    Notes
    -----
    As VTK shows them (vtkDataSetAttributes, IsPointVisible, IsCellVisible): a cell has no value if
    it is a duplicate, refined or hidden, or has a hidden corner; a point if it is a duplicate or
    hidden, or all cells around it are.
    """
    x0, x1, y0, y1, z0, z1 = dataset.GetExtent()
    x, y, z = x1 - x0 + 1, y1 - y0 + 1, z1 - z0 + 1
    points = ghost_marks(dataset, "point", (z, y, x))
    cells = ghost_marks(dataset, "cell", (z - 1, y - 1, x - 1))
    duplicate = 0 if duplicates else DUPLICATE
    own = None
    if association == "cell":
        if cells is not None:
            own = cells & (_HIDDEN_CELL | duplicate) != 0
        corners = None if points is None else points & _HIDDEN_POINT != 0
        if corners is None:
            return own
        for axis in range(3):
            low, high = _neighbours(corners, axis)
            corners = low | high
        return corners if own is None else own | corners
    if points is not None:
        own = points & (_HIDDEN_POINT | duplicate) != 0
    if cells is None:
        return own
    around = np.pad(cells & (_HIDDEN_CELL | duplicate) != 0, 1, constant_values=True)
    extent = dataset.GetExtent()
    for face, (here, last) in enumerate(zip(extent, extent if whole is None else whole)):
        if here != last:
            np.moveaxis(around, 2 - face // 2, 0)[-(face % 2)] = False
    for axis in range(3):
        low, high = _neighbours(around, axis)
        around = low & high
    return around if own is None else own | around


def ghost_marks(dataset: Any, association: str, shape: tuple[int, int, int]) -> np.ndarray | None:
    """Return the ghost array of points or cells, uint8 [z, y, x] in VTK's order, if it has one."""
    array = attributes(dataset, association).GetArray(GHOSTS)
    # Of another type it means nothing to VTK.
    if array is None or not array.IsA("vtkUnsignedCharArray"):
        return None
    marks = to_numpy(array)
    if marks.shape != (np.prod(shape), 1):
        raise VolumeError(
            f"The array '{GHOSTS}' has {marks.size} values for {np.prod(shape)} samples; the data "
            "set is damaged."
        )
    return marks.reshape(shape)


def _neighbours(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return views of the lower and the upper of every two samples along an axis."""
    ahead = np.moveaxis(values, axis, 0)
    return np.moveaxis(ahead[:-1], 0, axis), np.moveaxis(ahead[1:], 0, axis)


def attributes(dataset: Any, association: str) -> Any:
    """Return the point or cell data of a data set."""
    return dataset.GetCellData() if association == "cell" else dataset.GetPointData()


def array_names(dataset: Any, association: str) -> list[str]:
    """Return the names of the numeric arrays of a data set's points or cells."""
    data = attributes(dataset, association)
    arrays = [data.GetArray(index) for index in range(data.GetNumberOfArrays())]
    names = [array.GetName() for array in arrays if array is not None]
    return [name for name in names if name and name != GHOSTS]


def list_arrays(dataset: Any) -> str:
    """Return what arrays there are, for messages."""
    entries = [f"{name} ({each})" for each in ASSOCIATIONS for name in array_names(dataset, each)]
    return ", ".join(entries) or "none"


def name_components(arrays: Sequence[Any]) -> tuple[str, ...]:
    """Return a distinct name for each component of some arrays."""
    own = [name for array in arrays for name in _own_names(array, prefix=False)]
    if len(set(own)) == len(own):
        return tuple(own)
    return tuple(name for array in arrays for name in _own_names(array, prefix=True))


def name_units(arrays: Sequence[Any]) -> tuple[str, ...]:
    """Return the units of each component of some arrays, empty where VTK knows none."""
    return tuple(units_of(a) for a in arrays for _ in range(a.GetNumberOfComponents()))


def to_numpy(array: Any) -> np.ndarray:
    """Return a VTK array as numpy [tuples, components]; a view wherever VTK's memory allows."""
    support = import_vtk("util.numpy_support")
    if not array.HasStandardMemoryLayout() or array.IsA("vtkBitArray"):
        core = import_vtk("vtkCommonCore")
        bits = array.IsA("vtkBitArray")
        plain = core.vtkDataArray.CreateDataArray(
            core.vtkUnsignedCharArray().GetDataType() if bits else array.GetDataType()
        )
        plain.DeepCopy(array)
        plain.SetName(array.GetName())
        array = plain
    return support.vtk_to_numpy(array).reshape(array.GetNumberOfTuples(), -1)


def import_vtk(module: str) -> ModuleType:
    """Return one of VTK's Python modules, by its name below ``vtkmodules``."""
    return require(f"vtkmodules.{module}", "A VTK file or data set")


def _direction(image: Any) -> np.ndarray:
    matrix = image.GetDirectionMatrix()
    return np.array([[matrix.GetElement(i, j) for j in range(3)] for i in range(3)])


def _image_geometry(image: Any, cells: bool) -> GridGeometry:
    direction = _direction(image)
    spacing = np.array(image.GetSpacing())
    # A negative spacing is a turned axis; coordinates themselves always ascend.
    direction = direction * np.where(spacing < 0, -1.0, 1.0)
    spacing = np.abs(spacing)
    extent = image.GetExtent()
    start = np.array(extent[0::2]) + (0.5 if cells else 0.0)
    sizes = [int(n) - cells for n in image.GetDimensions()]
    origin = np.array(image.GetOrigin())
    if np.array_equal(direction, np.eye(3)):
        shift = np.zeros(3)
    else:
        # The direction turns about VTK's origin, but about the first sample here.
        shift = direction @ (start * spacing) - start * spacing
    axes = []
    for name, column in (("z", 2), ("y", 1), ("x", 0)):
        step = Axis.uniform(name, sizes[column], start[column])
        if not spacing[column] > 0:
            raise VolumeError(f"The image data has the spacing 0 along {name}; set its spacing.")
        world = origin[column] + step.coordinates * spacing[column] + shift[column]
        axes.append(Axis(name, world))
    z, y, x = axes
    return GridGeometry((z, y, x), direction)


def _rectilinear_geometry(grid: Any, cells: bool) -> GridGeometry:
    z = _grid_axis("z", grid.GetZCoordinates(), cells)
    y = _grid_axis("y", grid.GetYCoordinates(), cells)
    x = _grid_axis("x", grid.GetXCoordinates(), cells)
    return GridGeometry((z, y, x))


def _grid_axis(name: str, array: Any, cells: bool) -> Axis:
    values = to_numpy(array).astype(np.float64).ravel()
    wrap = None
    steps = np.diff(values)
    if not ((steps > 0).all() or (steps < 0).all()):
        if not turns_once(values):
            raise VolumeError(_unordered(name, values))
        # VTK has no units: what a reader of NetCDF hands on is known by its jump alone.
        jump = int(np.abs(steps).argmax())
        before, after = values[jump], values[jump + 1]
        values, wrap = longitude_turn(values)
        logger.warning(
            f"The {name} coordinates jump from {before:g} to {after:g} as longitudes do; they are "
            f"taken for {values.min():g} to {values.max():g}."
        )
    if cells:
        values = 0.5 * (values[:-1] + values[1:])
    descending = bool(values[0] > values[-1])
    coordinates = values[::-1] if descending else values
    return Axis(name, coordinates, descending=descending, wrap=wrap)


def _unordered(name: str, values: np.ndarray) -> str:
    """Say where coordinates make no axis, and what helps."""
    if not np.isfinite(values).all():
        at = int(np.flatnonzero(~np.isfinite(values))[0])
        return (
            f"The {name} coordinates of the rectilinear grid are not all finite, the first at "
            f"index {at}; mend them where the data come from."
        )
    steps = np.sign(np.diff(values))
    at = int(np.flatnonzero(steps != (steps[0] or 1.0))[0])
    return (
        f"The {name} coordinates of the rectilinear grid neither ascend nor descend throughout: "
        f"{values[at]:g} at index {at} is followed by {values[at + 1]:g}; mend them where the data "
        "come from, or resample to image data."
    )


def _find(dataset: Any, association: str, name: str) -> Any:
    array = attributes(dataset, association).GetArray(name)
    if array is None:
        raise VariableNotFoundError(
            f"There is no numeric {association} array '{name}'; the data set has: "
            f"{list_arrays(dataset)}."
        )
    return array


def _own_names(array: Any, prefix: bool) -> list[str]:
    name, count = array.GetName() or "data", array.GetNumberOfComponents()
    defaults = component_names(name, count)
    if count == 1:
        return list(defaults)
    own = [array.GetComponentName(i) for i in range(count)]
    return [
        default if not given else f"{name}_{given}" if prefix else given
        for default, given in zip(defaults, own)
    ]
