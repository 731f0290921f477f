"""Triangles of an isosurface on one lattice, for surfaces that are nearly everywhere.

There an octree costs more than it saves. The field is evaluated at every second point of the
lattice, and between them where the value may occur.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from amgsrn_core.rendering.surface_cells import (
    SIDE_AXES,
    SIDE_STARTS,
    SUSPICION,
    Triangles,
    case_triangles,
    distinct,
    halves,
)

Array = np.ndarray

# Points that are held in memory, and layers beyond a slab that have a say in it.
_POINTS, _HALO = 1 << 25, 4

# Points that are evaluated together: what is made of them stays in a core's cache.
_BATCH = 1 << 16


def uniform_triangles(
    evaluate: Callable[[Array], Array], cells: Array, isovalue: float, layers: range
) -> Triangles:
    """Return the triangles in some layers of a lattice.

    Parameters
    ----------
    evaluate : callable
        From points float64 [N, 3] (x, y, z), counted in cells, to values [N].
    cells : int array [3]
        Along z, y, x.
    isovalue : float
    layers : range
        Along z; it begins with an even number.
    """
    thick = max(2, _POINTS // int(np.prod(cells[1:] + 2)) // 2 * 2)
    parts = []
    for start in range(layers.start, layers.stop, thick):
        own = range(start, min(start + thick, layers.stop))
        slab = _Slab(evaluate, cells, isovalue, own)
        parts.append(slab.triangles())
    return _joined(parts)


class _Slab:
    """The lattice between some layers: what is known there, and where the value may occur."""

    def __init__(
        self, evaluate: Callable[[Array], Array], cells: Array, isovalue: float, own: range
    ) -> None:
        self._evaluate, self._isovalue, self._own, self._ends = evaluate, isovalue, own, cells
        self._first = max(own.start - _HALO, 0)
        self._cells = np.array([min(own.stop + _HALO, cells[0]) - self._first, *cells[1:]])
        shape = self._cells + self._cells % 2 + 1
        self._known = np.zeros(shape, dtype=bool)
        first = np.zeros(shape, dtype=bool)
        first[::2, ::2, ::2] = True
        self._values: Array | None = None
        self._learn(first)
        self._narrow()

    @property
    def values(self) -> Array:
        assert self._values is not None
        return self._values

    def _learn(self, wanted: Array) -> None:
        new = np.flatnonzero(wanted & ~self._known)
        self._known |= wanted
        for start in range(0, len(new), _BATCH):
            places = new[start : start + _BATCH]
            z, y, x = np.unravel_index(places, wanted.shape)
            points = np.stack([x, y, z + self._first], axis=1)
            found = self._evaluate(np.minimum(points, self._ends[::-1]).astype(np.float64))
            if self._values is None:
                self._values = np.zeros(wanted.shape, dtype=found.dtype)
            self._values.ravel()[places] = found

    def _narrow(self) -> None:
        """Find the cells that the surface goes through, and evaluate the field at their corners."""
        coarse = self.values[::2, ::2, ::2]
        rough = coarse >= self._isovalue
        for axis in range(3):  # where nothing is known it is as at the point before
            rough = np.repeat(rough, 2, axis=axis)
        rough = rough[:-1, :-1, :-1]
        chosen = _candidates(coarse, self._isovalue)
        while True:
            wanted = np.zeros(self._known.shape, dtype=bool)
            for corner in np.ndindex(3, 3, 3):
                place = tuple(slice(c, c + 2 * n - 1, 2) for c, n in zip(corner, chosen.shape))
                wanted[place] |= chosen
            self._learn(wanted)
            inside = np.where(self._known, self.values >= self._isovalue, rough)
            self._cases = _cases_of(inside)
            crossed = (self._cases > 0) & (self._cases < 255)
            crossed[tuple(slice(n, None) for n in self._cells)] = False
            z, y, x = crossed.shape
            pairs = crossed.reshape(z // 2, 2, y // 2, 2, x // 2, 2).any(axis=(1, 3, 5))
            if not (pairs & ~chosen).any():
                break
            chosen |= pairs
        self._crossed = crossed

    def triangles(self) -> Triangles:
        """Return those of the own layers."""
        crossed = self._crossed[: self._cells[0], : self._cells[1], : self._cells[2]]
        begin = self._own.start - self._first
        own = np.stack(np.nonzero(crossed[begin : begin + len(self._own)]))
        own[0] += begin
        holes = np.isnan(self.values)
        if holes.any():
            near = np.zeros(own.shape[1], dtype=bool)
            for corner in np.ndindex(2, 2, 2):
                near |= holes[tuple(own + np.array([corner]).T)]
            own = own[:, ~near]
        cell, sides = case_triangles(self._cases[tuple(own)])
        sizes = self._known.shape
        flat = 3 * np.ravel_multi_index(tuple(own), sizes).astype(np.int32)
        corners = np.array([np.ravel_multi_index(c, sizes) for c in np.ndindex(2, 2, 2)])
        ids = flat[cell][:, None] + (3 * corners[SIDE_STARTS] + SIDE_AXES).astype(np.int32)[sides]
        used = distinct(ids)
        numbers = np.zeros(int(used.max(initial=0)) + 1, dtype=np.int32)
        numbers[used] = np.arange(len(used))
        low = np.stack(np.unravel_index(used // 3, sizes))
        high = low + np.eye(3, dtype=np.int64)[:, used % 3]
        values = np.stack([self.values[tuple(low)], self.values[tuple(high)]], axis=1)
        low[0] += self._first
        high[0] += self._first
        ends = [np.ascontiguousarray(end[::-1].T, dtype=np.float64) for end in (low, high)]
        rows = own[0][cell] + self._first
        return Triangles(ends[0], ends[1], values, numbers[ids].astype(np.int64), rows)


def _candidates(values: Array, isovalue: float) -> Array:
    """Return which cells between points [z, y, x] may have a value."""
    low: Array = values
    high: Array = values
    margin: Array = np.zeros(values.shape, dtype=values.dtype)
    for axis in range(3):
        bends: Array = np.zeros(values.shape, dtype=values.dtype)
        middle = tuple(slice(1, -1) if a == axis else slice(None) for a in range(3))
        if values.shape[axis] > 2:
            bends[middle] = np.abs(np.diff(values, 2, axis=axis))
        margin += bends
    for axis in range(3):
        low = np.minimum(*halves(low, axis))
        high = np.maximum(*halves(high, axis))
        margin = np.maximum(*halves(margin, axis))
    margin *= SUSPICION
    may_have = (low - margin <= isovalue) & (high + margin >= isovalue)
    return np.asarray(may_have | np.isnan(low) | np.isnan(margin))


def _cases_of(inside: Array) -> Array:
    """Return the number of the set of corners that are inside, uint8, of each cell."""
    shape = [n - 1 for n in inside.shape]
    cases = np.zeros(shape, dtype=np.uint8)
    for bit, corner in enumerate(np.ndindex(2, 2, 2)):
        part = inside[tuple(slice(c, c + n) for c, n in zip(corner, shape))]
        cases |= part.view(np.uint8) << np.uint8(bit)
    return cases


def _joined(parts: list[Triangles]) -> Triangles:
    """Put slabs together, whose common vertices become one."""
    starts = np.cumsum([0] + [len(part.low) for part in parts])
    corners = np.concatenate([part.corners + start for part, start in zip(parts, starts)])
    low, high, values, rows = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("low", "high", "values", "rows")
    )
    if len(parts) > 1:
        _, first, same = np.unique(
            np.concatenate([low, high], axis=1), axis=0, return_index=True, return_inverse=True
        )
        corners = same.reshape(-1)[corners]
        low, high, values = low[first], high[first], values[first]
    return Triangles(low, high, values, corners, rows)
