"""Coarse grids that are even in the world: where previews of a volume are computed."""

from __future__ import annotations

import math

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume.axis import Axis
from amgsrn_core.volume.geometry import GridGeometry


def preview_geometry(geometry: GridGeometry, max_points: int = 64**3) -> GridGeometry:
    """Return a coarse grid over the same region, evenly spaced in the world.

    Parameters
    ----------
    geometry : GridGeometry
        The volume's grid; its axes may be uneven.
    max_points : int, default: 64**3
        Upper bound of the grid's points, at least 8; no axis gets more points than the volume has.
    """
    return even_geometry(geometry, coarse_dims(geometry.dims, max_points))


def even_geometry(geometry: GridGeometry, dims: tuple[int, int, int]) -> GridGeometry:
    """Return a grid over the same region with `dims` (z, y, x) evenly spaced points."""
    axes = []
    for axis, n in zip(geometry.axes, dims):
        length = float(axis.coordinates[-1] - axis.coordinates[0])
        spacing = length / (n - 1) if n > 1 else length
        axes.append(Axis.uniform(axis.name, n, float(axis.coordinates[0]), spacing, axis.units))
    z, y, x = axes
    return GridGeometry((z, y, x), geometry.direction)


def coarse_dims(dims: tuple[int, int, int], max_points: int) -> tuple[int, int, int]:
    """Return at most `max_points` samples for an axis triple, thinned alike on the long axes."""
    if max_points < 8:
        raise VolumeError(f"A preview needs at least 8 points, not {max_points}.")
    low, high = 2, max(dims)
    while low < high:  # the largest bound on all axes that keeps within max_points
        middle = (low + high + 1) // 2
        if math.prod(min(n, middle) for n in dims) <= max_points:
            low = middle
        else:
            high = middle - 1
    z, y, x = (min(n, low) for n in dims)
    return z, y, x
