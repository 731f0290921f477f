"""The mask of valid voxels as a brick stores it: bits, compressed with zlib."""

from __future__ import annotations

import zlib

import numpy as np

from amgsrn_core.errors import ArchiveError


def pack_mask(valid: np.ndarray) -> np.ndarray:
    """Compress `valid` (bool [z, y, x], True where there is a value) into uint8 [n]."""
    bits = np.packbits(np.ascontiguousarray(valid, dtype=bool).ravel())
    return np.frombuffer(zlib.compress(bits.tobytes(), 6), dtype=np.uint8)


def unpack_mask(packed: np.ndarray, dims: tuple[int, int, int]) -> np.ndarray:
    """Return the mask bool [z, y, x] that :func:`pack_mask` compressed.

    Raises
    ------
    ArchiveError
        When the bytes do not hold a mask of exactly `dims` voxels.
    """
    count = dims[0] * dims[1] * dims[2]
    size = (count + 7) // 8
    stream = zlib.decompressobj()
    try:
        # One byte of room beyond the mask shows an excess without unpacking all of it.
        data = stream.decompress(packed.tobytes(), size + 1)
    except zlib.error as error:
        raise ArchiveError(f"a brick's mask cannot be unpacked ({error})") from error
    if len(data) != size or not stream.eof:
        raise ArchiveError("a brick's mask has the wrong number of voxels")
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=count)
    return bits.view(bool).reshape(dims)
