"""What every volume offers, wherever its values are: metadata at once, values extent by extent."""

from __future__ import annotations

import copy
import dataclasses
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from amgsrn_core.errors import ArchiveError, VolumeError
from amgsrn_core.system.json_fields import Fields, number_to_json
from amgsrn_core.system.output import size
from amgsrn_core.volume.attributes import Attributes
from amgsrn_core.volume.block import Block, FieldSummary, Scan, cache_slabs
from amgsrn_core.volume.curvilinear import Coordinates
from amgsrn_core.volume.fill_values import matches, written
from amgsrn_core.volume.geometry import Extent, GridGeometry, PartialExtent
from amgsrn_core.volume.precision import refuse_spans, type_of_numbers

logger = logging.getLogger(__name__)

_SLAB_BYTES = 64 << 20
_PIECE_BYTES = 4 << 20
_LAYER_BYTES = 256 << 20

# Whole numbers up to here are numbers of double precision, too.
_EXACT = 1 << 53

Loaded = tuple[np.ndarray, Optional[np.ndarray]]
"""Values [z, y, x] of one component, and where they are missing (bool) or None."""


@dataclass(frozen=True)
class MissingValues:
    """How the source marks voxels without a value, and what to write in their place.

    `values` are numbers that the source gives as values, and that are missing because somebody
    said so.
    """

    meaning: str = "NaN"
    fill_value: float | None = None
    values: tuple[float, ...] = ()

    def with_values(self, values: Sequence[float]) -> MissingValues:
        """Return the same, with further numbers that stand for no value."""
        new = tuple(value for value in dict.fromkeys(values) if value not in self.values)
        meaning = " | ".join([self.meaning, *map(written, new)])
        return dataclasses.replace(self, meaning=meaning, values=(*self.values, *new))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        more = {"values": list(map(number_to_json, self.values))} if self.values else {}
        return {"meaning": self.meaning, "fill_value": number_to_json(self.fill_value), **more}

    @classmethod
    def from_json(cls, fields: Fields) -> MissingValues:
        """Read :meth:`to_json`'s result; ArchiveError names a field that is damaged."""
        return cls(
            meaning=fields.text("meaning"),
            fill_value=fields.optional_number("fill_value"),
            values=fields.numbers("values") if "values" in fields else (),
        )


@dataclass(frozen=True)
class TimeAxis:
    """The time dimension of the source, and which of its steps this volume is.

    The axis of a series names its steps in `steps`, in the order of their times; `index` is then
    the first of them. The value of a step without a time is NaN.

    Raises
    ------
    VolumeError
        A time is no number.
    """

    values: tuple[float, ...]
    units: str = ""
    calendar: str = "standard"
    index: int = 0
    name: str = "time"
    steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for value in self.values:
            if not isinstance(value, (int, float, np.integer, np.floating)):
                raise VolumeError(
                    f"The times of '{self.name}' are numbers, not {value!r}; give them so, and "
                    "what they count as the units, such as 'hours since 2026-01-01'."
                )

    @property
    def value(self) -> float:
        """Time of this volume, in `units`."""
        return self.values[self.index]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        # Versions of models before 1.2 know no series; without an index they refuse it instead of
        # mixing steps.
        which = {"steps": list(self.steps)} if self.steps else {"index": self.index}
        return {
            "values": list(map(number_to_json, self.values)),
            "units": self.units,
            "calendar": self.calendar,
            "name": self.name,
            **which,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> TimeAxis:
        """Read :meth:`to_json`'s result; ArchiveError names a field that is damaged."""
        steps = fields.integers("steps") if "steps" in fields else ()
        time = cls(
            values=fields.numbers("values"),
            units=fields.text("units"),
            calendar=fields.text("calendar"),
            index=steps[0] if steps else fields.integer("index"),
            name=fields.text("name"),
            steps=steps,
        )
        if max([time.index, *steps]) >= len(time.values):
            raise ArchiveError("'time.index' is beyond 'time.values'")
        at = [time.values[step] for step in steps]
        if not all(a < b for a, b in zip(at, at[1:])):
            raise ArchiveError("the times of 'time.steps' are not ascending")
        return time


class Volume(ABC):
    """A structured volume of one or more components on one grid.

    Attributes
    ----------
    name : str
        Name of the array.
    components : tuple of str
        Name of each component; for a scalar field, its only name.
    units : tuple of str
        Units of each component.
    geometry : GridGeometry
        Where the samples lie.
    source_dtype : numpy.dtype
        Type of the numbers in the source.
    dtype : numpy.dtype
        Type of the values that are read, float32 or float64: the same for every extent, and in
        every process.
    missing : MissingValues
        How the source marks voxels without a value.
    time : TimeAxis or None
        The source's time dimension, if it has one.
    attributes : Attributes or None
        What the source says in other attributes; None where it has no place for any.
    source : str
        Path of the file, or "memory".
    coordinates : Coordinates or None
        Of a curvilinear grid, where the samples lie; the geometry is then that of its indices.
    folder : str
        The folder of :func:`amgsrn_core.volume.export_volume` that it was opened from, or empty.

    Raises
    ------
    VolumeError
        Fewer than two samples along an axis.
    """

    def __init__(
        self,
        *,
        name: str,
        components: Sequence[str],
        units: Sequence[str] | str,
        geometry: GridGeometry,
        source_dtype: Any,
        dtype: Any = None,
        missing: MissingValues | None = None,
        time: TimeAxis | None = None,
        attributes: Attributes | None = None,
        source: str = "memory",
        folder: str = "",
        coordinates: Coordinates | None = None,
    ) -> None:
        self.name = name
        self.components = tuple(components)
        self.units = (units,) * len(self.components) if isinstance(units, str) else tuple(units)
        self.geometry = geometry
        self.source_dtype = np.dtype(source_dtype)
        self.dtype = type_of_numbers(source_dtype) if dtype is None else np.dtype(dtype)
        self._has_told = False
        self.missing = missing or MissingValues()
        self.time = time
        self.attributes = attributes
        self.source = source
        self.folder = folder
        self.coordinates = coordinates
        if not self.components or len(self.units) != len(self.components):
            raise VolumeError(
                f"Volume '{name}' has {len(self.components)} components but "
                f"{len(self.units)} units; it needs one or more, and as many of each."
            )
        require_three_axes(name, [(axis.name, axis.size) for axis in geometry.axes])

    def __repr__(self) -> str:
        units = ", ".join(dict.fromkeys(unit for unit in self.units if unit not in ("", "1")))
        named = f"{self.name}{f' [{units}]' if units else ''}"
        dims = " x ".join(map(str, self.dims))
        many = f", {self.n_components} components" if self.n_components > 1 else ""
        place = os.path.basename(self.source) or self.source
        return (
            f"<{type(self).__name__} {named} {dims}{many}, {self.source_dtype}, "
            f"{size(self.source_nbytes)}, {place}>"
        )

    @property
    def dims(self) -> tuple[int, int, int]:
        """Number of samples along z, y, x."""
        return self.geometry.dims

    @property
    def n_components(self) -> int:
        """Number of components."""
        return len(self.components)

    @property
    def variables(self) -> tuple[str, ...]:
        """Names by which :func:`amgsrn_core.open_volume` finds this field in its source."""
        return (self.name,)

    @property
    def source_nbytes(self) -> int:
        """Bytes of the values in the source's own type, uncompressed."""
        return self.geometry.n_points * self.n_components * self.source_dtype.itemsize

    def masking(self, values: Sequence[float]) -> Volume:
        """Return this volume with some numbers taken for missing values, wherever it is read."""
        if not values:
            return self
        other = copy.copy(self)
        other.missing = self.missing.with_values(values)
        return other

    def read(self, extent: PartialExtent = None) -> Block:
        """Read the values of an extent; nothing outside it is touched.

        Parameters
        ----------
        extent : tuple of three slices (z, y, x), default: everything
            Half-open index ranges.

        Raises
        ------
        VolumeError
            Infinite values, a damaged file, an extent outside the volume, or not enough memory.
        """
        return self._read(extent, None)

    def scanned(self, extent: PartialExtent = None, *, checksum: bool = False) -> Block:
        """Read like :meth:`read`, in a pass that finds the block's summary, too.

        With `checksum` it finds the block's checksum as well.
        """
        return self._read(extent, Scan(self.n_components, checksum=checksum))

    def _read(self, extent: PartialExtent, scan: Scan | None) -> Block:
        nz, ny, nx = shape = extent_shape(extent := self.geometry.resolve(extent))
        try:
            values = np.empty((self.n_components, *shape), dtype=self.dtype)
            valid = None
            # In pieces, so that besides the result only one piece is ever in memory, and that what
            # is done with a piece finds it in the cache.
            bottom, top = extent[0].start, extent[0].stop
            slice_bytes = ny * nx * max(self.dtype.itemsize, self.source_dtype.itemsize)
            budget = self._budget(slice_bytes, _PIECE_BYTES)
            for start, stop in self._z_ranges(bottom, top, slice_bytes, budget):
                inner = slice(start - bottom, stop - bottom)
                piece = (slice(start, stop), extent[1], extent[2])
                bad = self._read_piece(piece, values[:, inner])
                if bad is not None:
                    if valid is None:
                        valid = np.ones(shape, dtype=bool)
                    np.logical_not(bad, out=valid[inner])
                    np.copyto(values[:, inner], 0.0, where=bad)
                if scan is not None:
                    known = None if bad is None or valid is None else valid[inner]
                    scan.add(values[:, inner], known)
        except MemoryError as error:
            raise VolumeError(
                f"There is not enough memory to read {nz} x {ny} x {nx} voxels of '{self.name}'; "
                "read a smaller extent."
            ) from error
        return Block(values, valid) if scan is None else Block.scanned(values, valid, scan)

    def slabs(self, max_bytes: int | None = None) -> Iterator[Extent]:
        """Yield extents that cover the volume from bottom to top: z ranges, full y and x.

        Each holds at most `max_bytes` of values, or a single slice if that is larger.
        The default is 64 MiB, more where the file stores thicker layers together.
        """
        nz, ny, nx = self.dims
        slice_bytes = ny * nx * self.dtype.itemsize * self.n_components
        if max_bytes is None:
            max_bytes = self._budget(slice_bytes, _SLAB_BYTES)
        for start, stop in self._z_ranges(0, nz, slice_bytes, max_bytes):
            yield slice(start, stop), slice(0, ny), slice(0, nx)

    def check(self) -> FieldSummary:
        """Read everything once and return the value range of the valid voxels.

        Raises
        ------
        VolumeError
            No valid voxel, a field that is constant in all components, or infinite values.
        """
        summary = self.survey()
        self.refuse_unfit(summary)
        return summary

    def survey(self) -> FieldSummary:
        """Read everything once and return the value range, whatever it is."""
        summary = FieldSummary.of_nothing(self.n_components)
        for extent in self.slabs():
            summary = summary.merged(self.scanned(extent).summary())
        return summary

    def refuse_unfit(self, summary: FieldSummary) -> None:
        """Raise unless there is something to learn from such values; see :meth:`check`."""
        if summary.valid_count == 0:
            raise VolumeError(
                f"'{self.name}' has no valid value: every voxel is missing "
                f"({self.missing.meaning})."
            )
        if (summary.minimum == summary.maximum).all():
            level = ", ".join(f"{value:.10g}" for value in summary.minimum)
            raise VolumeError(
                f"'{self.name}' is constant ({level} everywhere); "
                "there is nothing to learn from it."
            )
        refuse_spans(self.components, summary.minimum, summary.maximum)

    @abstractmethod
    def _load(self, extent: Extent) -> Iterator[Loaded]:
        """Yield, component by component, the decoded values of a resolved extent.

        The values may have any real type and contain NaN; the mask marks what else is missing.
        """

    @property
    def _chunk_depth(self) -> int:
        """Slices along z that the source stores together: reading them together is cheaper."""
        return 1

    def _masked(self, extent: Extent) -> Iterator[Loaded]:
        """Yield what :meth:`_load` does, and mark the numbers that stand for no value."""
        for values, missing in self._load(extent):
            if self.missing.values:
                found = matches(values, self.missing.values)
                missing = found if missing is None else missing | found
            yield values, missing

    def _read_piece(self, extent: Extent, out: np.ndarray) -> np.ndarray | None:
        """Fill `out` [C, z, y, x] and return where any component is invalid, or None."""
        bad: np.ndarray | None = None
        for component, (values, missing) in enumerate(self._masked(extent)):
            with np.errstate(over="ignore", invalid="ignore"):
                out[component] = values
            self._tell_rounding(component, values, missing)
            if not _all_finite(out[component : component + 1]):
                finite = np.isfinite(out[component])
                infinite = np.isinf(out[component])
                if missing is not None:
                    infinite &= ~missing
                if infinite.any():
                    self._refuse_infinite(component, extent, infinite, values)
                missing = ~finite if missing is None else missing | ~finite
            if missing is not None:
                bad = missing if bad is None else bad | missing
        return bad if bad is not None and bad.any() else None

    def _refuse_infinite(
        self, component: int, extent: Extent, where: np.ndarray, values: np.ndarray
    ) -> None:
        first = np.argwhere(where)[0]
        z, y, x = (first + [part.start for part in extent]).tolist()
        kind = (
            "infinite values" if np.isinf(values[tuple(first)]) else f"values beyond {self.dtype}"
        )
        raise VolumeError(
            f"'{self.components[component]}' has {kind}, the first at index z={z}, y={y}, x={x}; "
            "mark them as missing (NaN or _FillValue)."
        )

    def _tell_rounding(
        self, component: int, values: np.ndarray, missing: np.ndarray | None
    ) -> None:
        """Say once that there are whole numbers which double precision rounds."""
        if self._has_told or values.dtype.kind not in "iu" or values.dtype.itemsize < 8:
            return
        large = values > _EXACT
        if values.dtype.kind == "i":
            large |= values < -_EXACT
        if missing is not None:
            large &= ~missing
        if large.any():
            self._has_told = True
            logger.warning(
                "'%s' has whole numbers beyond 2^53, such as %d; double precision rounds them.",
                self.components[component],
                values[large][0],
            )

    def _z_ranges(
        self, start: int, end: int, slice_bytes: int, max_bytes: int
    ) -> Iterator[tuple[int, int]]:
        """Yield consecutive index ranges of at most `max_bytes`, cut where the chunks end."""
        depth, chunk = max(1, max_bytes // slice_bytes), self._chunk_depth
        while start < end:
            stop = start + depth
            if depth >= chunk:
                stop -= stop % chunk
            else:
                stop = min(stop, start - start % chunk + chunk)
            stop = min(stop, end)
            yield start, stop
            start = stop

    def _budget(self, slice_bytes: int, usual: int) -> int:
        """Return how many bytes to read at once: a layer of chunks, if that is not too much."""
        return max(usual, min(self._chunk_depth * slice_bytes, _LAYER_BYTES))


def _all_finite(values: np.ndarray) -> bool:
    """Tell whether values [C, z, y, x] are numbers; their extremes tell, without a mask of all."""
    with np.errstate(invalid="ignore"):
        return all(
            bool(np.isfinite(values[:, part].min()) and np.isfinite(values[:, part].max()))
            for part in cache_slabs(values)
        )


def require_three_axes(name: str, sizes: Sequence[tuple[str, int]]) -> None:
    """Raise VolumeError unless `sizes`, (dimension, samples) pairs, make a volume."""
    listed = ", ".join(f"{axis} {size}" for axis, size in sizes) or "none"
    if len(sizes) != 3:
        raise VolumeError(
            f"'{name}' has {len(sizes)} dimension{'' if len(sizes) == 1 else 's'} ({listed}); "
            "a volume needs three, so choose a variable with z, y and x."
        )
    thin = [axis for axis, size in sizes if size < 2]
    if thin:
        raise VolumeError(
            f"'{name}' has fewer than 2 samples along {' and '.join(thin)} ({listed}); "
            "a volume needs at least 2 along every axis."
        )


def extent_shape(extent: Extent) -> tuple[int, int, int]:
    """Return the number of samples (z, y, x) of a resolved extent."""
    z, y, x = (part.stop - part.start for part in extent)
    return z, y, x
