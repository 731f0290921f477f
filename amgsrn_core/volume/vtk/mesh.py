"""Any VTK data set as a volume: sampled on a lattice, masked outside, and how well that went.

Structured (curvilinear) and unstructured grids of any cells, multi-block data and AMR are sampled
by VTK's own vtkResampleToImage, on several ranks by its twin vtkPResampleToImage.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from amgsrn_core.config import DataConfig
from amgsrn_core.errors import VariableNotFoundError, VolumeError
from amgsrn_core.volume.block import Block, FieldSummary
from amgsrn_core.volume.fill_values import matches
from amgsrn_core.volume.masking import resolved
from amgsrn_core.volume.mesh_lattice import proposed_dims
from amgsrn_core.volume.precision import type_of_numbers
from amgsrn_core.volume.psnr import psnr_of
from amgsrn_core.volume.vtk.data import (
    ASSOCIATIONS,
    GHOSTS,
    attributes,
    import_vtk,
    list_arrays,
    name_components,
    to_numpy,
    volume_from_vtk,
)
from amgsrn_core.volume.vtk.known import SAMPLING, units_key, units_of
from amgsrn_core.volume.vtk.points import DatasetPoints

_BATCH = 1 << 18
_MEASURED = 2000
"""Cells of a block whose volumes are measured."""

Values = Callable[[np.ndarray], np.ndarray]
"""From points [N, 3] in the world to values [N, C], NaN where there are none."""


def is_mesh(dataset: Any) -> bool:
    """Tell whether a data set has to be sampled: whether it is no volume, but may become one."""
    if dataset is None or dataset.IsA("vtkImageData") or dataset.IsA("vtkRectilinearGrid"):
        return False
    return bool(dataset.IsA("vtkDataSet") or dataset.IsA("vtkCompositeDataSet"))


def leaves(dataset: Any) -> Iterator[Any]:
    """Yield the data sets that a composite one consists of, or the data set itself."""
    if not dataset.IsA("vtkCompositeDataSet"):
        yield dataset
        return
    places = dataset.NewIterator()
    places.InitTraversal()
    while not places.IsDoneWithTraversal():
        leaf = places.GetCurrentDataObject()
        if leaf.IsA("vtkDataSet"):
            yield leaf
        places.GoToNextItem()


def default_array(dataset: Any) -> str:
    """Return the name of the active scalars of the points, or an empty text without any."""
    every = (leaf.GetPointData().GetScalars() for leaf in leaves(dataset))
    return next((array.GetName() for array in every if array is not None), "")


@dataclass(frozen=True)
class MeshSize:
    """How large a mesh is, and its cells, or a rank's part of it.

    Attributes
    ----------
    bounds : tuple of (low, high) along x, y, z
        Empty where there is nothing.
    points, cells : int
        The cells are those of three dimensions.
    volumes : ndarray of float64 [n]
        Of some of the cells, evenly chosen.
    kinds : tuple of str
        VTK's names of the data sets that it consists of.
    """

    bounds: tuple[tuple[float, float], ...] = ()
    points: int = 0
    cells: int = 0
    volumes: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))
    kinds: tuple[str, ...] = ()

    @property
    def cell_volume(self) -> float:
        """The median of the cells' volumes, 0 without cells."""
        return float(np.median(self.volumes)) if len(self.volumes) else 0.0

    @property
    def lengths(self) -> list[float]:
        """Of the box along x, y, z."""
        return [high - low for low, high in self.bounds]

    def merged(self, other: MeshSize) -> MeshSize:
        """Return the size of both together."""
        if not (self.bounds and other.bounds):
            return other if other.bounds else self
        pairs = zip(self.bounds, other.bounds)
        volumes, share = np.empty(0), self.cells + other.cells
        if share:
            volumes = np.concatenate(
                [_thinned(each.volumes, each.cells / share) for each in (self, other)]
            )
        return MeshSize(
            tuple((min(a, c), max(b, d)) for (a, b), (c, d) in pairs),
            self.points + other.points,
            self.cells + other.cells,
            volumes,
            tuple(dict.fromkeys([*self.kinds, *other.kinds])),
        )


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
class ArrayRecord:
    """What an array is called: itself, and its components where these have names; and its units."""

    name: str
    components: tuple[str | None, ...]
    units: str

    @classmethod
    def of(cls, array: Any) -> ArrayRecord:
        """Return what a VTK array says of itself."""
        names = (array.GetComponentName(i) for i in range(array.GetNumberOfComponents()))
        return cls(array.GetName(), tuple(names), units_of(array))

    def name_array(self, array: Any) -> None:
        """Let another array say the same."""
        array.SetName(self.name)
        for number, name in enumerate(self.components):
            if name:
                array.SetComponentName(number, name)
        if self.units:
            array.GetInformation().Set(units_key(), self.units)


@dataclass(frozen=True)
class MeshRecord:
    """What there is to know of a mesh, or of a rank's part of one.

    Attributes
    ----------
    size : MeshSize
        Of the blocks that have all arrays.
    summary : FieldSummary or None
        Of the values; None where there are none.
    arrays : tuple of ArrayRecord
        Those that were chosen; empty where there are none.
    components : tuple of str
    blocks, lacking : int
        Blocks that are not empty, and those of them that lack an array.
    there : tuple of str
        All numeric arrays, with "(point)" or "(cell)".
    """

    size: MeshSize = MeshSize()
    summary: FieldSummary | None = None
    arrays: tuple[ArrayRecord, ...] = ()
    components: tuple[str, ...] = ()
    blocks: int = 0
    lacking: int = 0
    there: tuple[str, ...] = ()

    def merged(self, other: MeshRecord) -> MeshRecord:
        """Return what is known of both together.

        Raises
        ------
        VolumeError
            An array has other components in one than in the other.
        """
        if not (self.components and other.components):
            known = self if self.components else other
            summary = known.summary
        else:
            if len(self.components) != len(other.components):
                raise VolumeError(
                    f"The array '{', '.join(array.name for array in self.arrays)}' has other "
                    "numbers of components in some blocks than in others; extract the blocks that "
                    "are alike."
                )
            known = self
            assert self.summary is not None and other.summary is not None
            summary = self.summary.merged(other.summary)
        return MeshRecord(
            size=self.size.merged(other.size),
            summary=summary,
            arrays=known.arrays,
            components=known.components,
            blocks=self.blocks + other.blocks,
            lacking=self.lacking + other.lacking,
            there=tuple(dict.fromkeys([*self.there, *other.there])),
        )


@dataclass(frozen=True)
class Mesh:
    """What is to be sampled of a data set: some arrays, of the blocks that have them all.

    Attributes
    ----------
    dataset : vtkDataSet or vtkCompositeDataSet
        A shallow copy with these arrays alone, of floating-point numbers.
    arrays : tuple of str
    association : {"point", "cell"}
    record : MeshRecord
    """

    dataset: Any
    arrays: tuple[str, ...]
    association: str
    record: MeshRecord


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


def prepared(
    dataset: Any, arrays: Sequence[str], association: str, fill_values: Sequence[float] = ()
) -> Mesh:
    """Choose what is to be sampled.

    Parameters
    ----------
    dataset : vtkDataSet or vtkCompositeDataSet
    arrays : sequence of str
    association : {"point", "cell"}
    fill_values : sequence of float
        Numbers that stand for no value.

    Raises
    ------
    VolumeError
        Arrays differ in their components from block to block.
    """
    records: list[MeshRecord] = []

    def choose(leaf: Any) -> Any:
        copy, record = _pruned(leaf, arrays, association, fill_values)
        records.append(record)
        return copy

    kept = _with_leaves(dataset, choose)
    merged = functools.reduce(MeshRecord.merged, records, MeshRecord())
    return Mesh(kept, tuple(arrays), association, merged)


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


def hide_fills(mesh: Mesh, data: DataConfig, option: str) -> list[str]:
    """Give a mesh NaN for known fill values; return what there is to say of such numbers.

    Between a fill value and a value there is nothing to interpolate, so that this cannot wait
    until the lattice is there.
    """
    record = mesh.record
    if record.summary is None:
        return []
    fills, notes = resolved(record.summary, record.components, data, option)
    for leaf in leaves(mesh.dataset) if fills else ():
        own = attributes(leaf, mesh.association)
        for name in mesh.arrays if leaf.GetNumberOfPoints() else ():
            _hide(leaf, mesh.association, own.GetArray(name), fills)
    return notes


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
    resample.SetInputDataObject(_with_leaves(mesh.dataset, _without_polyhedra))
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


def agreement(mesh: Mesh, values: Values) -> Agreement:
    """Compare values with a mesh's own, at its own points or its cells' centres."""
    count = len(mesh.record.components)
    nothing = np.zeros(count), np.full(count, np.inf), np.full(count, -np.inf)
    total = Agreement(0, 0, nothing[0], nothing[0], nothing[1], nothing[2])
    for leaf in leaves(mesh.dataset):
        if not leaf.GetNumberOfPoints():
            continue
        points = DatasetPoints(leaf, cells=mesh.association == "cell")
        own = _columns(leaf, mesh.arrays, mesh.association)
        answers = ~_hidden(leaf, mesh.association)
        for start in range(0, points.count, _BATCH):
            part = slice(start, min(start + _BATCH, points.count))
            here = own[part].astype(np.float64)
            known = np.isfinite(here).all(axis=1) & answers[part]
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


def inside_share(image: Any) -> float:
    """Return which part of an image's points is inside the mesh that it was sampled from."""
    hidden = _hidden(image, "point")
    return 1.0 - float(hidden.mean())


def _with_leaves(dataset: Any, change: Callable[[Any], Any]) -> Any:
    """Return a data set with others for its blocks, or for itself; None leaves an empty place."""
    if not dataset.IsA("vtkCompositeDataSet"):
        changed = change(dataset)
        return dataset.NewInstance() if changed is None else changed
    copy = dataset.NewInstance()
    copy.CopyStructure(dataset)
    places = dataset.NewIterator()
    places.InitTraversal()
    while not places.IsDoneWithTraversal():
        block = places.GetCurrentDataObject()
        changed = change(block) if block.IsA("vtkDataSet") else None
        if changed is not None:
            copy.SetDataSet(places, changed)
        places.GoToNextItem()
    return copy


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


def is_spherical(leaf: Any) -> bool:
    """Tell whether each layer of a structured grid is a part of a sphere round the origin."""
    if not leaf.IsA("vtkStructuredGrid"):
        return False
    first, last = leaf.GetExtent()[::2], leaf.GetExtent()[1::2]
    if any(low >= high for low, high in zip(first, last)):
        return False
    radius = np.linalg.norm(to_numpy(leaf.GetPoints().GetData()).astype(np.float64), axis=1)
    layers = radius.reshape(last[2] - first[2] + 1, -1)
    return bool((np.ptp(layers, axis=1) <= 1e-5 * layers.max()).all())


def _pruned(
    leaf: Any, arrays: Sequence[str], association: str, fill_values: Sequence[float]
) -> tuple[Any, MeshRecord]:
    """Return a shallow copy with some arrays alone, None where it is empty or lacks one."""
    if not leaf.GetNumberOfPoints():
        return None, MeshRecord()
    there = tuple(_listed(leaf))
    own = attributes(leaf, association)
    found = [own.GetArray(name) for name in arrays]
    if any(array is None for array in found):
        return None, MeshRecord(blocks=1, lacking=1, there=there)
    copy = leaf.NewInstance()
    copy.CopyStructure(leaf)
    for each in ASSOCIATIONS:
        ghosts = attributes(leaf, each).GetArray(GHOSTS)
        if ghosts is not None:
            attributes(copy, each).AddArray(ghosts)
    for array in found:
        attributes(copy, association).AddArray(array)
        _hide(copy, association, array, fill_values)
    records = tuple(map(ArrayRecord.of, found))
    summary = _summary(copy, arrays, association)
    components = name_components(found)
    size = _size_of(leaf)
    return copy, MeshRecord(size, summary, records, components, blocks=1, there=there)


def _hide(leaf: Any, association: str, array: Any, fill_values: Sequence[float]) -> None:
    """Give a data set NaN for some numbers of an array, as floating-point numbers in any case."""
    values = to_numpy(array)
    if values.dtype.kind == "f" and not fill_values:
        return
    numbers = values
    if values.dtype.kind != "f":  # VTK would round what it interpolates
        numbers = values.astype(type_of_numbers(values.dtype))
    found = matches(numbers, tuple(fill_values)) if fill_values else None
    if found is None and numbers is values:
        return
    if found is not None:
        numbers = np.where(found, np.nan, numbers).astype(numbers.dtype)
    support = import_vtk("util.numpy_support")
    other = support.numpy_to_vtk(np.ascontiguousarray(numbers), deep=True)
    ArrayRecord.of(array).name_array(other)
    attributes(leaf, association).RemoveArray(array.GetName())
    attributes(leaf, association).AddArray(other)


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


def _listed(leaf: Any) -> list[str]:
    listed = list_arrays(leaf)
    return [] if listed == "none" else listed.split(", ")


def _size_of(leaf: Any) -> MeshSize:
    bounds = leaf.GetBounds()
    cells, volumes = _cell_volumes(leaf)
    pairs = tuple(zip(bounds[::2], bounds[1::2]))
    return MeshSize(pairs, int(leaf.GetNumberOfPoints()), cells, volumes, (leaf.GetClassName(),))


def _cell_volumes(leaf: Any) -> tuple[int, np.ndarray]:
    """Return how many cells have a volume, and the volumes of some of them.

    To measure all of a large mesh's would take longer than to sample it, so that both are found
    from cells that are drawn at random, always the same.
    """
    shown = np.flatnonzero(~_hidden(leaf, "cell"))
    if not len(shown) or leaf.IsA("vtkPolyData"):
        return 0, np.empty(0)
    core = import_vtk("vtkCommonCore")
    ids, points = core.vtkIdList(), core.vtkPoints()
    few = len(shown) <= _MEASURED
    drawn = shown if few else np.random.default_rng(0).choice(shown, _MEASURED, replace=False)
    found = np.zeros(len(drawn))
    for number, cell_id in enumerate(drawn.tolist()):
        cell = leaf.GetCell(cell_id)
        if cell.GetCellDimension() == 3 and cell.Triangulate(0, ids, points):
            corners = to_numpy(points.GetData()).astype(np.float64).reshape(-1, 4, 3)
            edges = corners[:, 1:] - corners[:, :1]
            found[number] = np.abs(np.linalg.det(edges)).sum() / 6
    solid = found[found > 0]
    return round(len(shown) * len(solid) / len(drawn)), solid


def _hidden(leaf: Any, association: str) -> np.ndarray:
    """Return which points or cells are hidden, refined elsewhere or another rank's, bool [N]."""
    array = attributes(leaf, association).GetArray(GHOSTS)
    is_cells = association == "cell"
    if array is None or not array.IsA("vtkUnsignedCharArray"):
        count = leaf.GetNumberOfCells() if is_cells else leaf.GetNumberOfPoints()
        return np.zeros(int(count), dtype=bool)
    marks = to_numpy(array).ravel()
    return marks & (8 | 32 | 1 if is_cells else 2 | 1) != 0


def _thinned(values: np.ndarray, share: float) -> np.ndarray:
    """Return so many of some values as their share of all is, evenly chosen."""
    count = min(len(values), max(1, round(_MEASURED * share)))
    return np.sort(values)[np.linspace(0, len(values) - 1, count).astype(int)]


def _columns(leaf: Any, arrays: Sequence[str], association: str) -> np.ndarray:
    """Return the values of some arrays, [N, C]."""
    own = attributes(leaf, association)
    return np.concatenate([to_numpy(own.GetArray(name)) for name in arrays], axis=1)


def _summary(leaf: Any, arrays: Sequence[str], association: str) -> FieldSummary:
    values = _columns(leaf, arrays, association)
    valid = np.isfinite(values).all(axis=1)
    values = np.where(valid[:, None], values, 0.0)
    return Block(
        np.ascontiguousarray(values.T).reshape(values.shape[1], 1, 1, -1), valid.reshape(1, 1, -1)
    ).summary()


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
