"""Volumes whose values are already in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume.geometry import Extent, GridGeometry
from amgsrn_core.volume.volume import (
    Loaded,
    MissingValues,
    TimeAxis,
    Volume,
    require_three_axes,
)

_DIMENSIONS = ("component", "z", "y", "x")


def volume_from_array(
    values: Any,
    *,
    name: str = "data",
    components: Sequence[str] | None = None,
    units: Sequence[str] | str = "",
    geometry: GridGeometry | None = None,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    valid: np.ndarray | None = None,
    missing: MissingValues | None = None,
    time: TimeAxis | None = None,
) -> ArrayVolume:
    """Make a volume of an array; the array is not copied.

    Parameters
    ----------
    values : array_like, shape [z, y, x] or [C, z, y, x]
        Any real type. NaN and masked values (numpy.ma) are invalid voxels.
    name : str, default: "data"
        Name of the array.
    components : sequence of str, default: `name` for a scalar, else name_x, name_y, ...
        Name of each component.
    units : str or sequence of str, default: ""
        Units of all components, or of each.
    geometry : GridGeometry, optional
        Axes and direction; its dims must be those of `values`.
    origin, spacing : tuple of three floats (x, y, z)
        Used when no geometry is given.
    valid : ndarray of bool, shape [z, y, x], optional
        False where the voxel has no value.
    missing, time
        Carried along; see :class:`Volume`.

    Raises
    ------
    VolumeError
        Not 3-D, fewer than two samples along an axis, no numbers, or contradicting shapes.

    Examples
    --------
    >>> import numpy as np
    >>> from amgsrn_core import volume_from_array
    >>> volume = volume_from_array(np.random.rand(8, 16, 32), name="density", spacing=(1, 1, 2))
    >>> volume.dims, volume.geometry.bounds
    ((8, 16, 32), (0.0, 31.0, 0.0, 15.0, 0.0, 14.0))
    """
    masked = np.ma.getmask(values)
    data = np.ma.getdata(values) if masked is not np.ma.nomask else np.asarray(values)
    if data.dtype.kind not in "biuf":
        raise VolumeError(f"'{name}' holds no real numbers (its type is {data.dtype}).")
    if data.ndim not in (3, 4):
        sizes = [(f"dimension {axis}", size) for axis, size in enumerate(data.shape)]
        require_three_axes(name, sizes)
    if data.ndim == 3:
        data = data[np.newaxis]
    _, nz, ny, nx = data.shape
    shape = nz, ny, nx
    require_three_axes(name, list(zip(_DIMENSIONS[1:], shape)))
    if geometry is None:
        geometry = GridGeometry.uniform(shape, origin, spacing)
    elif geometry.dims != shape:
        raise VolumeError(
            f"'{name}' has {list(shape)} samples along z, y, x, "
            f"but its geometry has {list(geometry.dims)}."
        )
    if components is None:
        components = component_names(name, len(data))
    elif len(components) != len(data):
        raise VolumeError(f"'{name}' has {len(data)} components but {len(components)} names.")
    if masked is not np.ma.nomask:
        unmasked = ~np.reshape(masked, data.shape).any(axis=0)
        valid = unmasked if valid is None else unmasked & np.asarray(valid, dtype=bool)
    if valid is not None:
        valid = np.asarray(valid, dtype=bool)
        if valid.shape != shape:
            raise VolumeError(
                f"The validity mask of '{name}' has the shape {list(valid.shape)} "
                f"instead of {list(shape)}."
            )
    return ArrayVolume(
        data,
        valid,
        name=name,
        components=components,
        units=units,
        geometry=geometry,
        source_dtype=data.dtype,
        missing=missing,
        time=time,
    )


class ArrayVolume(Volume):
    """A volume on arrays [z, y, x], one per component: in memory or mapped from a file."""

    def __init__(
        self, values: Iterable[np.ndarray], valid: np.ndarray | None, **metadata: Any
    ) -> None:
        super().__init__(**metadata)
        self._values = tuple(values)
        self._valid = valid

    def _load(self, extent: Extent) -> Iterator[Loaded]:
        missing = None if self._valid is None else ~self._valid[extent]
        for values in self._values:
            yield values[extent], missing


def component_names(name: str, count: int) -> tuple[str, ...]:
    """Return the names of an array's components when it has none of its own."""
    if count == 1:
        return (name,)
    suffixes = "xyz" if count == 3 else [str(i) for i in range(count)]
    return tuple(f"{name}_{suffix}" for suffix in suffixes)
