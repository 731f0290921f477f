"""Isosurfaces of a model as triangles, without a reconstruction of the whole volume.

A lattice is laid over the volume, and the field is evaluated on it where macro-cells say that the
value may occur. VTK's flying edges make triangles of it, a slab at a time; then each vertex is
moved along the gradient onto the field's own surface.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.rendering.occupancy import MacroCells
from amgsrn_core.volume.vtk.data import import_vtk

# Layers of the lattice's cells that are contoured together.
_LAYERS = 16

_NEWTON_STEPS, _HALVINGS = 3, 14

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
        In voxels, 0.05 to 2: the lattice's cells have twice this edge, at most.
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
    lattice = _Lattice(volume, isovalues, component, 2 * tolerance)
    found = [_Pieces(iso) for iso in isovalues]
    for share, z, values in lattice.slabs(part):
        for pieces in found:
            pieces.add(z, values)
        progress(share)
    return _finished(lattice, found)


def has_value(volume: NeuralVolume, isovalue: float, component: int | str = 0) -> bool:
    """Tell whether a field may have a value anywhere."""
    low, high = MacroCells.of_volume(volume).bounds(component)
    margin = _margin(volume)
    return bool(((low - margin <= isovalue) & (high + margin >= isovalue)).any())


def _margin(volume: NeuralVolume) -> float:
    """Return how far corrections may lead out of the macro-cells' bounds, which lack them."""
    storage = volume.index.storage
    if not storage.is_bounded:
        return 0.0
    span = np.subtract(volume.index.value_maximum, volume.index.value_minimum).max()
    return float(2 * span)


class _Lattice:
    """The field on a lattice in index space, evaluated where an isovalue may occur."""

    def __init__(
        self,
        volume: NeuralVolume,
        isovalues: Sequence[float],
        component: int | str,
        step: float,
    ) -> None:
        self.volume, self._component = volume, component
        cells = MacroCells.of_volume(volume)
        self._low, self._high = cells.bounds(component)
        margin = _margin(volume)
        self._active = np.zeros(self._low.shape, dtype=bool)
        for iso in isovalues:
            self._active |= (self._low - margin <= iso) & (self._high + margin >= iso)
        self.lines = [
            np.linspace(0, n - 1, int(np.ceil((n - 1) / step)) + 1) for n in volume.index.dims
        ]
        edge = cells.edge
        self._cells = []  # along each axis the first and last macro-cell of each lattice cell
        for line, count in zip(self.lines, self._low.shape):
            first = np.floor(line[:-1] / edge + 1e-9)
            last = np.ceil(line[1:] / edge - 1e-9) - 1
            self._cells.append([np.clip(i, 0, count - 1).astype(np.intp) for i in (first, last)])

    def slabs(self, part: tuple[int, int]) -> Iterator[tuple[float, int, np.ndarray]]:
        """Yield the share that is done, the first layer and values [z, y, x] of each slab.

        The last layer of a slab is the first one of the next. A value is NaN where there is none.
        """
        layers = len(self.lines[0]) - 1
        begin, end = (layers * number // part[1] for number in (part[0], part[0] + 1))
        below: tuple[np.ndarray, np.ndarray] | None = None
        for start in range(begin, end, _LAYERS):
            stop = min(start + _LAYERS, end)
            needed = self._needed(start, stop, layers)
            if needed.any():
                values = self._between(start, stop)
                if below is not None:  # what is known already, to the last bit
                    again, known = below
                    values[0] = np.where(known, again, values[0])
                    unknown = needed.copy()
                    unknown[0] &= ~known
                else:
                    unknown = needed
                z, y, x = np.nonzero(unknown)
                index = np.stack([self.lines[2][x], self.lines[1][y], self.lines[0][z + start]], 1)
                values[z, y, x] = self.of(self.volume.sample_index(index))
                yield (stop - begin) / (end - begin), start, values
                below = values[-1].copy(), needed[-1]
            else:
                below = None

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

    def _needed(self, start: int, stop: int, layers: int) -> np.ndarray:
        """Return which points of layers `start` to `stop` touch a cell that may have the value."""
        cells = self._active
        for axis, (first, last) in enumerate(self._cells):
            if axis == 0:
                # The cells above and below share the slab's outer layers.
                window = slice(max(start - 1, 0), min(stop + 1, layers))
                first, last = first[window], last[window]
            cells = np.take(cells, first, axis) | np.take(cells, last, axis)
        points = np.zeros([n + 1 for n in cells.shape], dtype=bool)
        for corner in np.ndindex(2, 2, 2):
            points[tuple(slice(c, c + n) for c, n in zip(corner, cells.shape))] |= cells
        inner = start - max(start - 1, 0)
        return points[inner : inner + stop - start + 1]

    def _between(self, start: int, stop: int) -> np.ndarray:
        """Return for each point a value on the side of all isovalues that its cell is on."""
        z, y, x = (np.append(first, first[-1]) for first, _ in self._cells)
        low, high = (
            bound[z[start : stop + 1, None, None], y[:, None], x]
            for bound in (self._low, self._high)
        )
        with np.errstate(invalid="ignore"):
            middle = (
                np.where(np.isfinite(low), low, high) / 2
                + np.where(np.isfinite(high), high, low) / 2
            )
        return np.where(low <= high, middle, np.nan)


class _Pieces:
    """The triangles of one isovalue, slab by slab, in lattice coordinates."""

    def __init__(self, isovalue: float) -> None:
        self.isovalue = isovalue
        self._points: list[np.ndarray] = []
        self._triangles: list[np.ndarray] = []
        self._count = 0

    def add(self, layer: int, values: np.ndarray) -> None:
        """Add the triangles of values [z, y, x] whose first layer has this number."""
        holes = np.isnan(values)
        low, high = np.nanmin(values, initial=np.inf), np.nanmax(values, initial=-np.inf)
        if not low <= self.isovalue <= high:
            return
        has_holes = bool(holes.any())
        points, triangles = _contoured(
            np.where(holes, self.isovalue - 1, values) if has_holes else values, self.isovalue
        )
        if has_holes and len(points):
            ends = [np.floor(points).astype(np.intp), np.ceil(points).astype(np.intp)]
            beside = holes[tuple(ends[0].T[::-1])] | holes[tuple(ends[1].T[::-1])]
            triangles = triangles[~beside[triangles].any(axis=1)]
        self._points.append(points + np.array([0.0, 0.0, layer]))
        self._triangles.append(triangles + self._count)
        self._count += len(points)

    def joined(self) -> tuple[np.ndarray, np.ndarray]:
        """Return points [V, 3] and triangles [T, 3] that share what the slabs have in common."""
        points = np.concatenate([*self._points, np.empty((0, 3))])
        triangles = np.concatenate([*self._triangles, np.empty((0, 3), dtype=np.int64)])
        if not len(triangles):
            return points[:0], triangles
        # Equal values on a border between slabs have made equal points.
        points, same = np.unique(points, axis=0, return_inverse=True)
        triangles = same.reshape(-1)[triangles]
        a, b, c = triangles.T
        triangles = triangles[(a != b) & (b != c) & (c != a)]
        used, numbers = np.unique(triangles, return_inverse=True)
        return points[used], numbers.reshape(-1, 3)


def _contoured(values: np.ndarray, isovalue: float) -> tuple[np.ndarray, np.ndarray]:
    """Return points float64 [V, 3] and triangles [T, 3] on a lattice of spacing 1."""
    support = import_vtk("util.numpy_support")
    image = import_vtk("vtkCommonDataModel").vtkImageData()
    image.SetDimensions(*values.shape[::-1])
    scalars = support.numpy_to_vtk(np.ascontiguousarray(values).ravel())
    image.GetPointData().SetScalars(scalars)
    contour = import_vtk("vtkFiltersCore").vtkFlyingEdges3D()
    contour.SetInputData(image)
    contour.SetValue(0, isovalue)
    contour.ComputeNormalsOff()
    contour.ComputeGradientsOff()
    contour.ComputeScalarsOff()
    contour.Update()
    result = contour.GetOutput()
    if not result.GetNumberOfCells():
        return np.empty((0, 3)), np.empty((0, 3), dtype=np.int64)
    points = support.vtk_to_numpy(result.GetPoints().GetData()).astype(np.float64)
    connectivity = support.vtk_to_numpy(result.GetPolys().GetConnectivityArray())
    return points, connectivity.reshape(-1, 3).astype(np.int64)


def _finished(lattice: _Lattice, found: Sequence[_Pieces]) -> Surface:
    """Return all isovalues' triangles with their vertices on the field's surface."""
    volume, start = lattice.volume, 0
    all_points, all_triangles, targets = [], [], []
    for pieces in found:
        points, triangles = pieces.joined()
        all_points.append(points)
        all_triangles.append(triangles + start)
        targets.append(np.full(len(points), float(pieces.isovalue)))
        start += len(points)
    points = np.concatenate([*all_points, np.empty((0, 3))])
    triangles = np.concatenate([*all_triangles, np.empty((0, 3), dtype=np.int64)])
    isovalues = np.concatenate([*targets, np.empty(0)])
    steps = np.array([line[1] for line in reversed(lattice.lines)])
    index, values, gradients = _on_surface(lattice, points * steps, isovalues, steps)
    world = volume.geometry.index_to_world(index)
    slopes = volume.geometry.index_gradient_to_world(index, gradients)
    normals = -lattice.slope(values, slopes)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.where(length > 0, normals / np.where(length > 0, length, 1), [0.0, 0.0, 1.0])
    return Surface(
        world,
        _turned(world, triangles, normals),
        normals.astype(np.float32),
        values,
        isovalues,
    )


def _on_surface(
    lattice: _Lattice, points: np.ndarray, isovalues: np.ndarray, steps: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Move points [V, 3], in index space and on the lattice's edges, onto the field's surface.

    By Newton's method along the gradient, at most half a cell of the lattice from where a vertex
    was; what does not arrive so is looked for on its edge, whose ends are on either side.
    """
    volume, start = lattice.volume, points
    last = np.array(volume.index.dims[::-1], dtype=np.float64) - 1
    on_face = (points <= 0) | (points >= last)  # of the volume, which no vertex leaves
    values, gradients = volume.sample_index_with_gradient(points)
    span = np.ptp([volume.index.value_minimum, volume.index.value_maximum])
    points = points.copy()
    for _ in range(_NEWTON_STEPS):
        error = lattice.of(values) - isovalues
        moved = np.flatnonzero(np.abs(error) > _CLOSE * span)
        slope = np.where(on_face[moved], 0, lattice.slope(values[moved], gradients[moved]))
        size = np.square(slope).sum(axis=1)
        offset = points[moved] - start[moved]
        offset -= (error[moved] / np.where(size > 0, size, np.inf))[:, None] * slope
        length = np.linalg.norm(offset / steps, axis=1, keepdims=True)
        offset *= 0.5 / np.maximum(length, 0.5)
        _keep_better(
            lattice,
            (points, values, gradients),
            moved,
            np.clip(start[moved] + offset, 0, last),
            isovalues,
        )
    left = np.flatnonzero(np.abs(lattice.of(values) - isovalues) > _CLOSE * span)
    _keep_better(
        lattice,
        (points, values, gradients),
        left,
        _between_ends(lattice, start[left] / steps, isovalues[left], steps),
        isovalues,
    )
    return points, values, gradients


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


def _between_ends(
    lattice: _Lattice, points: np.ndarray, isovalues: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """Return where the field has the isovalues on the lattice's edges, by halving them.

    Points are in lattice coordinates; what is returned is in index space.
    """
    low, high = np.floor(points + 1e-6) * steps, np.ceil(points - 1e-6) * steps
    is_below = lattice.of(lattice.volume.sample_index(low)) < isovalues
    for _ in range(_HALVINGS if len(points) else 0):
        middle = (low + high) / 2
        same = (lattice.of(lattice.volume.sample_index(middle)) < isovalues) == is_below
        low = np.where(same[:, None], middle, low)
        high = np.where(same[:, None], high, middle)
    return (low + high) / 2


def _turned(points: np.ndarray, triangles: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Return the triangles in the order of vertices that fits the normals."""
    a, b, c = (points[triangles[:, i]] for i in range(3))
    facing = np.einsum("ni,ni->n", np.cross(b - a, c - a), normals[triangles[:, 0]])
    return triangles[:, ::-1] if facing.sum() < 0 else triangles
