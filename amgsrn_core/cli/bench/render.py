"""``amgsrn bench render``: how fast each backend makes a picture, and decoded blocks.

The picture is the original renderer's: 512 x 512 pixels, 256 samples along the volume's diagonal,
its default view. The reference evaluates every sample inside the volume; it takes so long that it
is measured once.

Pictures through decoded blocks are compared with exact ones of the kernels, in CPU seconds: 1000 x
700 pixels and a sample per voxel of a thin shell of values, of fog, of what is opaque and of an
isosurface; the first one, the coarsest one that is shown before it, one from another side, and one
with other opacities. Unless a model is named, there are also such pictures of turbulence, 512 x 512
pixels of 256^3 voxels.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from amgsrn_core.cli.bench.setting import (
    chosen_threads,
    keep_freed_memory,
    measured_backends,
    use_threads,
)
from amgsrn_core.cli.doctor.machine import machine
from amgsrn_core.cli.options import configuration
from amgsrn_core.cli.report import figure, write_report
from amgsrn_core.config import NetworkConfig, TrainingConfig, to_json
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.rendering import Camera, Marcher, RenderSettings, TransferFunction
from amgsrn_core.rendering.colormap import default_transfer
from amgsrn_core.rendering.settings import mean_spacing

if TYPE_CHECKING:
    from amgsrn_core.field.neural_volume import NeuralVolume

# More than any lattice has.
_ALL_LEVELS = 99

_SIDE, _SAMPLES = 512, 256
_DATA_SIDE, _ITERATIONS = 64, 400
_LARGE = 1000, 700
_LOOKS = ("peak", "fog", "iso", "surface")
_TURBULENCE_SIDE, _TURBULENCE_SHAPE, _TURBULENCE_ITERATIONS = 256, (32, 32, 32), 800


def run(arguments: argparse.Namespace) -> int:
    """Measure and report seconds per frame and ratios."""
    if arguments.repetitions < 1:
        raise ConfigurationError("repetitions must be at least 1.")
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        model = _model(arguments, Path(folder))
        large = None if arguments.model else _turbulence(Path(folder))
        rows, decoded = [], []
        for threads in chosen_threads(arguments.threads):
            rows += measure_render(model, threads, arguments.repetitions)
            decoded += measure_cached(model, threads, arguments.repetitions)
            if large is not None:
                more = measure_cached(large, threads, arguments.repetitions, (_SIDE, _SIDE))
                decoded += [{**row, "look": f"turbulence, {row['look']}"} for row in more]
    results = {
        "benchmark": "render",
        "machine": machine(),
        "network": to_json(model.index.network),
        "model": arguments.model,
        "pixels": [_SIDE, _SIDE],
        "samples": _SAMPLES,
        "repetitions": arguments.repetitions,
        "results": rows,
        "ratio": _ratios(rows),
        "cached": decoded,
    }
    write_report(results, _rows(results), arguments.json)
    return 0


def measure_render(
    model: NeuralVolume, threads: int, repetitions: int, side: int = _SIDE
) -> list[dict[str, Any]]:
    """Return one row per backend: the reference's only frame, and the others' median.

    `difference` is the largest of the picture from the reference's, of colours from 0 to 1; None
    where PyTorch, which makes that one, is not there.
    """
    use_threads(threads)
    marchers = {name: _marcher(model, name) for name in measured_backends("torch", "blocks")}
    for marcher in marchers.values():  # prepares what a frame does not pay for
        marcher.march(_camera(model, 8).rays())
    rays = _camera(model, side).rays()
    seconds: dict[str, list[float]] = {backend: [] for backend in marchers}
    images = {}
    for backend, marcher in marchers.items():
        for _ in range(1 if backend == "torch" else repetitions):
            start = time.perf_counter()
            images[backend] = marcher.march(rays)
            seconds[backend].append(time.perf_counter() - start)
    reference = images.get("torch")
    return [
        {
            "backend": backend,
            "threads": threads,
            "seconds_per_frame": statistics.median(values),
            "difference": None
            if reference is None
            else float(np.abs(images[backend] - reference).max()),
        }
        for backend, values in seconds.items()
    ]


def measure_cached(
    model: NeuralVolume, threads: int, repetitions: int, size: tuple[int, int] = _LARGE
) -> list[dict[str, Any]]:
    """Return how many times as fast, in CPU time, decoded blocks make a picture of each look.

    `difference` is the mean one of the picture from the exact one, in steps of 255. There are no
    rows where the kernels are not built.
    """
    if "native" not in measured_backends("native"):
        return []
    use_threads(threads)
    return [
        {"look": look, "threads": threads, **_cached_row(model, look, repetitions, size)}
        for look in _LOOKS
    ]


def _cached_row(
    model: NeuralVolume, look: str, repetitions: int, size: tuple[int, int]
) -> dict[str, Any]:
    from amgsrn_core.rendering import ProgressiveImage, make_marcher
    from amgsrn_core.rendering.painting import Decoding

    low, high = model.index.value_minimum[0], model.index.value_maximum[0]
    shown, moved = (_look(model, look, shift) for shift in (0.0, 0.1))
    views = [
        Camera.orbit(model.geometry.bounds, width=size[0], height=size[1], azimuth=a, polar=60)
        for a in (30.0, 40.0)
    ]
    seconds: dict[str, list[float]] = {}

    def wanted(sampling: str, shift: float = 0.0) -> RenderSettings:
        if look != "surface":
            return RenderSettings(sampling=sampling)
        isovalue = low + (0.6 - shift) * (high - low)
        return RenderSettings(sampling=sampling, blend="isosurface", isovalues=(isovalue,))

    def drawn(
        name: str, transfer: TransferFunction, view: Camera, settings: RenderSettings
    ) -> np.ndarray:
        start = time.process_time()
        marcher = make_marcher(model, transfer, settings)
        if isinstance(marcher, Decoding):
            if name in ("first", "coarsest"):
                marcher.forget()
            if name == "coarsest":
                marcher.coarsen(_ALL_LEVELS)
        image = ProgressiveImage(marcher, view)
        image.advance()
        seconds.setdefault(name, []).append(time.process_time() - start)
        return image.rgba

    cached = wanted("cached")
    make_marcher(model, shown, cached)  # finds the macro-cells
    for _ in range(repetitions):
        exact = drawn("exact", shown, views[0], wanted("exact"))
        drawn("coarsest", shown, views[0], cached)
        first = drawn("first", shown, views[0], cached)
        drawn("turned", shown, views[1], cached)
        drawn("changed", moved, views[0], wanted("cached", 0.1))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {name: medians["exact"] / value for name, value in medians.items() if name != "exact"}
    difference = 255 * float(np.abs(exact - first).mean())
    return {"exact_cpu_seconds": medians["exact"], "ratio": ratios, "difference": difference}


def _look(model: NeuralVolume, look: str, shift: float) -> TransferFunction:
    """Return a look whose threshold is moved by this part of the range, or that is denser."""
    x = np.linspace(0, 1, 256)
    opacity = {
        "peak": np.clip(0.9 * (1 - np.abs(x - 0.65 + shift) / 0.03), 0, 1),
        "fog": 0.02 + (0.03 + shift / 10) * x,
        "iso": np.where(x > 0.6 - shift, 0.95, 0.0),
        "surface": np.ones_like(x),
    }[look]
    table = np.stack([x, 1 - np.abs(2 * x - 1), 1 - x, opacity], axis=1)
    return TransferFunction(model.index.value_minimum[0], model.index.value_maximum[0], table)


def _marcher(model: NeuralVolume, backend: str) -> Marcher:
    from amgsrn_core.rendering import make_marcher

    geometry, index = model.geometry, model.index
    diagonal = float(np.linalg.norm(np.diff(np.reshape(geometry.bounds, (3, 2)))))
    settings = RenderSettings(
        samples_per_voxel=mean_spacing(geometry) * _SAMPLES / diagonal,
        unit_distance=diagonal / _SAMPLES,
    )
    transfer = default_transfer(index.value_minimum[0], index.value_maximum[0])
    return make_marcher(model, transfer, settings, backend)


def _camera(model: NeuralVolume, side: int) -> Camera:
    return Camera.orbit(model.geometry.bounds, width=side, height=side)


def _turbulence(folder: Path) -> NeuralVolume:
    """Return a model of random waves whose energy falls with the power -5/3 of their number."""
    from amgsrn_core.field.neural_volume import NeuralVolume
    from amgsrn_core.runs import train
    from amgsrn_core.volume import volume_from_array

    side = _TURBULENCE_SIDE
    random = np.random.default_rng(0)
    numbers = (np.arange(side) + side // 2) % side - side // 2
    squares = (
        numbers[:, None, None] ** 2 + numbers[:, None] ** 2 + numbers[: side // 2 + 1] ** 2
    ).astype(np.float32)
    # Of one wave: a third of the energy's exponent, and the shell of its number.
    amplitudes = np.where((squares > 0) & (squares < 48**2), squares, np.inf) ** (-11 / 12)
    phases = np.exp(2j * np.pi * random.random(squares.shape, dtype=np.float32))
    values = np.fft.irfftn(amplitudes * phases, s=(side,) * 3, axes=(0, 1, 2)).astype(np.float32)
    path = folder / "turbulence.amgsrn"
    network = NetworkConfig(grids=16, features=2, grid_shape=_TURBULENCE_SHAPE)
    training = TrainingConfig(iterations=_TURBULENCE_ITERATIONS, batch=32768, device="cpu")
    train(volume_from_array(values), path, network, training)
    return NeuralVolume.open(path, "cpu")


def _model(arguments: argparse.Namespace, folder: Path) -> NeuralVolume:
    """Return the model that is named, or one that is quickly fitted to blobs in empty space."""
    from amgsrn_core.field.neural_volume import NeuralVolume
    from amgsrn_core.runs import train
    from amgsrn_core.volume import volume_from_array

    if arguments.model is not None:
        return NeuralVolume.open(arguments.model, "cpu")
    points = np.stack(np.meshgrid(*[np.linspace(-1, 1, _DATA_SIDE)] * 3, indexing="ij"), axis=-1)
    random = np.random.default_rng(0)
    values = np.zeros(points.shape[:3], dtype=np.float32)
    for centre, size in zip(random.uniform(-0.6, 0.6, (12, 3)), random.uniform(0.1, 0.25, 12)):
        values += np.exp(-((points - centre) ** 2).sum(axis=-1) / size**2).astype(np.float32)
    path = folder / "blobs.amgsrn"
    training = TrainingConfig(iterations=_ITERATIONS, batch=16384, device="cpu")
    train(volume_from_array(values), path, configuration(NetworkConfig, arguments), training)
    return NeuralVolume.open(path, "cpu")


def _ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how many times faster than the reference the others are, by threads."""
    reference = {r["threads"]: r["seconds_per_frame"] for r in rows if r["backend"] == "torch"}
    return [
        {
            "backend": row["backend"],
            "threads": row["threads"],
            "ratio": reference[row["threads"]] / row["seconds_per_frame"],
        }
        for row in rows
        if row["backend"] != "torch" and reference
    ]


def _rows(results: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "machine", f"{results['machine']['processor']}, {results['machine']['cores']} cores"
    yield "picture", f"{_SIDE} x {_SIDE} pixels, {_SAMPLES} samples along the diagonal"
    for row in results["results"]:
        words = f"{figure(row['seconds_per_frame'], digits=3)} s a frame"
        if row["backend"] != "torch" and row["difference"] is not None:
            words += f", {figure(row['difference'], digits=2)} from the reference's"
        yield f"{row['backend']}, threads: {row['threads']}", words
    for row in results["ratio"]:
        words = f"{figure(row['ratio'], digits=3)} times as fast as torch"
        yield f"{row['backend']}, threads: {row['threads']}", words
    for row in results["cached"]:
        words = ", ".join(f"{name} {ratio:.3g}" for name, ratio in row["ratio"].items())
        words += (
            f" times as fast as exact ({figure(row['exact_cpu_seconds'], digits=3)} CPU seconds)"
        )
        yield f"decoded blocks, {row['look']}, threads: {row['threads']}", words
    if all(row["backend"] != "native" for row in results["results"]):
        yield "native", "not built here; see docs/kernels.md"
