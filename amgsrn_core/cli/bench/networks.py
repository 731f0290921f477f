"""``amgsrn bench inference`` and ``training``: how fast each backend computes on this CPU.

Backends take turns on the same points in one process, so that other load meets all of them alike.
The C library is told to keep freed memory before the first measurement: otherwise much of PyTorch's
time would be page faults, and the comparison one of allocators.

The kernels are also held to a roofline of two terms, measured in turn with all the rest: the
decoder's multiplications at the processor's peak, and everything else as fast as it is with the
smallest decoder, whose own multiplications are taken off at the peak. Their share of the peak alone
is reported as well, as if all else took no time.

One thread is measured by its CPU seconds, which other programs disturb less, several by the clock.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

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
from amgsrn_core.kernels import load
from amgsrn_core.kernels.backend import native_library
from amgsrn_core.model import parameter_shapes

_INFERENCE_POINTS, _TRAINING_POINTS = 1 << 20, 100_000
_DATA_SIDE = 128  # voxels along each axis of the volume that is trained on
_FEATURE_RANGE = 1.0
_PEAK_ROUNDS = 1 << 19  # about a twentieth of a second
_SMALLEST_WIDTH = 16  # neurons of the smallest decoder, which has one hidden layer
_SMALLEST, _PEAK = "smallest decoder", "peak"

_Run = Callable[[], None]
_Rows = list[dict[str, Any]]


def run(arguments: argparse.Namespace) -> int:
    """Measure what is asked for, and report medians and ratios."""
    size = configuration(NetworkConfig, arguments)
    default = _INFERENCE_POINTS if arguments.what == "inference" else _TRAINING_POINTS
    points = default if arguments.points is None else arguments.points
    if points < 1 or arguments.repetitions < 1:
        raise ConfigurationError("points and repetitions must be at least 1.")
    fast = _is_fast(arguments)
    keep_freed_memory()
    rows, roofline = [], []
    for threads in chosen_threads(arguments.threads):
        budget = Budget(points, threads, arguments.repetitions)
        if arguments.what == "inference":
            tasks = [measure_inference(size, budget)]
        else:
            tasks = measure_training(size, budget, fast)
        for task_rows, task_roofline in tasks:
            rows += task_rows
            roofline += task_roofline
    results = {
        "benchmark": arguments.what,
        "machine": machine(),
        "isa": _isa(),
        "network": to_json(size),
        "precision": "fast" if fast else "float32",
        "points": points,
        "repetitions": arguments.repetitions,
        "results": rows,
        "ratio": _ratios(rows),
        "scaling": _scaling(rows),
        "roofline": roofline,
    }
    write_report(results, _rows(results), arguments.json)
    return 0


@dataclass(frozen=True)
class Budget:
    """How much to measure."""

    points: int
    threads: int
    repetitions: int


def measure_inference(size: NetworkConfig, budget: Budget) -> tuple[_Rows, _Rows]:
    """Measure the evaluation of random points inside the brick.

    Returns
    -------
    results : list of dict
        A row per backend.
    roofline : list of dict
        A row if there are kernels.
    """
    from amgsrn_core.field.evaluators import make_evaluator
    from amgsrn_core.field.point_batches import CPU_POINTS, KERNEL_POINTS

    places = np.random.default_rng(0).uniform(-1.0, 1.0, (budget.points, 3)).astype(np.float32)

    def of(backend: str, size: NetworkConfig) -> _Run:
        evaluator = make_evaluator(
            size,
            _parameters(size),
            (np.zeros(1), np.ones(1)),
            device="cpu",
            backend=backend,
            library=native_library(backend, "cpu", size.encoder),
        )
        batch = CPU_POINTS if backend == "torch" else KERNEL_POINTS
        parts = np.split(places, range(batch, budget.points, batch))

        def go() -> None:
            for part in parts:
                evaluator.values(part)

        return go

    return _measure("inference", of, size, budget, passes=1, fast=False)


def measure_training(
    size: NetworkConfig, budget: Budget, fast: bool = False
) -> list[tuple[_Rows, _Rows]]:
    """Measure one training iteration, with the grids moving and at rest.

    Returns
    -------
    list of (results, roofline)
        Of each task; see :func:`measure_inference`.
    """
    import torch

    from amgsrn_core.networks import network_from_state
    from amgsrn_core.training.sampling import TrainingData
    from amgsrn_core.training.schedule import Rates
    from amgsrn_core.training.step import make_step

    axis = torch.linspace(-1.0, 1.0, _DATA_SIDE)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    wave = 0.5 + 0.25 * (torch.sin(9 * x * y + 2 * z) + torch.cos(7 * z * x))
    data = TrainingData(wave[None].contiguous(), None)
    found = []
    for task, rate in (
        ("training, grids moving", Rates(1e-3, 3e-4, 1e-4)),
        ("training, grids at rest", Rates(1e-3, 3e-4, 0.0)),
    ):

        def of(backend: str, size: NetworkConfig, rate: Rates = rate) -> _Run:
            config = TrainingConfig(
                batch=budget.points,
                backend=backend,
                precision="fast" if fast and backend == "native" else "float32",
                device="cpu",
            )
            network = network_from_state(size, _parameters(size), torch.zeros(1), torch.ones(1))
            step = make_step(network, data, config)
            numbers = itertools.count()

            def go() -> None:
                step.descend(next(numbers), rate)

            return go

        # Forwards, and backwards to the weights and to the inputs.
        found.append(_measure(task, of, size, budget, passes=3, fast=fast))
    return found


def _measure(
    task: str,
    of: Callable[[str, NetworkConfig], _Run],
    size: NetworkConfig,
    budget: Budget,
    *,
    passes: int,
    fast: bool,
) -> tuple[_Rows, _Rows]:
    """Measure what `of` makes for each backend, and the kernels' roofline, all in turn."""
    use_threads(budget.threads)
    library, backends = load(), measured_backends("torch")
    work = {backend: of(backend, size) for backend in backends}
    smallest = dataclasses.replace(size, layers=1, width=_SMALLEST_WIDTH)
    done = 0.0
    if library is not None:

        def multiply() -> None:
            nonlocal done
            done = library.multiply_adds(_PEAK_ROUNDS, budget.threads, fast=fast)

        work |= {_SMALLEST: of("native", smallest), _PEAK: multiply}
    clock = time.process_time if budget.threads == 1 else time.perf_counter
    seconds = _medians(work, budget.repetitions, clock)
    rows = [
        {
            "task": task,
            "backend": backend,
            "threads": budget.threads,
            **({} if passes == 1 else {"seconds_per_iteration": seconds[backend]}),
            "points_per_second": budget.points / seconds[backend],
        }
        for backend in backends
    ]
    if library is None:
        return rows, []
    peak = done / seconds[_PEAK]
    per_product = passes * budget.points / peak
    rest = max(0.0, seconds[_SMALLEST] - per_product * multiplications(smallest))
    products = per_product * multiplications(size)
    bound = rest + products
    return rows, [
        {
            "task": task,
            "threads": budget.threads,
            "peak_multiply_adds_per_second": peak,
            "seconds_without_decoder": rest,
            "points_per_second": budget.points / bound,
            "share": bound / seconds["native"],
            "share_of_peak": products / seconds["native"],
        }
    ]


def multiplications(size: NetworkConfig) -> int:
    """Return the decoder's multiplications for a point, with one output."""
    inputs = size.grids * size.features
    return size.width * (inputs + (size.layers - 1) * size.width + 1)


def _parameters(size: NetworkConfig) -> dict[str, np.ndarray]:
    """Return a network's parameters, with features that are all in use, as after training."""
    random, found = np.random.default_rng(0), {}
    for name, shape in parameter_shapes(size, 1).items():
        if name == "feature_grids":
            values = random.uniform(-_FEATURE_RANGE, _FEATURE_RANGE, shape)
        else:
            values = random.normal(0.0, math.sqrt(2.0 / sum(shape[-2:])), shape)
        found[name] = values.astype(np.float32)
    moved = 0.05 if size.encoder == "adaptive" else 0.0
    found["transforms"] = np.eye(3, 4, dtype=np.float32) + moved * found["transforms"]
    return found


def _is_fast(arguments: argparse.Namespace) -> bool:
    """Return whether the kernels multiply bfloat16 numbers in this benchmark."""
    if arguments.precision != "fast":
        return False
    if arguments.what == "inference":
        raise ConfigurationError("precision fast is for training; inference is always float32.")
    library = load()
    if library is None or not library.has_fast:
        raise ConfigurationError("precision fast needs a processor with bfloat16 products.")
    return True


def _isa() -> str | None:
    library = load()
    return None if library is None else library.isa


def _medians(
    work: dict[str, _Run], repetitions: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Return the median seconds of each run, taken in turn after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for repetition in range(repetitions + 1):
        for name, go in work.items():
            start = clock()
            go()
            if repetition:
                seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _ratios(rows: _Rows) -> _Rows:
    """Return how many times faster the kernels are, by task and threads."""
    speeds = {(r["task"], r["threads"], r["backend"]): r["points_per_second"] for r in rows}
    return [
        {"task": task, "threads": threads, "ratio": speed / speeds[task, threads, "torch"]}
        for (task, threads, backend), speed in speeds.items()
        if backend == "native" and (task, threads, "torch") in speeds
    ]


def _scaling(rows: _Rows) -> _Rows:
    """Return how many times faster the most threads are than the fewest, by task and backend."""
    found: dict[tuple[str, str], _Rows] = {}
    for row in sorted(rows, key=lambda row: row["threads"]):
        found.setdefault((row["task"], row["backend"]), []).append(row)
    return [
        {
            "task": task,
            "backend": backend,
            "threads": [same[0]["threads"], same[-1]["threads"]],
            "ratio": same[-1]["points_per_second"] / same[0]["points_per_second"],
        }
        for (task, backend), same in found.items()
        if len(same) > 1
    ]


def _rows(results: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "machine", f"{results['machine']['processor']}, {results['machine']['cores']} cores"
    yield "points", str(results["points"])
    for row in results["results"]:
        words = f"{_millions(row['points_per_second'])} points/s"
        if "seconds_per_iteration" in row:
            words += f", {figure(row['seconds_per_iteration'] * 1e3, digits=3)} ms an iteration"
        yield f"{row['task']}, {row['backend']}, {_of_threads(row['threads'])}", words
    for ratio in results["ratio"]:
        yield (
            f"{ratio['task']}, {_of_threads(ratio['threads'])}",
            f"native is {figure(ratio['ratio'], digits=3)} times as fast as torch",
        )
    for row in results["scaling"]:
        few, many = row["threads"]
        yield (
            f"{row['task']}, {row['backend']}, {few} to {_of_threads(many)}",
            f"{figure(row['ratio'], digits=3)} times as fast",
        )
    for row in results["roofline"]:
        peak = figure(row["peak_multiply_adds_per_second"] / 1e9, digits=3)
        share, of_peak = 100 * row["share"], 100 * row["share_of_peak"]
        yield (
            f"{row['task']}, roofline, {_of_threads(row['threads'])}",
            f"{_millions(row['points_per_second'])} points/s at {peak} G multiply-adds/s; native "
            f"reaches {share:.0f} %, {of_peak:.0f} % of the peak alone",
        )
    if results["isa"] is None:
        yield "native", "not built here; see docs/kernels.md"
    else:
        yield "native", f"{results['isa']}, {results['precision']}"


def _millions(value: float) -> str:
    return f"{figure(value / 1e6, digits=3)} M"


def _of_threads(number: int) -> str:
    return f"{number} thread{'' if number == 1 else 's'}"
