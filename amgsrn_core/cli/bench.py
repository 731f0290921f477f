"""``amgsrn bench``: how fast each backend evaluates and trains a network on this machine's CPU.

Backends take turns on the same points in one process, so that other load meets all of them alike.
The C library is told to keep freed memory before the first measurement: otherwise much of PyTorch's
time would be page faults, and the comparison one of allocators.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from amgsrn_core.cli.doctor import available_cores, machine
from amgsrn_core.cli.options import configuration, whole_numbers
from amgsrn_core.cli.report import figure, prepare_report, write_report
from amgsrn_core.config import NetworkConfig, TrainingConfig, to_json
from amgsrn_core.errors import ConfigurationError

_INFERENCE_POINTS, _TRAINING_POINTS = 1 << 20, 100_000
_DATA_SIDE = 128  # voxels along each axis of the volume that is trained on
_FEATURE_RANGE = 1.0

_Run = Callable[[], None]


def run(arguments: argparse.Namespace) -> int:
    """Measure what is asked for, and report medians and ratios."""
    prepare_report(arguments.json)
    if arguments.what == "render":
        from amgsrn_core.cli.bench_render import run_render

        return run_render(arguments)
    size = configuration(NetworkConfig, arguments)
    default = _INFERENCE_POINTS if arguments.what == "inference" else _TRAINING_POINTS
    points = default if arguments.points is None else arguments.points
    if points < 1 or arguments.repetitions < 1:
        raise ConfigurationError("points and repetitions must be at least 1.")
    keep_freed_memory()
    measure = measure_inference if arguments.what == "inference" else measure_training
    rows = [
        row
        for threads in _threads(arguments.threads)
        for row in measure(size, points, threads, arguments.repetitions)
    ]
    results = {
        "benchmark": arguments.what,
        "machine": machine(),
        "network": to_json(size),
        "points": points,
        "repetitions": arguments.repetitions,
        "results": rows,
        "ratio": _ratios(rows),
    }
    write_report(results, _rows(results), arguments.json)
    return 0


def measure_inference(
    size: NetworkConfig, points: int, threads: int, repetitions: int
) -> list[dict[str, Any]]:
    """Return rows on the evaluation of random points inside the brick, one per backend."""
    import torch

    from amgsrn_core.ensemble import CPU_POINTS

    torch.set_num_threads(threads)
    places = 2.0 * torch.rand(points, 3, generator=torch.Generator().manual_seed(0)) - 1.0

    def of(backend: str) -> _Run:
        network = _network(size)
        network.use_backend(backend)

        def go() -> None:
            with torch.inference_mode():
                for part in places.split(CPU_POINTS):
                    network(part)

        return go

    work = {backend: of(backend) for backend in _backends()}
    seconds = _medians(work, repetitions)
    return [
        {
            "task": "inference",
            "backend": backend,
            "threads": threads,
            "points_per_second": points / seconds[backend],
        }
        for backend in work
    ]


def measure_training(
    size: NetworkConfig, points: int, threads: int, repetitions: int
) -> list[dict[str, Any]]:
    """Return rows on one training iteration, with the grids moving and at rest, per backend."""
    import torch

    from amgsrn_core.training.sampling import TrainingData
    from amgsrn_core.training.schedule import Rates
    from amgsrn_core.training.step import make_step

    torch.set_num_threads(threads)
    axis = torch.linspace(-1.0, 1.0, _DATA_SIDE)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    wave = 0.5 + 0.25 * (torch.sin(9 * x * y + 2 * z) + torch.cos(7 * z * x))
    data = TrainingData(wave[None].contiguous(), None)
    rows = []
    for task, rate in (
        ("training, grids moving", Rates(1e-3, 3e-4, 1e-4)),
        ("training, grids at rest", Rates(1e-3, 3e-4, 0.0)),
    ):

        def of(backend: str, rate: Rates = rate) -> _Run:
            config = TrainingConfig(batch=points, backend=backend, device="cpu")
            step = make_step(_network(size), data, config)
            numbers = itertools.count()

            def go() -> None:
                step.descend(next(numbers), rate)

            return go

        work = {backend: of(backend) for backend in _backends()}
        seconds = _medians(work, repetitions)
        rows += [
            {
                "task": task,
                "backend": backend,
                "threads": threads,
                "seconds_per_iteration": seconds[backend],
                "points_per_second": points / seconds[backend],
            }
            for backend in work
        ]
    return rows


def keep_freed_memory() -> None:
    """Tell glibc not to return freed memory to the system; nothing happens elsewhere."""
    if not sys.platform.startswith("linux"):
        return
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**30)


def _network(size: NetworkConfig) -> Any:
    """Return a network whose features are all in use, as after training."""
    import torch

    from amgsrn_core.networks import initial_network

    network = initial_network(size, torch.zeros(1), torch.ones(1), seed=0)
    with torch.no_grad():
        network.feature_grids.uniform_(-_FEATURE_RANGE, _FEATURE_RANGE)
    return network


def _backends() -> tuple[str, ...]:
    from amgsrn_core.kernels import load

    return ("torch",) if load() is None else ("torch", "native")


def _medians(work: dict[str, _Run], repetitions: int) -> dict[str, float]:
    """Return the median seconds of each run, taken in turn after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for repetition in range(repetitions + 1):
        for name, go in work.items():
            start = time.perf_counter()
            go()
            if repetition:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how many times faster the kernels are, by task and threads."""
    speeds = {(r["task"], r["threads"], r["backend"]): r["points_per_second"] for r in rows}
    return [
        {"task": task, "threads": threads, "ratio": speed / speeds[task, threads, "torch"]}
        for (task, threads, backend), speed in speeds.items()
        if backend == "native"
    ]


def _rows(results: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "machine", f"{results['machine']['processor']}, {results['machine']['cores']} cores"
    yield "points", str(results["points"])
    for row in results["results"]:
        words = f"{figure(row['points_per_second'] / 1e6, digits=3)} M points/s"
        if "seconds_per_iteration" in row:
            words += f", {figure(row['seconds_per_iteration'] * 1e3, digits=3)} ms an iteration"
        plural = "" if row["threads"] == 1 else "s"
        yield f"{row['task']}, {row['backend']}, {row['threads']} thread{plural}", words
    for ratio in results["ratio"]:
        yield (
            f"{ratio['task']}, {ratio['threads']} thread{'' if ratio['threads'] == 1 else 's'}",
            f"native is {figure(ratio['ratio'], digits=3)} times as fast as torch",
        )
    if not results["ratio"]:
        yield "native", "not built here; see docs/kernels.md"


def _threads(text: str | None) -> tuple[int, ...]:
    if text is None:
        return tuple(sorted({1, available_cores()}))
    try:
        numbers: tuple[int, ...] = whole_numbers(text.count(",") + 1)(text)
    except argparse.ArgumentTypeError as error:
        raise ConfigurationError(f"threads: {error}.") from error
    if min(numbers) < 1:
        raise ConfigurationError("threads must be at least 1.")
    return numbers
