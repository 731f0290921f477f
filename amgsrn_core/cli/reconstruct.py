"""``amgsrn reconstruct``: decode a model onto a grid and write it as a volume."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Mapping

import numpy as np

from amgsrn_core.cli.options import model_step
from amgsrn_core.cli.progress import Remaining, display
from amgsrn_core.cli.report import print_rows, size
from amgsrn_core.errors import VolumeError
from amgsrn_core.field.open_models import open_model
from amgsrn_core.model import open_archive
from amgsrn_core.model.replacement import mark_of
from amgsrn_core.volume import GridGeometry, VolumeWriter
from amgsrn_core.volume.region import Region, index_box, world_box

logger = logging.getLogger(__name__)

_INDEX_SPACE = (
    "The model is in the index space of a curvilinear grid, and so is what was written; AMGSRN "
    "Reconstruction in ParaView, and NeuralVolume.to_vtk in Python, return the grid itself."
)


def run(arguments: argparse.Namespace) -> int:
    """Write the reconstruction slab by slab."""
    output = arguments.output
    archive = open_archive(arguments.model)
    series = archive.index
    every = arguments.time == "all"
    steps = range(series.steps) if every else [model_step(series, arguments.time)]
    index = series if every else series.at(steps[0])
    geometry = grid(index.geometry, arguments.shape, arguments.region)
    writer = VolumeWriter(
        output,
        geometry,
        name=index.name,
        components=index.components,
        units=index.units,
        missing=index.missing,
        time=index.time,
        attributes=index.attributes,
        made_by=mark_of("reconstruct", arguments.model),
        force=arguments.force,
        dtype=series.value_dtype,
    )

    model = open_model(archive, arguments.device, backend=arguments.backend, verify=True)
    remaining = Remaining()
    with writer, display("reconstructing") as shown:
        for number, step in enumerate(steps):
            for extent, block in model.at(step).reconstruct(geometry, max_bytes=8 << 20):
                writer.write(extent, block, number)
                done = (number + extent[0].stop / geometry.dims[0]) / len(steps)
                shown.update(done, [remaining.text(done)])
    if index.coordinates is not None:
        logger.warning("%s", _INDEX_SPACE)
    print_rows(
        [
            ("volume", output),
            ("dims (z, y, x)", " x ".join(map(str, geometry.dims))),
            ("size", size(os.path.getsize(output))),
        ]
    )
    return 0


def grid(
    geometry: GridGeometry,
    shape: tuple[int, int, int] | None,
    region: tuple[float, float, float, float, float, float] | Region | None,
) -> GridGeometry:
    """Return the grid to reconstruct on.

    Parameters
    ----------
    geometry : GridGeometry
        The grid of the data.
    shape : tuple of int, optional
        Samples along z, y, x, evenly spaced between the samples of the data; default: the
        samples of the data itself.
    region : tuple of float or dict, optional
        World box (x0, x1, y0, y1, z0, z1), or ends by the names of axes, as the file has its
        numbers. What lies outside the volume is cut off, which is told.

    Raises
    ------
    VolumeError
        When the region is empty or outside, or the shape has fewer than two samples on an axis.
    """
    if shape is not None and min(shape) < 2:
        raise VolumeError(f"--shape needs at least 2 samples along each axis, not {min(shape)}.")
    if region is None:
        return geometry if shape is None else geometry.resampled(shape)
    box = world_box(geometry, region) if isinstance(region, Mapping) else region
    lows, highs = index_box(geometry, box)
    if shape is None:
        return geometry.window(_samples_inside(lows, highs))
    return geometry.between(lows, highs, shape)


def _samples_inside(lows: np.ndarray, highs: np.ndarray) -> tuple[slice, slice, slice]:
    # A sample on the region's face belongs to it, also when the face was typed with few digits.
    starts = np.ceil(lows - 1e-3).astype(int)
    stops = np.floor(highs + 1e-3).astype(int) + 1
    if (stops - starts < 2).any():
        raise VolumeError(
            "--region holds fewer than 2 samples of the data along an axis; say with --shape how "
            "many to reconstruct there."
        )
    z, y, x = (slice(int(start), int(stop)) for start, stop in zip(starts, stops))
    return z, y, x
