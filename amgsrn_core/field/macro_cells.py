"""Macro-cells: bounds of the values that the decoded field takes in small boxes.

Renderers skip boxes whose values are transparent. The bounds of a cell are the extremes of samples
on a lattice finer than the voxels, widened by how far the field may leave them in between: the
largest second difference along each axis, summed over the axes. An eighth of that bounds a smooth
curve between two samples, and a half a kink (a feature grid's face, a neuron that switches)
wherever it lies; the rest is for kinks that follow each other closely. It is an estimate, not a
proof: details much finer than half a voxel, which no training sample would have asked for, could
escape it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from amgsrn_core.model.box import Box
from amgsrn_core.model.cell_codes import cell_domain, cell_edge, cell_numbers, encode_cells

if TYPE_CHECKING:
    from amgsrn_core.field.evaluators import Evaluator
    from amgsrn_core.model import BrickRecord

# Lattice points per voxel along an axis, and from how many voxels on one has to do.
_FINE, _MANY_VOXELS = 2, 1 << 22

# And where there is no time: of fewer, wide bounds would cost each picture more than 4 %.
_HASTY_VOXELS = 1 << 19

# Lattice points that are held in memory, and evaluated, together.
_SLAB_POINTS, _BATCH = 1 << 21, 1 << 16

# Implementations of the network differ by rounding.
_ROUNDING = 1e-4


def macro_cells(
    evaluate: Callable[[np.ndarray], np.ndarray],
    record: BrickRecord,
    dims: tuple[int, int, int],
    valid: np.ndarray | None = None,
    *,
    hasty: bool = False,
) -> np.ndarray:
    """Return the codes of a brick's macro-cells; see :mod:`amgsrn_core.model.cell_codes`.

    Parameters
    ----------
    evaluate : callable
        From points float64 [N, 3], columns x, y, z, in the volume's index space, to values [N, C],
        scaled so that each component's range in the brick is 0 to 1.
    record : BrickRecord
    dims : tuple of int
        Voxels of the volume along z, y, x.
    valid : bool array [z, y, x], optional
        Which voxels of the ghosted extent have a value; default: all.
    hasty : bool, default: False
        Sample large bricks at the voxels only, an eighth as many points: bounds are a few per cent
        wider.

    Returns
    -------
    uint8 array [2, C, cells along z, y, x]
        Minima, then maxima.
    """
    many = _HASTY_VOXELS if hasty else _MANY_VOXELS
    fine = 1 if np.prod(record.ghosted_dims) >= many else _FINE
    edge, numbers = cell_edge(record), cell_numbers(record, dims)
    lattice = [_lattice(low, high, 1.0 / fine) for low, high in cell_domain(record, dims)]
    borders = [
        np.searchsorted(line, np.clip(np.arange(a, b + 1) * edge, line[0], line[-1]))
        for line, (a, b) in zip(lattice, numbers)
    ]
    layers = max(1, _SLAB_POINTS // (len(lattice[1]) * len(lattice[2]) * edge * fine))
    count = numbers[0][1] - numbers[0][0]
    parts = []
    for start in range(0, count, layers):
        cut = borders[0][start : start + layers + 1]
        # One more sample on either side, for the second differences.
        first, last = max(cut[0] - 1, 0), min(cut[-1] + 1, len(lattice[0]) - 1)
        values = _on_lattice(evaluate, [lattice[0][first : last + 1], *lattice[1:]])
        parts.append(_bounds(values, [cut - first, *borders[1:]]))
    minima, maxima = (np.concatenate(bounds, axis=1) for bounds in zip(*parts))
    if valid is not None:
        empty = ~_any_valid(valid, record, edge, numbers)
        minima[:, empty], maxima[:, empty] = 1.0, 0.0
    return encode_cells(minima, maxima)


def network_cells(
    evaluator: Evaluator,
    record: BrickRecord,
    dims: tuple[int, int, int],
    valid: np.ndarray | None = None,
    *,
    hasty: bool = False,
) -> np.ndarray:
    """Return the macro-cells of a brick's network; see :func:`macro_cells`.

    Parameters
    ----------
    evaluator : Evaluator
        Of the network.
    record : BrickRecord
    dims : tuple of int
        Voxels of the volume along z, y, x.
    valid : bool array [z, y, x], optional
    hasty : bool, default: False
    """
    box, low, high = Box.of_record(record), evaluator.minimum, evaluator.maximum
    span = np.where(high > low, high - low, 1.0)

    def evaluate(points: np.ndarray) -> np.ndarray:
        values = np.empty((len(points), len(low)), dtype=np.float32)
        for start in range(0, len(points), _BATCH):
            part = slice(start, start + _BATCH)
            values[part] = (evaluator.values(box.local(points[part])) - low) / span
        return values

    return macro_cells(evaluate, record, dims, valid, hasty=hasty)


def voxel_cells(
    values: np.ndarray, record: BrickRecord, valid: np.ndarray | None = None
) -> np.ndarray:
    """Return the macro-cells of voxels between which a field is linear, so that they bound it.

    Parameters
    ----------
    values : float array [C, z, y, x]
        The whole volume, scaled so that each component's range is 0 to 1.
    record : BrickRecord
        Of the only brick.
    valid : bool array [z, y, x], optional
    """
    dims = record.ghosted_dims
    edge, numbers = cell_edge(record), cell_numbers(record, dims)
    borders = [np.minimum(np.arange(a, b + 1) * edge, n - 1) for (a, b), n in zip(numbers, dims)]
    minima = _pooled(np.minimum, values, borders) - _ROUNDING
    maxima = _pooled(np.maximum, values, borders) + _ROUNDING
    if valid is not None:
        empty = ~_any_valid(valid, record, edge, numbers)
        minima[:, empty], maxima[:, empty] = 1.0, 0.0
    return encode_cells(minima, maxima)


def _lattice(low: float, high: float, step: float) -> np.ndarray:
    inner = np.arange(np.floor(low / step) + 1, np.ceil(high / step)) * step
    return np.concatenate([[low], inner, [high]])


def _on_lattice(
    evaluate: Callable[[np.ndarray], np.ndarray], lattice: list[np.ndarray]
) -> np.ndarray:
    """Return the field [C, z, y, x] on a lattice given by its lines along z, y, x."""
    z, y, x = np.meshgrid(*lattice, indexing="ij")
    values = evaluate(np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1))
    return np.ascontiguousarray(values.T).reshape(-1, *x.shape)


def _bounds(values: np.ndarray, borders: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return minima and maxima [C, cells] of the field inside cells, from samples [C, z, y, x].

    `borders` are the samples at which cells begin and end, along z, y, x.
    """
    margin = _ROUNDING + sum(
        _pooled(np.maximum, _second_difference(values, axis), borders) for axis in (1, 2, 3)
    )
    minima = _pooled(np.minimum, values, borders) - margin
    maxima = _pooled(np.maximum, values, borders) + margin
    return minima, maxima


def _second_difference(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the size of the second differences along an axis.

    At an end, where there is none, stands twice its neighbour's: a kink in the last interval shows
    only there.
    """
    if values.shape[axis] < 3:
        return np.abs(np.diff(values, axis=axis)).repeat(values.shape[axis], axis=axis)
    size = np.abs(np.diff(values, 2, axis=axis))
    ends = np.take(size, [0, -1], axis=axis) * 2
    low, high = np.split(ends, 2, axis=axis)
    return np.concatenate([low, size, high], axis=axis)


def _pooled(extreme: Any, values: np.ndarray, borders: list[np.ndarray]) -> np.ndarray:
    """Return the extreme of samples [C, z, y, x] within cells, their borders included."""
    for axis, border in enumerate(borders, start=1):
        starts, ends = border[:-1], border[1:]
        inner = extreme.reduceat(values, starts, axis=axis)
        # The last cell of reduceat goes on to the end of the array, which may be one too far.
        values = extreme(inner, np.take(values, ends, axis=axis))
    return values


def _any_valid(
    valid: np.ndarray, record: BrickRecord, edge: int, numbers: list[tuple[int, int]]
) -> np.ndarray:
    """Return which cells [z, y, x] hold a point whose nearest voxel has a value."""
    found = valid[None].astype(np.uint8)
    borders = [
        np.clip(np.arange(a, b + 1) * edge - ghosted.start, 0, ghosted.stop - ghosted.start - 1)
        for (a, b), ghosted in zip(numbers, record.ghosted)
    ]
    return _pooled(np.maximum, found, borders)[0] > 0
