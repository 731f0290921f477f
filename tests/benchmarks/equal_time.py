"""What batches and sampling are worth at equal CPU time: PSNR of variants over many volumes.

    OMP_NUM_THREADS=1 python tests/benchmarks/equal_time.py FILE.nc[:VARIABLE] ... --seconds 8

First the variants' steps are timed in turn, by CPU time, so that other programs on the machine meet
all of them alike; then each is trained for as many iterations as take the same time. Prints a
Markdown table of PSNR in dB over the voxels, and between them, at random places against the data's
Catmull-Rom splines. A second run continues the output file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time

import torch
from ablation import Options, _short, measure

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.networks import initial_network
from amgsrn_core.training.automatic import resolved
from amgsrn_core.training.sampling import TrainingData
from amgsrn_core.training.schedule import Rates
from amgsrn_core.training.step import make_step

VARIANTS: dict[str, Options] = {
    "65,536": {"batch": 65536},
    "16,384": {"batch": 16384},
    "automatic": {"batch": 0},
}
_ROUNDS, _MOVING = 9, 3


def costs(resolution: int) -> dict[str, float]:
    """Return the CPU seconds of a step of each variant, grids moving in a third of them."""
    size = NetworkConfig(grid_shape=(resolution,) * 3)
    data = TrainingData(torch.rand(1, 91, 91, 91), None)
    steps, batches = {}, {}
    for name, options in VARIANTS.items():
        network = initial_network(size, torch.zeros(1), torch.ones(1), 0)
        config = resolved(TrainingConfig(device="cpu", **options), size, "cpu")
        steps[name], batches[name] = make_step(network, data, config), config.batch
    found: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for turn in range(_ROUNDS):
        for name, step in steps.items():
            count = 2 * 65536 // batches[name]
            rate = Rates(0.01, 0.003, 0.0 if turn % _MOVING else 0.001)
            begun = time.process_time()
            for number in range(count):
                step.descend(turn * count + number, rate)
            found[name].append((time.process_time() - begun) / count)
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    """Run what is not yet in the output file, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("volumes", nargs="+", metavar="FILE.nc[:VARIABLE]")
    parser.add_argument("--output", default="equal_time.jsonl")
    parser.add_argument("--seconds", type=float, default=8.0, help="CPU seconds of a training")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--resolution", type=int, default=16)
    budget = parser.parse_args()
    budget.device = "cpu"
    rows = _rows(budget.output)
    if rows:
        iterations = {row["variant"]: row["iterations"] for row in rows}
    else:
        each = costs(budget.resolution)
        iterations = {name: round(budget.seconds / cost) for name, cost in each.items()}
    print(iterations, flush=True)
    done = {(row["volume"], row["variant"], row["seed"]) for row in rows}
    for seed in range(budget.seeds):
        for volume in budget.volumes:
            for variant, options in VARIANTS.items():
                if (volume, variant, seed) in done:
                    continue
                budget.iterations, budget.batch = iterations[variant], options["batch"]
                figures = measure(volume, {}, budget, seed, packs=False)
                row = {"volume": volume, "variant": variant, "seed": seed}
                row |= {"iterations": budget.iterations, **figures}
                with open(budget.output, "a") as file:
                    file.write(json.dumps(row) + "\n")
    print(_table(_rows(budget.output), budget.volumes))


def _table(rows: list[Options], volumes: list[str]) -> str:
    names = list(VARIANTS)
    lines = [
        "| volume | " + " | ".join([*names, *(f"between: {name}" for name in names)]) + " |",
        "| --- |" + " ---: |" * (2 * len(names)),
    ]
    columns: list[list[float]] = [[] for _ in range(2 * len(names))]
    for volume in volumes:
        for number, (key, name) in enumerate((k, n) for k in ("psnr", "places") for n in names):
            found = [r[key] for r in rows if (r["volume"], r["variant"]) == (volume, name)]
            columns[number].append(statistics.fmean(found))
        cells = " | ".join(f"{column[-1]:.1f}" for column in columns)
        lines.append(f"| {_short(volume)} | {cells} |")
    means = " | ".join(f"{statistics.fmean(column):.1f}" for column in columns)
    return "\n".join([*lines, f"| mean | {means} |"])


def _rows(path: str) -> list[Options]:
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return [json.loads(line) for line in file]


if __name__ == "__main__":
    main()
