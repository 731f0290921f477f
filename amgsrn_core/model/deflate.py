"""Bytes as they are stored with zlib, and back without more memory than they take."""

from __future__ import annotations

import zlib

import numpy as np

from amgsrn_core.errors import ArchiveError


def deflated(values: np.ndarray) -> np.ndarray:
    """Compress an array's bytes into uint8 [n]."""
    return np.frombuffer(zlib.compress(np.ascontiguousarray(values).tobytes(), 6), dtype=np.uint8)


def inflated(packed: np.ndarray, size: int, what: str) -> np.ndarray:
    """Return the bytes, uint8 [size], that :func:`deflated` compressed; `what` says of what.

    Raises
    ------
    ArchiveError
        When there are not exactly so many.
    """
    stream = zlib.decompressobj()
    try:
        # One byte of room beyond the end shows an excess without unpacking all of it.
        data = stream.decompress(packed.tobytes(), size + 1)
    except zlib.error as error:
        raise ArchiveError(f"a brick's {what} cannot be unpacked ({error})") from error
    if len(data) != size or not stream.eof:
        raise ArchiveError(f"a brick has the wrong number of {what}")
    return np.frombuffer(data, dtype=np.uint8)
