"""Volumes in VTK's XML files: .vti (image data) and .vtr (rectilinear grids)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from amgsrn_core.errors import VariableNotFoundError, VolumeError
from amgsrn_core.volume import vtk_data
from amgsrn_core.volume.geometry import Extent
from amgsrn_core.volume.times import TimeStep, select_time
from amgsrn_core.volume.volume import Loaded, Volume, extent_shape
from amgsrn_core.volume.vtk_layout import laid_out_copy

READERS = {"ImageData": "vtkXMLImageDataReader", "RectilinearGrid": "vtkXMLRectilinearGridReader"}


def vtk_file_kind(head: bytes) -> str | None:
    """Return the data set type that the first bytes of an XML file of VTK's declare, or None."""
    found = re.search(rb"<VTKFile[^>]*\btype=[\"'](\w+)[\"']", head)
    return found[1].decode() if found else None


def open_vtk_file(
    path: Path, kind: str, arrays: tuple[str, ...] | None = None, time: TimeStep = None
) -> VTKFileVolume:
    """Open arrays of a .vti or .vtr file as one volume; see :func:`amgsrn_core.open_volume`."""
    file, whole, sample = _open(path, kind)
    frame = _read(file, whole, {})
    names, association = _choose(path, sample, arrays)
    found = [vtk_data.attributes(sample, association).GetArray(name) for name in names]
    name = "_".join(names)
    return VTKFileVolume(
        file,
        names,
        association,
        whole,
        name=name,
        components=vtk_data.name_components(found),
        units="",
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
    """Arrays of a .vti or .vtr file; each read asks VTK's reader for that extent alone."""

    def __init__(
        self,
        file: _File,
        arrays: Sequence[str],
        association: str,
        whole: tuple[int, ...],
        **metadata: Any,
    ) -> None:
        super().__init__(**metadata)
        self._file = file
        self._arrays = tuple(arrays)
        self._association = association
        self._whole = whole

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the arrays in the file."""
        return self._arrays

    def _load(self, extent: Extent) -> Iterator[Loaded]:
        arrays = (*self._arrays, vtk_data.GHOSTS)
        dataset = _read(self._file, self._vtk_extent(extent), {self._association: arrays})
        data = vtk_data.attributes(dataset, self._association)
        shape = extent_shape(extent)
        ghosts = data.GetArray(vtk_data.GHOSTS)
        missing = None
        if ghosts is not None:
            missing = vtk_data.component_views(ghosts, self.geometry, shape)[0] != 0
        for name in self._arrays:
            array = data.GetArray(name)
            if array is None:
                raise _damaged(self._file)
            for values in vtk_data.component_views(array, self.geometry, shape):
                yield values, missing

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


def _open(path: Path, kind: str) -> tuple[_File, tuple[int, ...], Any]:
    """Return a file, its point extent, and one cell of it with everything that it holds."""
    if kind not in READERS:
        raise VolumeError(
            f"'{path}' holds {kind}; a volume needs image data (.vti) or a rectilinear grid (.vtr)."
        )
    _require_complete(path)
    file, whole = _readable(path, kind)
    corner = tuple(min(whole[i | 1], whole[i & ~1] + (i & 1)) for i in range(6))
    return file, whole, _read(file, corner, None)


def _readable(path: Path, kind: str) -> tuple[_File, tuple[int, ...]]:
    """Return the file as VTK can read it, and its point extent."""
    file = _File(path, kind)
    try:
        return file, _whole_extent(file)
    except VolumeError:
        copy = laid_out_copy(path)
        if copy is None:
            raise
    file = _File(path, kind, copy)
    return file, _whole_extent(file)


def _whole_extent(file: _File) -> tuple[int, ...]:
    """Return the file's point extent."""
    pipeline = vtk_data.import_vtk("vtkCommonExecutionModel").vtkStreamingDemandDrivenPipeline
    with _quiet():
        reader = _reader(file)
        information = reader.GetOutputInformation(0)
        key = pipeline.WHOLE_EXTENT()
        whole = tuple(information.Get(key)) if information.Has(key) else ()
    if len(whole) != 6 or any(whole[i] > whole[i + 1] for i in (0, 2, 4)):
        raise _damaged(file)
    return whole


def _read(file: _File, extent: tuple[int, ...], arrays: dict[str, tuple[str, ...]] | None) -> Any:
    """Return the data set of a point extent with some arrays by association (None: all)."""
    with _quiet():
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
def _quiet() -> Iterator[None]:
    """Keep VTK from printing; what went wrong shows in the result."""
    base = vtk_data.import_vtk("vtkCommonCore").vtkObject
    before = base.GetGlobalWarningDisplay()
    base.SetGlobalWarningDisplay(0)
    try:
        yield
    finally:
        base.SetGlobalWarningDisplay(before)


def _choose(path: Path, sample: Any, wanted: tuple[str, ...] | None) -> tuple[tuple[str, ...], str]:
    """Return the arrays to use, and whether they belong to points or cells."""
    present = {each: vtk_data.array_names(sample, each) for each in vtk_data.ASSOCIATIONS}
    listed = vtk_data.list_arrays(sample)
    if wanted is None:
        choices = [(name, each) for each, names in present.items() for name in names]
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
            f"There is no array '{unknown[0]}' in '{path}'; it has: {listed}."
        )
    raise VolumeError(
        f"The arrays {', '.join(wanted)} belong partly to points and partly to cells; "
        "train them one by one."
    )


def _require_complete(path: Path) -> None:
    """Raise VolumeError where the end of the file is missing, which VTK's readers do not notice."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 256))
        if not file.read().rstrip().endswith(b"</VTKFile>"):
            raise VolumeError(f"'{path}' is truncated: its end is missing.")


def _damaged(file: _File) -> VolumeError:
    return VolumeError(f"'{file.path}' cannot be read; it is damaged or holds no points.")
