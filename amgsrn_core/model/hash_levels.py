"""Levels of a multi-resolution hash grid: how fine each is, and where its features are stored.

The scheme is that of Müller et al., "Instant Neural Graphics Primitives with a Multiresolution
Hash Encoding", ACM TOG 2022, section 3, in the details of one of two implementations whose models
are imported. tiny-cuda-nn: float32 arithmetic, tables rounded up to multiples of 8, coarse levels
dense, samples half a cell inside. The original code's NGP in PyTorch: N cells from face to face
with N rounded down, every level hashed into a table of full size, and nothing outside the box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_LOW_BITS = 0xFFFFFFFF
_MOST_ENTRIES = 0x7FFFFFFF


@dataclass(frozen=True)
class HashLevel:
    """One level.

    Attributes
    ----------
    scale, offset : float
        Cells along an axis; a point x in [0, 1] lies at x * scale + offset among the nodes.
    first, entries : int
        Where its table begins among those of all levels, and its size.
    strides : tuple of int
        Steps in the table along x, y, z; empty where nodes are hashed.
    """

    scale: float
    first: int
    entries: int
    strides: tuple[int, ...]
    offset: float = 0.5


def hash_levels(
    count: int, log2_size: int, base: int, finest: int, scheme: str = "tiny-cuda-nn"
) -> tuple[HashLevel, ...]:
    """Return the levels of a hash grid, coarsest first.

    Parameters
    ----------
    count : int
        Number of levels.
    log2_size : int
        A table has at most 2^log2_size entries.
    base, finest : int
        Nodes along an axis of the first and the last level; cells in the original's scheme.
    scheme : {"tiny-cuda-nn", "original"}
    """
    growth = math.exp((math.log(finest) - math.log(base)) / max(count - 1, 1))
    if scheme == "original":
        entries = 1 << log2_size
        cells = [math.floor(np.float32(base * growth**number)) for number in range(count)]
        return tuple(
            HashLevel(float(n), i * entries, entries, (), 0.0) for i, n in enumerate(cells)
        )
    octaves = np.log2(np.float32(growth))
    levels: list[HashLevel] = []
    first = 0
    for number in range(count):
        scale = np.exp2(np.float32(number) * octaves) * np.float32(base) - np.float32(1)
        nodes = int(np.ceil(scale)) + 1
        entries = min(-(-min(nodes**3, _MOST_ENTRIES) // 8) * 8, 1 << log2_size)
        levels.append(HashLevel(float(scale), first, entries, _strides(nodes, entries)))
        first += entries
    return tuple(levels)


def _strides(nodes: int, entries: int) -> tuple[int, ...]:
    """Return the strides of a dense table; none if its nodes do not fit in."""
    strides, stride = [0, 0, 0], 1
    for axis in range(3):
        if stride > entries:
            break
        strides[axis] = stride
        stride = stride * nodes & _LOW_BITS
    return () if stride > entries else tuple(strides)
