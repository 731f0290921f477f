"""Whether goals are met: what is asked for against what comes of it, over many volumes.

    python tests/benchmarks/goals.py psnr FILE.nc[:VARIABLE] ... --targets 38 42 46
    python tests/benchmarks/goals.py size FILE.nc[:VARIABLE] ... --targets 100000 --iterations 400
    python tests/benchmarks/goals.py size FILE.nc[:VARIABLE] ... --targets 30000 --compress
    python tests/benchmarks/goals.py seconds FILE.nc[:VARIABLE] ... --targets 20 60

Prints a row of a Markdown table for each volume and target as it is done. All are trained as
``amgsrn train`` does it, with everything else left at its default unless options say otherwise.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import tempfile
import time
from pathlib import Path

from amgsrn_core import open_volume, train
from amgsrn_core.config import GoalConfig, StorageConfig, TrainingConfig
from amgsrn_core.model import read_index

_GOALS = {"psnr": "target_psnr", "size": "target_size", "seconds": "max_seconds"}


def row(name: str, goal: GoalConfig, training: TrainingConfig, storage: StorageConfig) -> list[str]:
    """Train one volume and return what came of it, as cells of a table."""
    file, _, variable = name.partition(":")
    volume = open_volume(file, variable or None)
    began, worked = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        outcome = train(
            volume, Path(folder) / "m.amgsrn", training=training, storage=storage, goal=goal
        )
        size, index = os.path.getsize(outcome.path), read_index(outcome.path)
    asked = goal.target_psnr or goal.target_bytes or goal.max_seconds
    got = outcome.psnr if goal.target_psnr else size if goal.target_bytes else outcome.seconds
    shape = index.network.grid_shape
    return [
        f"{Path(file).stem}{f' ({variable})' if variable else ''}",
        f"{asked:g}",
        f"{got:.2f}" if goal.target_psnr or goal.max_seconds else f"{size} ({size / asked:.3f})",
        " x ".join(map(str, shape)) if len(set(shape)) > 1 else f"{shape[0]}^3",
        f"{size / 1000:.0f} kB",
        f"{volume.source_nbytes / size:.1f}",
        f"{outcome.psnr:.2f}" if math.isfinite(outcome.psnr) else "",
        str(index.training.iterations_done),
        f"{outcome.seconds:.1f}",
        f"{time.process_time() - worked:.0f} of {time.monotonic() - began:.0f}",
    ]


def main() -> None:
    """Train what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("goal", choices=_GOALS)
    parser.add_argument("volumes", nargs="+", metavar="FILE[:VARIABLE]")
    parser.add_argument("--targets", nargs="+", required=True)
    parser.add_argument("--iterations", type=int, default=0)
    parser.add_argument("--compress", action="store_true")
    parser.add_argument("--finetune", type=int, default=StorageConfig().compress_finetune)
    options = parser.parse_args()
    storage = StorageConfig(compress=options.compress, compress_finetune=options.finetune)
    training = TrainingConfig(iterations=options.iterations, device="cpu")
    heads = "volume", "asked", "got", "grids", "size", "ratio", "PSNR", "iterations", "seconds"
    print("| " + " | ".join([*heads, "CPU s of wall s"]) + " |")
    print("| --- |" + " ---: |" * len(heads))
    for name in options.volumes:
        for target in options.targets:
            value = target if options.goal == "size" else float(target)
            goal = dataclasses.replace(
                GoalConfig(network_size="chosen"), **{_GOALS[options.goal]: value}
            )
            print("| " + " | ".join(row(name, goal, training, storage)) + " |", flush=True)


if __name__ == "__main__":
    main()
