"""True errors of a brick's macro-cells, gathered while its voxels are compared with the data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from amgsrn_core.model.error_codes import (
    FINENESS,
    SMALLEST_EDGE,
    cells_of,
    encoded,
    pack_errors,
)
from amgsrn_core.volume.geometry import Extent

_SHARE = 0.015
"""Of the bytes of all else in a brick; a file's index comes on top of that."""

LEAST_BYTES = 96


def without_errors(room: float, bricks: int = 1) -> float:
    """Return how many of some bricks' bytes are surely left beside the errors of their cells."""
    if bricks == 1:
        return min(room - LEAST_BYTES, room / (1.0 + _SHARE))
    return (room - LEAST_BYTES * bricks) / (1.0 + _SHARE)


class ErrorCells:
    """Largest and mean squared errors of the cells of a brick.

    Parameters
    ----------
    extent : tuple of three slices
        The brick's own voxels z, y, x in the volume.
    components : int
    """

    def __init__(self, extent: Extent, components: int) -> None:
        self._extent = extent
        self._first, shape = cells_of(extent, SMALLEST_EDGE)
        self._largest = np.zeros((components, *shape))
        self._squares = np.zeros((components, *shape))
        self._counts = np.zeros(shape)

    def add(self, extent: Extent, errors: np.ndarray, valid: np.ndarray | None) -> None:
        """Add errors [C, z, y, x] of some voxels of the brick, which count where `valid`."""
        errors = np.abs(errors).astype(np.float64)
        counts = np.ones(errors.shape[1:]) if valid is None else valid.astype(np.float64)
        errors = errors * counts
        cells, starts = [], []
        for axis, part in enumerate(extent):
            numbers = np.arange(part.start, part.stop) // SMALLEST_EDGE - self._first[axis]
            starts.append(np.flatnonzero(np.diff(numbers, prepend=-1)))
            cells.append(slice(int(numbers[0]), int(numbers[-1]) + 1))
        here = tuple(cells)
        largest = self._largest[(slice(None), *here)]
        np.maximum(largest, _reduced(np.maximum, errors, starts), out=largest)
        self._squares[(slice(None), *here)] += _reduced(np.add, np.square(errors), starts)
        self._counts[here] += _reduced(np.add, counts, starts)

    def packed(self, scale: np.ndarray, margin: np.ndarray, others: int) -> np.ndarray:
        """Return the errors as a file stores them, uint8 [n].

        Parameters
        ----------
        scale : ndarray of float64 [C]
            What codes are relative to: the range of the values.
        margin : ndarray of float64 [C]
            By which errors may be larger on another computer.
        others : int
            Bytes of all else that is stored of the brick: the cells are as fine as a small share
            of it allows.
        """
        budget = max(LEAST_BYTES, _SHARE * others)
        for edge, coarse in FINENESS:
            largest, squares, counts = self._of_edge(edge)
            with np.errstate(invalid="ignore", divide="ignore"):
                rms = np.sqrt(squares / counts)
            largest = np.where(counts > 0, largest, math.nan)
            each = (slice(None), None, None, None)
            errors = np.stack([largest, rms]) + margin[each]
            codes = encoded(errors, scale[each], coarse)
            packed = pack_errors(codes, edge, scale)
            if len(packed) <= budget:
                break
        return packed

    def _of_edge(self, edge: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        factor = edge // SMALLEST_EDGE
        starts = [
            np.flatnonzero(np.diff((np.arange(n) + first) // factor, prepend=-1))
            for n, first in zip(self._counts.shape, self._first)
        ]
        return (
            _reduced(np.maximum, self._largest, starts),
            _reduced(np.add, self._squares, starts),
            _reduced(np.add, self._counts, starts),
        )


def _reduced(function: Any, values: np.ndarray, starts: list[np.ndarray]) -> np.ndarray:
    """Return values [..., z, y, x] reduced to the groups that begin at `starts` of each axis."""
    for axis, first in zip((-1, -2, -3), reversed(starts)):
        values = function.reduceat(values, first, axis=axis)
    return values
