"""Volumes in NetCDF files, classic and NetCDF-4, by the CF conventions."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core.errors import VolumeError, VolumeNotFoundError
from amgsrn_core.volume import cf
from amgsrn_core.volume.axis import Axis
from amgsrn_core.volume.classic import required_size
from amgsrn_core.volume.geometry import Extent, GridGeometry
from amgsrn_core.volume.netcdf_library import LOCK, import_netcdf4
from amgsrn_core.volume.times import TimeStep, select_time
from amgsrn_core.volume.volume import (
    Loaded,
    MissingValues,
    TimeAxis,
    Volume,
    require_three_axes,
)

logger = logging.getLogger(__name__)


def open_netcdf(
    path: Path, variables: tuple[str, ...] | None = None, time: TimeStep = None
) -> NetCDFVolume:
    """Open variables of a NetCDF file as one volume; see :func:`amgsrn_core.open_volume`."""
    _require_complete(path)
    with _dataset(path) as dataset:
        chosen = cf.choose_variables(dataset, variables)
        layouts = [_layout(item.variable) for item in chosen]
        _require_same_grid([item.path for item in chosen], layouts)
        decoders = [cf.Decoder(item.variable) for item in chosen]
        names = [item.variable.name for item in chosen]
        components = names if len(set(names)) == len(names) else [item.path for item in chosen]
        return NetCDFVolume(
            path,
            [item.path for item in chosen],
            layouts,
            decoders,
            name="_".join(names),
            components=components,
            units=[cf.text(item.variable, "units") for item in chosen],
            geometry=GridGeometry(layouts[0].axes),
            source_dtype=np.result_type(*(decoder.source_dtype for decoder in decoders)),
            dtype=np.result_type(*(decoder.value_dtype for decoder in decoders)),
            missing=MissingValues(
                " | ".join(dict.fromkeys(decoder.meaning for decoder in decoders)),
                decoders[0].fill_value,
            ),
            time=_select_time([item.variable for item in chosen], layouts, time),
            source=str(path),
        )


@dataclass(frozen=True)
class _Layout:
    """How the dimensions of one variable map to z, y, x and time.

    `space` are the positions of z, y, x among the variable's dimensions, `time` that of time.
    """

    axes: tuple[Axis, Axis, Axis]
    space: tuple[int, int, int]
    time: int | None
    chunk_depth: int


class NetCDFVolume(Volume):
    """Variables of a NetCDF file; the file is opened for each read, and only then."""

    def __init__(
        self,
        path: Path,
        variables: Sequence[str],
        layouts: Sequence[_Layout],
        decoders: Sequence[cf.Decoder],
        **metadata: Any,
    ) -> None:
        super().__init__(**metadata)
        self._path = path
        self._variables = tuple(variables)
        self._layouts = tuple(layouts)
        self._decoders = tuple(decoders)

    @property
    def variables(self) -> tuple[str, ...]:
        """Paths of the variables in the file."""
        return self._variables

    @property
    def _chunk_depth(self) -> int:
        return self._layouts[0].chunk_depth

    def _load(self, extent: Extent) -> Iterator[Loaded]:
        with _dataset(self._path) as dataset:
            for path, layout, decoder in zip(self._variables, self._layouts, self._decoders):
                yield decoder.decode(self._read_raw(dataset[path], layout, extent))

    def _read_raw(self, variable: Any, layout: _Layout, extent: Extent) -> np.ndarray:
        """Read stored numbers and return them as [z, y, x], ascending."""
        key: list[Any] = [0] * variable.ndim
        if layout.time is not None and self.time is not None:
            key[layout.time] = self.time.index
        for position, axis, part in zip(layout.space, layout.axes, extent):
            key[position] = (
                slice(axis.size - part.stop, axis.size - part.start) if axis.descending else part
            )
        variable.set_auto_maskandscale(False)
        raw = np.asarray(variable[tuple(key)])
        raw = raw.transpose(np.argsort(np.argsort(layout.space)))
        return raw[tuple(slice(None, None, -1 if axis.descending else 1) for axis in layout.axes)]


@contextmanager
def _dataset(path: Path) -> Iterator[Any]:
    """Open a file for reading; every failure of the library becomes one sentence."""
    netcdf4 = import_netcdf4()
    with LOCK:
        try:
            dataset = netcdf4.Dataset(str(path), "r")
        except FileNotFoundError as error:
            raise VolumeNotFoundError(f"There is no file '{path}'.") from error
        except PermissionError as error:
            raise VolumeNotFoundError(f"The file '{path}' may not be read.") from error
        except (OSError, RuntimeError, UnicodeError) as error:
            raise _damaged(path, error) from error
        try:
            yield dataset
        except (OSError, RuntimeError, IndexError, KeyError) as error:
            if isinstance(error, VolumeError):
                raise
            raise _damaged(path, error) from error
        finally:
            dataset.close()


def _damaged(path: Path, error: Exception) -> VolumeError:
    return VolumeError(
        f"'{path}' cannot be read as NetCDF; it is damaged, truncated or of another kind ({error})."
    )


def _require_complete(path: Path) -> None:
    """Raise VolumeError for a truncated classic file, which the library does not notice."""
    try:
        with open(path, "rb") as file:
            needed = required_size(file)
    except OSError as error:
        raise VolumeNotFoundError(f"'{path}' cannot be opened ({error.strerror}).") from error
    except (ValueError, IndexError, struct.error) as error:
        raise _damaged(path, error) from error
    size = os.path.getsize(path)
    if needed is not None and size < needed:
        raise VolumeError(
            f"'{path}' is truncated: it has {size} of at least {needed} bytes; copy it again."
        )


def _layout(variable: Any) -> _Layout:
    """Find out which dimensions of a variable are z, y, x and time."""
    dimensions = list(variable.get_dims())
    coordinates = [cf.coordinate_of(dim, variable) for dim in dimensions]
    kinds = [cf.axis_kind(dim, coord) for dim, coord in zip(dimensions, coordinates)]
    if "t" not in kinds and len(dimensions) > 3:
        kinds = [kind or ("t" if d.name == "t" else None) for d, kind in zip(dimensions, kinds)]
    time = kinds.index("t") if "t" in kinds else None
    space = [i for i in range(len(dimensions)) if i != time]
    # Dimensions of one sample are dropped, the unlabelled first, but never more than are too many.
    for position in sorted(space, key=lambda i: kinds[i] is not None):
        if len(space) > 3 and len(dimensions[position]) == 1:
            space.remove(position)
    sizes = [(dimensions[i].name, len(dimensions[i])) for i in space]
    if len(space) > 3:
        listed = ", ".join(f"{name} {size}" for name, size in sizes)
        raise VolumeError(
            f"'{variable.name}' has {len(space)} dimensions beside time ({listed}); "
            "a volume has three, so write the slice of interest to a file of its own."
        )
    require_three_axes(variable.name, sizes)
    ordered = _order(space, [kinds[i] for i in space])
    z, y, x = (_axis(dimensions[i], coordinates[i]) for i in ordered)
    chunks = variable.chunking()
    depth = 1 if isinstance(chunks, str) or chunks is None else int(chunks[ordered[0]])
    return _Layout((z, y, x), ordered, time, depth)


def _order(space: list[int], kinds: list[str | None]) -> tuple[int, int, int]:
    """Return the positions of z, y, x: as labelled, the others in the file's order."""
    labels = [kind for kind in kinds if kind is not None]
    if len(set(labels)) < len(labels):
        kinds = [None, None, None]
    rest = [position for position, kind in zip(space, kinds) if kind is None]
    z, y, x = (space[kinds.index(k)] if k in kinds else rest.pop(0) for k in ("z", "y", "x"))
    return z, y, x


def _axis(dimension: Any, coordinate: Any | None) -> Axis:
    """Return the axis of a dimension; without usable coordinates, its samples are counted."""
    if coordinate is None:
        return Axis.uniform(dimension.name, len(dimension))
    coordinate.set_auto_maskandscale(False)
    values, missing = cf.Decoder(coordinate).decode(np.asarray(coordinate[:]), np.float64)
    world = values.astype(np.float64)
    units = cf.text(coordinate, "units")
    negated = cf.text(coordinate, "positive").lower() == "down"
    if negated:
        world = 0.0 - world
    usable = np.isfinite(world).all() and not (missing is not None and missing.any())
    if usable and not _is_monotonic(world) and units.lower().startswith("degree"):
        # Longitudes may jump where they pass 180 or 360 degrees.
        world = np.unwrap(world, period=360.0)
    if not (usable and _is_monotonic(world)):
        logger.warning(
            "The coordinates of '%s' are not strictly monotonic; its samples are counted instead.",
            dimension.name,
        )
        return Axis.uniform(dimension.name, len(dimension))
    descending = bool(world[0] > world[-1])
    return Axis(
        dimension.name,
        world[::-1] if descending else world,
        units,
        descending,
        negated,
        cf.text(coordinate, "standard_name"),
    )


def _is_monotonic(values: np.ndarray) -> bool:
    steps = np.diff(values)
    return bool((steps > 0).all() or (steps < 0).all())


def _require_same_grid(names: list[str], layouts: list[_Layout]) -> None:
    for name, layout in zip(names[1:], layouts[1:]):
        if layout.axes != layouts[0].axes:
            here, there = ([axis.size for axis in each.axes] for each in (layout, layouts[0]))
            raise VolumeError(
                f"'{name}' {here} and '{names[0]}' {there} are not on the same grid; "
                "train them one by one."
            )


def _select_time(variables: list[Any], layouts: list[_Layout], wanted: TimeStep) -> TimeAxis | None:
    """Return the time axis that the variables share, with the wanted step selected."""
    axes = [
        (variable.name, _time_axis(variable, layout.time))
        for variable, layout in zip(variables, layouts)
        if layout.time is not None
    ]
    if not axes:
        return select_time(variables[0].name, None, wanted)
    name, axis = axes[0]
    for other, another in axes[1:]:
        if another != axis:
            raise VolumeError(
                f"'{other}' and '{name}' have different times; train them one by one."
            )
    return select_time(name, axis, wanted)


def _time_axis(variable: Any, position: int) -> TimeAxis:
    dimension = variable.get_dims()[position]
    coordinate = cf.coordinate_of(dimension, variable)
    if coordinate is None:
        return TimeAxis(tuple(float(i) for i in range(len(dimension))), name=dimension.name)
    coordinate.set_auto_maskandscale(False)
    decoded, _ = cf.Decoder(coordinate).decode(np.asarray(coordinate[:]), np.float64)
    return TimeAxis(
        tuple(float(v) for v in decoded),
        cf.text(coordinate, "units"),
        cf.text(coordinate, "calendar") or "standard",
        name=dimension.name,
    )
