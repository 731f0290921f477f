"""The pieces that ranks have make up the volume that one rank would have."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from amgsrn_core import volume_from_vtk
from amgsrn_core.errors import ConfigurationError, VolumeError

pytest.importorskip("vtkmodules.vtkCommonDataModel", reason="VTK's Python modules are missing")
from amgsrn_paraview.pieces import join, summary_of, take
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkImageData, vtkRectilinearGrid

WHOLE = (3, 12, -2, 6, 0, 7)
# Cells x, y, z of three pieces, of which two meet at the side of the third.
PIECES = [((3, 12), (-2, 6), (0, 3)), ((3, 7), (-2, 6), (3, 7)), ((7, 12), (-2, 6), (3, 7))]
TURN = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def dataset(kind: str, cells, ghost: int = 0, whole=WHOLE):
    """Return the part of a data set with some cells, and ghost cells around them."""
    bounds = [
        (max(a - ghost, low), min(b + ghost, high))
        for (a, b), low, high in zip(cells, whole[::2], whole[1::2])
    ]
    extent = [number for pair in bounds for number in pair]
    lines = [np.arange(a, b + 1) for a, b in bounds]
    if kind == "image":
        made = vtkImageData()
        made.SetExtent(extent)
        made.SetOrigin(1.0, 2.0, 3.0)
        made.SetSpacing(0.5, 0.1, 2.0)
        made.SetDirectionMatrix(*TURN)
    else:
        made = vtkRectilinearGrid()
        made.SetExtent(extent)
        x, y, z = (numpy_to_vtk(line**2.0 * s, deep=True) for line, s in zip(lines, (1, 1, -1)))
        y = numpy_to_vtk(np.exp(lines[1] / 5.0), deep=True)
        made.SetXCoordinates(x)
        made.SetYCoordinates(y)
        made.SetZCoordinates(z)
    for data, last in ((made.GetPointData(), 0), (made.GetCellData(), 1)):
        x, y, z = (line[: len(line) - last] for line in lines)
        values = x + 100.0 * y[:, None] + 1e4 * z[:, None, None]
        array = numpy_to_vtk(values.ravel(), deep=True)
        array.SetName("f")
        data.AddArray(array)
    inside = [(line[:-1] >= a) & (line[:-1] < b) for line, (a, b) in zip(lines, cells)]
    mine = inside[2][:, None, None] & inside[1][:, None] & inside[0]
    marks = numpy_to_vtk((~mine).astype(np.uint8).ravel(), deep=True)
    marks.SetName("vtkGhostType")
    made.GetCellData().AddArray(marks)
    return made


@pytest.mark.parametrize(
    ("kind", "association", "ghost"),
    list(itertools.product(["image", "rectilinear"], ["point", "cell"], [0, 1, 2])),
)
def test_pieces_are_the_whole(kind, association, ghost):
    cells = list(zip(WHOLE[::2], WHOLE[1::2]))
    whole = volume_from_vtk(dataset(kind, cells), "f", association)
    taken = [take(dataset(kind, part, ghost), ("f",), association, WHOLE) for part in PIECES]
    pieces = [piece for _, piece in taken]
    covered = np.zeros(whole.dims, dtype=int)
    for volume, piece in taken:
        joined = join(volume, piece, pieces)
        assert joined.geometry == whole.geometry
        covered[piece.own] += 1
        block = joined.read(piece.held)
        assert block.valid is None
        np.testing.assert_array_equal(block.values, whole.read(piece.held).values)
        for own, held, size in zip(piece.own, piece.held, whole.dims):
            assert held.start <= max(0, own.start - ghost)
            assert held.stop >= min(size, own.stop + ghost)
        np.testing.assert_array_equal(joined.span, (whole.check().minimum, whole.check().maximum))
    assert (covered == 1).all()
    with pytest.raises(VolumeError, match="on another rank"):
        join(*taken[0], pieces).read()
    with pytest.raises(VolumeError, match="on another rank"):
        join(None, None, pieces).read(pieces[0].own)


@pytest.mark.parametrize("kind", ["image", "rectilinear"])
@pytest.mark.parametrize("association", ["point", "cell"])
def test_pieces_hide_what_the_whole_hides(kind, association):
    def hidden(cells, ghost=0):
        made = dataset(kind, cells, ghost)
        marks = vtk_to_numpy(made.GetCellData().GetArray("vtkGhostType"))
        x0, x1, y0, y1, z0, z1 = made.GetExtent()
        z, y, x = np.meshgrid(
            *(np.arange(a, b) for a, b in ((z0, z1), (y0, y1), (x0, x1))), indexing="ij"
        )
        marks[((x >= 7) & (y < 3) & (z >= 2)).ravel()] |= 32
        return made

    whole = volume_from_vtk(hidden(list(zip(WHOLE[::2], WHOLE[1::2]))), "f", association).read()
    assert 0 < whole.valid.sum() < whole.valid.size
    for ghost in (1, 2):
        for part in PIECES:
            volume, piece = take(hidden(part, ghost), ("f",), association, WHOLE)
            others = [take(hidden(p, ghost), ("f",), association, WHOLE)[1] for p in PIECES]
            block = join(volume, piece, others).read(piece.own)
            valid = np.ones(block.values.shape[1:], bool) if block.valid is None else block.valid
            np.testing.assert_array_equal(valid, whole.valid[piece.own])
    # Without ghost cells a piece does not know the cells beyond its border: nothing is lost there.
    for part in PIECES:
        volume, piece = take(hidden(part), ("f",), association, WHOLE)
        block = volume.read()
        valid = np.ones(block.values.shape[1:], bool) if block.valid is None else block.valid
        assert not (whole.valid[piece.held] & ~valid).any()


def test_fill_values_of_any_piece_are_missing_in_all():
    taken = []
    for number, part in enumerate(PIECES):
        made = dataset("image", part)
        values = vtk_to_numpy(made.GetPointData().GetArray("f"))
        values[:5] = 1e20 if number else values[:5]
        taken.append(take(made, ("f",), "point", WHOLE))
    pieces = [piece for _, piece in taken]
    fills = summary_of(pieces).fills.certain()
    assert fills == (float(np.float32(1e20)),)
    for number, (volume, piece) in enumerate(taken):
        joined = join(volume, piece, pieces, fills)
        assert joined.span[1][0] < 1e7
        assert joined.identity != join(volume, piece, pieces).identity
        valid = joined.read(piece.held).valid
        assert (valid is None) == (number == 0)
        assert number == 0 or np.count_nonzero(~valid) == 5


def test_pieces_that_are_no_partition_are_refused():
    taken = [take(dataset("image", part), ("f",), "point", WHOLE) for part in PIECES]
    pieces = [piece for _, piece in taken]
    for wrong in (pieces[:2], [*pieces, pieces[0]], [pieces[0], pieces[0], pieces[2]]):
        with pytest.raises(ConfigurationError, match="overlap or leave gaps"):
            join(*taken[0], wrong)
    with pytest.raises(VolumeError, match="no values"):
        join(None, None, [])
