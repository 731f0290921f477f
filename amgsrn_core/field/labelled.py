"""A model as an xarray data set: dimensions, coordinates and attributes as its source had them.

Values are sampled when they are asked for, those samples alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from amgsrn_core.errors import VolumeError
from amgsrn_core.model import ModelIndex
from amgsrn_core.system.extras import require
from amgsrn_core.volume.attributes import Attributes, axis_records, merged
from amgsrn_core.volume.axis import Axis

Samples = Callable[[int, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Returns values [C, z, y, x] of a time step at ascending indices along z, y, x."""

# Components are asked for one by one, and are sampled together: such a result is kept.
_KEPT_BYTES = 64 << 20


def labelled(index: ModelIndex, samples: Samples) -> Any:
    """Return an xarray.Dataset of a model, with undecoded times.

    Parameters
    ----------
    index : ModelIndex
        Of all its time steps.
    samples : callable
        Samples the model.

    Raises
    ------
    ConfigurationError
        xarray is not installed.
    VolumeError
        The model's grid is turned in space, so that it has no coordinates along its axes.
    """
    xarray = require("xarray", "A labelled data set")
    if not index.geometry.is_aligned:
        raise VolumeError(
            f"The grid of '{index.name}' is turned in space, which xarray's coordinates cannot "
            "tell; take to_numpy() or to_vtk()."
        )
    known = index.attributes or Attributes()
    time, taken = index.time, set(index.components)
    steps = () if time is None else time.steps or (time.index,)
    names = [] if time is None else [_free(time.name, taken)]
    names += [_free(axis.name or "zyx"[i], taken) for i, axis in enumerate(index.geometry.axes)]
    coordinates = {}
    if time is not None and (index.attributes is None or known.time is not None):
        records = [("units", time.units)]
        if " since " in time.units:
            records.append(("calendar", time.calendar))
        values = np.array([time.values[step] for step in steps])
        coordinates[names[0]] = (names[0], values, merged(records, known.time, {"axis": "T"}))
    for number, (name, axis) in enumerate(zip(names[-3:], index.geometry.axes)):
        if index.attributes is None or not known.counts(number, axis):
            said = merged(axis_records(axis), known.axes[number], {"axis": "ZYX"[number]})
            coordinates[name] = (name, axis.file_coordinates, said)
    source = _Source(index, samples, has_time=time is not None)
    variables = {}
    for number, (component, unit) in enumerate(zip(index.components, index.units)):
        own = known.components[number] if index.attributes is not None else None
        said = merged([("units", unit)], own, {"long_name": component})
        fill = None if index.missing is None else index.missing.fill_value
        encoding = {} if fill is None else {"_FillValue": index.value_dtype.type(fill)}
        values = _lazy(source, number)
        variables[component] = xarray.Variable(names, values, said, encoding)
    attributes = {"title": index.name} if index.attributes is None else dict(known.file)
    return xarray.Dataset(variables, coordinates, attributes)


def _free(name: str, taken: set[str]) -> str:
    """Return a name that is not taken yet, and take it."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _lazy(source: _Source, component: int) -> Any:
    """Return an array of xarray's that is sampled when it is indexed."""
    backends = require("xarray.backends", "A labelled data set")
    indexing = require("xarray.core.indexing", "A labelled data set")

    class Component(backends.BackendArray):  # type: ignore[misc, name-defined]
        """One component of a model, [time,] z, y, x in the order of the source."""

        def __init__(self) -> None:
            self.shape, self.dtype = source.shape, source.dtype

        def __getitem__(self, key: Any) -> Any:
            support = indexing.IndexingSupport.OUTER
            return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

        def _read(self, key: tuple[Any, ...]) -> np.ndarray:
            return source.read(component, key)

    return indexing.LazilyIndexedArray(Component())


class _Source:
    """Samples a model by the indices of its source's dimensions."""

    def __init__(self, index: ModelIndex, samples: Samples, *, has_time: bool) -> None:
        self._axes, self._samples, self._has_time = index.geometry.axes, samples, has_time
        self.shape = ((index.steps,) if has_time else ()) + index.dims
        self.dtype = index.value_dtype
        self._kept: tuple[Any, np.ndarray] | None = None
        self._lock = threading.Lock()

    def read(self, component: int, key: tuple[Any, ...]) -> np.ndarray:
        """Return values at indices, slices or arrays of indices, one for each dimension."""
        picked = [np.arange(size)[part] for size, part in zip(self.shape, key)]
        shape = tuple(size for part in picked for size in part.shape)
        lists = [np.atleast_1d(part) for part in picked]
        if any(part.size == 0 for part in lists):
            return np.empty(shape, self.dtype)
        steps = lists.pop(0) if self._has_time else np.zeros(1, int)
        values = np.stack([self._step(int(step), lists)[component] for step in steps])
        return values.reshape(shape)

    def _step(self, step: int, lists: list[np.ndarray]) -> np.ndarray:
        """Return values [C, z, y, x] of a step, in the order of the lists of indices."""
        sorted_lists, places = zip(
            *(
                np.unique(_ascending(axis, part), return_inverse=True)
                for axis, part in zip(self._axes, lists)
            )
        )
        key = (step, *(part.tobytes() for part in sorted_lists))
        with self._lock:
            kept = self._kept
        if kept is None or kept[0] != key:
            kept = key, self._samples(step, *sorted_lists)
            with self._lock:
                self._kept = kept if kept[1].nbytes <= _KEPT_BYTES else None
        return kept[1][np.ix_(np.arange(len(kept[1])), *places)]


def _ascending(axis: Axis, index: np.ndarray) -> np.ndarray:
    """Return indices of the source's order as ones of ascending coordinates."""
    return axis.size - 1 - index if axis.descending else index
