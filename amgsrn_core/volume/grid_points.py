"""The points of a grid as index coordinates of a volume."""

from __future__ import annotations

import math

import numpy as np

from amgsrn_core.volume.geometry import Extent, GridGeometry


class GridPoints:
    """The points of a part of a grid as index coordinates of a volume, in batches.

    Attributes
    ----------
    shape : tuple of int
        Points of the part along z, y, x.
    count : int
        All of them.
    lines : list of three float64 arrays or None
        Index coordinates along z, y, x, where those of a point are no others.
    """

    def __init__(self, volume: GridGeometry, grid: GridGeometry, extent: Extent) -> None:
        self.shape = tuple(s.stop - s.start for s in extent)
        self.count = math.prod(self.shape)
        self._volume, self._grid, self._extent = volume, grid, extent
        self.lines: list[np.ndarray] | None = None
        if volume.is_aligned and grid.is_aligned:
            # Axis by axis: no map has to be applied to each point.
            self.lines = [
                _snapped(axis.to_index(other.coordinates[part]))
                for axis, other, part in zip(volume.axes, grid.axes, extent)
            ]
        elif volume == grid:
            self.lines = [np.arange(s.start, s.stop, dtype=np.float64) for s in extent]

    def index(self, part: slice) -> np.ndarray:
        """Return points [n, 3] (x, y, z) of a range of the part's flattened voxels."""
        voxels = np.unravel_index(np.arange(part.start, part.stop), self.shape)
        if self.lines is not None:
            z, y, x = (line[voxel] for line, voxel in zip(self.lines, voxels))
            return np.stack([x, y, z], axis=1)
        z, y, x = (voxel + s.start for voxel, s in zip(voxels, self._extent))
        world = self._grid.index_to_world(np.stack([x, y, z], axis=1))
        return _snapped(self._volume.world_to_index(world))


def _snapped(index: np.ndarray) -> np.ndarray:
    """Move index coordinates that miss a sample by rounding only onto the sample."""
    nearest = np.rint(index)
    return np.where(np.abs(index - nearest) < 1e-9 * (1 + np.abs(nearest)), nearest, index)
