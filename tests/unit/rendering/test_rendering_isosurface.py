"""Isosurfaces of models: closed, on the network's surface, and where contours of voxels are."""

from __future__ import annotations

import numpy as np
import pytest
from support.sample_models import SMALL_NETWORK, write_small_model, write_two_bricks
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkImageData, vtkPolyData
from vtkmodules.vtkFiltersCore import vtkContourFilter, vtkImplicitPolyDataDistance

from amgsrn_core import NetworkConfig, NeuralVolume, TrainingConfig, train, volume_from_array
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.rendering.isosurface import _Lattice, isosurface, may_have
from amgsrn_core.rendering.occupancy import MacroCells
from amgsrn_core.volume import GridGeometry

DIMS = (39, 34, 30)
GRID = GridGeometry.uniform(DIMS, origin=(1.0, -2.0, 3.0), spacing=(0.5, 1.0, 2.0))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("isosurface") / "model.amgsrn"
    write_two_bricks(path, dims=DIMS, geometry=GRID, components=("u", "v", "w"))
    return NeuralVolume.open(path, device="cpu")


def middle(model, component=0):
    return float(np.median(model.to_numpy()[component]))


def open_edges(triangles):
    pairs = [triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]
    edges = np.sort(np.concatenate(pairs), axis=1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    assert counts.max() <= 2
    return unique[counts == 1]


def are_on_faces(model, points, edges):
    index = model.geometry.world_to_index(points)
    last = np.array(DIMS[::-1]) - 1
    on = (index < 1e-6) | (index > last - 1e-6)
    return (on[edges[:, 0]] & on[edges[:, 1]]).any(axis=1)


def contour(model, isovalue):
    """Return VTK's contour of a reconstruction, in index space."""
    image = vtkImageData()
    image.SetDimensions(*DIMS[::-1])
    values = model.to_numpy()[0].ravel()
    image.GetPointData().SetScalars(numpy_to_vtk(values, deep=True))
    filter_ = vtkContourFilter()
    filter_.SetInputData(image)
    filter_.SetValue(0, isovalue)
    filter_.Update()
    return filter_.GetOutput()


def polydata(points, triangles):
    data, corners, cells = vtkPolyData(), vtkPoints(), vtkCellArray()
    corners.SetData(numpy_to_vtk(points, deep=True))
    starts = np.arange(0, 3 * len(triangles) + 1, 3)
    cells.SetData(*(numpy_to_vtkIdTypeArray(a, deep=True) for a in (starts, triangles.ravel())))
    data.SetPoints(corners)
    data.SetPolys(cells)
    return data


def distances(points, surface):
    """Return the distances of some points from a surface, ascending."""
    distance = vtkImplicitPolyDataDistance()
    distance.SetInput(surface)
    some = np.random.default_rng(0).permutation(points)[:3000].astype(float)
    return np.sort([abs(distance.EvaluateFunction(point)) for point in some])


def test_it_lies_where_the_contour_of_a_reconstruction_does(model):
    iso = middle(model)
    surface = isosurface(model, [iso])
    ours = model.geometry.world_to_index(surface.points)
    theirs = contour(model, iso)
    assert len(ours) > 500
    corners = vtk_to_numpy(theirs.GetPoints().GetData())
    own = polydata(ours, np.ascontiguousarray(surface.triangles))
    for found in (distances(ours, theirs), distances(corners, own)):
        assert found[int(0.998 * len(found))] < 0.5
        # Where this random field has kinks, a straight line between voxels is off by more.
        assert found[-1] < 0.8


def test_vertices_are_on_the_networks_surface_and_normals_are_its_gradients(model):
    iso = middle(model)
    surface = isosurface(model, [iso])
    values, gradients = model.sample_with_gradient(surface.points)
    span = model.index.value_maximum[0] - model.index.value_minimum[0]
    error = np.abs(values[:, 0] - iso) / span
    assert np.quantile(error, 0.99) < 1e-4
    np.testing.assert_allclose(surface.values, values, rtol=1e-4, atol=1e-3)
    slope = gradients[:, 0] / np.linalg.norm(gradients[:, 0], axis=1, keepdims=True)
    np.testing.assert_allclose(surface.normals, -slope, atol=1e-3)
    a, b, c = (surface.points[surface.triangles[:, i]] for i in range(3))
    facing = np.einsum("ni,ni->n", np.cross(b - a, c - a), surface.normals[surface.triangles[:, 0]])
    assert (facing > 0).mean() > 0.9


@pytest.mark.parametrize("tolerance", [0.5, 0.3, 2])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("dense", [0, 2])
def test_it_is_closed_but_for_the_volumes_faces(model, monkeypatch, tolerance, part, dense):
    monkeypatch.setattr("amgsrn_core.rendering.isosurface._DENSE", dense)
    monkeypatch.setattr("amgsrn_core.rendering.uniform_surface._POINTS", 20_000)
    isovalue = float(np.quantile(model.to_numpy()[0], part))
    surface = isosurface(model, [isovalue], tolerance=tolerance)
    assert len(surface.triangles) > 100
    edges = open_edges(surface.triangles)
    assert are_on_faces(model, surface.points, edges).all()


def test_cells_are_looked_at_that_overlap_a_macro_cell_that_counts(model, monkeypatch):
    active = np.random.default_rng(0).random(MacroCells.of_volume(model).bounds(0)[0].shape) > 0.9
    monkeypatch.setattr(
        "amgsrn_core.rendering.isosurface.may_have", lambda volume, isovalue, component: active
    )
    lattice = _Lattice(model, 0, 0.42)
    edge, size = MacroCells.of_volume(model).edge, (1 << lattice.levels) * lattice.scale
    counts = -(-lattice.cells // (1 << lattice.levels))
    overlaps = []
    for count, step, macro in zip(counts, size, active.shape):
        low = np.maximum(step * np.arange(count)[:, None], edge * np.arange(macro))
        high = np.minimum(step * np.arange(1, count + 1)[:, None], edge * np.arange(1, macro + 1))
        overlaps.append(high - low > 1e-6)
    expected = np.einsum("ai,bj,ck,ijk->abc", *overlaps, active.astype(int)) > 0
    for rows in (range(int(counts[0])), range(2, 5)):
        found = np.zeros_like(expected)
        found[tuple(lattice.candidates(0.0, rows))] = True
        assert np.array_equal(found[rows.start : rows.stop], expected[rows.start : rows.stop])
        assert not found[: rows.start].any() and not found[rows.stop :].any()


def test_what_macro_cells_skip_has_no_surface(tmp_path, monkeypatch):
    # A small ball in a large volume, whose cells the lattice does not fit.
    path = tmp_path / "model.amgsrn"
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, 48)] * 3, indexing="ij")
    ball = np.exp(-8 * ((x - 0.4) ** 2 + (y + 0.1) ** 2 + (z - 0.2) ** 2))
    network = NetworkConfig(grids=2, grid_shape=(8, 8, 8), width=8)
    train(volume_from_array(ball), path, network, TrainingConfig(iterations=60, device="cpu"))
    model = NeuralVolume.open(path, device="cpu")
    counts = []
    evaluate = NeuralVolume.sample_index

    def counted(self, points):
        counts.append(len(points))
        return evaluate(self, points)

    monkeypatch.setattr(NeuralVolume, "sample_index", counted)
    monkeypatch.setattr("amgsrn_core.rendering.isosurface._DENSE", 2)
    anything = np.full(MacroCells.of_volume(model).bounds(0)[0].shape, np.inf)
    for isovalue in np.linspace(0.4, 0.8, 9):
        counts.clear()
        skipped = isosurface(model, [isovalue], tolerance=0.42)
        few = sum(counts)
        with monkeypatch.context() as patch:
            patch.setattr(MacroCells, "bounds", lambda self, component: (-anything, anything))
            counts.clear()
            whole = isosurface(model, [isovalue], tolerance=0.42)
        assert len(skipped.triangles) == len(whole.triangles) > 100
        assert few < sum(counts) / 2


@pytest.mark.parametrize("dense", [0, 2])
def test_parts_together_are_the_whole(model, monkeypatch, dense):
    monkeypatch.setattr("amgsrn_core.rendering.isosurface._DENSE", dense)
    iso = middle(model, 1)
    whole = isosurface(model, [iso], component=1)
    parts = [isosurface(model, [iso], component=1, part=(i, 3)) for i in range(3)]
    assert sum(len(part.triangles) for part in parts) == len(whole.triangles)
    together = np.concatenate([part.points for part in parts])
    # The same points, some of them twice.
    distance = np.linalg.norm(whole.points[::100, None] - together, axis=2).min(axis=1)
    assert distance.max() < 1e-4


def test_several_values_and_the_magnitude(model):
    speed = np.linalg.norm(model.to_numpy(), axis=0)
    isovalues = np.quantile(speed, [0.3, 0.6])
    surface = isosurface(model, isovalues, component="magnitude")
    error = np.linalg.norm(surface.values, axis=1) - surface.isovalues
    assert set(surface.isovalues) == set(isovalues)
    assert np.quantile(np.abs(error), 0.99) < 1e-3 * np.ptp(speed)


def test_a_value_that_does_not_occur_makes_nothing(model):
    assert not may_have(model, 1e6, 0).any()
    surface = isosurface(model, [1e6])
    assert surface.points.shape == (0, 3) and surface.triangles.shape == (0, 3)
    assert surface.values.shape == (0, 3)


def test_it_ends_where_values_are_missing(tmp_path):
    path = tmp_path / "model.amgsrn"
    write_small_model(path, dims=DIMS, mask=True, network=SMALL_NETWORK)
    model = NeuralVolume.open(path, device="cpu")
    surface = isosurface(model, [float(np.nanmedian(model.to_numpy()))])
    assert len(surface.triangles)
    assert np.isfinite(surface.points).all()
    assert np.isfinite(surface.values).all()


def test_what_it_cannot_do_is_said(model):
    with pytest.raises(ConfigurationError, match="components 0 to 2, not 3"):
        isosurface(model, [1.0], component=3)
    with pytest.raises(ConfigurationError, match=r"0\.05 to 2 voxels"):
        isosurface(model, [1.0], tolerance=0)
