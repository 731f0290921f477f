"""Volumes in VTK's XML files: .vti (image data) and .vtr (rectilinear grids), .pvti and .pvtr."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from amgsrn_core.errors import (
    VariableNotFoundError,
    VolumeError,
    VolumeNotFoundError,
    did_you_mean,
)
from amgsrn_core.volume.geometry import Extent
from amgsrn_core.volume.times import TimeStep, select_time
from amgsrn_core.volume.volume import Loaded, Volume, extent_shape
from amgsrn_core.volume.vtk import data as vtk_data
from amgsrn_core.volume.vtk.layout import laid_out_copy
from amgsrn_core.volume.vtk.xml import Outline, Piece, read_outline, require_whole, vtk_file_kind

READERS = {"ImageData": "vtkXMLImageDataReader", "RectilinearGrid": "vtkXMLRectilinearGridReader"}

_GHOSTS: dict[str, tuple[str, ...]] = dict.fromkeys(vtk_data.ASSOCIATIONS, vtk_data.GHOST_ARRAYS)


def open_vtk_file(
    path: Path, kind: str, arrays: tuple[str, ...] | None = None, time: TimeStep = None
) -> VTKFileVolume:
    """Open arrays of a .vti or .vtr file, or of the pieces that a file names, as one volume.

    See :func:`amgsrn_core.open_volume`.
    """
    outline, pieces, sample = _open(path, kind)
    frame = vtk_data.joined_frame(path, [_read(piece.file, piece.extent, {}) for piece in pieces])
    whole = tuple(frame.GetExtent())
    names, association = choose_arrays(path, present_arrays([sample]), arrays)
    require_whole(path, outline, outline.whole or whole, association)
    found = [vtk_data.attributes(sample, association).GetArray(name) for name in names]
    name = "_".join(names)
    return VTKFileVolume(
        pieces,
        names,
        association,
        whole,
        bool(sample.GetCellData().HasArray(vtk_data.GHOSTS)),
        name=name,
        components=vtk_data.name_components(found),
        units=vtk_data.name_units(found),
        geometry=vtk_data.grid_geometry(frame, association, name),
        source_dtype=np.result_type(*(vtk_data.to_numpy(array).dtype for array in found)),
        missing=vtk_data.MISSING,
        time=select_time(name, None, time),
        source=str(path),
    )


def vtk_names(path: Path, kind: str) -> tuple[str, ...]:
    """Return the names of the arrays of a .vti or .vtr file."""
    sample = _open(path, kind)[2]
    return tuple(n for each in vtk_data.ASSOCIATIONS for n in vtk_data.array_names(sample, each))


class VTKFileVolume(Volume):
    """Arrays of one or several files; each read asks VTK's readers for that extent alone."""

    def __init__(
        self,
        pieces: Sequence[_Piece],
        arrays: Sequence[str],
        association: str,
        whole: tuple[int, ...],
        has_cell_ghosts: bool,
        **metadata: Any,
    ) -> None:
        super().__init__(**metadata)
        self._pieces = tuple(pieces)
        self._arrays = tuple(arrays)
        self._association = association
        self._whole = whole
        self._selection = {association: (*self._arrays, *vtk_data.GHOST_ARRAYS)}
        self._needs_cells = association == "point" and has_cell_ghosts
        if association == "cell":
            self._selection["point"] = vtk_data.GHOST_ARRAYS

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the arrays in the file."""
        return self._arrays

    def _load(self, extent: Extent) -> Iterator[Loaded]:
        asked, shape = self._vtk_extent(extent), extent_shape(extent)
        flips = vtk_data.flips(self.geometry)
        parts = [
            self._part(piece, asked, inner)
            for piece in self._pieces
            if (inner := _overlap(asked, piece.extent, self._association)) is not None
        ]
        missing = np.ones(shape, dtype=bool)
        for part in parts:
            # Pieces share points, and perhaps ghost cells: one of them may know a value.
            missing[part.place] &= False if part.missing is None else part.missing
        for name in self._arrays:
            arrays = [part.columns(name) for part in parts]
            if any(array is None for array in arrays):
                raise _damaged(self._pieces[0].file)
            if len(arrays) == 1:
                values = arrays[0]
            else:
                values = np.zeros((*shape, arrays[0].shape[-1]), arrays[0].dtype)
                for part, array in zip(parts, arrays):
                    where = True if part.missing is None else ~part.missing[..., np.newaxis]
                    np.copyto(values[part.place], array, where=where)
            for component in range(values.shape[-1]):
                yield values[..., component][flips], missing[flips] if missing.any() else None

    def _part(self, piece: _Piece, asked: tuple[int, ...], inner: tuple[int, ...]) -> _Part:
        """Read the part `inner` of the point extent `asked` from a piece."""
        dataset = _read(piece.file, inner, self._selection)
        last = int(self._association == "point")
        place = tuple(slice(inner[i] - asked[i], inner[i + 1] - asked[i] + last) for i in (4, 2, 0))
        return _Part(place, dataset, self._missing(piece, inner, dataset), self._association)

    def _missing(self, piece: _Piece, inner: tuple[int, ...], dataset: Any) -> np.ndarray | None:
        """Return which samples of a point extent, whose data set is given, have no value."""
        cut: tuple[slice, ...] = (slice(None),) * 3
        if self._needs_cells:
            # A point needs the cells around it, also beyond the extent.
            low, high = (
                [f(a + d, w) for a, w in zip(inner[i::2], piece.extent[i::2])]
                for i, f, d in ((0, max, -1), (1, min, 1))
            )
            wider = tuple(end for ends in zip(low, high) for end in ends)
            dataset = _read(piece.file, wider, _GHOSTS)
            cut = tuple(slice(inner[i] - wider[i], inner[i + 1] - wider[i] + 1) for i in (4, 2, 0))
        missing = vtk_data.missing_samples(dataset, self._association)
        return None if missing is None else missing[cut]

    def _vtk_extent(self, extent: Extent) -> tuple[int, ...]:
        """Return the point extent (x0, x1, y0, y1, z0, z1, inclusive) that an extent needs."""
        last = 0 if self._association == "cell" else 1
        result: list[int] = []
        for axis, part, low in zip(self.geometry.axes[::-1], extent[::-1], self._whole[0::2]):
            start, stop = part.start, part.stop
            if axis.descending:
                start, stop = axis.size - stop, axis.size - start
            result += [low + start, low + stop - last]
        return tuple(result)


@dataclass(frozen=True)
class _File:
    """A file, and the temporary copy of it that this VTK needs, if it does."""

    path: Path
    kind: str
    copy: IO[bytes] | None = None

    @property
    def name(self) -> str:
        """What VTK has to open."""
        return str(self.path) if self.copy is None else self.copy.name


def _open(path: Path, kind: str) -> tuple[Outline, list[_Piece], Any]:
    """Return what a file says of itself, its pieces, and one cell of it with all that it holds."""
    if kind.removeprefix("P") not in READERS:
        raise VolumeError(
            f"'{path}' holds {kind}; a volume needs image data (.vti), a rectilinear grid "
            "(.vtr) or a mesh: open it in ParaView, apply Resample To Image, and save that as .vti."
        )
    outline = read_outline(path)
    if kind in READERS:
        pieces = [_readable(path, kind)]
    else:
        pieces = [_piece(path, kind, *named) for named in enumerate(outline.pieces)]
        outline.pieces = [p for piece in pieces for p in read_outline(piece.file.path).pieces]
    if not pieces:
        raise VolumeError(f"'{path}' names no pieces.")
    first = pieces[0].extent
    # One cell tells types and components.
    corner = tuple(min(first[i | 1], first[i & ~1] + (i & 1)) for i in range(6))
    return outline, pieces, _read(pieces[0].file, corner, None)


@dataclass(frozen=True)
class _Piece:
    """A file with a point extent of the whole, which may be all of it."""

    file: _File
    extent: tuple[int, ...]


@dataclass(frozen=True)
class _Part:
    """What a piece has of an extent: where that is, and what; in VTK's order."""

    place: tuple[slice, ...]
    dataset: Any
    missing: np.ndarray | None
    association: str

    def columns(self, name: str) -> Any:
        """Return an array [z, y, x, component], or None if it is not there."""
        array = vtk_data.attributes(self.dataset, self.association).GetArray(name)
        if array is None:
            return None
        x, y, z = (n - (self.association == "cell") for n in self.dataset.GetDimensions())
        return vtk_data.columns(array, (z, y, x))


def _overlap(asked: tuple[int, ...], own: tuple[int, ...], association: str) -> Any:
    """Return the part of a point extent that another has, or None without any points or cells."""
    inner = tuple((min if i % 2 else max)(a, b) for i, (a, b) in enumerate(zip(asked, own)))
    least = int(association == "cell")
    return inner if all(inner[i + 1] - inner[i] >= least for i in (0, 2, 4)) else None


def _piece(path: Path, kind: str, number: int, named: Piece) -> _Piece:
    """Return a piece that a file of pieces names."""
    source = path.parent / named.source
    if not source.is_file():
        raise VolumeNotFoundError(
            f"There is no file '{source}', which '{path}' names as its piece {number}; copy the "
            "pieces together with it."
        )
    if vtk_file_kind(source) != kind.removeprefix("P"):
        raise VolumeError(f"'{source}', piece {number} of '{path}', is no {kind[1:]}.")
    read_outline(source)
    piece = _readable(source, kind.removeprefix("P"))
    if _overlap(named.extent, piece.extent, "point") != named.extent:
        raise VolumeError(
            f"'{source}' has the extent {' '.join(map(str, piece.extent))}, but '{path}' names it "
            f"for {' '.join(map(str, named.extent))}; it is of another run."
        )
    return piece


def _readable(path: Path, kind: str) -> _Piece:
    """Return a file as VTK can read it, with its point extent."""
    file = _File(path, kind)
    try:
        return _Piece(file, _whole_extent(file))
    except VolumeError:
        copy = laid_out_copy(path)
        if copy is None:
            raise
    file = _File(path, kind, copy)
    return _Piece(file, _whole_extent(file))


def _whole_extent(file: _File) -> tuple[int, ...]:
    """Return the file's point extent."""
    pipeline = vtk_data.import_vtk("vtkCommonExecutionModel").vtkStreamingDemandDrivenPipeline
    with quiet():
        reader = _reader(file)
        information = reader.GetOutputInformation(0)
        key = pipeline.WHOLE_EXTENT()
        whole = tuple(information.Get(key)) if information.Has(key) else ()
    if len(whole) != 6 or any(whole[i] > whole[i + 1] for i in (0, 2, 4)):
        raise _damaged(file)
    return whole


def _read(file: _File, extent: tuple[int, ...], arrays: dict[str, tuple[str, ...]] | None) -> Any:
    """Return the data set of a point extent with some arrays by association (None: all)."""
    with quiet():
        reader = _reader(file)
        if arrays is not None:
            for association in vtk_data.ASSOCIATIONS:
                selection = getattr(reader, f"Get{association.title()}DataArraySelection")()
                selection.DisableAllArrays()
                for name in arrays.get(association, ()):
                    selection.EnableArray(name)
        reader.UpdateExtent(extent)
        dataset = reader.GetOutput()
    if tuple(dataset.GetExtent()) != extent:
        raise _damaged(file)
    return dataset


def _reader(file: _File) -> Any:
    reader = getattr(vtk_data.import_vtk("vtkIOXML"), READERS[file.kind])()
    reader.SetFileName(file.name)
    reader.UpdateInformation()
    return reader


@contextmanager
def quiet() -> Iterator[None]:
    """Keep VTK from printing; what went wrong shows in the result."""
    base = vtk_data.import_vtk("vtkCommonCore").vtkObject
    before = base.GetGlobalWarningDisplay()
    base.SetGlobalWarningDisplay(0)
    try:
        yield
    finally:
        base.SetGlobalWarningDisplay(before)


def present_arrays(datasets: Iterable[Any]) -> dict[str, list[str]]:
    """Return the names of the numeric arrays of points and of cells, in any of some data sets."""
    every = list(datasets)
    return {
        each: list(dict.fromkeys(n for d in every for n in vtk_data.array_names(d, each)))
        for each in vtk_data.ASSOCIATIONS
    }


def choose_arrays(
    path: Path, present: dict[str, list[str]], wanted: tuple[str, ...] | None
) -> tuple[tuple[str, ...], str]:
    """Return the arrays to use, and whether they belong to points or cells."""
    choices = [(name, each) for each, names in present.items() for name in names]
    listed = ", ".join(f"{name} ({each})" for name, each in choices) or "none"
    if wanted is None:
        if len(choices) != 1:
            raise VariableNotFoundError(
                f"'{path}' holds {len(choices)} arrays; name the one(s) to use: {listed}."
            )
        return (choices[0][0],), choices[0][1]
    for association, names in present.items():
        if set(wanted) <= set(names):
            return wanted, association
    unknown = [name for name in wanted if all(name not in names for names in present.values())]
    if unknown:
        raise VariableNotFoundError(
            f"There is no array '{unknown[0]}' in '{path}'; it has: {listed}"
            f"{did_you_mean(unknown[0], itertools.chain(*present.values())) or '.'}"
        )
    raise VolumeError(
        f"The arrays {', '.join(wanted)} belong partly to points and partly to cells; "
        "train them one by one."
    )


def _damaged(file: _File) -> VolumeError:
    return VolumeError(f"'{file.path}' cannot be read; it is damaged or holds no points.")
