"""Errors of a brick's macro-cells as its file stores them: the largest, and the root mean square.

Cells lie on multiples of their edge in the volume's index space and are cut at the brick's own
faces. A code is one byte: n from 1 to 254 stands for `scale` 2^((n - 224) / 8), and errors are
rounded upwards to it; 255 says that there is no such bound, 0 that no voxel has a value.
"""

from __future__ import annotations

import lzma
import math
import struct
from dataclasses import dataclass

import numpy as np

from amgsrn_core.errors import ArchiveError
from amgsrn_core.volume.geometry import Extent

ERRORS = "error_cells"
"""The tensor's name, uint8 [n]."""

SMALLEST_EDGE = 8
_UNIT, _PER_OCTAVE, _UNBOUNDED = 224, 8, 255
# How fine errors are kept: edge of the cells, and by how many codes they are rounded upwards.
FINENESS = ((8, 1), (8, 2), (8, 4), (16, 2), (16, 4), (32, 4), (64, 8), (128, 8), (1 << 20, 8))
_HEAD = struct.Struct("<BBI")
_FILTERS = [{"id": lzma.FILTER_LZMA1, "lc": 0, "lp": 0, "pb": 0, "dict_size": 1 << 20}]


@dataclass(frozen=True, eq=False)
class ErrorMap:
    """Errors of a brick's cells.

    Attributes
    ----------
    edge : int
        Of a cell, in voxels.
    first : tuple of int
        Number of the first cell along z, y, x, counted from the volume's first voxel.
    codes : ndarray of uint8 [2, C, z, y, x]
        Largest errors, then root mean squares.
    scale : ndarray of float64 [C]
        What codes are relative to, in the volume's units.
    """

    edge: int
    first: tuple[int, int, int]
    codes: np.ndarray
    scale: np.ndarray

    def at(self, voxels: np.ndarray, rms: bool = False) -> np.ndarray:
        """Return the errors float64 [N, C] of the cells that voxels [N, 3] (x, y, z) are in."""
        cells = [
            np.clip(voxels[:, 2 - axis].astype(np.int64) // self.edge - self.first[axis], 0, n - 1)
            for axis, n in enumerate(self.codes.shape[2:])
        ]
        codes = self.codes[int(rms)][(slice(None), *cells)].T
        return decoded(codes, self.scale)

    def values(self) -> np.ndarray:
        """Return the errors float64 [2, C, z, y, x], NaN where no voxel has a value."""
        shape = (1, -1, 1, 1, 1)
        return decoded(self.codes, self.scale.reshape(shape))


def encoded(errors: np.ndarray, scale: np.ndarray, coarse: int) -> np.ndarray:
    """Return codes uint8 of errors, rounded upwards to multiples of `coarse`; NaN becomes 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.log2(errors / np.where(scale > 0, scale, 1.0)) * _PER_OCTAVE + _UNIT
    known = np.nan_to_num(steps, nan=1.0, posinf=_UNBOUNDED, neginf=1.0)
    # A little more, because the decoded power of two is rounded as well.
    codes = np.ceil(np.clip(known + 1e-9 * _UNIT, 1, _UNBOUNDED) / coarse) * coarse
    codes = np.minimum(codes, _UNBOUNDED)
    return np.where(np.isnan(errors), 0, codes).astype(np.uint8)


def decoded(codes: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the errors float64 that codes stand for, NaN for 0 and infinite for 255."""
    values = 2.0 ** ((np.arange(256) - _UNIT) / _PER_OCTAVE)
    values[0], values[_UNBOUNDED] = np.nan, np.inf
    return values[codes] * np.where(scale > 0, scale, 1.0)


def pack_errors(codes: np.ndarray, edge: int, scale: np.ndarray) -> np.ndarray:
    """Compress codes uint8 [2, C, z, y, x] of cells of an edge into uint8 [n]."""
    planes = np.stack([codes[0], codes[0] - codes[1]])
    kinds = planes, np.diff(planes, axis=-1, prepend=np.uint8(0))
    texts = [lzma.compress(k.tobytes(), format=lzma.FORMAT_RAW, filters=_FILTERS) for k in kinds]
    kind = int(len(texts[1]) < len(texts[0]))
    head = _HEAD.pack(1, kind, edge) + scale.astype("<f8").tobytes()
    return np.frombuffer(head + texts[kind], dtype=np.uint8)


def unpack_errors(packed: np.ndarray, extent: Extent, components: int) -> ErrorMap:
    """Return what :func:`pack_errors` compressed for a brick of an extent.

    Raises
    ------
    ArchiveError
        When the bytes do not hold the errors of such a brick.
    """
    data = packed.tobytes()
    start = _HEAD.size + 8 * components
    if len(data) < start:
        raise ArchiveError("a brick's errors are cut short")
    version, kind, edge = _HEAD.unpack_from(data)
    if version != 1 or kind > 1 or not 0 < edge <= FINENESS[-1][0]:
        raise ArchiveError("a brick's errors are of an unknown kind; a newer amgsrn may read them")
    scale = np.frombuffer(data, "<f8", components, _HEAD.size).astype(np.float64)
    first, shape = cells_of(extent, edge)
    size = 2 * components * math.prod(shape)
    coder = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        text = coder.decompress(data[start:], size + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise ArchiveError(f"a brick's errors cannot be unpacked ({error})") from error
    if len(text) != size or not (np.isfinite(scale) & (scale >= 0)).all():
        raise ArchiveError("a brick has the wrong number of errors")
    planes = np.frombuffer(text, np.uint8).reshape(2, components, *shape)
    if kind:
        planes = np.cumsum(planes, axis=-1, dtype=np.uint8)
    return ErrorMap(edge, first, np.stack([planes[0], planes[0] - planes[1]]), scale)


def cells_of(extent: Extent, edge: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return the first cell of an extent along z, y, x, and the number of its cells."""
    z, y, x = (s.start // edge for s in extent)
    nz, ny, nx = ((s.stop - 1) // edge - s.start // edge + 1 for s in extent)
    return (z, y, x), (nz, ny, nx)
