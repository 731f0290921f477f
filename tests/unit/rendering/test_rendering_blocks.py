"""Marching in blocks, in plain PyTorch and by nerfacc's operators, against the reference.

nerfacc's CUDA operators are replaced by PyTorch.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from support import nerfacc_on_cpu
from support.rendering_cases import camera_at, models, parallel_camera, transfer_for

from amgsrn_core.rendering import RenderSettings, TransferFunction, make_marcher
from amgsrn_core.rendering.blocks import BlockMarcher
from amgsrn_core.rendering.field import NeuralField
from amgsrn_core.rendering.nerfacc_marcher import NerfaccMarcher, occupancy_grid
from amgsrn_core.rendering.occupancy import MacroCells


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    return models(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def operators(monkeypatch):
    nerfacc_on_cpu.install(monkeypatch)


@pytest.fixture(params=[BlockMarcher, NerfaccMarcher], ids=["blocks", "nerfacc"])
def kind_of_marcher(request):
    return request.param


@pytest.fixture
def marcher_for(kind_of_marcher):
    def make(volume, transfer, settings) -> BlockMarcher:
        cells = MacroCells.of_volume(volume)
        return kind_of_marcher(NeuralField(volume), cells, transfer, settings)

    return make


@pytest.fixture
def check(marcher_for):
    def compare(volume, camera, transfer, settings):
        rays = camera.rays()
        image = marcher_for(volume, transfer, settings).march(rays)
        expected = make_marcher(volume, transfer, settings, "torch").march(rays)
        assert expected[:, 3].max() > 0.05
        # Where a ray ends hangs on the last bit.
        assert np.quantile(np.abs(image - expected), 0.999) < 1e-6
        assert np.abs(image - expected).max() < 0.02

    return compare


def high_pass(volume) -> TransferFunction:
    """Show the upper half of the values, so that there is something to skip."""
    transfer = transfer_for(volume)
    table = transfer.table.copy()
    table[: len(table) // 2, 3] = 0
    return TransferFunction(transfer.low, transfer.high, table)


@pytest.mark.parametrize("kind", ["plain", "uneven", "turned", "masked", "vectors", "bricks"])
def test_it_agrees_with_the_reference(volumes, check, kind):
    volume = volumes[kind]
    check(volume, camera_at(volume), high_pass(volume), RenderSettings(samples_per_voxel=3.0))


@pytest.mark.parametrize(
    "settings",
    [
        RenderSettings(jitter=True),
        RenderSettings(shade=True),
        RenderSettings(crop=(1.0, 7.0, 1.0, 6.0, 2.0, 6.0)),
        RenderSettings(unit_distance=0.2, opacity_limit=0.8, samples_per_voxel=20.0),
    ],
)
def test_it_agrees_with_other_settings(volumes, check, settings):
    volume = volumes["plain"]
    check(volume, camera_at(volume), high_pass(volume), settings)


def test_parallel_rays_and_a_camera_inside(volumes, check):
    volume = volumes["plain"]
    for camera in (parallel_camera(volume), camera_at(volume, zoom=0.1, view_angle=70.0)):
        check(volume, camera, high_pass(volume), RenderSettings())


def test_empty_cells_are_not_evaluated(volumes, kind_of_marcher):
    volume = volumes["plain"]

    class Counting(NeuralField):
        points = 0

        def values(self, points):
            Counting.points += len(points)
            return super().values(points)

    camera, transfer = camera_at(volume), high_pass(volume)
    field, known = Counting(volume), MacroCells.of_volume(volume)
    cells = dataclasses.replace(known, minima=known.minima.copy(), maxima=known.maxima.copy())
    cells.minima[:], cells.maxima[:] = np.inf, -np.inf
    image = kind_of_marcher(field, cells, transfer, RenderSettings()).march(camera.rays())
    assert not image.any() and Counting.points == 0
    cells.minima[..., :1], cells.maxima[..., :1] = -np.inf, np.inf  # one layer along x
    kind_of_marcher(field, cells, transfer, RenderSettings()).march(camera.rays())
    partly, Counting.points = Counting.points, 0
    cells.minima[:], cells.maxima[:] = -np.inf, np.inf
    kind_of_marcher(field, cells, transfer, RenderSettings()).march(camera.rays())
    assert 0 < partly < 0.6 * Counting.points


def test_fewer_rays_are_marched_where_memory_runs_out(volumes, kind_of_marcher):
    volume = volumes["plain"]

    class Small(NeuralField):
        failures = 0

        def values(self, points):
            if len(points) > 10_000:
                Small.failures += 1
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().values(points)

    camera, transfer = camera_at(volume, 60, 50), high_pass(volume)
    cells = MacroCells.of_volume(volume)
    expected, image = (
        kind_of_marcher(field(volume), cells, transfer, RenderSettings()).march(camera.rays())
        for field in (NeuralField, Small)
    )
    assert Small.failures and np.abs(image - expected).max() < 1e-6


def test_opaque_rays_are_left_behind(volumes, marcher_for):
    volume = volumes["plain"]
    transfer = TransferFunction(-100, 100, [[1, 1, 1, 1]] * 2)
    image = marcher_for(volume, transfer, RenderSettings()).march(camera_at(volume).rays())
    assert set(np.unique(image[:, 3])) == {0.0, 1.0}


def test_pytorch_skips_empty_space_where_there_is_nothing_faster(volumes):
    volume = volumes["plain"]
    transfer, surface = high_pass(volume), RenderSettings(blend="isosurface", isovalues=(0.1,))
    made = {
        "blocks": make_marcher(volume, transfer, RenderSettings(), "blocks"),
        "torch": make_marcher(volume, transfer, RenderSettings(), "torch"),
        "other": make_marcher(volume, transfer, surface, "blocks"),
    }
    assert {name: marcher.backend for name, marcher in made.items()} == {
        "blocks": "blocks",
        "torch": "torch",
        "other": "torch",
    }


def test_an_uneven_axis_keeps_what_its_cells_show(volumes):
    geometry = volumes["uneven"].geometry
    random = np.random.default_rng(0)
    occupied = random.random((2, 2, 3)) > 0.5
    boxes, low, high = occupancy_grid(occupied, 4, geometry)
    index = random.random((2000, 3)) * (np.array(geometry.dims[::-1]) - 1)
    x, y, z = np.minimum(index // 4, np.array(occupied.shape[::-1]) - 1).astype(int).T
    place = (geometry.index_to_world(index) - low) / (high - low)
    found = boxes[tuple((place * boxes.shape).astype(int).T)]
    assert found[occupied[z, y, x]].all()
    assert not boxes.all()
