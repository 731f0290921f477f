"""Where in a picture something may be seen: boxes of macro-cells, projected to tiles of pixels."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from amgsrn_core.kernels import KernelLibrary
from amgsrn_core.kernels.loader import Boxes as BoxesArgument
from amgsrn_core.kernels.loader import View
from amgsrn_core.rendering.camera import Camera
from amgsrn_core.volume.geometry import GridGeometry

# Boxes along an axis: what projecting them takes is little beside a picture.
_MOST = 24

# Edge of a tile in pixels, AMGSRN_COVER_TILE of src/abi.h.
_TILE = 16


class Boxes:
    """A volume's macro-cells in groups, which tell a picture's rays where to look.

    Parameters
    ----------
    library : KernelLibrary
    geometry : GridGeometry
    borders : three float64 arrays [cells + 1]
        Where macro-cells begin and end along x, y, z in index space.
    """

    def __init__(
        self, library: KernelLibrary, geometry: GridGeometry, borders: Sequence[np.ndarray]
    ) -> None:
        self._library = library
        cells = [len(line) - 1 for line in borders]
        self._firsts = [np.arange(0, n, -(-n // _MOST)) for n in cells]
        lines = [
            np.interp(line[[*first, -1]], np.arange(axis.size), axis.coordinates)
            for line, first, axis in zip(borders, self._firsts, reversed(geometry.axes))
        ]
        z, y, x = np.meshgrid(*reversed(lines), indexing="ij")
        corners = np.stack([x, y, z], axis=-1)
        origin = np.array(geometry.origin)
        self._corners = origin + (corners - origin) @ np.array(geometry.direction).T

    def occupied(self, empty: np.ndarray) -> np.ndarray:
        """Return in which boxes [z, y, x] something may be seen, as uint8, from `EmptyCells.of`."""
        seen = empty == 0
        for axis, first in enumerate(reversed(self._firsts)):
            seen = np.logical_or.reduceat(seen, first, axis=axis)
        return np.ascontiguousarray(seen, dtype=np.uint8)

    def cover(self, view: View, camera: Camera, occupied: np.ndarray) -> np.ndarray:
        """Return between which distances there are boxes, float32 [tiles down, across, 2].

        They count from the eye, in parallel projection from the plane through the world's origin
        that faces the camera; the first one is the larger where a tile shows nothing.
        """
        down, across = -(-camera.height // _TILE), -(-camera.width // _TILE)
        tiles = np.empty((down, across, 2), dtype=np.float32)
        boxes = BoxesArgument(
            count=(ctypes.c_int64 * 3)(*reversed(occupied.shape)),
            occupied=occupied.ctypes.data,
            corners=self._corners.ctypes.data,
            world_to_clip=(ctypes.c_double * 16)(*camera.world_to_clip.ravel()),
        )
        self._library.call(
            "amgsrn_cover",
            ctypes.byref(view),
            ctypes.byref(boxes),
            tiles.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
        )
        return tiles
