"""Data sets that are no volumes: what of them is to be sampled, and how large they are.

Structured (curvilinear) and unstructured grids of any cells, multi-block data and AMR are the same
here: blocks with points, cells and arrays.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from amgsrn_core.config import DataConfig
from amgsrn_core.errors import VolumeError
from amgsrn_core.volume.block import Block, FieldSummary
from amgsrn_core.volume.fill_values import matches
from amgsrn_core.volume.masking import resolved
from amgsrn_core.volume.precision import type_of_numbers
from amgsrn_core.volume.vtk.data import (
    ASSOCIATIONS,
    GHOSTS,
    attributes,
    import_vtk,
    list_arrays,
    name_components,
    to_numpy,
)
from amgsrn_core.volume.vtk.known import units_key, units_of

_MEASURED = 2000
"""Cells of a block whose volumes are measured."""


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
    elsewhere : ndarray of uint64
        Keys of the points that count on another rank, which has them as well, see
        :mod:`~amgsrn_core.volume.vtk.shared_points`.
    """

    dataset: Any
    arrays: tuple[str, ...]
    association: str
    record: MeshRecord
    elsewhere: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, np.uint64))


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

    kept = with_leaves(dataset, choose)
    merged = functools.reduce(MeshRecord.merged, records, MeshRecord())
    return Mesh(kept, tuple(arrays), association, merged)


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


def with_leaves(dataset: Any, change: Callable[[Any], Any]) -> Any:
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
    shown = np.flatnonzero(~hidden(leaf, "cell"))
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


def hidden(leaf: Any, association: str) -> np.ndarray:
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


def columns(leaf: Any, arrays: Sequence[str], association: str) -> np.ndarray:
    """Return the values of some arrays, [N, C]."""
    own = attributes(leaf, association)
    return np.concatenate([to_numpy(own.GetArray(name)) for name in arrays], axis=1)


def _summary(leaf: Any, arrays: Sequence[str], association: str) -> FieldSummary:
    values = columns(leaf, arrays, association)
    valid = np.isfinite(values).all(axis=1)
    values = np.where(valid[:, None], values, 0.0)
    return Block(
        np.ascontiguousarray(values.T).reshape(values.shape[1], 1, 1, -1), valid.reshape(1, 1, -1)
    ).summary()
