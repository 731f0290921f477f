"""``amgsrn render``: make a picture of a model, or of data, and say how long it took."""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from amgsrn_core.cli.film import each_step
from amgsrn_core.cli.options import configuration, model_step, variables
from amgsrn_core.cli.progress import Remaining, display
from amgsrn_core.cli.report import figure, prepare_report, write_report
from amgsrn_core.errors import ConfigurationError, VolumeNotFoundError
from amgsrn_core.field.open_models import open_model
from amgsrn_core.model import ModelIndex, open_archive, read_index
from amgsrn_core.rendering import Camera, ProgressiveImage, RenderSettings, TransferFunction
from amgsrn_core.rendering.colormap import default_transfer, load_colormap
from amgsrn_core.rendering.png import on_background, write_png
from amgsrn_core.rendering.settings import mean_spacing
from amgsrn_core.system.output import ensure_writable
from amgsrn_core.system.spare import write_or_keep
from amgsrn_core.volume import GridGeometry, Volume, open_volume
from amgsrn_core.volume.replacement import maker_of

if TYPE_CHECKING:
    import numpy as np

    from amgsrn_core.rendering import Marcher

# The original's samples along the diagonal: its opacities are per sample, ours per distance.
_SAMPLES = 256

BACKGROUND = (1.0, 1.0, 1.0)
_PASS_SECONDS = 0.25


def run(arguments: argparse.Namespace) -> int:
    """Render, write the picture, and report the frame times."""
    if arguments.time == "all":
        return each_step(arguments, run)
    height, width = arguments.hw
    if min(height, width, arguments.spp, arguments.frames) < 1:
        raise ConfigurationError("--hw, --spp and --frames must be at least 1.")
    prepare_report(arguments.json)
    ensure_writable(arguments.output)
    marcher, camera = scene(arguments)
    seconds = []
    with display("rendering") as shown:
        remaining = Remaining()
        rgba, first = _frame(
            marcher, camera, lambda done: shown.update(done, [remaining.text(done)])
        )
        # Several frames are timed after one that is not: the first one also prepares things.
        for number in range(arguments.frames if arguments.frames > 1 else 0):
            seconds.append(_frame(marcher, camera)[1])
            shown.update(1.0, [f"frame {number + 1} of {arguments.frames}"])
    picture = on_background(rgba, BACKGROUND)
    write_or_keep(
        arguments.output,
        lambda at: write_png(at, picture, force=arguments.force),
        "The picture",
    )
    seconds = seconds or [first]
    mean = sum(seconds) / len(seconds)
    results = {
        "picture": os.fspath(arguments.output),
        "height": height,
        "width": width,
        "samples": arguments.spp,
        "backend": marcher.backend,
        "frames": len(seconds),
        "seconds_per_frame": {"mean": mean, "min": min(seconds), "max": max(seconds)},
    }
    rows = [
        ("picture", f"{arguments.output}, {width} x {height} pixels"),
        ("backend", marcher.backend),
        (
            "frame time",
            f"mean {figure(mean)} s, min {figure(min(seconds))} s, max {figure(max(seconds))} s "
            f"({len(seconds)} frame{'' if len(seconds) == 1 else 's'})",
        ),
        ("frames per second", figure(1.0 / mean)),
    ]
    write_report(results, rows, arguments.json)
    return 0


def scene(arguments: argparse.Namespace) -> tuple[Marcher, Camera]:
    """Return what renders the file that is named, and where it is seen from."""
    height, width = arguments.hw
    is_model = arguments.model.endswith(".amgsrn")
    if is_model and not arguments.raw:
        geometry, marcher = _of_model(arguments)
    else:
        geometry, marcher = _of_data(arguments, _data(arguments) if is_model else arguments.model)
    camera = Camera.orbit(
        geometry.bounds,
        width=width,
        height=height,
        azimuth=arguments.azimuth,
        polar=arguments.polar,
        distance=arguments.distance,
    )
    return marcher, camera


def _of_model(arguments: argparse.Namespace) -> tuple[GridGeometry, Marcher]:
    archive = open_archive(arguments.model)
    series = archive.index
    step = model_step(series, arguments.time)
    index = series.at(step)
    settings = _settings(arguments, index.geometry, len(index.components))
    transfer = _transfer(arguments, settings, index)

    from amgsrn_core.rendering import make_marcher

    model = open_model(archive, arguments.device, backend=_networks(arguments)).at(step)
    return index.geometry, make_marcher(model, transfer, settings, arguments.backend)


def _of_data(arguments: argparse.Namespace, path: str) -> tuple[GridGeometry, Marcher]:
    volume = _volume(arguments, path)
    settings = _settings(arguments, volume.geometry, volume.n_components)

    from amgsrn_core.rendering import make_marcher
    from amgsrn_core.rendering.data import model_of_data

    model = model_of_data(volume, arguments.device, backend=_networks(arguments))
    transfer = _transfer(arguments, settings, model.index)
    return volume.geometry, make_marcher(model, transfer, settings, arguments.backend)


def _networks(arguments: argparse.Namespace) -> str:
    """Return what evaluates the networks where something else than marching asks for them."""
    return {"nerfacc": "auto", "blocks": "torch"}.get(arguments.backend, str(arguments.backend))


def _data(arguments: argparse.Namespace) -> str:
    """Return the file that a model was trained on."""
    name = read_index(arguments.model).source.path
    # What was reconstructed from the model may have the name of its data.
    own = f"reconstruct of {Path(arguments.model).name},"
    for folder in (Path(arguments.model).parent, Path()):
        if (folder / name).exists() and not maker_of(folder / name).startswith(own):
            return os.fspath(folder / name)
    raise VolumeNotFoundError(
        f"The data of this model, {name}, are not beside it; name their file instead of the model."
    )


def _volume(arguments: argparse.Namespace, path: str) -> Volume:
    chosen, step = variables(arguments.variable, path), arguments.time
    if arguments.model.endswith(".amgsrn"):
        index = read_index(arguments.model)
        chosen = chosen or index.source.variables or None
        index = index.at(model_step(index, step))
        step = index.time.index if step is None and index.time is not None else step
    return open_volume(path, chosen, step)


def _settings(
    arguments: argparse.Namespace, geometry: GridGeometry, components: int
) -> RenderSettings:
    x0, x1, y0, y1, z0, z1 = geometry.bounds
    diagonal = math.dist((x0, y0, z0), (x1, y1, z1))
    unit_distance = arguments.unit_distance
    return configuration(
        RenderSettings,
        arguments,
        samples_per_voxel=mean_spacing(geometry) * arguments.spp / diagonal,
        unit_distance=diagonal / _SAMPLES if unit_distance is None else unit_distance,
        isovalues=arguments.isovalues,
        component=_component(arguments.component, components),
    )


def _component(text: str | None, count: int) -> int | str:
    if text is None:
        return 0 if count == 1 else "magnitude"
    if text == "magnitude":
        return text
    if not text.isdigit() or int(text) >= count:
        raise ConfigurationError(
            f"--component must be magnitude or a number from 0 to {count - 1}, not {text}."
        )
    return int(text)


def _transfer(
    arguments: argparse.Namespace, settings: RenderSettings, index: ModelIndex
) -> TransferFunction:
    """Return the colour map over the values that are seen."""
    minimum, maximum = index.value_minimum, index.value_maximum
    if settings.component == "magnitude":
        largest = [max(abs(low), abs(high)) for low, high in zip(minimum, maximum)]
        low, high = 0.0, math.hypot(*largest)
    else:
        number = int(settings.component)
        low, high = float(minimum[number]), float(maximum[number])
    if not low < high:
        high = low + (abs(low) or 1.0)  # a constant: its colour is the map's first
    if arguments.colormap is None:
        return default_transfer(low, high)
    return load_colormap(arguments.colormap, low, high)


def _frame(marcher: Marcher, camera: Camera, report: object = None) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    image = ProgressiveImage(marcher, camera)
    while image.advance(None if report is None else _PASS_SECONDS) < 1.0:
        if callable(report):
            report(image.fraction)
    if callable(report):
        report(1.0)
    return image.rgba, time.perf_counter() - start
