"""Corrections of a brick's values at its voxels, as its file stores them.

A correction is a whole number times `step`; what remains is less than half a step. Voxels are cut
into blocks of some 32^3, each coded for itself, so that one is read without the others. Within a
block numbers are perhaps replaced by their differences along some of the axes, whichever is
smallest. They are grouped by cells of some 8^3 voxels, and each cell has a distribution of its own:
a cell with few numbers that are not zero costs little more than these. Cells of zeros cost a bit.
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from amgsrn_core.errors import ArchiveError
from amgsrn_core.model.entropy import LARGEST, decode, encode

CORRECTIONS = "corrections"
"""The tensor's name, uint8 [n]."""

_BLOCK, _CELL = 32, 8
_HEAD = struct.Struct("<BB6iI")
_TYPES = tuple(map(np.dtype, ("i1", "i2", "i4")))

Region = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class PackedCorrections:
    """What a brick's file has of corrections; :meth:`block` decodes some.

    Attributes
    ----------
    region : tuple of three slices
        The corrected voxels z, y, x, counted from the first of the brick's ghosted extent.
    steps, limits, margins : ndarray of float64 [C]
        What the number 1 stands for, how large an error may be at most, and how much of that is
        kept for the rounding of other computers, in the volume's units.
    dtype : numpy.dtype
        Of the numbers.
    """

    region: Region
    steps: np.ndarray
    limits: np.ndarray
    margins: np.ndarray
    dtype: np.dtype
    _data: bytes
    _starts: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Corrected voxels along z, y, x."""
        z, y, x = (s.stop - s.start for s in self.region)
        return z, y, x

    def block(self, number: int) -> np.ndarray:
        """Return the whole numbers int64 [z, y, x] of a block; blocks come component by component.

        Raises
        ------
        ArchiveError
            When its bytes do not hold such a block.
        """
        part = blocks_of(self.shape)[number % block_count(self.shape)]
        shape = tuple(s.stop - s.start for s in part)
        data = self._data[self._starts[number] : self._starts[number + 1]]
        return _decoded(data, shape) if data else np.zeros(shape, dtype=np.int64)


def pack_corrections(
    numbers: np.ndarray,
    region: Region,
    steps: np.ndarray,
    limits: np.ndarray,
    margins: np.ndarray,
) -> np.ndarray:
    """Compress whole numbers int [C, z, y, x] of a region into uint8 [n]."""
    parts = blocks_of(numbers.shape[1:])
    streams = [_encoded(component[part]) for component in numbers for part in parts]
    largest = int(np.abs(numbers).max(initial=0))
    kind = next(i for i, dtype in enumerate(_TYPES) if largest < 1 << (8 * dtype.itemsize - 1))
    bounds = [bound for s in region for bound in (s.start, s.stop)]
    lengths = zlib.compress(np.array([len(s) for s in streams], "<u4").tobytes(), 9)
    figures = np.stack([steps, limits, margins]).astype("<f8").tobytes()
    head = _HEAD.pack(1, kind, *bounds, len(lengths)) + figures + lengths
    return np.frombuffer(head + b"".join(streams), dtype=np.uint8)


def read_corrections(
    packed: np.ndarray, dims: tuple[int, int, int], components: int
) -> PackedCorrections:
    """Return what :func:`pack_corrections` packed for a brick of so many voxels with its ghosts.

    Raises
    ------
    ArchiveError
        When the bytes are not of such a brick.
    """
    data = packed.tobytes()
    start = _HEAD.size + 24 * components
    if len(data) < start:
        raise ArchiveError("a brick's corrections are cut short")
    version, kind, *bounds, length = _HEAD.unpack_from(data)
    if version != 1 or kind >= len(_TYPES):
        raise ArchiveError("a brick's corrections are of an unknown kind; a newer amgsrn reads it")
    z, y, x = (slice(a, b) for a, b in zip(bounds[::2], bounds[1::2]))
    if not all(0 <= s.start < s.stop <= n for s, n in zip((z, y, x), dims)):
        raise ArchiveError("a brick's corrections are not of its voxels")
    figures = np.frombuffer(data, "<f8", 3 * components, _HEAD.size).reshape(3, components)
    if not (np.isfinite(figures) & (figures >= 0)).all():
        raise ArchiveError("a brick's corrections have an impossible step")
    shape = tuple(s.stop - s.start for s in (z, y, x))
    count = components * block_count(shape)
    coder = zlib.decompressobj()
    try:
        text = coder.decompress(data[start : start + length], 4 * count + 1)
    except zlib.error as error:
        raise ArchiveError(f"a brick's corrections cannot be unpacked ({error})") from error
    if len(text) != 4 * count:
        raise ArchiveError("a brick has the wrong number of corrections")
    starts = np.cumsum(np.frombuffer(text, "<u4").astype(np.int64))
    starts = start + length + np.concatenate([[0], starts])
    if starts[-1] != len(data):
        raise ArchiveError("a brick's corrections are cut short")
    steps, limits, margins = figures.astype(np.float64)
    return PackedCorrections(
        (z, y, x), steps, limits, margins, dtype=_TYPES[kind], _data=data, _starts=starts
    )


def blocks_of(shape: tuple[int, ...]) -> list[Region]:
    """Return the blocks of a region of so many voxels z, y, x."""
    return _cut(shape, _BLOCK)


def block_count(shape: tuple[int, ...]) -> int:
    """Return how many blocks a region has."""
    return math.prod(_pieces(n, _BLOCK) for n in shape)


def _pieces(size: int, edge: int) -> int:
    return max(1, round(size / edge))


def _cut(shape: tuple[int, ...], edge: int) -> list[Region]:
    """Cut a box into boxes of about an edge, none of which is much smaller than the others."""
    axes = []
    for n in shape:
        pieces = _pieces(n, edge)
        ends = [n * i // pieces for i in range(pieces + 1)]
        axes.append([slice(a, b) for a, b in zip(ends, ends[1:])])
    return [(z, y, x) for z, y, x in itertools.product(*axes)]


def _encoded(numbers: np.ndarray) -> bytes:
    """Return the bytes of a block of whole numbers; none for zeros."""
    if not numbers.any():
        return b""
    candidates = [_differences(numbers, axes) for axes in range(8)]
    axes = min(range(8), key=lambda i: _cost(candidates[i]))
    chosen = candidates[axes]
    groups = [chosen[cell].ravel() for cell in _cut(chosen.shape, _CELL)]
    flags = np.array([group.any() for group in groups], dtype=bool)
    code = encode([group for group in groups if group.any()])
    return bytes([axes]) + np.packbits(flags).tobytes() + code


def _decoded(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    cells = _cut(shape, _CELL)
    start = 1 + math.ceil(len(cells) / 8)
    if len(data) < start or data[0] > 7:
        raise ArchiveError("its corrections are damaged")
    flags = np.unpackbits(np.frombuffer(data[1:start], np.uint8))[: len(cells)].astype(bool)
    full = [cell for cell, flag in zip(cells, flags) if flag]
    counts = [math.prod(s.stop - s.start for s in cell) for cell in full]
    numbers = np.zeros(shape, dtype=np.int64)
    for cell, group in zip(full, decode(data[start:], counts)):
        numbers[cell] = group.reshape(numbers[cell].shape)
    for axis in range(3):
        if data[0] >> axis & 1:
            numbers = np.cumsum(numbers, axis=axis)
    return numbers


def _differences(numbers: np.ndarray, axes: int) -> np.ndarray:
    """Return the differences along those of the axes that have a bit; the first ones stay."""
    numbers = numbers.astype(np.int64)
    for axis in range(3):
        if axes >> axis & 1:
            numbers = np.diff(numbers, axis=axis, prepend=0)
    return numbers


def _cost(numbers: np.ndarray) -> float:
    """Return about how many bits numbers take."""
    if int(np.abs(numbers).max()) > LARGEST:
        return math.inf
    return float(np.log2(1.0 + np.abs(numbers)).sum())
