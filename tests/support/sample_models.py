"""Small untrained models for tests: an index and bricks that fit it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from amgsrn_core.config import NetworkConfig, StorageConfig
from amgsrn_core.model import (
    BrickRecord,
    ModelIndex,
    SourceRecord,
    TrainingRecord,
    parameter_shapes,
    write_archive,
)
from amgsrn_core.volume import TimeAxis
from amgsrn_core.volume.geometry import GridGeometry
from amgsrn_core.volume.volume import MissingValues

SMALL_NETWORK = NetworkConfig(grids=2, features=2, grid_shape=(3, 4, 5), layers=2, width=8)


def small_index(
    dims: tuple[int, int, int] = (6, 7, 8),
    components: tuple[str, ...] = ("density",),
    network: NetworkConfig = SMALL_NETWORK,
    dtype: str = "float32",
    geometry: GridGeometry | None = None,
) -> ModelIndex:
    """Describe a model of one brick with the value range [0, 10] of every component."""
    whole = (slice(0, dims[0]), slice(0, dims[1]), slice(0, dims[2]))
    count = len(components)
    return ModelIndex(
        name="density",
        components=components,
        units=("K",) * count,
        geometry=geometry or GridGeometry.uniform(dims),
        value_minimum=(0.0,) * count,
        value_maximum=(10.0,) * count,
        network=network,
        bricks=(BrickRecord(extent=whole, ghosted=whole, psnr=40.0, max_error=0.5),),
        source=SourceRecord(path="data.nc", dtype="float32", bytes=4 * count * int(np.prod(dims))),
        missing=MissingValues("_FillValue", 1e20),
        training=TrainingRecord(config={"iterations": 10}, seconds=1.5, iterations_done=10),
        storage=StorageConfig(dtype=dtype),
        history_columns=("iteration", "loss"),
    )


def small_brick(index: ModelIndex, seed: int = 0, mask: bool = False) -> dict[str, np.ndarray]:
    """Return random parameters, a history and, if asked for, a mask of the index's first brick."""
    random = np.random.default_rng(seed)
    shapes = parameter_shapes(index.network, len(index.components))
    brick = {name: random.normal(0, 0.3, shape).astype("f4") for name, shape in shapes.items()}
    brick["transforms"] = np.tile(np.eye(3, 4, dtype="f4"), (shapes["transforms"][0], 1, 1))
    brick["history"] = np.array([[0, 1.0], [10, 0.25]])
    if mask:
        brick["mask"] = random.random(index.bricks[0].ghosted_dims) > 0.3
    return brick


def write_small_model(path: Path, *, seed: int = 0, mask: bool = False, **options) -> ModelIndex:
    """Write such a model; `options` are those of :func:`small_index`."""
    index = small_index(**options)
    return write_archive(path, index, [small_brick(index, seed, mask)])


def write_small_series(
    path: Path, steps: int = 3, *, bounded: bool = True, **options
) -> ModelIndex:
    """Write such a model of several time steps; with macro-cells, as training stores them."""
    from amgsrn_core import NeuralVolume
    from amgsrn_core.field.macro_cells import network_cells

    alone = small_index(**options)
    axis = TimeAxis(tuple(map(float, range(steps))), "hours", steps=tuple(range(steps)))
    index = alone.replace(bricks=alone.bricks * steps, time=axis)
    bricks = [small_brick(alone, seed) for seed in range(steps)]
    for brick in bricks:
        brick["feature_grids"] *= 6.0  # more contrast than a model has that nobody trained
    for brick in bricks if bounded else ():
        (field,) = NeuralVolume(alone, [brick]).bricks()
        brick["macro_cells"] = network_cells(field.evaluator, field.record, alone.dims, None)
    return write_archive(path, index, bricks)


def write_two_bricks(path: Path, *, seed: int = 0, mask: bool = False, **options) -> ModelIndex:
    """Write such a model in two bricks that share the x axis, with two ghost cells each."""
    index = small_index(**options)
    z, y, x = index.bricks[0].extent
    middle = x.stop // 2
    records = (
        BrickRecord((z, y, slice(0, middle)), (z, y, slice(0, middle + 2))),
        BrickRecord((z, y, slice(middle, x.stop)), (z, y, slice(middle - 2, x.stop))),
    )
    index = index.replace(bricks=records)
    bricks = [small_brick(index, seed + i) for i in range(2)]
    if mask:
        valid = np.random.default_rng(seed).random(index.dims) > 0.3
        for brick, record in zip(bricks, records):
            brick["mask"] = valid[record.ghosted]
    return write_archive(path, index, bricks)
