"""Measure what a GPU makes of training, evaluation and pictures, beside this computer's CPU.

    python tests/benchmarks/gpu_speed.py [PART ...] [--json FILE] [--volume FILE.nc ...]

Parts are `training` (seconds of an iteration and peak memory, for networks and batches, with and
without a CUDA graph), `profile` (where an iteration's time goes), `evaluation` (points and voxels),
`pictures` (by each marcher) and `quality` (seconds and PSNR of whole trainings); without any, all.
FILE is written after each figure, so that a part that fails does not take the others along. With
`--device cpu` all but the CUDA graph is measured there; `--short` is to try the script.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from amgsrn_core import NeuralVolume, open_volume, train
from amgsrn_core.cli.bench.setting import keep_freed_memory
from amgsrn_core.cli.doctor.machine import machine
from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.kernels import load
from amgsrn_core.networks import initial_network
from amgsrn_core.rendering import (
    Camera,
    RenderSettings,
    look_transfer,
    make_marcher,
    nerfacc_operators,
    suggestion,
)
from amgsrn_core.training.sampling import TrainingData
from amgsrn_core.training.schedule import Rates
from amgsrn_core.training.step import Step, make_step
from amgsrn_core.volume import volume_from_array
from amgsrn_core.volume.preview import even_geometry

Row = dict[str, Any]

NETWORKS = {
    "default": NetworkConfig(),
    "wide": NetworkConfig(grids=32, features=4, width=128, layers=3),
    "dense": NetworkConfig(encoder="dense", grids=1, features=16, grid_shape=(64, 64, 64)),
    "hash": NetworkConfig(encoder="hash"),
}
BATCHES = (4096, 16384, 65536, 262144)
MOVING, AT_REST = Rates(1e-3, 3e-4, 1e-4), Rates(1e-3, 3e-4, 0.0)
SIDE = 128  # voxels along each axis of the volume that iterations are trained on


class Bench:
    """What is measured on one device, and how long.

    Parameters
    ----------
    device : str
    short : bool
        Measure next to nothing, to see that the script works.
    volumes : sequence of str
        Files to be trained on beside turbulence.
    """

    def __init__(self, device: str, short: bool, volumes: Sequence[str] = ()) -> None:
        self.device, self.short, self._volumes = torch.device(device), short, volumes
        self._seconds, self._repetitions = (0.0, 1) if short else (0.4, 3)

    def wait(self) -> None:
        """Wait until the device has done everything."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def per_call(self, work: Callable[[], object], warm_up: int = 10) -> float:
        """Return the median seconds of a call in rows of calls, after some to warm up."""
        for _ in range(1 if self.short else warm_up):
            work()
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        count = max(1, int(self._seconds / max(time.perf_counter() - start, 1e-5)))
        count, found = min(count, 300), []
        for _ in range(self._repetitions):
            start = time.perf_counter()
            for _ in range(count):
                work()
            self.wait()
            found.append((time.perf_counter() - start) / count)
        return statistics.median(found)

    def forget_peak(self) -> None:
        """Begin to look for the most memory that is in use."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> int | None:
        """Return the most bytes of the GPU that were in use since."""
        on_gpu = self.device.type == "cuda"
        return torch.cuda.max_memory_allocated(self.device) if on_gpu else None

    def training(self) -> Iterator[Row]:
        """Yield milliseconds of an iteration for networks, batches and backends."""
        for batch in BATCHES[:1] if self.short else BATCHES:
            for moving in (True, False):
                yield self._iterations("default", batch, moving=moving)
        batch = 512 if self.short else 65536
        yield self._iterations("default", batch, backend="torch")
        yield self._iterations("default", batch, precision="fast")
        yield self._iterations("default", batch, data_device="cpu")
        for name in ("wide", "dense", "hash"):
            yield self._iterations(name, batch)
            yield self._iterations(name, batch, backend="torch")
        if self.device.type != "cpu" and load() is not None:
            for batch in BATCHES:
                yield self._iterations("default", batch, device="cpu")
            yield self._iterations("wide", 65536, device="cpu")

    def _iterations(self, name: str, batch: int, *, moving: bool = True, **options: Any) -> Row:
        options = {"device": str(self.device), "backend": "auto", **options}
        row = {"network": name, "batch": batch, "moving": moving, **options}
        self.forget_peak()
        try:
            step, rate = self._step(NETWORKS[name], batch, options), MOVING if moving else AT_REST
            number = iter(range(1 << 30))
            row["seconds"] = self.per_call(lambda: step.descend(next(number), rate))
        except RuntimeError as error:
            return {**row, "failure": str(error)}
        row["graph"] = getattr(step, "_replay", None) is not None
        row["failure"] = getattr(step, "failure", "")
        return {**row, "peak_bytes": self.peak(), "points_per_second": batch / row["seconds"]}

    def _step(self, size: NetworkConfig, batch: int, options: Row) -> Step:
        device = torch.device(options["device"])
        network = initial_network(size, torch.zeros(1), torch.ones(1), seed=0).to(device)
        z, y, x = torch.meshgrid(*[torch.linspace(-1.0, 1.0, SIDE)] * 3, indexing="ij")
        wave = 0.5 + 0.25 * (torch.sin(9 * x * y + 2 * z) + torch.cos(7 * z * x))
        there = "cpu" if options.get("data_device") == "cpu" else device
        data = TrainingData(wave[None].contiguous().to(there), None)
        return make_step(network, data, TrainingConfig(batch=batch, **options))

    def profile(self) -> Iterator[Row]:
        """Yield the kernels of an iteration without a graph that take the most time."""
        kinds = [torch.profiler.ProfilerActivity.CPU]
        if self.device.type == "cuda":
            kinds.append(torch.profiler.ProfilerActivity.CUDA)
        for name in ("default", "hash"):
            options = {"device": str(self.device), "backend": "torch"}
            step = self._step(NETWORKS[name], 512 if self.short else 65536, options)
            for number in range(5):
                step.descend(number, MOVING)
            self.wait()
            count = 2 if self.short else 20
            with torch.profiler.profile(activities=kinds) as profiler:
                for number in range(count):
                    step.descend(number, MOVING)
                self.wait()
            yield from self._kernels(name, profiler, count)

    def _kernels(self, name: str, profiler: Any, count: int) -> Iterator[Row]:
        on_gpu, rows = self.device.type == "cuda", []
        for event in profiler.key_averages():
            if on_gpu and event.device_type != torch.autograd.DeviceType.CUDA:
                continue
            own = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            times = {"microseconds": own / count, "calls": event.count / count}
            rows.append({"network": name, "kernel": event.key[:160], **times})
        rows.sort(key=lambda row: -row["microseconds"])
        total = sum(row["microseconds"] for row in rows)
        yield {"network": name, "kernel": "all", "microseconds": total, "calls": len(rows)}
        yield from rows[:30]

    def evaluation(self) -> Iterator[Row]:
        """Yield points a second of networks alone, and of a model's methods."""
        points = 4096 if self.short else 1 << 20
        for name, size in NETWORKS.items():
            network = initial_network(size, torch.zeros(1), torch.ones(1), seed=0)
            network = network.eval().to(self.device)
            places = torch.rand(points, 3, device=self.device) * 2 - 1
            with torch.inference_mode():
                seconds = self.per_call(lambda n=network, p=places: n(p), warm_up=3)
            yield {"what": "network", "network": name, "points": points, "seconds": seconds}
        with tempfile.TemporaryDirectory() as folder:
            path = self._model(Path(folder))
            for device in dict.fromkeys((str(self.device), "cpu")):
                yield from self._model_rows(NeuralVolume.open(path, device), device)

    def _model_rows(self, model: NeuralVolume, device: str) -> Iterator[Row]:
        side = 24 if self.short else 256
        grid = even_geometry(model.geometry, (side,) * 3)
        high = np.array(model.geometry.bounds)[1::2]
        places = np.random.default_rng(0).uniform(0, 1, (side**2 * 32, 3)) * high
        works = {
            "sample": (lambda: model.sample(places), len(places)),
            "sample_with_gradient": (lambda: model.sample_with_gradient(places), len(places)),
            "reconstruct": (lambda: model.reconstruct_block(grid), side**3),
        }
        for what, (work, points) in works.items():
            self.forget_peak()
            work()
            seconds = statistics.median(_seconds(work) for _ in range(self._repetitions))
            row = {"what": what, "device": device, "points": points, "seconds": seconds}
            yield {**row, "peak_bytes": self.peak()}

    def _model(self, folder: Path) -> Path:
        iterations = 5 if self.short else 2000
        config = TrainingConfig(iterations=iterations, device=str(self.device))
        config = dataclasses.replace(config, batch=1024 if self.short else 0)
        path = folder / "turbulence.amgsrn"
        train(volume_from_array(turbulence(self._side)), path, NetworkConfig(), config)
        return path

    @property
    def _side(self) -> int:
        return 32 if self.short else SIDE

    def pictures(self) -> Iterator[Row]:
        """Yield seconds of pictures by each marcher."""
        sizes = [(24, 16)] if self.short else [(512, 512), (1000, 700)]
        with tempfile.TemporaryDirectory() as folder:
            path = self._model(Path(folder))
            for device in dict.fromkeys((str(self.device), "cpu")):
                for backend in _marchers(device):
                    for size in sizes:
                        yield self._picture(NeuralVolume.open(path, device), device, backend, size)

    def _picture(
        self, model: NeuralVolume, device: str, backend: str, size: tuple[int, int]
    ) -> Row:
        row = {"device": device, "backend": backend, "size": size}
        self.forget_peak()
        camera = Camera.orbit(model.geometry.bounds, width=size[0], height=size[1])
        backend, _, sampling = backend.partition(" ")
        settings = RenderSettings(sampling=sampling or "exact")
        start = time.perf_counter()
        marcher = make_marcher(model, look_transfer(suggestion(model, 0)), settings, backend)
        rays = camera.rays()
        image = marcher.march(rays)
        row["first_seconds"] = time.perf_counter() - start
        count = 1 if backend == "torch" else self._repetitions
        row["seconds"] = statistics.median(
            _seconds(lambda: marcher.march(rays)) for _ in range(count)
        )
        row["mean_opacity"] = float(image[..., 3].mean())
        return {**row, "peak_bytes": self.peak()}

    def quality(self) -> Iterator[Row]:
        """Yield seconds and PSNR of trainings: short ones on both, whole ones on the GPU."""
        cpu = dict.fromkeys((str(self.device), "cpu"))
        for name in ("turbulence", *self._volumes):
            for device in cpu:
                yield self._trained(name, 5 if self.short else 500, device)
            if not self.short:
                yield self._trained(name, 0, str(self.device))

    def _trained(self, name: str, iterations: int, device: str) -> Row:
        batch = 256 if self.short else 65536
        config = TrainingConfig(iterations=iterations, batch=batch, device=device)
        is_file = name != "turbulence"
        volume = open_volume(name) if is_file else volume_from_array(turbulence(self._side))
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            outcome = train(volume, Path(folder, "model.amgsrn"), NetworkConfig(), config)
            seconds = time.perf_counter() - start
        row = {"volume": Path(name).stem, "device": device, "iterations": iterations or "default"}
        return {**row, "seconds": seconds, "psnr": outcome.psnr}


def turbulence(side: int) -> np.ndarray:
    """Return random waves, float32 [side] * 3, whose energy falls with the power -5/3."""
    noise = np.fft.rfftn(np.random.default_rng(0).standard_normal((side,) * 3))
    whole = np.fft.fftfreq(side, 1 / side)
    numbers = np.meshgrid(whole, whole, np.fft.rfftfreq(side, 1 / side), indexing="ij")
    k = np.sqrt(sum(number**2 for number in numbers))
    k[0, 0, 0] = np.inf
    amplitude = np.where(k < side / 3, k ** (-11 / 6), 0)
    return np.fft.irfftn(noise * amplitude, s=(side,) * 3, axes=(0, 1, 2)).astype(np.float32)


def _marchers(device: str) -> Iterator[str]:
    """Yield what makes pictures on a device; of the kernels also by decoded blocks."""
    if device != "cpu":
        yield "blocks"
        yield from ("nerfacc",) if nerfacc_operators.load() else ()
        yield "torch"
    elif load() is not None:
        yield from ("native", "native cached")


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _say(row: Row) -> None:
    kept = {key: value for key, value in row.items() if value not in ("", None)}
    print(
        "  ",
        ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in kept.items()),
        flush=True,
    )


def main() -> int:
    """Measure the parts that are asked for."""
    parts = ("training", "profile", "evaluation", "pictures", "quality")
    parser = argparse.ArgumentParser(description="What a GPU makes of it.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--volume", nargs="*", default=(), help="FILE.nc, trained on as well")
    parser.add_argument("--short", action="store_true", help="next to nothing, to try the script")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(parts):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    keep_freed_memory()
    bench, results = (
        Bench(arguments.device, arguments.short, arguments.volume),
        {"machine": machine("")},
    )
    if bench.device.type == "cuda":
        results["gpu"] = torch.cuda.get_device_name(bench.device)
    for part in arguments.parts or parts:
        print(part, flush=True)
        rows = results[part] = []
        try:
            for row in getattr(bench, part)():
                rows.append(row)
                _say(row)
                if arguments.json:
                    arguments.json.write_text(json.dumps(results, indent=1) + "\n")
        except Exception:  # The parts after it are wanted all the same.
            traceback.print_exc()
            results[f"{part} failed"] = traceback.format_exc()
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    return int(any(name.endswith("failed") for name in results))


if __name__ == "__main__":
    sys.exit(main())
