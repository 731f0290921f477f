"""Measure what a model of many bricks takes to open, and to answer a thousand points.

    OMP_NUM_THREADS=1 python tests/benchmarks/opening.py [--side BRICKS] [--steps N] [--profile]

The bricks are tiny, SIDE^3 of them, so that what counts is the work per brick. Times are the least
seconds of processor time of several runs; results are one JSON line.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from amgsrn_core import NeuralVolume
from amgsrn_core.config import NetworkConfig
from amgsrn_core.model import (
    BrickRecord,
    ModelIndex,
    OnDemand,
    SourceRecord,
    parameter_shapes,
    read_index,
    write_archive,
)
from amgsrn_core.volume import GridGeometry
from amgsrn_core.volume.partition import partition
from amgsrn_core.volume.volume import TimeAxis

_NETWORK = NetworkConfig(grids=2, features=2, grid_shape=(4, 4, 4), layers=2, width=16)
_EDGE = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=16, help="bricks along each axis")
    parser.add_argument("--steps", type=int, default=1, help="time steps")
    parser.add_argument("--profile", action="store_true", help="say which functions take how long")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.amgsrn"
        seconds = {"write": _least(lambda: write(path, arguments.side, arguments.steps), 1)}
        index = read_index(path)
        last = np.array(index.dims[::-1]) - 1.0
        points = np.random.default_rng(0).random((1000, 3)) * last

        def open_and_sample() -> np.ndarray:
            return NeuralVolume.open(path, "cpu").sample_index(points)

        open_and_sample()  # imports
        tasks: dict[str, Callable[[], object]] = {
            "read_index": lambda: read_index(path),
            "open": lambda: NeuralVolume.open(path, "cpu"),
            "open_and_sample": open_and_sample,
            "open_verified": lambda: NeuralVolume.open(path, "cpu", verify=True),
        }
        seconds.update({name: _least(task) for name, task in tasks.items()})
        model = NeuralVolume.open(path, "cpu")
        seconds["at"] = _least(lambda: model.at(index.steps - 1))
        rounded = {name: round(value, 4) for name, value in seconds.items()}
        print(json.dumps({"bricks": len(index.bricks), "seconds": rounded}), flush=True)
        if arguments.profile:
            with cProfile.Profile() as profile:
                open_and_sample()
            pstats.Stats(profile).sort_stats("tottime").print_stats(30)


def write(path: Path, side: int, steps: int) -> None:
    """Write a model of side^3 bricks with random networks, for each time step."""
    dims = (side * _EDGE,) * 3
    records = [
        BrickRecord(brick.extent, brick.ghosted, psnr=40.0, value_minimum=(0.0,),
                    value_maximum=(1.0 + number,))
        for number, brick in enumerate(partition(dims, (side,) * 3, 1))
    ]  # fmt: skip
    times = TimeAxis(tuple(map(float, range(steps))), steps=tuple(range(steps)))
    index = ModelIndex(
        name="f",
        components=("f",),
        units=("",),
        geometry=GridGeometry.uniform(dims),
        value_minimum=(0.0,),
        value_maximum=(1.0 + len(records),),
        network=_NETWORK,
        bricks=tuple(records) * steps,
        source=SourceRecord("f.nc", "float32", 4 * dims[0] ** 3, ("f",)),
        time=times if steps > 1 else None,
    )
    shapes = parameter_shapes(_NETWORK, 1)

    def brick(number: int) -> dict[str, np.ndarray]:
        random = np.random.default_rng(number)
        return {name: random.random(shape, np.float32) for name, shape in shapes.items()}

    write_archive(path, index, OnDemand(len(index.bricks), brick))


def _least(task: Callable[[], object], runs: int = 5) -> float:
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        task()
        seconds.append(time.process_time() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
