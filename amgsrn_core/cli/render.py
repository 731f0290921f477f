"""``amgsrn render``: make a picture of a model, or of data, and say how long it took."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from amgsrn_core.cli.film import each_step
from amgsrn_core.cli.options import configuration, model_step, variables
from amgsrn_core.cli.progress import Display, Remaining, display
from amgsrn_core.cli.report import figure, prepare_report, write_report
from amgsrn_core.errors import ConfigurationError, VolumeNotFoundError
from amgsrn_core.field.open_models import open_model
from amgsrn_core.model import LookRecord, ModelIndex, open_archive, read_index
from amgsrn_core.rendering import Camera, ProgressiveImage, RenderSettings, TransferFunction
from amgsrn_core.rendering.colormap import distinct, load_colormap, look_transfer
from amgsrn_core.rendering.colour_bar import bar_height, draw_bar, quantity
from amgsrn_core.rendering.looks import UNITS_PER_DIAGONAL, outline, suggestion, value_range
from amgsrn_core.rendering.painting import Decoding
from amgsrn_core.rendering.png import on_background, write_png
from amgsrn_core.rendering.proportions import display_scale, displayed_diagonal, told
from amgsrn_core.rendering.settings import chosen_isovalues
from amgsrn_core.system.output import ensure_writable
from amgsrn_core.system.spare import write_or_keep
from amgsrn_core.volume import Volume, open_volume
from amgsrn_core.volume.replacement import maker_of

if TYPE_CHECKING:
    from amgsrn_core.field.neural_volume import NeuralVolume
    from amgsrn_core.rendering import Marcher

# Samples along the diagonal, where nobody says how many: at least the original's.
_FEWEST_SAMPLES, _MOST_SAMPLES = 256, 1024


@dataclass(frozen=True)
class Scene:
    """What is seen, from where, and what its colours mean.

    Attributes
    ----------
    marcher : Marcher
    camera : Camera
    transfer : TransferFunction
    title : str
        The quantity and its unit.
    samples : int
        Along the volume's diagonal.
    centre : three floats
        Of the volume, as it is shown.
    """

    marcher: Marcher
    camera: Camera
    transfer: TransferFunction
    title: str
    samples: int
    centre: tuple[float, float, float]


def run(arguments: argparse.Namespace) -> int:
    """Render, write the picture, and report the frame times."""
    if arguments.time == "all":
        return each_step(arguments, run)
    height, width = arguments.hw
    if min(height, width, arguments.frames) < 1 or (arguments.spp or 1) < 1:
        raise ConfigurationError("--hw, --spp and --frames must be at least 1.")
    if not math.isfinite(arguments.turn):
        raise ConfigurationError("--turn must be a number of degrees.")
    prepare_report(arguments.json)
    ensure_writable(arguments.output)
    shown_scene = scene(arguments)
    with display("rendering") as shown:
        rgba, frames = _frames(shown_scene, arguments, shown)
    marcher = shown_scene.marcher
    if marcher.remark:
        _say(marcher.remark)
    picture = finished(rgba, shown_scene, arguments)
    write_or_keep(
        arguments.output,
        lambda at: write_png(at, picture, force=arguments.force),
        "The picture",
    )
    # The first one also prepares things, and decodes.
    seconds = [frame["seconds"] for frame in frames[1:] or frames]
    mean = sum(seconds) / len(seconds)
    results = {
        "picture": os.fspath(arguments.output),
        "height": height,
        "width": width,
        "samples": shown_scene.samples,
        "sampling": marcher.sampling,
        "backend": marcher.backend,
        "frames": frames,
        "seconds_per_frame": {"mean": mean, "min": min(seconds), "max": max(seconds)},
    }
    status = getattr(marcher, "status", "")
    rows = [
        ("picture", f"{arguments.output}, {width} x {height} pixels"),
        ("backend", marcher.backend),
        ("sampling", f"{marcher.sampling}: {status}" if status else marcher.sampling),
        (
            "frame time",
            f"mean {figure(mean)} s, min {figure(min(seconds))} s, max {figure(max(seconds))} s "
            f"({len(seconds)} frame{'' if len(seconds) == 1 else 's'})",
        ),
        ("frames per second", figure(1.0 / mean)),
    ]
    if len(frames) > 1:
        rows.insert(3, ("first frame", f"{figure(frames[0]['seconds'])} s"))
    write_report(results, rows, arguments.json)
    return 0


def _frames(
    seen: Scene, arguments: argparse.Namespace, shown: Display
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Draw as many frames as are wanted, the camera turned between them.

    Returns
    -------
    rgba : float32 array [height, width, 4]
        The first one.
    frames : list of dict
        What each took.
    """
    marcher, remaining = seen.marcher, Remaining()
    if isinstance(marcher, Decoding):
        marcher.forget()
    first, frames = np.empty(0), []
    for number in range(arguments.frames):
        camera = seen.camera
        if number and arguments.turn:
            camera = camera.turned(number * arguments.turn, arguments.up, seen.centre)
        image = ProgressiveImage(marcher, camera)
        before = [getattr(marcher, name, None) for name in ("blocks", "samples")]
        start, work = time.perf_counter(), time.process_time()

        def report(done: float, drawn: int = number) -> None:
            done = (drawn + done) / arguments.frames
            shown.update(done, [remaining.text(done)])

        image.advance(report=report)
        frame = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - work}
        for name, old in zip(("blocks", "samples"), before):
            frame[name] = 0 if old is None else getattr(marcher, name) - old
        frames.append(frame)
        first = image.rgba if number == 0 else first
    return first, frames


def scene(arguments: argparse.Namespace) -> Scene:
    """Return the file that is named as a scene; what was decided unasked is said."""
    model = _model(arguments)
    index = model.index
    component = _component(arguments.component, len(index.components))
    look = suggestion(model, component)
    if arguments.raw and _is_model(arguments):  # the pictures can be laid on each other
        look = suggestion(_trained(arguments), component)
    scale = display_scale(index.geometry, arguments.scale)
    if arguments.scale == "auto" and scale != (1.0, 1.0, 1.0):
        _say(told(index.geometry, scale))
    # What other opacities show, and surfaces, may be anywhere in the box.
    is_suggested = arguments.colormap is None and arguments.blend != "isosurface"
    height, width = arguments.hw
    height -= _bar_height(arguments)
    camera = Camera.orbit(
        index.geometry.bounds,
        width=width,
        height=height,
        azimuth=arguments.azimuth,
        polar=arguments.polar,
        distance=arguments.distance,
        scale=scale,
        up=arguments.up,
        outline=outline(index.geometry, look) if is_suggested else None,
    )
    transfer = _transfer(arguments, look, value_range(index, component))
    settings = _settings(arguments, camera, component, index)

    from amgsrn_core.rendering import make_marcher
    from amgsrn_core.rendering.image import displayed

    shown, camera, settings = displayed(model, camera, settings)
    marcher = make_marcher(shown, transfer, settings, arguments.backend)
    x, y, z = (
        factor * 0.5 * (low + high)
        for factor, low, high in zip(scale, *np.reshape(index.geometry.bounds, (3, 2)).T.tolist())
    )
    return Scene(
        marcher,
        camera,
        transfer,
        title=_title(index, component),
        samples=_samples(arguments, index),
        centre=(x, y, z),
    )


def finished(rgba: np.ndarray, seen: Scene, arguments: argparse.Namespace) -> np.ndarray:
    """Return a rendered image as a picture, uint8 [height, width, 3 or 4], with its colour bar."""
    rows = _bar_height(arguments)
    space = np.zeros((rows, *rgba.shape[1:]), dtype=rgba.dtype)
    picture = on_background(np.concatenate([space, rgba]), arguments.background)
    if rows:
        draw_bar(picture, rows, seen.transfer, seen.title)
    return picture


def _model(arguments: argparse.Namespace) -> NeuralVolume:
    """Return the field of a time step: a model's, or that of data."""
    is_model = _is_model(arguments)
    if is_model and not arguments.raw:
        return _trained(arguments)
    volume = _volume(arguments, _data(arguments) if is_model else arguments.model)

    from amgsrn_core.rendering.data import model_of_data

    return model_of_data(volume, arguments.device, backend=_networks(arguments))


def _trained(arguments: argparse.Namespace) -> NeuralVolume:
    archive = open_archive(arguments.model)
    step = model_step(archive.index, arguments.time)
    networks = _networks(arguments)
    return open_model(archive, arguments.device, backend=networks, sampling=arguments.sampling).at(
        step
    )


def _is_model(arguments: argparse.Namespace) -> bool:
    return str(arguments.model).endswith(".amgsrn")


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
    if _is_model(arguments):
        index = read_index(arguments.model)
        chosen = chosen or index.source.variables or None
        index = index.at(model_step(index, step))
        step = index.time.index if step is None and index.time is not None else step
    return open_volume(path, chosen, step)


def _settings(
    arguments: argparse.Namespace, camera: Camera, component: int | str, index: ModelIndex
) -> RenderSettings:
    unit_distance, isovalues = arguments.unit_distance, arguments.isovalues
    if unit_distance is None:
        diagonal = displayed_diagonal(index.geometry, camera.scale)
        unit_distance = diagonal / UNITS_PER_DIAGONAL
    if arguments.blend == "isosurface":
        low, high = value_range(index, component)
        isovalues = chosen_isovalues(isovalues, low, high, index.name)
        if not arguments.isovalues:
            _say(
                f"The surface is at {isovalues[0]:g}, the middle of the range {low:g} to {high:g}; "
                "--isovalues V,... chooses others."
            )
    return configuration(
        RenderSettings,
        arguments,
        samples_per_voxel=_samples(arguments, index) / _voxels_along_diagonal(index),
        unit_distance=unit_distance,
        isovalues=isovalues,
        component=component,
    )


def _samples(arguments: argparse.Namespace, index: ModelIndex) -> int:
    """Return the samples along the diagonal: unless told otherwise one for each voxel."""
    if arguments.spp is not None:
        return int(arguments.spp)
    wanted = math.ceil(_voxels_along_diagonal(index))
    return min(max(wanted, _FEWEST_SAMPLES), _MOST_SAMPLES)


def _voxels_along_diagonal(index: ModelIndex) -> float:
    return math.hypot(*(size - 1 for size in index.dims))


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
    arguments: argparse.Namespace, look: LookRecord, own: tuple[float, float]
) -> TransferFunction:
    """Return the colour map over the values that are seen, whose range is `own`."""
    wanted = arguments.range
    if wanted is not None and not -math.inf < wanted[0] < wanted[1] < math.inf:
        raise ConfigurationError("--range must be two numbers, the lower one first.")
    if arguments.colormap is not None:
        return load_colormap(arguments.colormap, *distinct(wanted or own))
    if wanted is None and (look.low, look.high) != own:
        _say(
            f"The colours range from {look.low:.4g} to {look.high:.4g}, without the outliers of "
            f"{own[0]:.4g} to {own[1]:.4g}; --range LO,HI chooses."
        )
    transfer = look_transfer(look, wanted)
    # A surface is there or not; how often its value occurs does not matter.
    return transfer.opaque() if arguments.blend == "isosurface" else transfer


def _title(index: ModelIndex, component: int | str) -> str:
    """Return what the colours show, with its unit."""
    if component == "magnitude":
        return quantity(f"|{index.name}|", index.units[0])
    number = int(component)
    name = index.name if len(index.components) == 1 else index.components[number]
    return quantity(name, index.units[number])


def _bar_height(arguments: argparse.Namespace) -> int:
    height, width = arguments.hw
    return bar_height(width, height) if arguments.colour_bar else 0


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
