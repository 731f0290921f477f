"""``amgsrn bench render``: how much faster than the dense reference each backend makes a picture.

The picture is the original renderer's: 512 x 512 pixels, 256 samples along the volume's diagonal,
its default view. The reference evaluates every sample inside the volume; it takes so long that it
is measured once.
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
from amgsrn_core.rendering import Camera, Marcher, RenderSettings
from amgsrn_core.rendering.colormap import default_transfer
from amgsrn_core.rendering.settings import mean_spacing

if TYPE_CHECKING:
    from amgsrn_core.field.neural_volume import NeuralVolume

_SIDE, _SAMPLES = 512, 256
_DATA_SIDE, _ITERATIONS = 64, 400


def run(arguments: argparse.Namespace) -> int:
    """Measure and report seconds per frame and ratios."""
    if arguments.repetitions < 1:
        raise ConfigurationError("repetitions must be at least 1.")
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        model = _model(arguments, Path(folder))
        rows = [
            row
            for threads in chosen_threads(arguments.threads)
            for row in measure_render(model, threads, arguments.repetitions)
        ]
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
    if all(row["backend"] != "native" for row in results["results"]):
        yield "native", "not built here; see docs/kernels.md"
