"""Cells of several sizes along an isosurface: small where it bends, large where it is flat.

An octree over the volume is refined from cells of a few voxels down, where the value may occur and
a cell of that size would not do. A cell does when the field at the middles of its edges and faces
is close to what its corners tell, and when the surface goes through these edges and faces as it
goes through their halves. Neighbours differ by one size at most. So all cells agree where the
surface crosses each face that they share, and it is closed when vertices on the halves become
those of the whole edge or face; see :meth:`SurfaceCells.triangles`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from amgsrn_core.rendering.sparse_lattice import SparseLattice
from amgsrn_core.volume.vtk.data import import_vtk

Array = np.ndarray

# The cells that are looked at together.
_CHUNK = 1 << 15

# States of a cell of the tree: not looked at, part of the surface, cut into eight, without surface.
_UNKNOWN, _LEAF, _CUT, _EMPTY = range(4)

_CORNERS = list(itertools.product((0, 1), repeat=3))  # z, y, x; x runs first
_FACES_AND_EDGES = [corner for corner in _CORNERS if 0 < sum(corner) < 3]

# What stands for a value that nobody has asked for.
_UNASKED = np.inf

# A cell without the value at its 27 points has it perhaps, if these come closer to it than such a
# part of the second differences, of all axes together: as with macro-cells.
SUSPICION = 0.5


class FieldLattices:
    """The values of a field on lattices of doubling spacings, evaluated where they are asked for.

    Parameters
    ----------
    evaluate : callable
        From points float64 [N, 3] (x, y, z), counted in the finest cells, to values [N].
    cells : int array [3]
        The finest lattice's cells along z, y, x.
    levels : int
        Cells of level l have 2^l times the edge of the finest; there are so many levels.
    dtype : numpy.dtype
        Of the values.
    """

    def __init__(
        self, evaluate: Callable[[Array], Array], cells: Array, levels: int, dtype: np.dtype
    ) -> None:
        self.cells, self.levels, self._evaluate = np.asarray(cells), levels, evaluate
        self._lattices = []
        for level in range(levels):
            lattice = SparseLattice(self.count(level) + 3)
            lattice.add("values", dtype, _UNASKED)
            self._lattices.append(lattice)

    def count(self, level: int) -> Array:
        """Return the cells of a level along z, y, x; the last ones may reach beyond the volume."""
        return -(-self.cells // (1 << level))

    def corners(self, level: int, cells: Array) -> Array:
        """Return the values [N, 2, 2, 2] at the corners (z, y, x) of cells [3, N] of a level."""
        finer = max(level - 1, 0)  # where the corners of all cells in use are known
        step = 2 if level else 1
        return self.at(finer, *_around(cells * step, (0, step)))

    def middles(self, level: int, cells: Array) -> Array:
        """Return the values [N, 3, 3, 3] at corners and middles of cells [3, N], not the finest."""
        return self.at(level - 1, *_around(2 * cells, (0, 1, 2)))

    def ends(self, level: int, points: Array) -> Array:
        """Return the values [N] at corners [3, N] of a level's cells."""
        return self.at(max(level - 1, 0), *(2 * points if level else points))

    def place(self, level: int, points: Array) -> Array:
        """Return where points [3, N] of a level are, float64 [N, 3] (x, y, z)."""
        inside = np.minimum(points << level, self.cells[:, None])
        return np.ascontiguousarray(inside[::-1].T, dtype=np.float64)

    def at(self, level: int, z: Array, y: Array, x: Array) -> Array:
        """Return the values at points of a level's lattice; their coordinates are broadcast."""
        lattice = self._lattices[level]
        lattice.reserve(
            *(c[..., :: max(c.shape[-1] - 1, 1)] if c.ndim > 1 else c for c in (z, y, x))
        )
        places = lattice.places(z, y, x)
        values = lattice["values"][places]
        new = places[values == _UNASKED]
        if len(new):
            is_new = np.zeros(lattice.size, dtype=bool)
            is_new[new] = True
            self._learn(level, np.flatnonzero(is_new))
            values = lattice["values"][places]
        return np.asarray(values)

    def _learn(self, level: int, places: Array) -> None:
        """Set values of a level; what the level above knows is taken from there."""
        lattice = self._lattices[level]
        points = lattice.points(places)
        if level + 1 < self.levels:
            above = self._lattices[level + 1]
            shared = np.flatnonzero(~(points & 1).any(axis=0))
            there = above["values"][above.places(*(points[:, shared] >> 1))]
            known = there != _UNASKED
            lattice["values"][places[shared[known]]] = there[known]
            unknown = np.ones(len(places), dtype=bool)
            unknown[shared[known]] = False
            places, points = places[unknown], points[:, unknown]
        lattice["values"][places] = self._evaluate(self.place(level, points))


def _column(offset: tuple[int, ...]) -> Array:
    return np.array(offset, dtype=np.int32)[:, None]


def _around(points: Array, offsets: tuple[int, ...]) -> list[Array]:
    """Return z, y, x of points [3, N] and offsets from them, which broadcast to [N, m, m, m]."""
    shifted = points[:, :, None] + np.array(offsets, dtype=points.dtype)
    z, y, x = shifted
    return [z[:, :, None, None], y[:, None, :, None], x[:, None, None, :]]


@dataclass(frozen=True, eq=False)
class Triangles:
    """Triangles, and the lattice's edges that their vertices are on.

    Attributes
    ----------
    low, high : float64 array [V, 3]
        The ends of each vertex's edge (x, y, z), counted in the finest cells.
    values : array [V, 2]
        The field at both ends.
    corners : int64 array [T, 3]
        The vertices of each triangle.
    rows : int array [T]
        Which layer along z each triangle lies in: of the largest cells, or, where all have one
        size, of these.
    """

    low: Array
    high: Array
    values: Array
    corners: Array
    rows: Array

    def within(self, rows: range) -> Triangles:
        """Return the triangles in some layers, of the same vertices."""
        chosen = (self.rows >= rows.start) & (self.rows < rows.stop)
        return replace(self, corners=self.corners[chosen], rows=self.rows[chosen])


class SurfaceCells:
    """The cells that one isosurface goes through.

    Parameters
    ----------
    lattices : FieldLattices
    isovalue : float
    scale : float array [3]
        The finest cells' edges along z, y, x.
    tolerance : float
        How far the field's surface may be from that of a cell's corners, in the unit of `scale`.
    candidates : int array [3, N]
        The largest cells (z, y, x) in which to look for the value.
    rows : range
        The layers along z of the largest cells that the surface is followed in.
    """

    def __init__(
        self,
        lattices: FieldLattices,
        isovalue: float,
        *,
        scale: Array,
        tolerance: float,
        candidates: Array,
        rows: range,
    ) -> None:
        self.lattices, self.isovalue = lattices, isovalue
        self._scale, self._tolerance, self._rows = scale, tolerance, rows
        self._top = lattices.levels
        self._states: list[SparseLattice] = []
        for level in range(self._top + 1):
            states = SparseLattice(lattices.count(level))
            states.add("states", np.uint8, _UNKNOWN)
            self._states.append(states)
        self._grow(self._top, candidates.astype(np.int32))
        self._close()

    # --- The tree --------------------------------------------------------------------------------

    def _grow(self, level: int, cells: Array) -> None:
        """Look at cells [3, N] of a level and, as far as they are cut, at what is in them."""
        large = []
        while level >= 0 and cells.shape[1]:
            below = [cells[:, :0]]
            for start in range(0, cells.shape[1], _CHUNK):
                some = cells[:, start : start + _CHUNK]
                states, may_have = self._judged(level, some) if level else self._finest(some)
                if level > 1:
                    large.append((level, some[:, states == _LEAF]))
                    states[states == _LEAF] = _CUT
                self._set(level, some, states)
                is_cut = states == _CUT
                below.append(self._children(level, some[:, is_cut], may_have[is_cut]))
            cells = np.concatenate(below, axis=1)
            level -= 1
        for level, cells in reversed(large):
            self._merge(level, cells)

    def _merge(self, level: int, cells: Array) -> None:
        """Make leaves of those cells [3, N] that need none smaller than half their edge.

        So a leaf has been looked at on the lattice of the finest cells, where they could be merged.
        """
        is_whole = np.ones(cells.shape[1], dtype=bool)
        for corner in _CORNERS:
            is_whole &= self._states_of(level - 1, 2 * cells + _column(corner)) != _CUT
        cells = cells[:, is_whole]
        self._set(level, cells, np.full(cells.shape[1], _LEAF, dtype=np.uint8))
        eighths = np.concatenate([2 * cells + _column(corner) for corner in _CORNERS], axis=1)
        self._set(level - 1, eighths, np.full(eighths.shape[1], _EMPTY, dtype=np.uint8))

    def _set(self, level: int, cells: Array, states: Array) -> None:
        lattice = self._states[level]
        lattice.reserve(*cells)
        lattice["states"][lattice.places(*cells)] = states

    def having(self, level: int, state: int) -> Array:
        """Return the cells [3, N] of a level that are in a state."""
        lattice = self._states[level]
        return lattice.points(np.flatnonzero(lattice["states"] == state))

    def _states_of(self, level: int, cells: Array) -> Array:
        lattice = self._states[level]
        return lattice["states"][lattice.places(*cells)]

    def _is_within(self, level: int, cells: Array) -> Array:
        """Return which cells [3, N] are in the volume, and in the rows to follow the surface in."""
        z = cells[0] >> (self._top - level)
        inside = ((cells >= 0) & (cells < self.lattices.count(level)[:, None])).all(axis=0)
        return inside & (z >= self._rows.start) & (z < self._rows.stop)

    def _children(self, level: int, cells: Array, chosen: Array) -> Array:
        """Return the chosen ones, bool [N, 8], of the cells that cells [3, N] are cut into."""
        below = [2 * cells[:, own] + _column(c) for c, own in zip(_CORNERS, chosen.T)]
        found = np.concatenate(below, axis=1)
        return found[:, (found < self.lattices.count(max(level - 1, 0))[:, None]).all(axis=0)]

    def _finest(self, cells: Array) -> tuple[Array, Array]:
        """Return what becomes of the finest cells [3, N], like :meth:`_judged`."""
        values = self.lattices.corners(0, cells).reshape(-1, 8)
        low, high = values.min(axis=1), values.max(axis=1)
        is_crossed = (low < self.isovalue) & (high >= self.isovalue)  # not with a NaN
        states = np.where(is_crossed, _LEAF, _EMPTY).astype(np.uint8)
        return states, np.zeros((len(states), 8), dtype=bool)

    def _judged(self, level: int, cells: Array) -> tuple[Array, Array]:
        """Return what becomes of cells [3, N], and which eighths of theirs may have the value.

        Returns
        -------
        uint8 array [N]
        bool array [N, 8]
        """
        iso = self.isovalue
        values = self.lattices.middles(level, cells)
        low, high = values, values  # of the corners of each eighth
        bends = np.zeros(len(values), dtype=values.dtype)
        for axis in (1, 2, 3):
            low, high = (
                extreme(*halves(part, axis))
                for extreme, part in ((np.minimum, low), (np.maximum, high))
            )
            first, second = halves(np.diff(values, axis=axis), axis)
            bends += np.abs(second - first).reshape(-1, 9).max(axis=1)
        low, high = low.reshape(-1, 8), high.reshape(-1, 8)
        margin = (SUSPICION * bends)[:, None]
        has_holes = np.isnan(bends)
        may_have = ((low - margin <= iso) & (high + margin >= iso)) | has_holes[:, None]
        may_have[has_holes] &= ~np.isnan(values[has_holes]).all(axis=(1, 2, 3))[:, None]
        states = np.where(may_have.any(axis=1), _CUT, _EMPTY).astype(np.uint8)
        edge = 1 << level
        is_whole = ((cells + 1) * edge <= self.lattices.cells[:, None]).all(axis=0)
        is_crossed = (low.min(axis=1) < iso) & (high.max(axis=1) >= iso)
        chosen = np.flatnonzero(is_crossed & is_whole & ~has_holes)
        chosen = chosen[_agree(values[chosen] >= iso)]
        is_flat = _deviation(values[chosen], self._scale * edge) <= self._tolerance
        states[chosen[is_flat]] = _LEAF
        return states, may_have

    def _split(self, level: int, cells: Array) -> None:
        """Cut leaves [3, N], which may be named twice."""
        cells = np.unique(cells, axis=1)
        self._set(level, cells, np.full(cells.shape[1], _CUT, dtype=np.uint8))
        every = np.ones((cells.shape[1], 8), dtype=bool)
        self._grow(level - 1, self._children(level, cells, every))

    def _close(self) -> None:
        """Cut and add cells until neighbours fit together."""
        while self._balance() or self._follow():
            pass

    def _balance(self) -> bool:
        """Cut leaves that have neighbours of less than half their edge; return whether any was."""
        has_changed = False
        for level in range(self._top - 1, 0, -1):
            cells = self.having(level, _CUT)
            found = [cells[:, :0]]
            outwards = 2 * (cells & 1) - 1
            for offset in _FACES_AND_EDGES:
                beside = (cells >> 1) + outwards * _column(offset)
                found.append(beside[:, self.is_leaf(level + 1, beside)])
            large = np.concatenate(found, axis=1)
            if large.shape[1]:
                self._split(level + 1, large)
                has_changed = True
        return has_changed

    def _follow(self) -> bool:
        """Add the cells into which the surface leaves those known; return whether there are any."""
        has_changed = False
        for level in range(self._top, -1, -1):
            cells = self.having(level, _LEAF)
            inside = self.lattices.corners(level, cells) >= self.isovalue
            found = [cells[:, :0]]
            for axis, side in itertools.product(range(3), (0, 1)):
                face = np.take(inside, side, axis=axis + 1).reshape(-1, 4).sum(axis=1)
                beside = cells[:, (face > 0) & (face < 4)]
                beside[axis] += 2 * side - 1
                beside = beside[:, ~self._is_covered(level, beside)]
                found.append(beside[:, self._is_within(level, beside)])
            new = np.unique(np.concatenate(found, axis=1), axis=1)
            if new.shape[1]:
                has_changed = True
                for above in range(level + 1, self._top + 1):
                    around = np.unique(new >> (above - level), axis=1)
                    self._set(above, around, np.full(around.shape[1], _CUT, dtype=np.uint8))
                self._grow(level, new)
        return has_changed

    def _is_covered(self, level: int, cells: Array) -> Array:
        """Return which cells [3, N] are known, or part of a larger leaf."""
        covered = self._states_of(level, cells) != _UNKNOWN
        open_ones = np.flatnonzero(~covered)
        for above in range(level + 1, self._top + 1):
            states = self._states_of(above, cells[:, open_ones] >> (above - level))
            covered[open_ones[states == _LEAF]] = True
            open_ones = open_ones[states == _UNKNOWN]
        return covered

    def is_leaf(self, level: int, cells: Array) -> Array:
        """Return which of cells [3, N], inside the volume or not, are leaves."""
        return np.asarray(self._states_of(level, cells) == _LEAF)

    def is_crossed(self, level: int, points: Array, axis: int) -> Array:
        """Return whether the surface crosses the edges from corners [3, N] of a level's cells."""
        ends = points, points + np.eye(3, dtype=np.int32)[:, [axis]]
        low, high = (self.lattices.ends(level, end) >= self.isovalue for end in ends)
        return np.asarray(low != high)

    # --- Triangles -------------------------------------------------------------------------------

    def triangles(self) -> Triangles:
        """Return the surface; on its inside each edge belongs to two triangles.

        A vertex on a half of an edge of a larger cell, or on a face of one, becomes the vertex of
        that cell's edge. Where a small part of the surface is folded by that, the larger cells are
        cut.
        """
        while True:
            edges = [_Edges(self, level) for level in range(self._top + 1)]
            for fine, coarse in zip(edges, edges[1:]):
                fine.hand_over(coarse)
            count = 0
            for above, level in zip([None, *reversed(edges)], reversed(edges)):
                count = level.number(above, count)
            corners = np.concatenate([level.vertices() for level in edges])
            rows = np.concatenate([level.rows for level in edges])
            is_shared = np.concatenate([level.is_shared for level in reversed(edges)])
            corners, rows, folded = _tidied(corners, rows, is_shared)
            if not len(folded):
                return self._on_edges(edges, corners, rows)
            for level in edges[1:]:
                cells = level.cells_around(folded)
                if cells.shape[1]:
                    self._split(level.level, cells)
            self._close()

    def _on_edges(self, edges: list[_Edges], corners: Array, rows: Array) -> Triangles:
        ends = [level.ends() for level in reversed(edges)]
        low, high, values = (np.concatenate(arrays) for arrays in zip(*ends))
        return Triangles(low, high, values, corners, rows)


class _Edges:
    """The edges of a level's cells that the surface crosses, and the triangles between them.

    An edge's id is three times the place of its lower end, plus its axis (0 is z).
    """

    def __init__(self, tree: SurfaceCells, level: int) -> None:
        self.level, self._tree = level, tree
        self._points = SparseLattice(tree.lattices.count(level) + 3)
        leaves = tree.having(level, _LEAF)
        inside = (tree.lattices.corners(level, leaves) >= tree.isovalue).reshape(-1, 8)
        case = inside @ (1 << np.arange(8))
        cell, sides = case_triangles(case)
        self.rows = leaves[0][cell] >> (tree.lattices.levels - level)
        around = _around(leaves, (0, 1))
        self._points.reserve(*around)
        places = self._points.places(*around).reshape(-1, 8)
        self._triangles = 3 * places[cell[:, None], SIDE_STARTS[sides]] + SIDE_AXES[sides]
        self._used, self._shared = distinct(self._triangles), np.empty(0, dtype=np.int64)

    def _ids(self, points: Array, axis: int) -> Array:
        self._points.reserve(*points)
        return 3 * self._points.places(*points) + axis

    def hand_over(self, coarse: _Edges) -> None:
        """Find for each edge the one of larger cells that it becomes, if any."""
        points, axes = self._points.points(self._used // 3), self._used % 3
        self._target = np.full(len(self._used), -1)
        for axis, b in itertools.permutations(range(3), 2):
            c = 3 - axis - b
            is_odd = points & 1
            # On an edge of a larger cell, which is looked at once; on a face, b is within it.
            on_edge = np.flatnonzero((axes == axis) & (is_odd[b] + is_odd[c] == 0) & (b < c))
            found = on_edge[self._touches(points[:, on_edge] >> 1, (b, c))]
            self._target[found] = coarse._ids(points[:, found] >> 1, axis)
            on_face = np.flatnonzero((axes == axis) & (is_odd[b] == 1) & (is_odd[c] == 0))
            found = on_face[self._touches(points[:, on_face] >> 1, (c,))]
            # It goes from the face's middle to that of one of its edges.
            near = points[:, found] >> 1
            far = near.copy()
            far[axis] = (points[axis, found] + 1) >> 1
            crossed = self._tree.is_crossed(coarse.level, far, b)
            ids = np.where(crossed, coarse._ids(far, b), coarse._ids(near, axis))
            self._target[found] = ids
        taken = distinct(self._target[self._target >= 0])
        coarse._used = distinct(np.concatenate([coarse._used, taken]))
        coarse._shared = taken

    def _touches(self, cells: Array, axes: tuple[int, ...]) -> Array:
        """Return whether a leaf of the next level is among cells [3, N] or those before them."""
        found = np.zeros(cells.shape[1], dtype=bool)
        for steps in itertools.product((0, 1), repeat=len(axes)):
            beside = cells.copy()
            beside[list(axes)] -= _column(steps)
            found |= self._tree.is_leaf(self.level + 1, beside)
        return found

    def number(self, coarse: _Edges | None, count: int) -> int:
        """Number the vertices from `count` on; return how many there are then."""
        is_own = np.ones(len(self._used), dtype=bool) if coarse is None else self._target < 0
        self._own = self._used[is_own]
        self._numbers = np.full(int(self._used.max(initial=0)) + 1, -1)
        self._numbers[self._own] = count + np.arange(len(self._own))
        if coarse is not None:
            self._numbers[self._used[~is_own]] = coarse._numbers[self._target[~is_own]]
        self._first = count
        is_shared = np.zeros(len(self._numbers), dtype=bool)
        is_shared[self._shared] = True
        self.is_shared = is_shared[self._own]
        return count + len(self._own)

    def vertices(self) -> Array:
        """Return the triangles [T, 3] as numbers of vertices."""
        return np.asarray(self._numbers[self._triangles])

    def ends(self) -> tuple[Array, Array, Array]:
        """Return the lower and upper ends [V, 3] of the numbered edges, and the values [V, 2]."""
        low = self._points.points(self._own // 3)
        high = low + np.eye(3, dtype=np.int32)[:, self._own % 3]
        lattices, level = self._tree.lattices, self.level
        values = [lattices.ends(level, points) for points in (low, high)]
        return lattices.place(level, low), lattices.place(level, high), np.stack(values, axis=1)

    def cells_around(self, vertices: Array) -> Array:
        """Return the leaves [3, N] of this level around those vertices that are of this level."""
        own = vertices[(vertices >= self._first) & (vertices < self._first + len(self._own))]
        ids = self._own[own - self._first]
        found = [np.empty((3, 0), dtype=np.int32)]
        for steps in itertools.product((0, 1), repeat=3):
            cells = self._points.points(ids // 3) - _column(steps)
            is_beside = np.array(steps)[ids % 3] == 0
            found.append(cells[:, is_beside & self._tree.is_leaf(self.level, cells)])
        return np.concatenate(found, axis=1)


# The twelve edges of a cell: the corner that each starts at, and its axis (0 is z).
_SIDES = [(i, axis) for i, c in enumerate(_CORNERS) for axis in range(3) if not c[axis]]
SIDE_STARTS, SIDE_AXES = np.array(_SIDES).T


def case_triangles(cases: Array) -> tuple[Array, Array]:
    """Return what flying edges make of cells.

    Parameters
    ----------
    cases : int array [N]
        Which corners are inside: bit i is corner i, z, y, x, of which x runs first.

    Returns
    -------
    cells : int32 array [T]
        The cell of each triangle.
    sides : int8 array [T, 3]
        The edges of the cell that its vertices are on, see :data:`SIDE_STARTS`.
    """
    counts, first, sides = _cases()
    number = counts[cases]
    cells = np.repeat(np.arange(len(cases), dtype=np.int32), number)
    # What to add to the number of a triangle for its place in the table.
    shift = first[cases] - (np.cumsum(number, dtype=np.int32) - number)
    return cells, sides[np.arange(len(cells), dtype=np.int32) + np.repeat(shift, number)]


@functools.cache
def _cases() -> tuple[Array, Array, Array]:
    """Return what VTK's flying edges make of a cell, for each set of corners that are inside.

    Returns
    -------
    counts, starts : int32 array [256]
        How many triangles a case has, and where they start in the next array; bit i is corner i.
    sides : int8 array [T, 3]
        The edges of the cell that their vertices are on.
    """
    support = import_vtk("util.numpy_support")
    image = import_vtk("vtkCommonDataModel").vtkImageData()
    cases = np.arange(256)
    corners = [np.where(cases >> i & 1, 1.0, -1.0) for i in range(8)]
    values = np.stack(corners).reshape(2, 2, 2, 256).transpose(0, 1, 3, 2)  # cells along x
    image.SetDimensions(512, 2, 2)
    image.GetPointData().SetScalars(support.numpy_to_vtk(np.ascontiguousarray(values).ravel()))
    contour = import_vtk("vtkFiltersCore").vtkFlyingEdges3D()
    contour.SetInputData(image)
    contour.SetValue(0, 0.0)
    contour.ComputeNormalsOff()
    contour.ComputeScalarsOff()
    contour.Update()
    result = contour.GetOutput()
    # Every vertex is in the middle of an edge: twice its coordinates are whole numbers.
    twice = np.rint(2 * support.vtk_to_numpy(result.GetPoints().GetData())).astype(np.int64)
    triangles = support.vtk_to_numpy(result.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    cell = np.floor(twice[triangles, 0].sum(axis=1) / 6).astype(np.int64)
    is_case = cell % 2 == 0  # between them lie cells that are none
    cell, triangles = cell[is_case], triangles[is_case]
    order = np.argsort(cell, kind="stable")
    cell, triangles = cell[order], triangles[order]
    places = twice[triangles][..., ::-1] - np.array([0, 0, 4]) * (cell // 2)[:, None, None]
    sides = {
        tuple(2 * np.array(_CORNERS[c]) + np.eye(3, dtype=int)[a]): n
        for n, (c, a) in enumerate(_SIDES)
    }
    numbers = np.array([sides[tuple(place)] for place in places.reshape(-1, 3).tolist()])
    counts = np.bincount(cell // 2, minlength=256).astype(np.int32)
    starts = np.cumsum(counts, dtype=np.int32) - counts
    return counts, starts, numbers.reshape(-1, 3).astype(np.int8)


def halves(values: Array, axis: int) -> tuple[Array, Array]:
    """Return all but the last, and all but the first, along an axis."""
    along = values.swapaxes(0, axis)
    return along[:-1].swapaxes(0, axis), along[1:].swapaxes(0, axis)


def _agree(inside: Array) -> Array:
    """Return for which cells, [N, 3, 3, 3], the surface crosses edges and faces as their halves.

    Edges whose ends are on one side have their middle there; of a face with three such corners the
    middle is there as well; and no face has its corners inside at one diagonal alone.
    """
    good = np.ones(len(inside), dtype=bool)
    for axis in (1, 2, 3):
        along = np.moveaxis(inside, axis, 1)
        ends = along[:, ::2, ::2, ::2]
        middle = along[:, 1, ::2, ::2]
        bent = (ends[:, 0] == ends[:, 1]) & (ends[:, 0] != middle)
        faces = along[:, ::2]
        corners = faces[:, :, ::2, ::2]
        number = corners.sum(axis=(2, 3))
        centre = faces[:, :, 1, 1]
        diagonal = (number == 2) & (corners[:, :, 0, 0] == corners[:, :, 1, 1])
        wrong = diagonal | ((number < 2) & centre) | ((number > 2) & ~centre)
        good &= ~bent.any(axis=(1, 2)) & ~wrong.any(axis=1)
    return good


def _deviation(values: Array, edges: Array) -> Array:
    """Return how far the field's surface may be from that of the corners in cells [N, 3, 3, 3].

    That is the largest difference between the field and its interpolation between the corners,
    divided by the slope.
    """
    corners = values[:, ::2, ::2, ::2].astype(np.float64)
    slopes = np.zeros(len(values))
    linear = corners
    for axis in (1, 2, 3):
        difference = np.diff(corners, axis=axis).mean(axis=(1, 2, 3)) / edges[axis - 1]
        slopes += np.square(difference)
        low, high = np.split(linear, 2, axis=axis)
        linear = np.concatenate([low, (low + high) / 2, high], axis=axis)
    error = np.abs(values - linear).reshape(-1, 27).max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(slopes > 0, error / np.sqrt(slopes), np.inf)


def distinct(numbers: Array) -> Array:
    """Return the distinct numbers, from 0 on and not much larger than their count, ascending."""
    present = np.zeros(int(numbers.max(initial=-1)) + 1, dtype=bool)
    present[numbers] = True
    return np.flatnonzero(present)


def _tidied(corners: Array, rows: Array, is_shared: Array) -> tuple[Array, Array, Array]:
    """Return triangles [T, 3] that are none, or two in one place, left out; their rows; and folds.

    Folds are the shared vertices of edges that more than two triangles have.
    """
    a, b, c = corners.T
    keep = (a != b) & (b != c) & (c != a)
    corners, rows = corners[keep], rows[keep]
    near = np.flatnonzero(is_shared[corners].any(axis=1))
    some = np.sort(corners[near], axis=1)
    _, first, same, counts = np.unique(
        some, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    is_first = np.zeros(len(near), dtype=bool)
    is_first[first] = True
    left = is_first & (counts[same.reshape(-1)] % 2 == 1)
    keep = np.ones(len(corners), dtype=bool)
    keep[near[~left]] = False
    some = some[left].astype(np.int64)
    pairs = np.concatenate([some[:, [0, 1]], some[:, [1, 2]], some[:, [0, 2]]])
    edges, counts = np.unique(pairs[:, 0] * len(is_shared) + pairs[:, 1], return_counts=True)
    many = edges[counts > 2]
    folds = np.unique(np.concatenate([many // len(is_shared), many % len(is_shared)]))
    return corners[keep], rows[keep], folds[is_shared[folds]]
