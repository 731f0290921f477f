"""Which floating-point type holds values without losing what matters of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from amgsrn_core.errors import VolumeError

# Of a range this part may be lost to rounding: an error of 90 dB, which no network reaches.
_ROUNDING = 1e-4

# Values of this size may be multiplied with each other, and divided by small lengths, in float32.
_MODERATE = (1e-12, 1e12)

_LARGEST = float(np.finfo(np.float32).max) / 4.0
_SMALLEST = float(np.finfo(np.float32).tiny)

Ranges = Iterable[tuple[Sequence[float], Sequence[float]]]
"""Lowest and highest values of each component, perhaps of several parts of the data."""

# Spans whose squares are numbers of double precision, those of small errors included.
_SPANS = (1e-140, 1e140)


def type_of_numbers(source: Any) -> np.dtype:
    """Return float32 where it holds every number of a type, else float64."""
    return np.dtype(np.float32 if np.can_cast(source, np.float32, "safe") else np.float64)


def type_of_packed(stored: np.dtype, scale: float, offset: float) -> np.dtype:
    """Return float32 where it tells apart all that `stored` * `scale` + `offset` may be."""
    if stored.kind == "f" or stored.itemsize > 2:
        return np.dtype(np.float64)
    limits = np.iinfo(stored)
    largest = max(abs(limits.min * scale + offset), abs(limits.max * scale + offset))
    fits = abs(scale) > _SMALLEST and largest < _LARGEST
    told_apart = fits and float(np.spacing(np.float32(largest))) <= abs(scale)
    return np.dtype(np.float32 if told_apart else np.float64)


def type_of_ranges(ranges: Ranges) -> np.dtype:
    """Return float32 where its rounding takes less than 1e-4 of each range, else float64.

    Of values that are all alike the relative error counts.
    """
    pairs = [pair for low, high in ranges for pair in zip(low, high)]
    return np.dtype(np.float64 if any(_is_lost(*pair) for pair in pairs) else np.float32)


def is_moderate(ranges: Ranges) -> bool:
    """Return whether float32 holds values, products of two and their gradients, too."""
    ranges = list(ranges)
    largest = [max(abs(a), abs(b)) for low, high in ranges for a, b in zip(low, high)]
    sizes = all(size == 0 or _MODERATE[0] <= size <= _MODERATE[1] for size in largest)
    return sizes and type_of_ranges(ranges) == np.float32


def refuse_spans(names: Sequence[str], low: np.ndarray, high: np.ndarray) -> None:
    """Raise VolumeError where components [C] span what errors cannot be computed of.

    One that spans too little is refused if there is no other to learn, see :func:`flattened`.
    """
    spans = high - low
    too_large = spans >= _SPANS[1]
    too_small = (spans > 0) & (spans <= _SPANS[0])
    learned = (spans > 0) & ~too_small
    for name, least, most, refused in zip(
        names, low.tolist(), high.tolist(), too_large | (too_small & ~learned.any())
    ):
        if refused:
            raise VolumeError(
                f"The values of '{name}' go from {least:g} to {most:g}. What can be learned spans "
                f"{_SPANS[0]:g} to {_SPANS[1]:g}: mark what is no value as missing, or use other "
                "units."
            )


def flattened(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the highest values [C], the lowest where a component spans too little to be learned.

    That may be so in some bricks of a volume, far from where its values are large.
    """
    return np.where(high - low <= _SPANS[0], low, high)


def is_span(low: float, high: float) -> bool:
    """Return whether two values are finite, and errors can be computed of what lies between."""
    return math.isfinite(low) and math.isfinite(high) and high - low < _SPANS[1]


def normalise(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return values of any type as float32, 0 at `low` and 1 at `high`, computed in float64.

    All are 0 where `low` is `high`.
    """
    if not high > low:
        return np.zeros(values.shape, dtype=np.float32)
    scaled = values.astype(np.float64)
    scaled -= low
    scaled /= high - low
    return scaled.astype(np.float32)


def _is_lost(low: float, high: float) -> bool:
    largest, span = max(abs(low), abs(high)), high - low
    if largest > _LARGEST:
        return True
    if span == 0:
        return 0 < largest < _SMALLEST
    return float(np.spacing(np.float32(largest))) > _ROUNDING * span
