"""Fields, views and looks that the kernels' marchers draw, and the references."""

from __future__ import annotations

import dataclasses

import numpy as np

from amgsrn_core import NeuralVolume
from amgsrn_core.config import NetworkConfig
from amgsrn_core.model import BrickRecord
from amgsrn_core.rendering import Camera, Rays, TransferFunction
from amgsrn_core.volume import Axis, GridGeometry
from support.sample_models import small_brick, small_index

DIMS = (9, 11, 13)
NETWORK = NetworkConfig(grids=3, features=2, grid_shape=(4, 5, 6), layers=2, width=24)

EVEN = GridGeometry.uniform(DIMS, origin=(3.0, -2.0, 0.43), spacing=(0.5, 0.7, 0.6))
BENT = GridGeometry(
    (
        Axis("z", np.array([0.0, 0.1, 0.3, 0.7, 1.5, 2.5, 4.0, 4.5, 6.0])),
        Axis("y", np.cumsum(np.linspace(0.3, 1.2, DIMS[1]))),
        Axis.uniform("x", DIMS[2], -3.0, 0.5),
    ),
    np.array([[0.6, -0.8, 0.0], [0.8, 0.6, 0.1], [0.0, 0.0, 1.0]]),
)


def model(
    geometry=EVEN, components=("u", "v"), bricks=1, mask=False, seed=0, ghost=1
) -> NeuralVolume:
    """An untrained field of 1 or 6 bricks of uneven sizes, which do not agree at their borders."""
    index = small_index(DIMS, components, NETWORK, geometry=geometry)
    if bricks > 1:
        parts = [
            [slice(0, 4), slice(4, 9)],
            [slice(0, 11)],
            [slice(0, 3), slice(3, 4), slice(4, 13)],
        ]
        records = []
        for z in parts[0]:
            for y in parts[1]:
                for x in parts[2]:
                    extent = (z, y, x)
                    ghosted = tuple(
                        slice(max(0, s.start - ghost), min(n, s.stop + ghost))
                        for s, n in zip(extent, DIMS)
                    )
                    records.append(BrickRecord(extent=extent, ghosted=ghosted))
        index = dataclasses.replace(index, bricks=tuple(records))
    valid = np.random.default_rng(seed).random(DIMS) > 0.2
    states = []
    for number, record in enumerate(index.bricks):
        state = small_brick(index, seed=seed + number)
        if mask:
            state["mask"] = valid[record.ghosted]
        states.append(state)
    return NeuralVolume(index, states)


def camera(volume: NeuralVolume, **options) -> Camera:
    return Camera.orbit(
        volume.geometry.bounds, **{"width": 37, "height": 29, "azimuth": 30, "polar": 60, **options}
    )


def middle(volume: NeuralVolume, quantile: float = 0.5, component: int | str = 0) -> float:
    """A value that the field takes here and there."""
    block = volume.reconstruct_block()
    values = block.values if block.valid is None else block.values[:, block.valid]
    chosen = np.linalg.norm(values, axis=0) if component == "magnitude" else values[component]
    return float(np.quantile(chosen, quantile))


def colours(volume: NeuralVolume, component: int | str = 0, opacity: float = 0.4):
    """A random transfer function that leaves a third of the values out."""
    table = np.random.default_rng(1).random((32, 4))
    table[:, 3] *= opacity
    table[8:20, 3] = 0
    low, high = (middle(volume, q, component) for q in (0.02, 0.98))
    return TransferFunction(low, high, table)


LOOKS = {
    "composite": {},
    "dense": {"samples_per_voxel": 3.3},
    "sparse": {"samples_per_voxel": 0.3},
    "jittered": {"jitter": True, "seed": 5},
    "unit distance": {"unit_distance": 0.3},
    "shaded": {"shade": True},
    "shaded magnitude": {"shade": True, "component": "magnitude", "specular": 0.7},
    "lights": {
        "shade": True,
        "specular": 0.7,
        "lights": ((1, 0, 0, 0.8, 0.1, 0), (-1, 3, -2, 0, 0.2, 0.4), (0, 0, 1, 0, 0, 0.5)),
    },
    "second component": {"component": 1},
    "maximum": {"blend": "maximum"},
    "maximum magnitude": {"blend": "maximum", "component": "magnitude"},
    "limited": {"opacity_limit": 0.3},
    "no limit": {"opacity_limit": 1.0},
    "nothing at all": {"opacity_limit": 0.0},
}


def views(volume: NeuralVolume) -> dict[str, Rays]:
    x0, x1, y0, y1, z0, z1 = volume.geometry.bounds
    centre = np.array([x0 + x1, y0 + y1, z0 + z1]) / 2
    size = {"width": 33, "height": 21}
    aside = centre + np.array([9.0, 5.0, 7.0])
    depth = np.random.default_rng(0).random(33 * 21).astype("f4") * 0.2 + 0.8
    perspective = Camera.look_at(aside, centre, (0, 1, 0), near=1.0, far=40.0, **size)
    parallel = {"parallel_scale": 4.0, "near": 1.0, "far": 50.0}
    along = {"near": 0.1, "far": 30.0, **size}
    return {
        "perspective": perspective.rays(),
        "parallel": Camera.look_at(aside, centre, (0, 1, 0), **parallel, **size).rays(),
        "along an axis": Camera.look_at(
            centre + np.array([0, 0, 9]), centre, (0, 1, 0), **parallel, **size
        ).rays(),
        "inside": Camera.look_at(centre, centre + np.array([1, 2, 0.5]), (0, 1, 0), **along).rays(),
        "behind opaque things": perspective.rays(depth=depth),
        "on a face": Camera.look_at((x0, y0, z0), centre, (0, 1, 0), **along).rays(),
        "away": Camera.look_at(aside, aside + 1.0, (0, 1, 0), **along).rays(),
        "one pixel": Camera.look_at(aside, centre, (0, 1, 0), width=1, height=1).rays(),
        "no pixel": Camera.look_at(aside, centre, (0, 1, 0), width=0, height=0).rays(),
    }
