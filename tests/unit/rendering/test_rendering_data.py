"""Data that are rendered as a model of themselves."""

from __future__ import annotations

import numpy as np
import pytest
from support.rendering_cases import camera_at, uneven_geometry

from amgsrn_core import volume_from_array
from amgsrn_core.rendering import RenderSettings, TransferFunction, make_marcher
from amgsrn_core.rendering.data import model_of_data
from amgsrn_core.rendering.occupancy import MacroCells

DIMS = (9, 8, 10)


def smooth_volume(**options):
    """Return a volume of two components with different ranges."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in DIMS], indexing="ij")
    values = np.stack([300 + np.sin(3 * x + y) * z, -2 * x * y + z]).astype(np.float32)
    return volume_from_array(values, **{"name": "wind", "components": ("u", "v"), **options})


def interpolated(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return values [C, z, y, x] at points [N, 3] (x, y, z) in index space, linearly."""
    low = np.minimum(points.astype(int), np.array(values.shape[:0:-1]) - 2)
    part = points - low
    total = 0.0
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, part, 1 - part), axis=1)
        x, y, z = (low + corner).T
        total = total + weight * values[:, z, y, x]
    return total.T


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_the_field_is_the_data_interpolated_linearly(backend):
    volume = smooth_volume()
    model = model_of_data(volume, "cpu", backend=backend)
    points = np.random.default_rng(0).random((500, 3)) * (np.array(DIMS[::-1]) - 1)
    expected = interpolated(volume.read().values.astype(float), points)
    assert np.abs(model.sample_index(points) - expected).max() < 1e-4
    cells = MacroCells.of_volume(model)
    z, y, x = (points[:, ::-1] // cells.edge).astype(int).T
    assert (cells.minima[:2, z, y, x] <= expected.T).all()
    assert (cells.maxima[:2, z, y, x] >= expected.T).all()


def test_an_axis_may_be_longer_than_that_of_any_feature_grid():
    values = np.random.default_rng(0).random((2, 3, 3000)).astype(np.float32)
    model = model_of_data(volume_from_array(values), "cpu")
    assert model.sample(np.array([[2717.0, 1.0, 1.0]])) == pytest.approx(values[1, 1, 2717])


def test_missing_voxels_are_transparent():
    values = np.ones((6, 7, 8), dtype=np.float32)
    values[3, 3, 3] = 2.0
    values[:2] = np.nan
    model = model_of_data(volume_from_array(values), "cpu")
    there = model.sample_index(np.array([[4.0, 4, 1.6], [4, 4, 1.4], [3, 3, 3]]))
    assert np.isnan(there[:, 0]).tolist() == [False, True, False]
    assert there[2, 0] == pytest.approx(2.0)


def test_every_marcher_shows_the_same():
    model = model_of_data(smooth_volume(geometry=uneven_geometry()), "cpu")
    table = np.random.default_rng(1).random((16, 4))
    table[:8, 3] = 0
    transfer = TransferFunction(299.0, 301.0, table)
    settings = RenderSettings(shade=True)
    rays = camera_at(model).rays()
    image, reference = (
        make_marcher(model, transfer, settings, backend).march(rays)
        for backend in ("auto", "torch")
    )
    assert reference[:, 3].max() > 0.1
    assert np.abs(image - reference).max() < 0.01
