"""One axis of a structured volume: where its samples lie in the world, even or not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from amgsrn_core.errors import VolumeError

# ParaView's NetCDF reader calls an axis regular within the same fraction of a cell.
UNIFORM_TOLERANCE = 1e-3

# Samples that lie so little of a cell beside even ones: neighbouring cells tell the same index.
_ALIKE = 1e-9

_TURN = 360.0
_NEARLY_NOTHING = 1e-9


@dataclass(frozen=True, eq=False)
class Axis:
    """World coordinates of the samples along one axis.

    Parameters
    ----------
    name : str
        Name of the dimension, as the file has it.
    coordinates : ndarray of float64, shape [n]
        Strictly ascending, finite world coordinates; n >= 1.
    units : str, default: ""
        Units of the coordinates ("m", "degrees_north"); empty when unknown.
    descending : bool, default: False
        The file stores the samples in the reverse of this order.
    negated : bool, default: False
        The file's values grow downwards (``positive: down``): world = -file value, so that up
        is up.
    standard_name : str, default: ""
        CF standard name, where the file gives one.
    wrap : float, optional
        Where the file's longitudes jump by 360 degrees: they are in [wrap, wrap + 360).

    Raises
    ------
    VolumeError
        The coordinates are not finite and strictly ascending.
    """

    name: str
    coordinates: np.ndarray
    units: str = ""
    descending: bool = False
    negated: bool = False
    standard_name: str = ""
    wrap: float | None = None

    def __post_init__(self) -> None:
        # Adding 0 makes -0 (the sea surface, seen from below) 0.
        coordinates = np.asarray(self.coordinates, dtype=np.float64) + 0.0
        if coordinates.ndim != 1 or coordinates.size == 0:
            raise VolumeError(
                f"Axis '{self.name}' needs a list of coordinates, one per sample; "
                f"it got an array of shape {list(coordinates.shape)}."
            )
        if not (np.isfinite(coordinates).all() and (np.diff(coordinates) > 0).all()):
            raise VolumeError(
                f"The coordinates of axis '{self.name}' must be finite and strictly ascending."
            )
        coordinates.flags.writeable = False
        object.__setattr__(self, "coordinates", coordinates)

    @classmethod
    def uniform(
        cls, name: str, n: int, origin: float = 0.0, spacing: float = 1.0, units: str = ""
    ) -> Axis:
        """Return an axis of `n` >= 1 samples at ``origin + i * spacing``, with spacing > 0."""
        if n < 1:
            raise VolumeError(f"Axis '{name}' needs at least one sample, not {n}.")
        if not (np.isfinite(origin) and np.isfinite(spacing) and spacing > 0):
            raise VolumeError(
                f"Axis '{name}' needs a finite origin and a spacing greater than zero, "
                f"not {origin:g} and {spacing:g}."
            )
        return cls(name, origin + spacing * np.arange(n, dtype=np.float64), units)

    @property
    def size(self) -> int:
        """Number of samples."""
        return int(self.coordinates.size)

    @property
    def spacing(self) -> float:
        """Mean distance between neighbouring samples (1 for a single sample)."""
        if self.size == 1:
            return 1.0
        return float((self.coordinates[-1] - self.coordinates[0]) / (self.size - 1))

    @property
    def is_uniform(self) -> bool:
        """Whether the samples are evenly spaced, within a thousandth of a cell."""
        return self._unevenness <= UNIFORM_TOLERANCE

    @property
    def _unevenness(self) -> float:
        """By how much of a cell samples lie beside evenly spaced ones, at most."""
        even = self.coordinates[0] + self.spacing * np.arange(self.size)
        return float(np.abs(self.coordinates - even).max() / self.spacing)

    @property
    def file_coordinates(self) -> np.ndarray:
        """The coordinates in the order, sign and turn that the file had, shape [n]."""
        values = self.coordinates[::-1] if self.descending else self.coordinates
        if self.wrap is not None:
            values = values - _TURN * np.floor((values - self.wrap) / _TURN)
        return 0.0 - values if self.negated else values.copy()

    def to_index(self, world: np.ndarray | float) -> np.ndarray:
        """Return the fractional sample index at world coordinates of any shape.

        Piecewise linear between the samples; beyond the ends the first and last cell go on.
        """
        world = np.asarray(world, dtype=np.float64)
        if self.size == 1:
            return world - self.coordinates[0]
        cell = self._cell(world)
        low = self.coordinates[cell]
        return cell + (world - low) / (self.coordinates[1:][cell] - low)

    def _cell(self, world: np.ndarray) -> np.ndarray:
        """Return which cell holds each coordinate, the first or last of those beyond the ends.

        Where cells are alike, and so their neighbours tell the same index, it may be one of these.
        """
        last, unevenness = self.size - 2, self._unevenness
        if unevenness > UNIFORM_TOLERANCE:
            return np.clip(np.searchsorted(self.coordinates, world, side="right") - 1, 0, last)
        # A search is slow for scattered points. Even samples are off by less than half a cell.
        guess = np.floor((world - self.coordinates[0]) / self.spacing)
        cell = np.fmax(np.fmin(guess, last), 0).astype(np.intp)  # of NaN the last
        if unevenness < _ALIKE:
            return cell
        cell -= world < self.coordinates[cell]
        cell += world >= self.coordinates[np.minimum(cell + 1, last + 1)]
        return np.clip(cell, 0, last)

    def index_slope(self, index: np.ndarray | float) -> np.ndarray:
        """Return how much the index grows per world unit, at fractional sample indices."""
        index = np.asarray(index, dtype=np.float64)
        if self.size == 1:
            return np.ones_like(index)
        cell = np.clip(np.nan_to_num(np.floor(index)), 0, self.size - 2).astype(np.intp)
        return 1.0 / (self.coordinates[cell + 1] - self.coordinates[cell])

    def to_world(self, index: np.ndarray | float) -> np.ndarray:
        """Return the world coordinate at fractional sample indices of any shape."""
        index = np.asarray(index, dtype=np.float64)
        if self.size == 1:
            return index + self.coordinates[0]
        cell = np.clip(np.nan_to_num(np.floor(index)), 0, self.size - 2).astype(np.intp)
        part = index - cell
        # This form is exact at both ends of a cell.
        return self.coordinates[cell] * (1.0 - part) + self.coordinates[cell + 1] * part

    def resampled(self, n: int) -> Axis:
        """Return `n` samples evenly spaced in index space; both ends stay (n = 1: the middle)."""
        if n < 1:
            raise VolumeError(f"Axis '{self.name}' cannot be resampled to {n} samples.")
        last = self.size - 1
        index = np.linspace(0.0, last, n) if n > 1 else np.array([last / 2.0])
        return replace(self, coordinates=self.to_world(index))

    def between(self, low: float, high: float, n: int) -> Axis:
        """Return `n` >= 2 samples evenly spaced in index space from index `low` to `high`."""
        if n < 2 or not low < high:
            raise VolumeError(
                f"Axis '{self.name}' needs at least 2 samples over a range, not {n} from "
                f"{low:g} to {high:g}."
            )
        return replace(self, coordinates=self.to_world(np.linspace(low, high, n)))

    def window(self, start: int, stop: int) -> Axis:
        """Return the samples ``start <= i < stop``."""
        if not 0 <= start < stop <= self.size:
            raise VolumeError(
                f"Axis '{self.name}' has samples 0 to {self.size - 1}; "
                f"the range {start} to {stop} (exclusive) is empty or outside."
            )
        return replace(self, coordinates=self.coordinates[start:stop])

    def shifted(self, distance: float) -> Axis:
        """Return the axis moved by `distance` in world units."""
        return replace(self, coordinates=self.coordinates + distance)

    def to_json(self) -> dict[str, Any]:
        """Return the axis as plain JSON types, exact to the last bit."""
        result: dict[str, Any] = {"name": self.name, "units": self.units}
        for key in ("descending", "negated", "standard_name"):
            if getattr(self, key):
                result[key] = getattr(self, key)
        if self.wrap is not None:
            result["wrap"] = self.wrap
        even = self.coordinates[0] + self.spacing * np.arange(self.size)
        if np.array_equal(even, self.coordinates):
            origin = float(self.coordinates[0])
            return {**result, "size": self.size, "origin": origin, "spacing": self.spacing}
        return {**result, "coordinates": self.coordinates.tolist()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Axis:
        """Make an axis from :meth:`to_json`'s result; anything else raises VolumeError."""
        try:
            if "coordinates" in values:
                coordinates = np.array(values["coordinates"], dtype=np.float64)
            else:
                size = _whole(values["size"])
                coordinates = float(values["origin"]) + float(values["spacing"]) * np.arange(size)
            return cls(
                str(values["name"]),
                coordinates,
                units=str(values.get("units", "")),
                descending=bool(values.get("descending", False)),
                negated=bool(values.get("negated", False)),
                standard_name=str(values.get("standard_name", "")),
                wrap=None if values.get("wrap") is None else _finite(values["wrap"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            if isinstance(error, VolumeError):
                raise
            raise VolumeError(f"The description of an axis is damaged ({error}).") from error

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Axis):
            return NotImplemented
        return self._flags() == other._flags() and np.array_equal(
            self.coordinates, other.coordinates
        )

    def __hash__(self) -> int:
        return hash((self._flags(), self.coordinates.tobytes()))

    def _flags(self) -> tuple[str, str, bool, bool, str, float | None]:
        return (
            self.name,
            self.units,
            self.descending,
            self.negated,
            self.standard_name,
            self.wrap,
        )


def longitude_turn(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Return longitudes [n] that jump by 360 degrees as ones that do not, and their `wrap`.

    They stay within -180 to 360 degrees where they fit: what passes 0 or 360 begins below 0.
    """
    lowest = -_TURN / 2 if values.min() < 0 else 0.0
    if values.max() >= lowest + _TURN:
        # The file has 180 (360) instead of -180 (0).
        lowest = float(values.max() - _TURN + _NEARLY_NOTHING)
    # Whole turns, because unwrap's sums are rounded.
    turns = np.round((np.unwrap(values, period=_TURN) - values) / _TURN)
    choices = (values + _TURN * (turns + more) for more in (0, -1, 1))
    return min(choices, key=_excess), lowest


def turns_once(values: np.ndarray) -> bool:
    """Tell whether coordinates of an unknown kind [n] can only be longitudes that jump by a turn.

    Without the jump they are strictly monotonic, and the step over it is like the others.
    """
    if len(values) < 3 or not np.isfinite(values).all() or np.ptp(values) > _TURN:
        return False
    steps = np.diff(values)
    jumps = np.abs(steps) > _TURN / 2
    if jumps.sum() != 1:
        return False
    steps[jumps] -= np.sign(steps[jumps]) * _TURN
    lengths = np.abs(steps)
    alike = lengths[jumps].max() <= 2 * lengths[~jumps].max()
    return bool(alike and ((steps > 0).all() or (steps < 0).all()))


def _excess(longitudes: np.ndarray) -> float:
    """Return by how many degrees longitudes go beyond -180 to 360."""
    return max(0.0, -_TURN / 2 - longitudes.min()) + max(0.0, longitudes.max() - _TURN)


def _finite(value: Any) -> float:
    """Return a JSON number that must be finite."""
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(f"wrap {value!r}")
    return number


def _whole(value: Any) -> int:
    """Return a JSON number that must be a sensible count of samples."""
    size = int(value)
    if size != value or not 1 <= size <= 1 << 31:
        raise ValueError(f"size {value!r}")
    return size
