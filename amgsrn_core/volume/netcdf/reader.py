"""Volumes in NetCDF files, classic and NetCDF-4, by the CF conventions."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core.errors import AmgsrnError, VolumeError, VolumeNotFoundError
from amgsrn_core.volume.attributes import Attributes
from amgsrn_core.volume.axis import Axis, longitude_turn
from amgsrn_core.volume.geometry import Extent, GridGeometry
from amgsrn_core.volume.netcdf import cf
from amgsrn_core.volume.netcdf.attributes import source_attributes
from amgsrn_core.volume.netcdf.classic import required_size
from amgsrn_core.volume.netcdf.hdf5_filters import (
    REMEDY,
    describe_filters,
    filters_in,
    is_filter_known,
    missing_filters,
)
from amgsrn_core.volume.netcdf.library import LOCK, import_netcdf4, library_path
from amgsrn_core.volume.netcdf.references import (
    coordinate_of,
    hidden_dimensions,
    tell,
    tell_of_coordinates,
    text,
    walk,
)
from amgsrn_core.volume.times import TimeStep, select_time
from amgsrn_core.volume.volume import (
    Loaded,
    MissingValues,
    TimeAxis,
    Volume,
    require_three_axes,
)

# Other steps of an axis that one to a fill value may be as long as, for it to be a coordinate.
_LONGEST_STEP = 10.0


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
            units=[text(item.variable, "units") for item in chosen],
            geometry=GridGeometry(layouts[0].axes),
            source_dtype=np.result_type(*(decoder.source_dtype for decoder in decoders)),
            dtype=np.result_type(*(decoder.value_dtype for decoder in decoders)),
            missing=MissingValues(
                " | ".join(dict.fromkeys(decoder.meaning for decoder in decoders)),
                decoders[0].fill_value,
            ),
            time=_select_time([item.variable for item in chosen], layouts, time),
            attributes=_attributes([item.variable for item in chosen], layouts[0]),
            source=str(path),
        )


def netcdf_names(path: Path) -> tuple[str, ...]:
    """Return the paths of all variables of a NetCDF file, with and without the root's slash."""
    with _dataset(path) as dataset:
        return tuple(name for each, _ in walk(dataset) for name in (each, f"/{each}"))


def netcdf_volumes(path: Path) -> tuple[str, ...]:
    """Return the paths of the variables of a NetCDF file that can be volumes."""
    _require_complete(path)
    with _dataset(path) as dataset:
        return tuple(each.path for each in cf.candidates(dataset))


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
        raw = _stored(variable, tuple(key))
        raw = raw.transpose(np.argsort(np.argsort(layout.space)))
        return raw[tuple(slice(None, None, -1 if axis.descending else 1) for axis in layout.axes)]


@contextmanager
def _dataset(path: Path) -> Iterator[Any]:
    """Open a file for reading; every failure of the library becomes one sentence."""
    netcdf4 = import_netcdf4()
    with LOCK:
        try:
            with library_path(path) as name:
                dataset = netcdf4.Dataset(name, "r")
        except FileNotFoundError as error:
            raise VolumeNotFoundError(f"There is no file '{path}'.") from error
        except PermissionError as error:
            raise VolumeNotFoundError(f"The file '{path}' may not be read.") from error
        except (OSError, RuntimeError, UnicodeError) as error:
            raise _unopened(path, error) from error
        try:
            yield dataset
        except (OSError, RuntimeError, IndexError, KeyError) as error:
            if isinstance(error, AmgsrnError):
                raise
            raise _damaged(path, error) from error
        finally:
            dataset.close()


def _damaged(path: Path, error: Exception) -> VolumeError:
    why = getattr(error, "strerror", None) or error
    return VolumeError(
        f"'{path}' cannot be read as NetCDF; it is damaged, truncated or of another kind ({why})."
    )


def _unopened(path: Path, error: Exception) -> VolumeError:
    """Return what is wrong with a file that the library refuses as a whole."""
    unknown = [number for number in filters_in(path) if not is_filter_known(number)]
    if not unknown:
        return _damaged(path, error)
    return VolumeError(
        f"'{path}' cannot be opened: it needs the HDF5 filter {describe_filters(unknown)}, which "
        f"is missing here, so {REMEDY}; if that does not help, the file is damaged "
        f"({getattr(error, 'strerror', None) or error})."
    )


def _stored(variable: Any, key: Any) -> np.ndarray:
    """Return numbers of a variable as they are stored."""
    variable.set_auto_maskandscale(False)
    try:
        return np.asarray(variable[key])
    except (OSError, RuntimeError) as error:
        missing = missing_filters(variable)
        if not missing:
            raise
        raise VolumeError(
            f"'{variable.name}' is stored with the HDF5 filter {describe_filters(missing)}, which "
            f"is missing here; {REMEDY}."
        ) from error


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
    hidden = hidden_dimensions(variable)
    if hidden:
        raise VolumeError(
            f"'{variable.name}' has the dimension {hidden[0]} of a group above its own, which has "
            "another of that name, and the netCDF4 package confuses them; rename one of them, for "
            "example with: ncrename -d PATH,NAME FILE.nc."
        )
    dimensions = list(variable.get_dims())
    coordinates = [coordinate_of(dim, variable) for dim in dimensions]
    kinds = [cf.axis_kind(dim, coord) for dim, coord in zip(dimensions, coordinates)]
    time = _choose_time(variable, dimensions, coordinates, kinds)
    space = [i for i in range(len(dimensions)) if i != time]
    # Dimensions of one sample are dropped, times first, then the unlabelled, but never more than
    # are too many.
    for position in sorted(space, key=lambda i: (kinds[i] != "t", kinds[i] is not None)):
        if len(space) > 3 and len(dimensions[position]) == 1:
            space.remove(position)
    sizes = [(dimensions[i].name, len(dimensions[i])) for i in space]
    if len(space) > 3:
        raise VolumeError(_too_many(variable.name, sizes, time))
    require_three_axes(variable.name, sizes)
    without = [dimensions[i].name for i in space if coordinates[i] is None]
    tell_of_coordinates(variable, without)
    ordered = _order(space, [kinds[i] for i in space])
    z, y, x = (_axis(dimensions[i], coordinates[i]) for i in ordered)
    chunks = variable.chunking()
    depth = 1 if isinstance(chunks, str) or chunks is None else int(chunks[ordered[0]])
    return _Layout((z, y, x), ordered, time, depth)


def _choose_time(
    variable: Any, dimensions: list[Any], coordinates: list[Any], kinds: list[str | None]
) -> int | None:
    """Return the position of the time dimension, if there is one.

    A time of several steps comes before one of a single step (the reference time of a forecast).
    """
    times = [i for i, kind in enumerate(kinds) if kind == "t"]
    several = [i for i in times if len(dimensions[i]) != 1]
    if len(several) > 1:
        listed = " and ".join(f"{dimensions[i].name} {len(dimensions[i])}" for i in several)
        raise VolumeError(
            f"'{variable.name}' has {len(several)} time dimensions of several steps ({listed}), "
            f"and a series has one; keep one step of {dimensions[several[0]].name}, for example "
            f"with: ncks -d {dimensions[several[0]].name},0 IN.nc OUT.nc."
        )
    if several:
        return several[0]
    others = [i for i, dim in enumerate(dimensions) if i not in times and len(dim) != 1]
    if len(others) > 3:
        likely = {i: cf.time_likelihood(dimensions[i], coordinates[i]) for i in others}
        best = [i for i in others if likely[i] == max(likely.values()) > 0]
        if len(best) == 1:
            if likely[best[0]] == 1:
                tell(
                    variable,
                    f"The unlimited dimension '{dimensions[best[0]].name}' of '{variable.name}' is "
                    "taken for time.",
                )
            return best[0]
    # Of single steps that of the data itself comes first.
    own = [i for i in times if dimensions[i].name.lower() == "time"] or times
    return own[0] if own else None


def _too_many(name: str, sizes: list[tuple[str, int]], time: int | None) -> str:
    """Say what to do about a variable of more than three dimensions beside time."""
    listed = ", ".join(f"{each} {size}" for each, size in sizes)
    first = next((each for each, size in sizes if size > 1), sizes[0][0])
    keep = f"keep one index of the others, for example with: ncks -d {first},0 IN.nc OUT.nc"
    if time is not None:
        return (
            f"'{name}' has {len(sizes)} dimensions beside time ({listed}); a volume has three: "
            f"{keep}."
        )
    return (
        f"'{name}' has {len(sizes)} dimensions, none of which is known as time ({listed}); a "
        f"volume has three: {keep} (if {first} is time, call it so: ncrename -d {first},time "
        "IN.nc)."
    )


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
    world = _coordinates(coordinate)
    units = text(coordinate, "units")
    negated = text(coordinate, "positive").lower() == "down"
    if negated:
        world = 0.0 - world
    wrap = None
    angles = units.lower().startswith("deg") or "longitude" in text(coordinate, "standard_name")
    if angles and np.isfinite(world).all() and np.ptp(world) <= 360 and not _is_monotonic(world):
        # Longitudes may jump where they pass 180 or 360 degrees, by one turn.
        world, wrap = longitude_turn(world)
    problem = _problem(world)
    if problem:
        tell(
            coordinate,
            f"The coordinates of '{dimension.name}' {problem}; its samples are counted instead.",
        )
        return Axis.uniform(dimension.name, len(dimension))
    descending = bool(world[0] > world[-1])
    return Axis(
        dimension.name,
        world[::-1] if descending else world,
        units=units,
        descending=descending,
        negated=negated,
        standard_name=text(coordinate, "standard_name"),
        wrap=wrap,
    )


def _problem(world: np.ndarray) -> str:
    """Say why coordinates make no axis; "" where they do."""
    missing = int(np.isnan(world).sum())
    if missing:
        return f"are missing at {missing} of {len(world)} samples"
    if not np.isfinite(world).all():
        return "are not all finite"
    return "" if _is_monotonic(world) else "are not strictly monotonic"


def _coordinates(coordinate: Any) -> np.ndarray:
    """Return coordinates [n] in float64, NaN where there are none.

    Coordinates have no missing values (CF 2.5.1): what is out of their own valid range, or equals
    their fill value and yet fits between the others, is a coordinate.
    """
    decoder = cf.Decoder(coordinate)
    values, filled, outside = decoder.decode_coordinates(_stored(coordinate, slice(None)))
    name = coordinate.name
    if filled.any() and _fits(values, filled):
        tell(
            coordinate,
            f"One of the coordinates '{name}' equals their fill value, "
            f"{values[filled][0]:g}; it fits the others and is used as it is.",
        )
        filled = np.zeros_like(filled)
    values[filled] = math.nan
    if (outside & ~np.isnan(values)).any():
        tell(
            coordinate,
            f"The coordinates '{name}' go beyond their own valid range, {decoder.valid_range}; "
            "they are used as they are.",
        )
    return values


def _fits(values: np.ndarray, filled: np.ndarray) -> bool:
    """Tell whether the one value that equals a fill value continues the others' sequence."""
    if filled.sum() != 1 or len(values) < 3 or not _is_monotonic(values):
        return False
    steps = np.abs(np.diff(values))
    beside = filled[1:] | filled[:-1]
    return bool(steps[beside].max() <= _LONGEST_STEP * steps[~beside].max(initial=0.0))


def _is_monotonic(values: np.ndarray) -> bool:
    steps = np.diff(values)
    return bool((steps > 0).all() or (steps < 0).all())


def _attributes(variables: list[Any], layout: _Layout) -> Attributes:
    """Return the attributes of variables that share a grid."""
    dimensions = variables[0].get_dims()
    coordinates: list[Any] = []
    for position, axis in zip(layout.space, layout.axes):
        found = coordinate_of(dimensions[position], variables[0])
        if found is not None and np.array_equal(axis.coordinates, np.arange(axis.size)):
            # Perhaps it is of no use, and the samples are counted.
            found = found if _is_monotonic(_coordinates(found)) else None
        coordinates.append(found)
    time = None if layout.time is None else coordinate_of(dimensions[layout.time], variables[0])
    return source_attributes(variables, coordinates, time)


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
    coordinate = coordinate_of(dimension, variable)
    if coordinate is None:
        return TimeAxis(tuple(float(i) for i in range(len(dimension))), name=dimension.name)
    return TimeAxis(
        # The one NaN of `math`, because axes are compared, and another NaN equals none.
        tuple(float(v) if math.isfinite(v) else math.nan for v in _coordinates(coordinate)),
        text(coordinate, "units"),
        text(coordinate, "calendar") or "standard",
        name=dimension.name,
    )
