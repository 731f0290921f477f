"""A mesh sampled on a lattice, masked outside, and how well that went.

By VTK's own vtkResampleToImage, on several ranks by its twin vtkPResampleToImage.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from amgsrn_core.errors import VariableNotFoundError, VolumeError
from amgsrn_core.volume.mesh_lattice import proposed_dims
from amgsrn_core.volume.psnr import psnr_of
from amgsrn_core.volume.vtk.data import GHOSTS, import_vtk, to_numpy, volume_from_vtk
from amgsrn_core.volume.vtk.known import SAMPLING
from amgsrn_core.volume.vtk.mesh import Mesh, MeshSize, columns, hidden, leaves, with_leaves
from amgsrn_core.volume.vtk.points import DatasetPoints
from amgsrn_core.volume.vtk.shared_points import keys

_BATCH = 1 << 18

Values = Callable[[np.ndarray], np.ndarray]
"""From points [N, 3] in the world to values [N, C], NaN where there are none."""


@dataclass(frozen=True)
class Lattice:
    """Where a mesh is sampled.

    Attributes
    ----------
    bounds : tuple of (low, high) along x, y, z
    dims : tuple of int (z, y, x)
    """

    bounds: tuple[tuple[float, float], ...]
    dims: tuple[int, int, int]

    def __str__(self) -> str:
        return " x ".join(map(str, reversed(self.dims)))

    def misses(self, size: MeshSize) -> bool:
        """Tell whether some of a mesh is outside."""
        return any(
            low < own[0] - 1e-5 * (own[1] - own[0]) or high > own[1] + 1e-5 * (own[1] - own[0])
            for own, (low, high) in zip(self.bounds, size.bounds)
        )


@dataclass(frozen=True)
class Agreement:
    """How far values are from a mesh's own, over its points (or its cells' centres).

    Attributes
    ----------
    points, compared : int
        Those with a value, and those of them where the others have one, too.
    squares, largest : ndarray [C]
        Sum of the squared errors and the largest error of each component.
    minimum, maximum : ndarray [C]
        Of the mesh's values.
    """

    points: int
    compared: int
    squares: np.ndarray
    largest: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray

    @property
    def psnr(self) -> float:
        """In dB, over all components, each relative to its range; NaN where none is compared."""
        span = self.maximum - self.minimum
        known = span > 0
        if not self.compared or not known.any():
            return math.nan
        return psnr_of(float((self.squares[known] / span[known] ** 2).mean()) / self.compared)

    @property
    def max_error(self) -> float:
        """The largest error of any component."""
        return float(self.largest.max())

    def merged(self, other: Agreement) -> Agreement:
        """Return that of both together."""
        return Agreement(
            self.points + other.points,
            self.compared + other.compared,
            self.squares + other.squares,
            np.maximum(self.largest, other.largest),
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
        )

    def __str__(self) -> str:
        return f"PSNR {self.psnr:.1f} dB, largest error {self.max_error:.4g}"


def lattice_of(mesh: Mesh, dims: tuple[int, int, int]) -> Lattice:
    """Return where to sample a mesh; what is 0 in `dims` (z, y, x) is as proposed.

    Raises
    ------
    VariableNotFoundError
        No block has the arrays; the message lists those there are.
    VolumeError
        The mesh is empty, or has no cells of three dimensions.
    """
    _refuse_lacking(mesh)
    size = mesh.record.size
    if not size.points:
        raise VolumeError(
            "The input is empty: it has no points; see what the filters before this one hand on."
        )
    flat = [name for name, length in zip("xyz", size.lengths) if not length > 0]
    if not size.cells or flat:
        what = f"has no extent along {', '.join(flat)}" if flat else "has no cells with a volume"
        raise VolumeError(
            f"The input ({', '.join(size.kinds)}) {what}: a slice, a surface or points are no "
            "volume; train on what they were made from."
        )
    samples = size.cells if mesh.association == "cell" else size.points
    proposed = proposed_dims(size.lengths, samples, size.cells, size.cell_volume)
    z, y, x = (own or other for own, other in zip(dims, proposed))
    return Lattice(size.bounds, (z, y, x))


def sampled(mesh: Mesh, lattice: Lattice, controller: Any = None) -> Any:
    """Return a mesh's values on a lattice, as vtkImageData with hidden points outside the mesh.

    Values of points are interpolated as the cells do; those of a cell are taken as they are all
    over it. Point or cell data, they are point data of the image.

    Parameters
    ----------
    controller : vtkMultiProcessController, optional
        Of several ranks, each of which has a part of the mesh; all get the whole image.
    """
    core = import_vtk("vtkFiltersCore")
    if controller is None:
        resample = core.vtkResampleToImage()
    else:
        resample = import_vtk("vtkFiltersParallelDIY2").vtkPResampleToImage()
        resample.SetController(controller)
    resample.UseInputBoundsOff()
    # As where VTK takes the input's own bounds: what lies on its surface is inside.
    inset = [1e-6 * (high - low) / 2 for low, high in lattice.bounds]
    resample.SetSamplingBounds(
        *(b for (low, high), d in zip(lattice.bounds, inset) for b in (low + d, high - d))
    )
    resample.SetSamplingDimensions(*reversed(lattice.dims))
    resample.SetInputDataObject(with_leaves(mesh.dataset, _without_polyhedra))
    with _one_thread():
        resample.Update()
    image = resample.GetOutput()
    if controller is not None:
        image = _gathered(image, lattice, controller)
    # Without the inset: the mesh's outermost points are points of the lattice's box.
    lows, highs = zip(*lattice.bounds)
    image.SetOrigin(lows)
    steps = zip(lows, highs, reversed(lattice.dims))
    image.SetSpacing([(high - low) / (n - 1) for low, high, n in steps])
    _clean(image, mesh)
    return image


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep VTK's loops in this thread.

    Points on the face between two cells get the value of the one that comes last. Where threads
    race for it (VTK 9.6), the same mesh would be other data the next time, by rounding.
    """
    tools = import_vtk("vtkCommonCore").vtkSMPTools
    before = tools.GetBackend()
    tools.SetBackend("Sequential")
    try:
        yield
    finally:
        tools.SetBackend(before)


def agreement(mesh: Mesh, values: Values) -> Agreement:
    """Compare values with a mesh's own, at its own points or its cells' centres."""
    count = len(mesh.record.components)
    nothing = np.zeros(count), np.full(count, np.inf), np.full(count, -np.inf)
    total = Agreement(0, 0, nothing[0], nothing[0], nothing[1], nothing[2])
    for leaf in leaves(mesh.dataset):
        if not leaf.GetNumberOfPoints():
            continue
        points = DatasetPoints(leaf, cells=mesh.association == "cell")
        own = columns(leaf, mesh.arrays, mesh.association)
        answers = ~hidden(leaf, mesh.association)
        for start in range(0, points.count, _BATCH):
            part = slice(start, min(start + _BATCH, points.count))
            here = own[part].astype(np.float64)
            known = np.isfinite(here).all(axis=1) & answers[part]
            if len(mesh.elsewhere):
                known &= ~np.isin(keys(points[part], here), mesh.elsewhere)
            there = np.asarray(values(points[part]), dtype=np.float64).reshape(here.shape)
            both = known & np.isfinite(there).all(axis=1)
            errors = np.abs(there[both] - here[both])
            part_of = Agreement(
                int(known.sum()),
                int(both.sum()),
                np.square(errors).sum(axis=0),
                errors.max(axis=0, initial=0.0),
                here[known].min(axis=0, initial=np.inf),
                here[known].max(axis=0, initial=-np.inf),
            )
            total = total.merged(part_of)
    return total


def lattice_values(image: Any, arrays: Sequence[str]) -> Values:
    """Return the function that interpolates between a lattice's samples (trilinearly).

    As in a model, there is a value where the nearest sample has one; the samples around that have
    none do not count.
    """
    volume = volume_from_vtk(image, arrays)
    values, geometry = volume.read().with_nan(), volume.geometry
    sizes = np.array(geometry.dims[::-1])

    def at(points: np.ndarray) -> np.ndarray:
        index = geometry.world_to_index(points)
        nearest = np.rint(index)
        index = np.where(np.abs(index - nearest) < 1e-4, nearest, index)
        index[((index < 0) | (index > sizes - 1)).any(axis=1)] = np.nan
        outside = np.isnan(index).any(axis=1)
        index[outside] = 0.0
        low = np.minimum(index.astype(np.int64), sizes - 2)
        part = index - low
        found, total = np.zeros((len(points), len(values))), np.zeros(len(points))
        for corner in range(8):
            step = np.array([corner & 1, corner >> 1 & 1, corner >> 2])
            x, y, z = (low + step).T
            there = values[:, z, y, x].T
            weight = np.where(step, part, 1.0 - part).prod(axis=1)
            weight *= np.isfinite(there).all(axis=1)
            found += np.where(weight > 0, weight * there.T, 0.0).T
            total += weight
        x, y, z = np.rint(index).astype(np.int64).T
        outside |= ~np.isfinite(values[:, z, y, x]).all(axis=0)
        found[outside] = np.nan
        found[~outside] /= total[~outside, None]
        return found

    return at


def note_sampling(image: Any, text: str) -> None:
    """Note in an image's field data how it came to be, for :func:`volume_from_vtk`."""
    array = import_vtk("vtkCommonCore").vtkStringArray()
    array.SetName(SAMPLING)
    array.InsertNextValue(text)
    image.GetFieldData().AddArray(array)


def told(mesh: Mesh, lattice: Lattice, image: Any, back: Agreement) -> str:
    """Say how a mesh was sampled, and how well the lattice agrees with it (`back`)."""
    is_cells = mesh.association == "cell"
    where = "cells' centres" if is_cells else "points"
    share = 1.0 - float(hidden(image, "point").mean())
    return (
        f"Sampled on a {lattice} lattice (x, y, z), {share:.0%} of it inside the mesh"
        f"{', each cell with its value' if is_cells else ''}. The lattice, interpolated at "
        f"{back.compared} of the mesh's own {back.points} {where}: {back}."
    )


def _refuse_lacking(mesh: Mesh) -> None:
    record = mesh.record
    if not record.blocks or record.lacking < record.blocks:
        return
    for name in mesh.arrays:
        if f"{name} ({mesh.association})" not in record.there:
            raise VariableNotFoundError(
                f"There is no numeric {mesh.association} array '{name}'; the data set has: "
                f"{', '.join(record.there) or 'none'}."
            )
    raise VariableNotFoundError(
        f"No block of the data set has all of the arrays {', '.join(mesh.arrays)}; train them one "
        "by one."
    )


def _without_polyhedra(leaf: Any) -> Any:
    """Return a data set with all cells cut into tetrahedra if polyhedra are among them.

    VTK takes points for inside a polyhedron that are merely in its box.
    """
    if not leaf.IsA("vtkUnstructuredGrid"):
        return leaf
    new = hasattr(leaf, "GetPolyhedronFaces")  # from VTK 9.4 on, where the other is going
    if (leaf.GetPolyhedronFaces() if new else leaf.GetFaces()) is None:
        return leaf
    cut = import_vtk("vtkFiltersGeneral").vtkDataSetTriangleFilter()
    cut.TetrahedraOnlyOn()
    cut.SetInputData(leaf)
    cut.Update()
    return cut.GetOutput()


def _gathered(piece: Any, lattice: Lattice, controller: Any) -> Any:
    """Return the whole image on every rank, of which each has a piece."""
    support = import_vtk("util.numpy_support")
    model = import_vtk("vtkCommonDataModel")
    whole = model.vtkImageData()
    rank = controller.GetLocalProcessId()
    arrays: dict[str, Any] = {}
    for sender in range(controller.GetNumberOfProcesses()):
        part = piece if sender == rank else model.vtkImageData()
        controller.Broadcast(part, sender)
        if not part.GetNumberOfPoints():
            continue
        whole.SetSpacing(part.GetSpacing())
        whole.SetOrigin(part.GetOrigin())
        x0, x1, y0, y1, z0, z1 = part.GetExtent()
        data = part.GetPointData()
        for number in range(data.GetNumberOfArrays()):
            array = data.GetArray(number)
            values = to_numpy(array)
            if array.GetName() not in arrays:
                shape = (*lattice.dims, values.shape[1])
                filler = 2 if array.GetName() == GHOSTS else 0
                arrays[array.GetName()] = np.full(shape, filler, dtype=values.dtype)
            own = values.reshape(z1 - z0 + 1, y1 - y0 + 1, x1 - x0 + 1, -1)
            arrays[array.GetName()][z0 : z1 + 1, y0 : y1 + 1, x0 : x1 + 1] = own
    whole.SetDimensions(*reversed(lattice.dims))
    for name, values in arrays.items():
        array = support.numpy_to_vtk(values.reshape(-1, values.shape[-1]), deep=True)
        array.SetName(name)
        whole.GetPointData().AddArray(array)
    return whole


def _clean(image: Any, mesh: Mesh) -> None:
    """Leave an image the mesh's arrays and the mask of what is outside; name and date it."""
    support = import_vtk("util.numpy_support")
    data = image.GetPointData()
    inside = to_numpy(data.GetArray("vtkValidPointMask")).ravel() != 0
    marks = support.numpy_to_vtk(np.where(inside, 0, 2).astype(np.uint8), deep=True)
    marks.SetName(GHOSTS)
    names = [data.GetArrayName(number) for number in range(data.GetNumberOfArrays())]
    for name in names:
        if name not in mesh.arrays:
            data.RemoveArray(name)
    data.AddArray(marks)
    # VTK marks cells by their corners, as the points say already.
    image.GetCellData().Initialize()
    for record in mesh.record.arrays:
        record.name_array(data.GetArray(record.name))
