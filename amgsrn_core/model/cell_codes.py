"""Macro-cells of a brick as it stores them: which values each small box of the field may have.

Cells lie on multiples of their edge in the volume's index space. A code is one byte: 1 to 254 stand
for even steps of the value, scaled by the component's range, from a little below that range to a
little above it; 0 as a minimum and 255 as a maximum say that there is no such bound. A cell without
any value has the minimum 255 and the maximum 0.
"""

from __future__ import annotations

import math

import numpy as np

from amgsrn_core.model.index import BrickRecord

# Cells along the longest axis, at most: more skip little more, and would make small models large.
_MOST_CELLS = 32
_SMALLEST_EDGE = 4

# Where the codes begin and what they span, with the component's range as 0 to 1.
_LOW, _SPAN, _STEPS = -0.125, 1.25, 254

# Beside compressed parameters bounds are multiples of so many steps, after the first code.
_COARSE = 16


def cell_edge(record: BrickRecord) -> int:
    """Return the edge of a brick's cells in voxels, a power of two."""
    cells = max(record.ghosted_dims) / _MOST_CELLS
    return max(_SMALLEST_EDGE, 1 << max(math.ceil(math.log2(cells)), 0))


def cell_domain(record: BrickRecord, dims: tuple[int, int, int]) -> list[tuple[float, float]]:
    """Return the index range along z, y, x in which a brick is evaluated.

    That is its domain, if it has one, or its ghosted extent, and half a voxel round its own where
    it has no ghost cells.
    """
    if record.domain is not None:
        return list(record.domain)
    return [
        (
            min(ghosted.start, own.start - 0.5) if own.start else 0.0,
            max(ghosted.stop - 1, own.stop - 0.5) if own.stop < n else n - 1.0,
        )
        for own, ghosted, n in zip(record.extent, record.ghosted, dims)
    ]


def cell_numbers(record: BrickRecord, dims: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Return the first cell along z, y, x and the one after the last."""
    edge = cell_edge(record)
    return [
        (math.floor(low / edge), max(math.ceil(high / edge), math.floor(low / edge) + 1))
        for low, high in cell_domain(record, dims)
    ]


def cell_shape(record: BrickRecord, dims: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the number of a brick's cells along z, y, x."""
    z, y, x = (stop - start for start, stop in cell_numbers(record, dims))
    return z, y, x


def encode_cells(minima: np.ndarray, maxima: np.ndarray) -> np.ndarray:
    """Return the codes uint8 [2, ...] of scaled bounds, rounded outwards.

    A minimum above its maximum stands for a cell without any value.
    """
    low = np.floor((minima - _LOW) * (_STEPS / _SPAN)) + 1
    high = np.ceil((maxima - _LOW) * (_STEPS / _SPAN)) + 1
    codes = np.stack([np.where(low < 1, 0, np.minimum(low, 254)), np.clip(high, 1, 255)])
    codes[:, minima > maxima] = [[255], [0]]
    return codes.astype(np.uint8)


def coarser_cells(codes: np.ndarray) -> np.ndarray:
    """Return codes uint8 [2, ...] that repeat themselves more: bounds moved outwards.

    By at most a sixteenth of the range; packed they take about a third of the bytes.
    """
    low, high = codes.astype(np.int64)
    empty = (low == 255) & (high == 0)
    wider = np.stack(
        [
            np.where(low == 0, 0, (low - 1) // _COARSE * _COARSE + 1),
            np.minimum(-(-(high - 1) // _COARSE) * _COARSE + 1, 255),
        ]
    )
    wider[:, empty] = [[255], [0]]
    return wider.astype(np.uint8)


def decode_table() -> np.ndarray:
    """Return the scaled bounds that codes 0 to 255 stand for, float64 [2, 256]."""
    values = (np.arange(256) - 1) * (_SPAN / _STEPS) + _LOW
    table = np.stack([values, values])
    table[0, [0, 255]] = -np.inf, np.inf
    table[1, [0, 255]] = -np.inf, np.inf
    return table
