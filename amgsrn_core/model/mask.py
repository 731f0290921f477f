"""The mask of valid voxels as a brick stores it: bits, compressed with zlib."""

from __future__ import annotations

import math

import numpy as np

from amgsrn_core.model.deflate import deflated, inflated


def pack_mask(valid: np.ndarray) -> np.ndarray:
    """Compress `valid` (bool [z, y, x], True where there is a value) into uint8 [n]."""
    return deflated(np.packbits(np.ascontiguousarray(valid, dtype=bool).ravel()))


def unpack_mask(packed: np.ndarray, dims: tuple[int, int, int]) -> np.ndarray:
    """Return the mask bool [z, y, x] that :func:`pack_mask` compressed.

    Raises
    ------
    ArchiveError
        When the bytes do not hold a mask of exactly `dims` voxels.
    """
    count = math.prod(dims)
    bits = np.unpackbits(inflated(packed, (count + 7) // 8, "voxels in its mask"), count=count)
    return bits.view(bool).reshape(dims)
