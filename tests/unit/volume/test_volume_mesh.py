"""Meshes as volumes: the lattice's values, its mask, and how well both stand for the mesh."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkDataArray, vtkIdList, vtkPoints
from vtkmodules.vtkCommonDataModel import (
    VTK_POLYHEDRON,
    vtkMultiBlockDataSet,
    vtkPolyData,
    vtkSphere,
    vtkStructuredGrid,
    vtkTable,
    vtkUnstructuredGrid,
)
from vtkmodules.vtkFiltersExtraction import vtkExtractGrid
from vtkmodules.vtkFiltersGeneral import vtkClipDataSet, vtkDataSetTriangleFilter
from vtkmodules.vtkFiltersGeometry import vtkDataSetSurfaceFilter
from vtkmodules.vtkFiltersModeling import vtkSelectEnclosedPoints
from vtkmodules.vtkImagingCore import vtkRTAnalyticSource

from amgsrn_core.config import DataConfig
from amgsrn_core.errors import VariableNotFoundError, VolumeError
from amgsrn_core.runs.series import refuse_other_field
from amgsrn_core.volume import export_volume, open_volume
from amgsrn_core.volume.curvilinear import Coordinates
from amgsrn_core.volume.source import identity_of
from amgsrn_core.volume.volume import Volume
from amgsrn_core.volume.vtk.data import volume_from_vtk
from amgsrn_core.volume.vtk.known import SAMPLING
from amgsrn_core.volume.vtk.mesh import (
    MeshRecord,
    default_array,
    hide_fills,
    is_mesh,
    is_spherical,
    prepared,
)
from amgsrn_core.volume.vtk.mesh_sampling import (
    Agreement,
    agreement,
    lattice_of,
    lattice_values,
    note_sampling,
    sampled,
)
from amgsrn_core.volume.vtk.shared_points import keys_within, shared_once


def tetrahedra():
    """A ball of tetrahedra whose values are 2 x - y + 3 z: what interpolation keeps."""
    source = vtkRTAnalyticSource()
    source.SetWholeExtent(-5, 5, -5, 5, -5, 5)
    cut = vtkDataSetTriangleFilter()
    cut.SetInputConnection(source.GetOutputPort())
    ball = vtkSphere()
    ball.SetRadius(4.3)
    clip = vtkClipDataSet()
    clip.SetInputConnection(cut.GetOutputPort())
    clip.SetClipFunction(ball)
    clip.InsideOutOn()
    clip.Update()
    return with_linear(clip.GetOutput())


def with_linear(grid, name="linear"):
    points = vtk_to_numpy(grid.GetPoints().GetData()).astype(np.float64)
    add(grid.GetPointData(), name, points @ [2.0, -1.0, 3.0])
    grid.GetPointData().SetActiveScalars(name)
    return grid


def add(data, name, values):
    array = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
    array.SetName(name)
    data.AddArray(array)
    return array


def pipe(low=0.0, high=np.pi / 2):
    """A part of a pipe of radius 1 to 2 round z, as a curvilinear grid."""
    z, t, r = np.meshgrid(
        np.linspace(0, 1, 8), np.linspace(low, high, 41), np.linspace(1, 2, 9), indexing="ij"
    )
    points = vtkPoints()
    where = np.stack([r * np.cos(t), r * np.sin(t), z], axis=-1).reshape(-1, 3)
    points.SetData(numpy_to_vtk(where, deep=True))
    grid = vtkStructuredGrid()
    grid.SetDimensions(9, 41, 8)
    grid.SetPoints(points)
    return with_linear(grid)


def sample(dataset, arrays=("linear",), association="point", dims=(0, 0, 0), data=None):
    """Return the volume, the mesh and how well the lattice stands for it."""
    config = data or DataConfig()
    mesh = prepared(dataset, arrays, association, config.fill_numbers)
    notes = hide_fills(mesh, config, "Fill Values = {}")
    image = sampled(mesh, lattice_of(mesh, dims))
    return (
        volume_from_vtk(image, arrays),
        image,
        agreement(mesh, lattice_values(image, arrays)),
        notes,
    )


def places(volume: Volume) -> np.ndarray:
    """Return where the samples are, [z, y, x, 3] with x, y, z."""
    z, y, x = np.meshgrid(*(axis.coordinates for axis in volume.geometry.axes), indexing="ij")
    return np.stack([x, y, z], axis=-1)


def is_inside(volume: Volume) -> np.ndarray:
    block = volume.read()
    return np.ones(volume.dims, bool) if block.valid is None else block.valid


def enclosed(grid, volume):
    """Return which samples are inside the mesh's surface, by VTK's ray casting."""
    surface = vtkDataSetSurfaceFilter()
    surface.SetInputData(grid)
    surface.Update()
    points = vtkPoints()
    points.SetData(numpy_to_vtk(places(volume).reshape(-1, 3), deep=True))
    asked = vtkPolyData()
    asked.SetPoints(points)
    select = vtkSelectEnclosedPoints()
    select.SetInputData(asked)
    select.SetSurfaceData(surface.GetOutput())
    select.SetTolerance(1e-9)
    select.Update()
    found = select.GetOutput().GetPointData().GetArray("SelectedPoints")
    return vtk_to_numpy(found).reshape(volume.dims) != 0


def test_a_lattice_has_the_meshs_values_inside_and_none_outside():
    grid = tetrahedra()
    volume, _, back, _ = sample(grid, dims=(24, 26, 28))
    assert volume.dims == (24, 26, 28)
    np.testing.assert_allclose(volume.geometry.bounds, grid.GetBounds(), rtol=1e-6)
    inside = is_inside(volume)
    assert 0.4 < inside.mean() < 0.5
    # An independent look at each sample; those on the surface are anybody's.
    radius = np.linalg.norm(places(volume), axis=-1)
    differs = inside != enclosed(grid, volume)
    assert not differs[radius < 4.2].any() and not differs[radius > 4.31].any()
    assert not inside[radius > 4.31].any() and inside[radius < 3.9].all()
    values = volume.read().values[0]
    np.testing.assert_allclose(values[inside], (places(volume) @ [2, -1, 3])[inside], atol=1e-4)
    assert back.points == grid.GetNumberOfPoints() > back.compared > 0.5 * back.points
    assert back.max_error < 2.5  # at the surface, where some of the samples around are outside


def test_a_curvilinear_grid_is_masked_outside_its_shape():
    volume, _, back, _ = sample(pipe(), dims=(9, 60, 61))
    x, y, _ = np.moveaxis(places(volume), -1, 0)
    radius, inside = np.hypot(x, y), is_inside(volume)
    chord = np.cos(np.pi / 160)  # between its points the mesh is straight
    assert not inside[(radius < chord) | (radius > 2)].any()
    assert inside[(radius > 1) & (radius < 2 * chord)].all()
    assert back.psnr > 40 and back.compared > 0.85 * back.points


def test_polyhedra_are_sampled():
    grid = vtkUnstructuredGrid()
    points = vtkPoints()
    for z in (0.0, 2.0):
        for corner in range(6):
            angle = corner * np.pi / 3
            points.InsertNextPoint(np.cos(angle), np.sin(angle), z)
    grid.SetPoints(points)
    faces = [list(range(6)), list(range(6, 12))]
    faces += [[i, (i + 1) % 6, 6 + (i + 1) % 6, 6 + i] for i in range(6)]
    stream = vtkIdList()
    stream.InsertNextId(len(faces))
    for face in faces:
        for number in [len(face), *face]:
            stream.InsertNextId(number)
    grid.InsertNextCell(VTK_POLYHEDRON, stream)
    volume, _, _, _ = sample(with_linear(grid), dims=(8, 40, 40))
    x, y, _ = np.moveaxis(places(volume), -1, 0)
    turned = [np.abs(x * np.cos(a) + y * np.sin(a)) for a in np.pi / 6 + np.pi / 3 * np.arange(3)]
    far = np.max(turned, axis=0) / np.cos(np.pi / 6)
    inside = is_inside(volume)
    assert inside[far < 0.99].all() and not inside[far > 1.01].any()


def test_a_cells_value_holds_all_over_it():
    grid = pipe()
    layers = np.repeat(np.arange(7.0), 40 * 8)
    add(grid.GetCellData(), "layer", layers)
    volume, _, back, _ = sample(grid, ("layer",), "cell", (15, 20, 20))
    values, inside = volume.read().values[0], is_inside(volume)
    assert set(np.unique(values[inside])) == set(range(7))
    z = places(volume)[..., 2]
    off = np.abs(z * 7 - np.rint(z * 7)) > 0.01
    np.testing.assert_array_equal(values[inside & off], np.floor(z * 7)[inside & off])
    assert back.points == grid.GetNumberOfCells()


def test_names_units_and_components_are_kept_and_whole_numbers_not_rounded():
    grid = pipe()
    flow = add(grid.GetPointData(), "flow", vtk_to_numpy(grid.GetPoints().GetData()).copy())
    for number, name in enumerate(("east", "north", "up")):
        flow.SetComponentName(number, name)
    flow.GetInformation().Set(vtkDataArray.UNITS_LABEL(), "m s-1")
    x = vtk_to_numpy(grid.GetPoints().GetData())[:, 0]
    add(grid.GetPointData(), "count", np.rint(10 * x).astype(np.uint8))
    volume, _, _, _ = sample(grid, ("flow", "count"), dims=(8, 20, 20))
    assert volume.components == ("east", "north", "up", "count")
    assert volume.units == ("m s-1",) * 3 + ("",)
    counts = volume.read().values[3][is_inside(volume)]
    assert (counts != np.rint(counts)).any()
    # The data set itself is as it was.
    assert grid.GetPointData().GetArray("count").GetDataTypeAsString() == "unsigned char"


def test_blocks_that_lack_an_array_are_left_out():
    whole = vtkMultiBlockDataSet()
    other = pipe(np.pi / 2, np.pi)
    other.GetPointData().RemoveArray("linear")
    whole.SetBlock(0, pipe())
    whole.SetBlock(2, other)
    mesh = prepared(whole, ["linear"], "point")
    assert (mesh.record.blocks, mesh.record.lacking) == (2, 1)
    volume, _, _, _ = sample(whole, dims=(8, 20, 20))
    assert volume.geometry.bounds[0] == pytest.approx(0.0, abs=1e-6)
    # Both blocks together, where both have it.
    whole.SetBlock(2, pipe(np.pi / 2, np.pi))
    volume, _, _, _ = sample(whole, dims=(8, 20, 41))
    assert volume.geometry.bounds[0] == pytest.approx(-2.0)
    assert is_inside(volume).mean() == pytest.approx(0.57, abs=0.05)
    assert default_array(whole) == "linear"


def test_hidden_cells_are_outside():
    grid = pipe()
    for number in range(grid.GetNumberOfCells()):
        if number >= 3 * 40 * 8:  # from z = 3/7 on
            grid.BlankCell(number)
    volume, _, _, _ = sample(grid, dims=(15, 20, 20))
    z = places(volume)[..., 2]
    inside = is_inside(volume)
    assert inside[z < 3 / 7].any() and not inside[z > 3 / 7 + 1e-6].any()


def test_fill_values_are_hidden_before_they_are_interpolated():
    grid = pipe()
    z = vtk_to_numpy(grid.GetPoints().GetData())[:, 2]
    add(grid.GetPointData(), "known", np.where(z > 0.99, 1e20, z).astype(np.float32))
    add(grid.GetPointData(), "named", np.where(z > 0.99, -99, 7 * z).astype(np.int16))
    for name, data in (("known", None), ("named", DataConfig(fill_values="-99"))):
        volume, _, _, notes = sample(grid, (name,), dims=(15, 20, 20), data=data)
        assert bool(notes) == (name == "known")
        values, inside = volume.read().values[0], is_inside(volume)
        assert values[inside].min() >= 0 and values[inside].max() <= 6
        assert not inside[places(volume)[..., 2] > 6 / 7 + 1e-6].any()


def test_a_mesh_that_moves_out_of_its_first_lattice_is_noticed():
    first, moved = pipe(), pipe()
    points = vtk_to_numpy(moved.GetPoints().GetData())
    lattice = lattice_of(prepared(first, ["linear"], "point"), (0, 0, 0))
    assert not lattice.misses(prepared(moved, ["linear"], "point").record.size)
    points[:, 0] += 0.5
    moved.GetPoints().Modified()
    mesh = prepared(moved, ["linear"], "point")
    assert lattice.misses(mesh.record.size)
    # What is left of it is masked as everything else.
    volume = volume_from_vtk(sampled(mesh, lattice), "linear")
    assert not is_inside(volume)[places(volume)[..., 0] < 0.5].any()


def test_how_a_volume_was_made_travels_in_its_attributes():
    _, image, _, _ = sample(pipe(), dims=(8, 9, 10))
    note_sampling(image, "Sampled.")
    attributes = volume_from_vtk(image, "linear").attributes
    assert attributes is not None and attributes.file == {SAMPLING: "Sampled."}


def test_agreement_is_that_of_all_parts():
    def part(*numbers):
        count, squares, largest, low, high = numbers
        return Agreement(count, count, *(np.array([n]) for n in (squares, largest, low, high)))

    both = part(3, 1.0, 1.0, 0.0, 4.0).merged(part(1, 15.0, 3.0, 2.0, 8.0))
    assert both.psnr == pytest.approx(10 * np.log10(64 / 4))
    assert both.max_error == 3.0
    assert np.isnan(part(0, 0.0, 0.0, np.inf, -np.inf).psnr)


def test_points_that_several_ranks_have_count_once():
    whole = prepared(pipe(), ["linear"], "point")
    lattice = lattice_of(whole, (9, 20, 21))
    values = lattice_values(sampled(whole, lattice), ["linear"])
    parts = [prepared(layers(*ends), ["linear"], "point") for ends in ((0, 3), (3, 5), (5, 7))]
    record = functools.reduce(MeshRecord.merged, (part.record for part in parts))
    assert record.size.points == 10 * 41 * 9
    boxes = [part.record.size.bounds for part in parts]
    every = [
        keys_within(part, boxes[:number] + boxes[number + 1 :]) for number, part in enumerate(parts)
    ]
    assert [len(own) for own in every] == [41 * 9, 2 * 41 * 9, 41 * 9]
    parts = [
        shared_once(dataclasses.replace(part, record=record), every, number)
        for number, part in enumerate(parts)
    ]
    assert {part.record.size.points for part in parts} == {whole.record.size.points}
    expected = agreement(whole, values)
    found = functools.reduce(Agreement.merged, (agreement(part, values) for part in parts))
    assert (found.points, found.compared) == (expected.points, expected.compared)
    assert found.psnr == pytest.approx(expected.psnr, rel=1e-12)
    # Another value at the same place is another point.
    parts[0].dataset.GetPointData().GetArray("linear").FillComponent(0, 1.0)
    own = keys_within(parts[0], boxes[1:])
    assert not np.isin(own, every[1]).any()


def layers(first, last):
    """Return some layers of the pipe."""
    cut = vtkExtractGrid()
    cut.SetInputData(pipe())
    cut.SetVOI(0, 8, 0, 40, first, last)
    cut.Update()
    return cut.GetOutput()


def surface():
    found = vtkDataSetSurfaceFilter()
    found.SetInputData(pipe())
    found.Update()
    return found.GetOutput()


def flat():
    grid = pipe()
    points = vtk_to_numpy(grid.GetPoints().GetData())
    points[:, 2] = 1.0
    return grid


@pytest.mark.parametrize(
    ("dataset", "kind", "sentence"),
    [
        (vtkUnstructuredGrid, VolumeError, "is empty: it has no points"),
        (vtkMultiBlockDataSet, VolumeError, "is empty: it has no points"),
        (surface, VolumeError, r"\(vtkPolyData\) has no cells with a volume"),
        (flat, VolumeError, r"\(vtkStructuredGrid\) has no extent along z"),
    ],
)
def test_what_has_no_volume_is_refused(dataset, kind, sentence):
    with pytest.raises(kind, match=sentence):
        sample(dataset())


def test_an_array_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(VariableNotFoundError, match=r"cell array 'linear'.*linear \(point\)"):
        sample(pipe(), association="cell")


def test_a_curvilinear_grid_is_a_volume_in_index_space(tmp_path):
    grid = pipe()
    volume = volume_from_vtk(grid, "linear")
    assert volume.dims == (8, 41, 9) and volume.geometry.bounds == (0, 8, 0, 40, 0, 7)
    points = vtk_to_numpy(grid.GetPoints().GetData()).reshape(8, 41, 9, 3)
    assert volume.coordinates == Coordinates.of_points(points)
    values = volume.read().values[0]
    np.testing.assert_allclose(values, points @ [2.0, -1.0, 3.0])
    again = open_volume(export_volume(volume, tmp_path / "pipe"))
    assert again.coordinates == volume.coordinates
    # What tells two runs apart: the same values on other points are other data.
    moved = pipe(0.0, np.pi / 3)
    moved.GetPointData().Initialize()
    moved.GetPointData().AddArray(grid.GetPointData().GetArray("linear"))
    other = volume_from_vtk(moved, "linear")
    assert identity_of(other) != identity_of(volume)
    with pytest.raises(VolumeError, match="on another grid"):
        refuse_other_field(1, other, volume)
    add(grid.GetCellData(), "layer", np.arange(7.0 * 40 * 8))
    cells = volume_from_vtk(grid, "layer", "cell")
    assert cells.dims == (7, 40, 8) and cells.geometry.origin == (0.5, 0.5, 0.5)
    assert cells.coordinates is not None
    corners = [points[k : k + 2, j : j + 2, i : i + 2] for k, j, i in ((0, 0, 0), (6, 39, 7))]
    for corner, at in zip(corners, (0, -1)):
        centre = cells.coordinates.at(*([[0], [6]][at], [[0], [39]][at], [[0], [7]][at]))
        np.testing.assert_allclose(centre[0, 0, 0], corner.mean(axis=(0, 1, 2)))


def test_layers_that_are_spheres_are_noticed():
    grid = pipe()
    assert not is_spherical(grid)
    points = vtk_to_numpy(grid.GetPoints().GetData())
    points /= np.linalg.norm(points, axis=1)[:, None]
    points *= np.repeat(np.linspace(1, 2, 8), 41 * 9)[:, None]
    assert is_spherical(grid)


def test_what_is_a_mesh():
    image = vtkRTAnalyticSource()
    image.Update()
    assert is_mesh(pipe()) and is_mesh(vtkMultiBlockDataSet())
    assert not any(map(is_mesh, (None, image.GetOutput(), vtkTable())))
