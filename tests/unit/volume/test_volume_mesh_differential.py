"""Meshes on a lattice against samplers that know nothing of VTK: loops over cells and boxes."""

from __future__ import annotations

import numpy as np
import pytest
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkIdList, vtkPoints
from vtkmodules.vtkCommonDataModel import (
    VTK_HEXAHEDRON,
    VTK_POLYHEDRON,
    VTK_PYRAMID,
    VTK_TETRA,
    VTK_WEDGE,
    vtkAMRBox,
    vtkAMRUtilities,
    vtkImageData,
    vtkMultiBlockDataSet,
    vtkOverlappingAMR,
    vtkUniformGrid,
    vtkUnstructuredGrid,
)

from amgsrn_core.config import DataConfig
from amgsrn_core.errors import VolumeError
from amgsrn_core.volume.vtk.data import volume_from_vtk
from amgsrn_core.volume.vtk.mesh import hide_fills, prepared
from amgsrn_core.volume.vtk.mesh_sampling import lattice_of, sampled

DUPLICATE, HIDDEN, REFINED = 1, 32, 8
CUBE = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)])
# Six tetrahedra that fill a cube, by its corners' numbers.
SIX = [(0, 1, 3, 7), (0, 1, 5, 7), (0, 2, 3, 7), (0, 2, 6, 7), (0, 4, 5, 7), (0, 4, 6, 7)]


def add(data, name, values):
    array = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
    array.SetName(name)
    data.AddArray(array)


def unstructured(points, cells):
    """Return a grid of (kind, corners) cells."""
    grid, where = vtkUnstructuredGrid(), vtkPoints()
    where.SetData(numpy_to_vtk(np.ascontiguousarray(points, dtype=np.float64), deep=True))
    grid.SetPoints(where)
    for kind, corners in cells:
        ids = vtkIdList()
        for corner in corners:
            ids.InsertNextId(int(corner))
        grid.InsertNextCell(kind, ids)
    return grid


def crooked(n=4, seed=0):
    """Return points [N, 3] and tetrahedra [M, 4] of a cube, its inner points moved about."""
    rng = np.random.default_rng(seed)
    axes = np.arange(n + 1)
    points = np.stack(np.meshgrid(axes, axes, axes, indexing="ij"), -1).reshape(-1, 3).astype(float)
    inner = ((points > 0) & (points < n)).all(axis=1)
    points[inner] += rng.uniform(-0.15, 0.15, (inner.sum(), 3))
    number = np.arange((n + 1) ** 3).reshape((n + 1,) * 3)
    tetrahedra = []
    for cell in np.ndindex(n, n, n):
        corners = [number[tuple(np.add(cell, corner[::-1]))] for corner in CUBE]
        tetrahedra += [[corners[i] for i in each] for each in SIX]
    return points, np.array(tetrahedra)


def on_lattice(dataset, association="point", dims=(11, 12, 13), fills=None, name="value"):
    """Return where the samples are [N, 3], their values [N], and which there are."""
    config = DataConfig(fill_values=fills) if fills else DataConfig()
    mesh = prepared(dataset, [name], association, config.fill_numbers)
    hide_fills(mesh, config, "Fill Values = {}")
    volume = volume_from_vtk(sampled(mesh, lattice_of(mesh, dims)), name)
    block = volume.read()
    z, y, x = np.meshgrid(*(axis.coordinates for axis in volume.geometry.axes), indexing="ij")
    valid = np.ones(volume.dims, bool) if block.valid is None else block.valid
    where = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    return where, block.values[0].ravel(), valid.ravel()


def weights(points, tetrahedra, where):
    """Return the barycentric coordinates [N, M, 4] of samples in all tetrahedra."""
    corners = points[tetrahedra]
    matrix = np.linalg.inv((corners[:, 1:] - corners[:, :1]).transpose(0, 2, 1))
    other = np.einsum("mij,nmj->nmi", matrix, where[:, None] - corners[None, :, 0])
    return np.concatenate([1 - other.sum(-1, keepdims=True), other], axis=-1)


def compare(points, tetrahedra, values, shown, found):
    """Compare what a lattice has with the tetrahedra that are shown; values are of their corners.

    A sample on a face may have that of either side, and one on the surface perhaps none.
    """
    where, sampled_values, valid = found
    inside = weights(points, tetrahedra, where)
    least = inside.min(axis=-1)
    for number, at in enumerate(least):
        surely, perhaps = (np.flatnonzero(shown & (at > limit)) for limit in (1e-3, -1e-3))
        there = (inside[number, perhaps] * values[perhaps]).sum(-1)
        known = there[np.isfinite(there)]
        if len(surely) and np.isfinite(values[surely]).all():
            assert valid[number], where[number]
        if not len(known):
            assert not valid[number], where[number]
        if valid[number]:
            off = np.abs(known - sampled_values[number]).min()
            assert off < 1e-2, (where[number], known, sampled_values[number])


@pytest.mark.parametrize("association", ["point", "cell"])
@pytest.mark.parametrize("hidden", [0, DUPLICATE, HIDDEN])
def test_tetrahedra_some_of_which_are_hidden(association, hidden):
    points, tetrahedra = crooked()
    rng = np.random.default_rng(1)
    grid = unstructured(points, [(VTK_TETRA, each) for each in tetrahedra])
    per_point, per_cell = rng.random(len(points)), rng.random(len(tetrahedra))
    # Both are called alike; which is meant says the association.
    add(grid.GetPointData(), "value", per_point)
    add(grid.GetCellData(), "value", per_cell)
    shown = np.ones(len(tetrahedra), bool)
    if hidden:
        shown = rng.random(len(tetrahedra)) > 0.3
        add(grid.GetCellData(), "vtkGhostType", np.where(shown, 0, hidden).astype(np.uint8))
    own = per_point[tetrahedra] if association == "point" else per_cell[:, None].repeat(4, 1)
    found = on_lattice(grid, association)
    assert found[2].any()
    compare(points, tetrahedra, own, shown, found)


@pytest.mark.parametrize(("number", "fills"), [(np.nan, None), (-99.0, "-99"), (1e20, "known")])
def test_points_without_a_value_take_their_cells_along(number, fills):
    points, tetrahedra = crooked(seed=2)
    rng = np.random.default_rng(3)
    values = rng.random(len(points))
    gone = rng.random(len(points)) < 0.05
    grid = unstructured(points, [(VTK_TETRA, each) for each in tetrahedra])
    add(grid.GetPointData(), "value", np.where(gone, number, values))
    own = np.where(gone, np.nan, values)[tetrahedra]
    found = on_lattice(grid, fills=fills)
    assert 0.05 < found[2].mean() < 1
    compare(points, tetrahedra, own, np.ones(len(tetrahedra), bool), found)


def test_cells_without_a_value_are_outside():
    points, tetrahedra = crooked(seed=4)
    rng = np.random.default_rng(5)
    values = np.where(rng.random(len(tetrahedra)) < 0.3, np.nan, rng.random(len(tetrahedra)))
    grid = unstructured(points, [(VTK_TETRA, each) for each in tetrahedra])
    add(grid.GetCellData(), "value", values)
    own = values[:, None].repeat(4, 1)
    found = on_lattice(grid, "cell")
    compare(points, tetrahedra, own, np.ones(len(tetrahedra), bool), found)


def test_cells_of_many_kinds_keep_what_is_linear():
    """A hexahedron, two wedges, two pyramids with tetrahedra between, and a polyhedral cube."""
    grid = unstructured(np.empty((0, 3)), [])
    corners = np.concatenate([CUBE + np.array([x, 0, 0]) for x in range(3)] + [[[2.5, 0.5, 0.5]]])
    points = vtkPoints()
    points.SetData(numpy_to_vtk(corners.astype(float), deep=True))
    grid.SetPoints(points)

    def cell(kind, ids):
        found = vtkIdList()
        for number in ids:
            found.InsertNextId(number)
        grid.InsertNextCell(kind, found)

    cell(VTK_HEXAHEDRON, (0, 1, 3, 2, 4, 5, 7, 6))
    cell(VTK_WEDGE, (8, 9, 11, 12, 13, 15))
    cell(VTK_WEDGE, (8, 11, 10, 12, 15, 14))
    faces = [(0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5)]
    for face in faces[:4]:
        cell(VTK_PYRAMID, [16 + number for number in face] + [24])
    for face in faces[4:]:
        a, b, c, d = (16 + number for number in face)
        cell(VTK_TETRA, (a, b, c, 24))
        cell(VTK_TETRA, (a, c, d, 24))
    # A cube above the first one, as a polyhedron.
    first = grid.GetNumberOfPoints()
    for corner in CUBE + np.array([0, 0, 1]):
        grid.GetPoints().InsertNextPoint(corner)
    stream = vtkIdList()
    for number in [6, *(n for face in faces for n in (4, *(first + corner for corner in face)))]:
        stream.InsertNextId(number)
    grid.InsertNextCell(VTK_POLYHEDRON, stream)
    where = vtk_to_numpy(grid.GetPoints().GetData())
    add(grid.GetPointData(), "value", where @ [1.0, -2.0, 0.5])
    places, values, valid = on_lattice(grid, dims=(13, 9, 19))
    inside = (places[:, 2] <= 1) | (places[:, 0] <= 1)
    surface = (np.abs(places[:, 2] - 1) < 1e-6) | (np.abs(places[:, 0] - 1) < 1e-6)
    np.testing.assert_array_equal(valid[~surface], inside[~surface])
    np.testing.assert_allclose(values[valid], (places @ [1.0, -2.0, 0.5])[valid], atol=1e-4)


def amr(rng):
    """A coarse box of 4 x 4 x 4 cells, of which 2 x 2 x 2 are refined; random values on cells."""
    whole = vtkOverlappingAMR()
    whole.Initialize(2, [1, 1])
    whole.SetOrigin([0.0, 0.0, 0.0])
    whole.SetGridDescription(8)  # x, y, z
    boxes = []
    for level, (low, high, step) in enumerate(((0, 3, 1.0), (2, 5, 0.5))):
        whole.SetSpacing(level, [step] * 3)
        whole.SetAMRBox(level, 0, vtkAMRBox([low] * 3, [high] * 3))
        cells = high - low + 1
        grid = vtkUniformGrid()
        grid.SetOrigin([low * step] * 3)
        grid.SetSpacing([step] * 3)
        grid.SetDimensions([cells + 1] * 3)
        values = rng.random((cells,) * 3)
        add(grid.GetCellData(), "value", values.ravel())
        whole.SetDataSet(level, 0, grid)
        boxes.append((low * step, step, values))
    whole.SetRefinementRatio(0, 2)
    vtkAMRUtilities.BlankCells(whole)
    return whole, boxes


def test_the_finest_box_of_an_amr_counts():
    whole, boxes = amr(np.random.default_rng(6))
    where, values, valid = on_lattice(whole, "cell", dims=(14, 14, 14))
    assert valid.all()
    inner = ((where > 1) & (where < 3)).all(axis=1)
    expected = np.empty(len(where))
    for (low, step, own), chosen in zip(boxes, (~inner, inner)):
        cell = np.clip(np.floor((where[chosen] - low) / step).astype(int), 0, len(own) - 1)
        x, y, z = cell.T
        expected[chosen] = own[z, y, x]
    off = np.abs(where * 2 - np.rint(where * 2)).min(axis=1) > 1e-3
    np.testing.assert_allclose(values[off], expected[off], atol=1e-6)


def test_blocks_of_all_kinds_of_which_some_have_it_elsewhere():
    """The array is on points here and on cells there: only what was asked for counts."""
    rng = np.random.default_rng(7)
    points, tetrahedra = crooked(2)
    mesh = unstructured(points, [(VTK_TETRA, each) for each in tetrahedra])
    corner = rng.random(len(points))
    add(mesh.GetPointData(), "value", corner)
    image = vtkImageData()
    image.SetDimensions(3, 3, 3)
    image.SetOrigin(2.0, 0.0, 0.0)
    own = rng.random((2, 2, 2))
    add(image.GetCellData(), "value", own.ravel())
    empty = unstructured(np.empty((0, 3)), [])
    whole = vtkMultiBlockDataSet()
    for number, block in enumerate((mesh, None, image, empty)):
        whole.SetBlock(number, block)
    found = on_lattice(whole, "point", dims=(7, 7, 7))
    assert found[0].max() == 2.0
    compare(points, tetrahedra, corner[tetrahedra], np.ones(len(tetrahedra), bool), found)
    where, values, valid = on_lattice(whole, "cell", dims=(6, 6, 6))
    assert where[:, 0].min() == 2.0 and valid.all()
    x, y, z = np.floor(np.clip(where - [2, 0, 0], 0, 1.999)).astype(int).T
    np.testing.assert_allclose(values, own[z, y, x], atol=1e-6)


@pytest.mark.parametrize("dims", [(5, 6, 1), (1, 6, 7), (5, 1, 1)])
def test_an_image_of_one_layer_is_no_volume(dims):
    image = vtkImageData()
    image.SetDimensions(dims)
    add(image.GetPointData(), "value", np.arange(np.prod(dims), dtype=float))
    with pytest.raises(VolumeError, match=r"at least 2 along every axis\.$"):
        volume_from_vtk(image, "value")


def test_an_image_of_nothing_is_no_volume():
    with pytest.raises(VolumeError, match=r"\.$"):
        volume_from_vtk(vtkImageData(), "value")
