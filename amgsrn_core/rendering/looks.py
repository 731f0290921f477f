"""Opacities that show what a model holds, by how often each value occurs."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np

from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.model import LookRecord, ModelIndex
from amgsrn_core.volume.geometry import GridGeometry

# Points at which a model's values are asked for, evenly over its box.
_POINTS = 32**3

# What lies farther from the central values than these are wide is an outlier.
_CENTRAL = (0.0005, 0.9995)

# A value that so many share, within a few of the histogram's bins, is the background.
_BINS, _NEAR = 128, 1
_BACKGROUND = 0.25

# Over this part of the range the opacity falls to nothing before outliers.
_BRINK = 1 / 256

# Opacities over 1/256 of the diagonal: of what is most to be seen, and at the threshold. Below that
# things are as glass, until they are as near to the background as this part of the threshold.
_OPACITY, _GLASS, _NOISE = 0.22, 0.025, 0.2

# An outline has its farthest points in all directions whose whole numbers have up to this sum.
_NARROW = 4

# What is less opaque is hardly seen.
_INVISIBLE = 0.003

# The unit distance of suggested opacities is the displayed box's diagonal over this.
UNITS_PER_DIAGONAL = 256


def suggestion(volume: NeuralVolume, component: int | str = 0) -> LookRecord:
    """Return how to show a component of a model, or the "magnitude".

    It stands in the model's file, or is found out from its values.
    """
    looks = volume.index.looks or volume.derived("looks", lambda: suggestions(volume))
    return looks[-1 if component == "magnitude" else int(component)]


def suggestions(volume: NeuralVolume) -> tuple[LookRecord, ...]:
    """Return how to show each component of a model and, where there are several, the magnitude.

    Of a series, all time steps look alike; its first, its middle and its last one are asked.
    """
    last = volume.series.steps - 1
    steps = [volume] if not last else [volume.at(step) for step in sorted({0, last // 2, last})]
    values = np.stack([step.decoded_preview(_POINTS)[1].values for step in steps], axis=1)
    if len(values) > 1:
        values = np.concatenate([values, np.linalg.norm(values, axis=0)[None]])
    seen = [*range(len(volume.components)), "magnitude"]
    return tuple(
        _suggested(row, *value_range(volume.index, what)) for row, what in zip(values, seen)
    )


def outline(geometry: GridGeometry, look: LookRecord) -> np.ndarray | None:
    """Return world points [N, 3] round what a look shows; None where it shows nothing."""
    if not look.outline:
        return None
    low, high = (np.array([a.coordinates[i] for a in reversed(geometry.axes)]) for i in (0, -1))
    along = low + np.array(look.outline) * (high - low)
    origin = np.array(geometry.origin)
    world: np.ndarray = origin + (along - origin) @ geometry.direction.T
    return world


def _suggested(values: np.ndarray, low: float, high: float) -> LookRecord:
    """Return how to show values [steps, z, y, x], NaN where there is none."""
    look = suggested(values[np.isfinite(values)], low, high)
    position, opacity = zip(*look.opacities)
    visible = np.interp(np.nan_to_num(values, nan=low), position, opacity) > _INVISIBLE
    visible &= np.isfinite(values)
    places = np.argwhere(visible.any(axis=0))[:, ::-1]  # x, y, z
    if not len(places):
        return look
    parts = places / np.maximum(np.array(values.shape[:0:-1]) - 1.0, 1.0)
    directions = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=3)))
    directions = directions[np.abs(directions).sum(axis=1) <= _NARROW]
    extreme = np.unique((parts @ directions.T).argmax(axis=0))
    points = [(x, y, z) for x, y, z in np.round(parts[extreme], 2).tolist()]
    return dataclasses.replace(look, outline=tuple(points))


def value_range(index: ModelIndex, component: int | str) -> tuple[float, float]:
    """Return the range of a component, or of the "magnitude", that an index tells."""
    lows, highs = index.value_minimum, index.value_maximum
    if component != "magnitude":
        return float(lows[int(component)]), float(highs[int(component)])
    return 0.0, math.hypot(*(max(abs(low), abs(high)) for low, high in zip(lows, highs)))


def suggested(values: np.ndarray, low: float, high: float) -> LookRecord:
    """Return how to show values of which some are background.

    The background is the value that a quarter of all share, or else the lowest one. What is nearer
    to it than the threshold of Otsu ("A threshold selection method from gray-level histograms",
    IEEE Trans. SMC 9(1), 1979) is as glass, what is much nearer is transparent, and so are
    outliers.

    Parameters
    ----------
    values : array
        Finite; each stands for as much of the volume as any other.
    low, high : float
        The model's own range.
    """
    values = np.clip(np.asarray(values, dtype=np.float64).ravel(), low, high)
    if not low < high or not len(values) or not np.ptp(values) > 0:
        return LookRecord(low, high, ((low, _OPACITY), (high, _OPACITY)))
    first, last = np.quantile(values, _CENTRAL)
    reach = last - first or 1e-3 * (high - low)
    begin, end = max(low, float(first - reach)), min(high, float(last + reach))
    values = values[(values >= begin) & (values <= end)]
    background = _background(values, begin, end)
    away = np.abs(values - background)
    threshold = otsu(away) if np.ptp(away) > 0 else 0.0
    shown = away[away > threshold]
    # Little that is there stands before an empty background: show it from its surface on.
    is_solid = len(shown) < 0.35 * len(away)
    full = float(np.quantile(shown, 0.25 if is_solid else 0.98)) if len(shown) else threshold
    rising = [(_NOISE * threshold, 0.0), (threshold, _GLASS), (full, _OPACITY)]
    ramp = [(-d, o) for d, o in reversed(rising)] + rising
    inside = [(background + d, o) for d, o in ramp if begin < background + d < end]
    positions, opacities = zip(*((background + d, o) for d, o in ramp))
    ends = [(v, float(np.interp(v, positions, opacities))) for v in (begin, end)]
    points = [ends[0], *inside, ends[1]]
    brink = _BRINK * (end - begin)
    if begin > low:  # what lies beyond looks like the end of the range
        points[:1] = [(begin, 0.0), (begin + brink, ends[0][1])]
    if end < high:
        points[-1:] = [(end - brink, ends[1][1]), (end, 0.0)]
    return LookRecord(begin, end, tuple(sorted(points)))


def otsu(values: np.ndarray) -> float:
    """Return the threshold that parts `values` best into low and high (Otsu, IEEE SMC 9(1), 1979).

    It maximises the variance between the two classes; `values` must not all be equal.
    """
    counts, edges = np.histogram(values, bins=_BINS)
    centres = 0.5 * (edges[:-1] + edges[1:])
    below = np.cumsum(counts)[:-1]
    above = values.size - below
    sums = np.cumsum(counts * centres)
    mean_below = sums[:-1] / below
    mean_above = (sums[-1] - sums[:-1]) / above
    between = below * above * (mean_below - mean_above) ** 2.0
    # In an empty gap between the classes any threshold is as good: take the middle.
    best = edges[1:-1][between >= (1.0 - 1e-9) * between.max()]
    return float(0.5 * (best[0] + best[-1]))


def _background(values: np.ndarray, low: float, high: float) -> float:
    """Return the value that many share, or the lowest one."""
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    near = np.convolve(counts, np.ones(2 * _NEAR + 1), mode="same")
    peak = int(near.argmax())
    if near[peak] < _BACKGROUND * len(values):
        return low
    return float(0.5 * (edges[peak] + edges[peak + 1]))
