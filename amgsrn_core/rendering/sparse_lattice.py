"""Arrays on a lattice of which little is used: memory is taken block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_BITS = 3  # a block has 8 x 8 x 8 points
_SIDE = 1 << _BITS
_POINTS = _SIDE**3


class SparseLattice:
    """Where the points of a lattice are kept in arrays that grow with the part of it in use.

    A place is a number for a point; arrays are indexed with it. Points up to 8 beyond the lattice
    may be asked for.

    Parameters
    ----------
    shape : three ints
        Points along z, y, x.
    """

    def __init__(self, shape: Sequence[int] | np.ndarray) -> None:
        counts = [-(-int(n) // _SIDE) + 2 for n in shape]  # a block more on either side
        self._blocks = np.zeros(counts, dtype=np.intp)  # where each one's places begin
        self._of_block = np.zeros(1, dtype=np.intp)  # the first has what is not in use
        self._arrays: dict[str, tuple[np.ndarray, Any]] = {}

    @property
    def size(self) -> int:
        """Number of places."""
        return len(self._of_block) * _POINTS

    def add(self, name: str, dtype: Any, fill: Any) -> None:
        """Keep an array of this type whose points are `fill` until they are set."""
        self._arrays[name] = np.full(self.size, fill, dtype), fill

    def __getitem__(self, name: str) -> np.ndarray:
        """Return an array by places; it is another one after :meth:`reserve`."""
        return self._arrays[name][0]

    def places(self, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the places of points; those not in use have what arrays are filled with.

        Coordinates are ints, which are broadcast.
        """
        low = _SIDE - 1
        inner = (((z & low) << 2 * _BITS) + ((y & low) << _BITS)) + (x & low)
        return np.asarray(self._blocks.ravel()[self._number(z, y, x)] + inner)

    def _number(self, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        _, ny, nx = self._blocks.shape
        z, y, x = (along >> _BITS for along in (z, y, x))
        return np.asarray(((z + 1) * (ny * nx) + (y + 1) * nx) + (x + 1))

    def reserve(self, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> None:
        """See to it that points, whose coordinates are broadcast, can be set."""
        wanted = np.zeros(self._blocks.size, dtype=bool)
        wanted[self._number(z, y, x)] = True
        new = np.flatnonzero(wanted & (self._blocks.ravel() == 0))
        if not len(new):
            return
        self._blocks.ravel()[new] = self.size + _POINTS * np.arange(len(new))
        self._of_block = np.concatenate([self._of_block, new])
        for name, (array, fill) in self._arrays.items():
            more = np.full(len(new) * _POINTS, fill, dtype=array.dtype)
            self._arrays[name] = np.concatenate([array, more]), fill

    def points(self, places: np.ndarray) -> np.ndarray:
        """Return the coordinates z, y, x of places in use, int32 [3, N]."""
        low = _SIDE - 1
        block = np.unravel_index(self._of_block[places // _POINTS], self._blocks.shape)
        inner = places >> 2 * _BITS & low, places >> _BITS & low, places & low
        return np.stack([(b - 1 << _BITS) + i for b, i in zip(block, inner)]).astype(np.int32)
