"""A region of a volume: a box by the names of its axes, or in the world, as an index box."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence

import numpy as np

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume.axis import Axis
from amgsrn_core.volume.axis_names import (
    axis_number,
    describe_axes,
    describe_axis,
    is_angle,
    other_sign,
)
from amgsrn_core.volume.geometry import GridGeometry

logger = logging.getLogger(__name__)

_TURN = 360.0

Region = Mapping[str, tuple[float, float]]
"""Lower and upper end by the name of an axis, as the file has its numbers."""


def world_box(geometry: GridGeometry, region: Region) -> list[float]:
    """Return the box x0, x1, y0, y1, z0, z1 of the world that ends by names of axes make.

    Raises
    ------
    VolumeError
        There is no such axis, or it is named twice; a range is not ascending; longitudes of it
        pass the seam of the grid, so that they are in two parts of it.
    """
    if not geometry.is_aligned:
        raise VolumeError("A grid that is turned in space has no axes to name; give six numbers.")
    ends = {number: tuple(axis.coordinates[[0, -1]]) for number, axis in enumerate(geometry.axes)}
    named: dict[int, str] = {}
    for name, (low, high) in region.items():
        number = axis_number(geometry, name)
        if number in named:
            raise VolumeError(f"The region names one axis twice: {named[number]} and {name}.")
        named[number] = name
        ends[number] = _world_ends(geometry.axes[number], name, low, high)
    return [float(end) for number in (2, 1, 0) for end in ends[number]]


def _world_ends(axis: Axis, name: str, low: float, high: float) -> tuple[float, float]:
    if not (np.isfinite(low) and np.isfinite(high)):
        raise VolumeError(f"The region needs finite numbers for {name}, not {low:g} to {high:g}.")
    if is_angle(axis):
        return _longitudes(axis, name, low, high)
    if low > high:
        raise VolumeError(f"The region's {name} must ascend, but {low:g} comes before {high:g}.")
    return (0.0 - high, 0.0 - low) if axis.negated else (low, high)


def _longitudes(axis: Axis, name: str, low: float, high: float) -> tuple[float, float]:
    """Return the turn of some longitudes that is most inside the axis; 350 to 10 passes 0."""
    if low > high:
        high += _TURN
    if high - low > _TURN - axis.spacing:
        return tuple(axis.coordinates[[0, -1]].tolist())
    first, last = float(axis.coordinates[0]), float(axis.coordinates[-1])
    turns = [(low + _TURN * n, high + _TURN * n) for n in (0, -1, 1)]
    parts = [turn for turn in turns if turn[0] <= last and turn[1] >= first]
    whole = [(a, b) for a, b in parts if a >= first - axis.spacing and b <= last + axis.spacing]
    if len(parts) > 1 and not whole:
        (a, b), (c, d) = ((max(a, first), min(b, last)) for a, b in sorted(parts)[:2])
        raise VolumeError(
            f"The region's {name} {low:g} to {high:g} passes the seam of the grid, which has "
            f"{first:g} to {last:g}: take {a:g} to {b:g} and {c:g} to {d:g} one by one."
        )
    return (whole or parts or turns)[0]


def index_box(geometry: GridGeometry, box: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return lowest and highest index (z, y, x) of a world box, cut to the volume, which is told.

    Parameters
    ----------
    geometry : GridGeometry
    box : six numbers
        x0, x1, y0, y1, z0, z1.

    Raises
    ------
    VolumeError
        The box is empty, not finite, or outside the volume.
    """
    x, y, z = box[0:2], box[2:4], box[4:6]
    if not all(np.isfinite(box)) or not (x[0] <= x[1] and y[0] <= y[1] and z[0] <= z[1]):
        raise VolumeError("A region needs finite numbers x0,x1,y0,y1,z0,z1, each pair ascending.")
    index = geometry.world_to_index(np.array(list(itertools.product(x, y, z))))[:, ::-1]
    last = np.array(geometry.dims) - 1.0
    lows, highs = index.min(axis=0), index.max(axis=0)
    touching = (highs < 1e-6) | (lows > last - 1e-6)
    beyond = (highs < -1e-6) | (lows > last + 1e-6) | (touching & (highs - lows > 1e-6))
    for number in np.flatnonzero(beyond):
        _refuse_outside(geometry, box, int(number))
    cut = [
        describe_axis(geometry.axes[number], "zyx"[number])
        for number in np.flatnonzero((lows < -1e-3) | (highs > last + 1e-3))
    ]
    if cut:
        logger.warning("The region is cut to where there are data: %s.", ", ".join(reversed(cut)))
    return np.clip(lows, 0.0, last), np.clip(highs, 0.0, last)


def _refuse_outside(geometry: GridGeometry, box: Sequence[float], number: int) -> None:
    letter = "zyx"[number]
    low, high = box[2 * (2 - number)], box[2 * (2 - number) + 1]
    axis = geometry.axes[number]
    why = other_sign(axis, low, high) if geometry.is_aligned else ""
    x0, x1, y0, y1, z0, z1 = geometry.bounds
    world = f"x {x0:.6g} to {x1:.6g}, y {y0:.6g} to {y1:.6g}, z {z0:.6g} to {z1:.6g}"
    names = f"; by name: {describe_axes(geometry)}" if geometry.is_aligned else ""
    raise VolumeError(
        f"The region lies outside the volume along {letter}, {low:.6g} to {high:.6g}"
        f"{f' ({why})' if why else ''}: the volume spans {world}{names}."
    )
