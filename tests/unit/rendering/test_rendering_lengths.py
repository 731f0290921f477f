"""Pictures do not depend on the world's unit of length, nor on where its origin is."""

from __future__ import annotations

import numpy as np
import pytest
from support import nerfacc_on_cpu
from support.rendering_cases import DIMS, camera_at, transfer_for, turned_geometry, uneven_geometry
from support.sample_models import small_brick, small_index

from amgsrn_core import NeuralVolume
from amgsrn_core.kernels import load
from amgsrn_core.rendering import RenderSettings, TransferFunction, make_marcher
from amgsrn_core.rendering.blocks import BlockMarcher
from amgsrn_core.rendering.field import NeuralField
from amgsrn_core.rendering.nerfacc_marcher import NerfaccMarcher
from amgsrn_core.rendering.occupancy import MacroCells
from amgsrn_core.volume.axis import Axis
from amgsrn_core.volume.geometry import GridGeometry

SPACINGS = (1e-9, 1e-7, 1e-6, 1e-3, 1.0, 1e3, 1e6, 1e10, 1e12)
CASES = {
    **{f"spacing {s:g}": ("even", s, 0.0) for s in SPACINGS},
    **{f"origin {o:g}": ("even", 1.0, o) for o in (-1e5, 1e7, 1e8)},
    **{f"uneven {s:g}": ("uneven", s, 0.0) for s in (1e-9, 1e12)},
    "uneven, far away": ("uneven", 1.0, 1e8),
    **{f"turned {s:g}": ("turned", s, 0.0) for s in (1e-9, 1e12)},
    "turned, far away": ("turned", 1.0, -1e8),
}


def geometry_of(kind: str, unit: float, origin: float) -> GridGeometry:
    """Return a geometry in another unit of length, moved along all axes."""
    if kind == "even":
        geometry = GridGeometry.uniform(DIMS, (0.0, 0.0, 0.0), (1.0, 1.3, 0.7))
    else:
        geometry = uneven_geometry() if kind == "uneven" else turned_geometry()
    axes = tuple(Axis(a.name, unit * a.coordinates + origin) for a in geometry.axes)
    return GridGeometry(axes, geometry.direction)


def marchers(volume, transfer, settings):
    yield make_marcher(volume, transfer, settings, "torch")
    field, cells = NeuralField(volume), MacroCells.of_volume(volume)
    yield BlockMarcher(field, cells, transfer, settings)
    yield NerfaccMarcher(field, cells, transfer, settings)
    if load() is not None:
        yield make_marcher(volume, transfer, settings, "native")


@pytest.mark.parametrize("case", CASES)
def test_any_unit_of_length_gives_the_reference_s_picture(case, monkeypatch):
    nerfacc_on_cpu.install(monkeypatch)
    index = small_index(DIMS, geometry=geometry_of(*CASES[case]))
    volume = NeuralVolume(index, [small_brick(index, seed=3)])
    transfer = transfer_for(volume)
    table = transfer.table.copy()
    table[: len(table) // 2, 3] = 0  # something to skip
    transfer = TransferFunction(transfer.low, transfer.high, table)
    rays = camera_at(volume, 12, 8).rays()
    expected, *images = (
        marcher.march(rays)
        for marcher in marchers(volume, transfer, RenderSettings(samples_per_voxel=3.0))
    )
    assert expected[:, 3].max() > 0.05
    for image in images:
        assert np.abs(image - expected).max() < 1e-5
