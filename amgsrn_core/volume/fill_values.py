"""Numbers that stand for "no value" and come along as if they were values.

A reader that knows the marks of missing values hands on none of them. Others do: ParaView's NetCDF
reader, say, gives 1e20 unless a box is ticked, and a network that learns it learns nothing else.
Here such numbers are looked for in the pass that reads the values anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_WRITTEN: tuple[float, ...] = tuple(
    sign * value
    for value in (
        9.969209968386869e36,  # NetCDF's default for floating point
        2.0**64,  # NetCDF's default for unsigned 64-bit integers, 2^64 - 2, in float32
        1e20,  # CMIP
        9.999e20,  # GRIB tools
        1e30,  # WRF and others
        1e34,  # Ferret
        1e35,
        1e36,  # CESM
        1e37,  # ROMS
        1.70141e38,  # Surfer
        3.4028230607370965e38,  # ESRI
        3.4028234663852886e38,  # the largest float32
    )
    for sign in (1, -1)
)
KNOWN: tuple[float, ...] = tuple(float(np.float32(value)) for value in _WRITTEN)
"""Usual fill values of 1e19 and more, as float32: where all other values are far smaller, they
are fill values for certain."""

USUAL: tuple[float, ...] = (
    *(sign * value for sign in (1, -1) for value in (999.0, 9999.0, 99999.0, 999999.0, 999.9)),
    *(-9.99e8, 1e15, 1e10, -32767.0, -32768.0, 32767.0, 65535.0),
    *(-2147483647.0, -2147483648.0, 2147483647.0, -9223372036854775806.0, -9223372036854775808.0),
)
"""Usual fill values that may be values as well."""

_SMALLEST_KNOWN = 1e19
# Certain: all other values are smaller by this factor.
_CERTAIN_RATIO = 1e3
# Suspect: the gap to the other values, as a multiple of their range.
_GAP, _USUAL_GAP = 10.0, 1.0
_SAMPLE = 2048
_KNOWN = np.array(KNOWN, dtype=np.float32)
# Data of double precision have them as they are written, or as they come from float32.
_KNOWN_DOUBLE = np.array([KNOWN, _WRITTEN])
_USUAL = np.array(USUAL, dtype=np.float32)

_VALUE, _COUNT, _NEXT = range(3)


@dataclass(frozen=True)
class Finding:
    """A number that looks like a fill value.

    Attributes
    ----------
    component : str
    value : float
    count : int
        Voxels that have it.
    is_certain : bool
        Whether it is one of :data:`KNOWN` and far off all other values.
    low, high : float
        Range of the other values.
    """

    component: str
    value: float
    count: int
    is_certain: bool
    low: float
    high: float

    def sentence(self, option: str, where: str = "", *, masked: bool = False) -> str:
        """Say what was found, what becomes of it, and how to have it otherwise.

        `option` is how the option for fill values is given, with ``{}`` for what.
        """
        value = written(self.value)
        what = (
            f"'{self.component}' has {self.count:,} {'values' if self.count > 1 else 'value'} of "
            f"{value}{where}, {'a usual fill value ' if self.is_certain else ''}far off all others "
            f"({self.low:.4g} to {self.high:.4g})"
        )
        if masked:
            return f"{what}; they are taken for missing (to learn them: {option.format('none')})."
        if self.is_certain:
            return f"{what}; they are learned like values unless {option.format('known')} is given."
        return (
            f"{what}; they are learned like values, and if they stand for none give "
            f"{option.format(value)}."
        )


@dataclass(frozen=True)
class FillSearch:
    """What a pass over values, float32 or float64, has found of numbers that may be fill values.

    Attributes
    ----------
    known : ndarray of int64, shape [C, K]
        How often each of :data:`KNOWN` is among the values of each component.
    ends : ndarray of float64, shape [C, 2, 3]
        Of all others the lowest value, how often it is there, and the lowest but one; and the same
        of the highest, with values negated. Infinite where there is none. Where some value lies
        nearer to the lowest than to the highest, it may stand for the lowest but one, because no
        gap to be told of is possible any more.
    """

    known: np.ndarray
    ends: np.ndarray

    @classmethod
    def of_nothing(cls, components: int) -> FillSearch:
        """Return what is known before the first block."""
        ends = np.full((components, 2, 3), np.inf)
        ends[..., _COUNT] = 0
        return cls(np.zeros((components, len(_KNOWN)), dtype=np.int64), ends)

    @classmethod
    def of_slabs(cls, slabs: Sequence[Sequence[Extremes]]) -> FillSearch:
        """Return what is known of slabs [P, C]."""
        known = np.array([[each.known for each in slab] for slab in slabs])
        return cls._of_parts(known, np.array([[each.ends for each in slab] for slab in slabs]))

    @classmethod
    def merged(cls, found: Sequence[FillSearch]) -> FillSearch:
        """Return what all have found together."""
        return cls._of_parts(
            np.stack([each.known for each in found]), np.stack([each.ends for each in found])
        )

    @classmethod
    def _of_parts(cls, known: np.ndarray, ends: np.ndarray) -> FillSearch:
        """Return what parts [P, C, ...] have found together."""
        value = ends[..., _VALUE].min(axis=0)
        count = np.where(ends[..., _VALUE] == value, ends[..., _COUNT], 0).sum(axis=0)
        further = np.concatenate([ends[..., _VALUE], ends[..., _NEXT]])
        further[further <= value] = np.inf
        return cls(known.sum(axis=0), np.stack([value, count, further.min(axis=0)], axis=-1))

    def certain(self) -> tuple[float, ...]:
        """Return the values that are fill values for certain, in whichever component."""
        found = [f.value for f in self.findings(range(len(self.known))) if f.is_certain]
        return tuple(dict.fromkeys(found))

    def findings(self, components: Sequence[Any]) -> list[Finding]:
        """Return every number that looks like a fill value, given the components' names."""
        found = []
        for name, known, ends in zip(components, self.known, self.ends):
            low, high = ends[0, _VALUE], -ends[1, _VALUE]
            if not low <= high:  # no other is far off nothing
                continue
            about = str(name)
            largest = max(abs(low), abs(high))
            for value, count in zip(KNOWN, known.tolist()):
                if count and abs(value) >= _CERTAIN_RATIO * largest:
                    found.append(Finding(about, value, count, True, low, high))
                elif count > 1 and abs(value) - largest > _GAP * (high - low):
                    found.append(Finding(about, value, count, False, low, high))
            found += _apart(about, ends)
        return found

    def range_without(self, masked: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Return lowest and highest value, float64 [C], without some of :data:`KNOWN`."""
        low, high = self.ends[:, 0, _VALUE].copy(), -self.ends[:, 1, _VALUE]
        for value, counts in zip(KNOWN, self.known.T):
            if value not in masked:
                low = np.where(counts > 0, np.minimum(low, value), low)
                high = np.where(counts > 0, np.maximum(high, value), high)
        return low, high


def written(value: float) -> str:
    """Return a number of an array in as few digits as :func:`matches` finds it by."""
    single = _single(value)
    is_short = float(single) == value or float(str(single)) == value
    return str(single if is_short else float(value)).removesuffix(".0")


def matches(values: np.ndarray, wanted: Sequence[float]) -> np.ndarray:
    """Return where an array has one of some values.

    Numbers of double precision are the value itself, or what float32 makes of one with few digits:
    rounding them would take all that are near 1e9 for 1e9.
    """
    found = np.zeros(values.shape, dtype=bool)
    for value in wanted:
        rounded = _single(value)
        if values.dtype.kind == "f" and values.dtype.itemsize > 4:
            for each in _doubles(value, rounded):
                found |= values == each
        elif values.dtype.kind == "f" and np.isfinite(rounded):
            found |= values == rounded
        elif value in KNOWN:  # an integer beyond 1e19, such as 2^64 - 2
            found |= values.astype(np.float32) == rounded
        else:
            found |= values == value
    return found


def _single(value: float) -> np.float32:
    with np.errstate(over="ignore"):
        return np.float32(value)


def _doubles(value: float, rounded: np.float32) -> set[float]:
    """Return the numbers of double precision that a fill value may be stored as."""
    if float(rounded) in KNOWN:
        return set(_KNOWN_DOUBLE[:, KNOWN.index(float(rounded))].tolist())
    few_digits = np.isfinite(rounded) and float(str(rounded)) == value
    return {value, float(rounded)} if few_digits else {value}


@dataclass(frozen=True)
class Extremes:
    """Of some values of a component the range, and what :class:`FillSearch` knows; see there."""

    low: float
    high: float
    known: np.ndarray
    ends: np.ndarray


def extremes(values: np.ndarray, valid: np.ndarray | None) -> Extremes:
    """Return the extremes of a component's values that count where `valid`.

    They are walked several times, and should be few enough to stay in the cache.
    """
    known = np.zeros(len(_KNOWN), dtype=np.int64)
    ends = np.full((2, 3), np.inf)
    ends[:, _COUNT] = 0
    values = values.ravel() if valid is None else values[valid]
    if not values.size:
        return Extremes(math.inf, -math.inf, known, ends)
    lowest, highest = low, high = float(values.min()), float(values.max())
    if max(-low, high) >= _SMALLEST_KNOWN:
        large = values[np.abs(values) >= _SMALLEST_KNOWN]
        marks = _KNOWN_DOUBLE if values.dtype == np.float64 else _KNOWN[None]
        known[:] = [np.count_nonzero(np.isin(large, each)) for each in marks.T]
        if known.any():
            values = values[~np.isin(values, marks)]
            if not values.size:
                return Extremes(lowest, highest, known, ends)
            low, high = float(values.min()), float(values.max())
    sample = values[:: max(1, values.size // _SAMPLE)].astype(np.float64)
    middle = 0.5 * (low + high)
    for end, (edge, sign) in enumerate(((low, 1), (high, -1))):
        near = sample[(sign * sample > sign * edge) & (sign * sample < sign * middle)]
        if near.size:
            ends[end] = sign * edge, 1, (sign * near).min()
            continue
        is_other = values != edge
        count = values.size - np.count_nonzero(is_other)
        if count < values.size:
            reduce = np.min if sign > 0 else np.max
            beyond = sign * float(reduce(values, where=is_other, initial=sign * np.inf))
        else:
            beyond = np.inf
        ends[end] = sign * edge, count, beyond
    return Extremes(lowest, highest, known, ends)


def _apart(component: str, ends: np.ndarray) -> list[Finding]:
    """Return a value that many voxels share, at an end of the range and far off all others."""
    found = []
    for end, sign in ((0, 1.0), (1, -1.0)):
        edge, count, beyond = ends[end]
        opposite = -ends[1 - end, _VALUE]
        spread = opposite - beyond
        # Two values alone are a mask rather than a field.
        if count < 2 or not spread > 0:
            continue
        is_usual = _single(sign * edge) in _USUAL
        if beyond - edge > (_USUAL_GAP if is_usual else _GAP) * spread:
            low, high = sorted((sign * beyond, sign * opposite))
            found.append(Finding(component, sign * edge, int(count), False, low, high))
    return found
