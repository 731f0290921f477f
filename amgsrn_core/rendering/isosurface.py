"""Isosurfaces of a model as triangles, without a reconstruction of the whole volume.

Cells are laid over the volume where macro-cells say that the value may occur: as large as the
surface's bends allow, or all of one size where it is nearly everywhere. They have the triangles of
VTK's flying edges; then each vertex is moved along the gradient onto the field's own surface.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.rendering.occupancy import MacroCells
from amgsrn_core.rendering.surface_cells import FieldLattices, SurfaceCells, Triangles
from amgsrn_core.rendering.uniform_surface import uniform_triangles

# In voxels: the edge of the smallest cells is this at most, and of the largest ones.
_LARGEST_FINE, _LARGEST = 1.0, 4.0

# Cells are as large as leaves the surface of their corners within this part of the tolerance.
_SHARE = 0.5

# Where so many of the macro-cells may have the value, all cells are the smallest.
_DENSE = 0.2

# Layers of the largest cells beyond a part that have a say in it.
_HALO = 2

_NEWTON_STEPS, _HALVINGS = 3, 14

# Vertices that are moved together: what is made of them stays in a core's cache.
_BATCH = 1 << 16

# A vertex is on the surface when its value is so close to the isovalue, in parts of the range.
_CLOSE = 1e-5


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles on the isosurfaces of a field.

    Attributes
    ----------
    points : float64 array [V, 3]
        Vertices in the world, columns x, y, z.
    triangles : int64 array [T, 3]
        The vertices of each, which are shared by its neighbours.
    normals : float32 array [V, 3]
        Unit vectors against the gradient, out of what is above the isovalue.
    values : array [V, C]
        The field at the vertices, of all components.
    isovalues : float64 array [V]
        Which isovalue each vertex belongs to.
    """

    points: np.ndarray
    triangles: np.ndarray
    normals: np.ndarray
    values: np.ndarray
    isovalues: np.ndarray


def isosurface(
    volume: NeuralVolume,
    isovalues: Sequence[float],
    *,
    component: int | str = 0,
    tolerance: float = 0.5,
    part: tuple[int, int] = (0, 1),
    progress: Callable[[float], object] = lambda done: None,
) -> Surface:
    """Return the surfaces on which a component has one of some values.

    They are closed but for the volume's faces and the borders of missing values. What is thinner
    than a cell of the lattice may be missed, as with any contouring.

    Parameters
    ----------
    volume : NeuralVolume
    isovalues : sequence of float
    component : int or "magnitude", default: 0
    tolerance : float, default: 0.5
        In voxels, 0.05 to 2: how far triangles may be from the field's surface, as estimated. The
        smallest cells have edges of twice that, and of a voxel at most; the largest, of four.
    part : two ints, default: (0, 1)
        Which of how many parts of the volume along z to do; their borders are the same points.
    progress : callable, optional
        Is told what share is done, from 0 to 1.

    Raises
    ------
    ConfigurationError
        There is no such component, or the tolerance is out of range.
    """
    if component != "magnitude" and not 0 <= int(component) < len(volume.components):
        raise ConfigurationError(
            f"The model has the components 0 to {len(volume.components) - 1}, not {component}."
        )
    if not 0.05 <= tolerance <= 2:
        raise ConfigurationError(f"The tolerance is 0.05 to 2 voxels, not {tolerance:g}.")
    lattice = _Lattice(volume, component, tolerance)
    layers, found = lattice.layers, []
    begin, end = (layers * number // part[1] for number in (part[0], part[0] + 1))
    for number, iso in enumerate(isovalues):
        found.append(lattice.triangles(iso, range(begin, end)))
        progress((number + 1) / len(isovalues))
    return _surface(lattice, found, isovalues)


def may_have(volume: NeuralVolume, isovalue: float, component: int | str) -> np.ndarray:
    """Return which macro-cells, bool [z, y, x], may have a value."""
    low, high = MacroCells.of_volume(volume).bounds(component)
    margin = _margin(volume)
    return np.asarray((low - margin <= isovalue) & (high + margin >= isovalue))


def _margin(volume: NeuralVolume) -> float:
    """Return how far corrections may lead out of the macro-cells' bounds, which lack them."""
    storage = volume.index.storage
    if not storage.is_bounded:
        return 0.0
    span = np.subtract(volume.index.value_maximum, volume.index.value_minimum).max()
    return float(2 * span)


class _Lattice:
    """A lattice over the volume, whose points are counted in its finest cells along x, y, z."""

    def __init__(self, volume: NeuralVolume, component: int | str, tolerance: float) -> None:
        self.volume, self._component, self._tolerance = volume, component, tolerance
        edge = min(2 * tolerance, _LARGEST_FINE)
        samples = np.array(volume.index.dims)
        self.cells = np.maximum(np.ceil((samples - 1) / edge - 1e-9).astype(int), 1)
        self.scale = (samples - 1) / self.cells  # in voxels, along z, y, x
        self.levels = max(int(np.floor(np.log2(_LARGEST / edge) + 1e-9)), 0)

        self._fields = FieldLattices(self._evaluated, self.cells, self.levels, volume.dtype)

    @property
    def layers(self) -> int:
        """How many layers of the largest cells there are along z."""
        return -(-int(self.cells[0]) // (1 << self.levels))

    def triangles(self, isovalue: float, layers: range) -> Triangles:
        """Return the triangles in some layers of the largest cells."""
        if may_have(self.volume, isovalue, self._component).mean() >= _DENSE or not self.levels:
            first, last = (
                min(n << self.levels, self.cells[0]) for n in (layers.start, layers.stop)
            )
            return uniform_triangles(self._evaluated, self.cells, isovalue, range(first, last))
        # Neighbours have a say in how cells are cut.
        rows = range(max(layers.start - _HALO, 0), min(layers.stop + _HALO, self.layers))
        cells = SurfaceCells(
            self._fields,
            isovalue,
            scale=self.scale,
            tolerance=_SHARE * self._tolerance,
            candidates=self.candidates(isovalue, rows),
            rows=rows,
        )
        return cells.triangles().within(layers)

    def _evaluated(self, points: np.ndarray) -> np.ndarray:
        return self.of(self.volume.sample_index(self.index(points)))

    def index(self, points: np.ndarray) -> np.ndarray:
        """Return lattice points [N, 3] in index space."""
        return points * self.scale[::-1]

    def candidates(self, isovalue: float, rows: range) -> np.ndarray:
        """Return the largest cells [3, N] (z, y, x) that touch a macro-cell that may have a value.

        `rows` are the layers of the largest cells to look at.
        """
        cells = MacroCells.of_volume(self.volume)
        active = may_have(self.volume, isovalue, self._component)
        edges = (1 << self.levels) * self.scale / cells.edge  # in macro-cells
        for axis, (count, edge) in enumerate(zip(active.shape, edges)):
            number = -(-self.cells[axis] // (1 << self.levels))
            chosen = np.arange(number) if axis else np.arange(rows.start, rows.stop)
            first = np.floor(chosen * edge + 1e-9).astype(int)
            last = np.ceil((chosen + 1) * edge - 1e-9).astype(int) - 1
            found = np.take(active, np.minimum(first, count - 1), axis)
            for further in range(1, int((last - first).max(initial=0)) + 1):
                place = np.minimum(np.minimum(first + further, last), count - 1)
                found = found | np.take(active, place, axis)
            active = found
        place = np.stack(np.nonzero(active))
        place[0] += rows.start
        return place

    def of(self, values: np.ndarray) -> np.ndarray:
        """Return the component [N] of values [N, C]."""
        if self._component == "magnitude":
            return np.asarray(np.linalg.norm(values, axis=1))
        return values[:, int(self._component)]

    def slope(self, values: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        """Return the component's gradient [N, 3] of gradients [N, C, 3]."""
        if self._component != "magnitude":
            return gradients[:, int(self._component)]
        size = np.linalg.norm(values, axis=1, keepdims=True)
        summed = np.einsum("nc,nci->ni", values, gradients)
        return np.asarray(summed / np.where(size > 0, size, 1))


def _surface(lattice: _Lattice, found: Sequence[Triangles], isovalues: Sequence[float]) -> Surface:
    """Return all isovalues' triangles with their vertices on the field's surface."""
    volume = lattice.volume
    counts = [len(each.low) for each in found]
    starts = np.cumsum([0, *counts])
    triangles = np.concatenate(
        [np.empty((0, 3), dtype=np.int64), *(t.corners + s for t, s in zip(found, starts))]
    )
    targets = np.repeat(np.array(isovalues, dtype=np.float64), counts)
    nothing = np.empty((0, 3))
    low = lattice.index(np.concatenate([nothing, *(each.low for each in found)]))
    high = lattice.index(np.concatenate([nothing, *(each.high for each in found)]))
    ends = np.concatenate([nothing[:, :2], *(each.values for each in found)])
    is_used = np.zeros(len(low), dtype=bool)
    is_used[triangles] = True
    if not is_used.all():  # of another part
        triangles = (np.cumsum(is_used) - 1)[triangles]
        low, high, ends, targets = low[is_used], high[is_used], ends[is_used], targets[is_used]
    world, values, normals = np.empty_like(low), [], []
    for start in range(0, len(low), _BATCH):
        part = slice(start, start + _BATCH)
        index, reached, gradients = _on_surface(
            lattice, (low[part], high[part]), ends[part], targets[part]
        )
        world[part] = volume.geometry.index_to_world(index)
        slopes = volume.geometry.index_gradient_to_world(index, gradients)
        outwards = -lattice.slope(reached, slopes)
        length = np.linalg.norm(outwards, axis=1, keepdims=True)
        outwards = np.where(length > 0, outwards / np.where(length > 0, length, 1), [0, 0, 1])
        values.append(reached)
        normals.append(outwards.astype(np.float32))
    none = np.empty((0, len(volume.components)), dtype=volume.dtype)
    joined = np.concatenate([np.empty((0, 3), dtype=np.float32), *normals])
    triangles = _turned(world, triangles, joined)
    return Surface(world, triangles, joined, np.concatenate([none, *values]), targets)


def _on_surface(
    lattice: _Lattice,
    edges: tuple[np.ndarray, np.ndarray],
    ends: np.ndarray,
    isovalues: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points [V, 3] in index space on the field's surface, with values and gradients.

    By Newton's method along the gradient from where a straight line between the ends of an edge
    has the value, `ends` [V, 2] at low and high; at most half an edge from there. What does not
    arrive so is looked for on its edge, whose ends are on either side.
    """
    volume, (low, high) = lattice.volume, edges
    share = (isovalues - ends[:, 0]) / (ends[:, 1] - ends[:, 0])
    start = low + share[:, None] * (high - low)
    farthest = 0.5 * (high - low).max(axis=1, keepdims=True, initial=0)
    last = np.array(volume.index.dims[::-1], dtype=np.float64) - 1
    on_face = (start <= 0) | (start >= last)  # of the volume, which no vertex leaves
    values, gradients = volume.sample_index_with_gradient(start)
    span = np.ptp([volume.index.value_minimum, volume.index.value_maximum])
    points = start.copy()
    known = points, values, gradients
    for _ in range(_NEWTON_STEPS):
        error = lattice.of(values) - isovalues
        moved = np.flatnonzero(np.abs(error) > _CLOSE * span)
        if not len(moved):
            break
        slope = np.where(on_face[moved], 0, lattice.slope(values[moved], gradients[moved]))
        size = np.square(slope).sum(axis=1)
        offset = points[moved] - start[moved]
        offset -= (error[moved] / np.where(size > 0, size, np.inf))[:, None] * slope
        length = np.linalg.norm(offset, axis=1, keepdims=True)
        offset *= np.minimum(1, farthest[moved] / np.where(length > 0, length, 1))
        there = np.clip(start[moved] + offset, 0, last)
        _keep_better(lattice, known, moved, there, isovalues)
    left = np.flatnonzero(np.abs(lattice.of(values) - isovalues) > _CLOSE * span)
    if len(left):
        is_low = ends[left, 0] < isovalues[left]
        there = _between(lattice, low[left], high[left], is_low, isovalues[left])
        _keep_better(lattice, known, left, there, isovalues)
    return known


def _keep_better(
    lattice: _Lattice,
    known: tuple[np.ndarray, np.ndarray, np.ndarray],
    moved: np.ndarray,
    there: np.ndarray,
    isovalues: np.ndarray,
) -> None:
    """Move the points of `known`, with their values and gradients, that are closer `there`."""
    found = there, *lattice.volume.sample_index_with_gradient(there)
    error = np.abs(lattice.of(known[1][moved]) - isovalues[moved])
    better = np.abs(lattice.of(found[1]) - isovalues[moved]) < error
    for array, new in zip(known, found):
        array[moved[better]] = new[better]


def _between(
    lattice: _Lattice,
    low: np.ndarray,
    high: np.ndarray,
    is_below: np.ndarray,
    isovalues: np.ndarray,
) -> np.ndarray:
    """Return where the field has the isovalues between points [N, 3], by halving."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        same = (lattice.of(lattice.volume.sample_index(middle)) < isovalues) == is_below
        low = np.where(same[:, None], middle, low)
        high = np.where(same[:, None], high, middle)
    return (low + high) / 2


def _turned(points: np.ndarray, triangles: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Return the triangles in the order of vertices that fits the normals."""
    some = triangles[:: max(len(triangles) // 1000, 1)]
    a, b, c = (points[some[:, i]] for i in range(3))
    facing = np.einsum("ni,ni->n", np.cross(b - a, c - a), normals[some[:, 0]])
    return triangles[:, ::-1] if facing.sum() < 0 else triangles
