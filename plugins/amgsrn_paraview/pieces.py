"""The piece of a volume that a rank has, and the whole that the pieces of all ranks are."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkImageData

from amgsrn_core.errors import ConfigurationError, VolumeError
from amgsrn_core.volume import Extent, FieldSummary, GridGeometry, Volume, volume_from_vtk
from amgsrn_core.volume.description import Description
from amgsrn_core.volume.partition import is_partition
from amgsrn_core.volume.pieces import PieceVolume
from amgsrn_core.volume.vtk.data import DUPLICATE, MISSING, ghost_marks, grid_geometry
from amgsrn_core.volume.vtk.known import description_of, take_description
from amgsrn_paraview.datasets import VTKExtent
from amgsrn_paraview.handover import overview


@dataclass(frozen=True)
class Piece:
    """What all ranks have to know of the piece of one.

    Attributes
    ----------
    own, held : tuple of three slices (z, y, x)
        Voxels of the whole that the rank answers for, and those that it has with ghost cells.
    arrays : tuple of str
    components : tuple of str
    dtype : numpy.dtype
    summary : FieldSummary
        Of the values that are not missing.
    digest : int
        Checksum of the values.
    geometry : GridGeometry
        Of the whole; of a rectilinear grid, only of what the rank has.
    is_whole : bool
        Whether `geometry` is that of the whole.
    units : tuple of str
        Of each component.
    known : Description or None
        What the data set says of the field.
    """

    own: Extent
    held: Extent
    arrays: tuple[str, ...]
    components: tuple[str, ...]
    dtype: np.dtype[Any]
    summary: FieldSummary
    digest: int
    geometry: GridGeometry
    is_whole: bool
    units: tuple[str, ...]
    known: Description | None

    @property
    def name(self) -> str:
        """Name of the volume."""
        return "_".join(self.arrays)


def take(
    dataset: Any,
    arrays: tuple[str, ...],
    association: str,
    whole: VTKExtent,
    fill_values: Sequence[float] = (),
) -> tuple[Volume, Piece]:
    """Describe what this rank has.

    Parameters
    ----------
    dataset : vtkImageData or vtkRectilinearGrid
    arrays : tuple of str
    association : {"point", "cell"}
    whole : six integers
        VTK's extent of the points of all pieces together.
    fill_values : sequence of float
        Numbers that stand for no value.

    Raises
    ------
    VolumeError
        The values cannot be trained on, or there are fewer than two of them along an axis.
    """
    volume = volume_from_vtk(dataset, arrays, association, duplicates=True, whole=whole).masking(
        fill_values
    )
    points = int(association == "point")  # one more than cells
    lows, highs, firsts = dataset.GetExtent()[::2], dataset.GetExtent()[1::2], whole[::2]
    held = [(a - first, b - first + points) for a, b, first in zip(lows, highs, firsts)]
    own = _owned(dataset, association, whole)
    sizes = [b - a + points for a, b in zip(whole[::2], whole[1::2])]
    for axis, grid_axis in enumerate(reversed(volume.geometry.axes)):
        if grid_axis.descending:  # volumes ascend along every axis
            held[axis], own[axis] = (
                (sizes[axis] - b, sizes[axis] - a) for a, b in (held[axis], own[axis])
            )
    found = overview([volume])
    is_whole = bool(dataset.IsA("vtkImageData"))
    geometry = volume.geometry
    if is_whole:
        image = vtkImageData()
        image.SetOrigin(dataset.GetOrigin())
        image.SetSpacing(dataset.GetSpacing())
        image.SetDirectionMatrix(dataset.GetDirectionMatrix())
        image.SetExtent(whole)
        geometry = grid_geometry(image, association, volume.name)
    return volume, Piece(
        own=_slices(own),
        held=_slices(held),
        arrays=arrays,
        components=volume.components,
        dtype=volume.source_dtype,
        summary=found.summary,
        digest=found.digest,
        geometry=geometry,
        is_whole=is_whole,
        units=volume.units,
        known=description_of(dataset),
    )


def join(
    volume: Volume | None,
    mine: Piece | None,
    pieces: Sequence[Piece],
    fill_values: Sequence[float] = (),
) -> PieceVolume:
    """Return the whole volume, of which this rank can read its own piece.

    Parameters
    ----------
    volume : Volume or None
        The values that are here.
    mine : Piece or None
        Where these are.
    pieces : sequence of Piece
        Of all ranks that have one.
    fill_values : sequence of float
        Numbers that stand for no value, in all pieces.

    Raises
    ------
    VolumeError
        No rank has values, or the pieces are no partition of the whole.
    """
    if not pieces:
        raise VolumeError("The input has no values.")
    first = pieces[0]
    if any((p.components, p.dtype) != (first.components, first.dtype) for p in pieces):
        raise VolumeError(f"The ranks' arrays '{first.name}' differ in their type.")
    geometry = first.geometry if first.is_whole else _joined_axes(pieces)
    if not is_partition([p.own for p in pieces], geometry.dims):
        raise ConfigurationError(
            f"The ranks' pieces of '{first.name}' overlap or leave gaps; put a filter in front "
            "that distributes the data, or train with a single rank."
        )
    summary = summary_of(pieces).without(fill_values)
    low, high = summary.minimum, summary.maximum
    nothing = (slice(0, 0),) * 3
    whole = PieceVolume(
        volume,
        nothing if mine is None else mine.held,
        [*(p.digest for p in pieces), *fill_values],
        (low, high),
        geometry=geometry,
        name=first.name,
        components=first.components,
        units=first.units,
        source_dtype=first.dtype,
        missing=MISSING.with_values(fill_values),
    )
    take_description(whole, first.known)
    return whole


def summary_of(pieces: Sequence[Piece]) -> FieldSummary:
    """Return what the passes over all pieces have found together."""
    return functools.reduce(FieldSummary.merged, [piece.summary for piece in pieces])


def _owned(dataset: Any, association: str, whole: VTKExtent) -> list[tuple[int, int]]:
    """Return the ranges x, y, z that no other rank answers for, from the whole's first sample.

    Pieces share a layer of points; it belongs to the upper one.
    """
    x0, x1, y0, y1, z0, z1 = dataset.GetExtent()
    ranges = [(x0, x1), (y0, y1), (z0, z1)]  # of cells
    marks = ghost_marks(dataset, "cell", (z1 - z0, y1 - y0, x1 - x0))
    if marks is not None:
        mine = marks & DUPLICATE == 0
        for axis, (low, _) in enumerate(ranges):
            here = np.flatnonzero(mine.any(axis=tuple(k for k in range(3) if k != 2 - axis)))
            ranges[axis] = (low + here[0], low + here[-1] + 1) if len(here) else (low, low)
    found = []
    for axis, (low, high) in enumerate(ranges):
        first, last = whole[2 * axis], whole[2 * axis + 1]
        at_end = association == "point" and high == last
        found.append((int(low - first), int(high - first + at_end)))
    return found


def _joined_axes(pieces: Sequence[Piece]) -> GridGeometry:
    """Return the geometry of a rectilinear grid of which each rank has some coordinates."""
    first = pieces[0].geometry
    axes = []
    for number, axis in enumerate(first.axes):
        line = np.full(max(piece.held[number].stop for piece in pieces), np.nan)
        for piece in pieces:
            line[piece.held[number]] = piece.geometry.axes[number].coordinates
        axes.append(dataclasses.replace(axis, coordinates=line))
    z, y, x = axes
    return GridGeometry((z, y, x), first.direction)


def _slices(ranges: Sequence[tuple[int, int]]) -> Extent:
    x, y, z = (slice(int(a), int(b)) for a, b in ranges)
    return z, y, x
