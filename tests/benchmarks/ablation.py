"""What each part of the training recipe is worth: PSNR of variants over many volumes.

    python tests/benchmarks/ablation.py FILE.nc[:VARIABLE] ... --output ablation.jsonl

Each variant trains the original's size (16 grids of 16^3 x 2, decoder 2 x 64) with its budget
(2,000 iterations of 16,384 points), unless told otherwise. `formula:abc` and
`formula:marschner-lobb` are analytic fields: there the error between the voxels is also measured
against the formula. Prints Markdown tables in dB, and in bytes what the features take ("packed")
when they are rounded to 8 bits, or to fewer where that costs half a decibel at most, and deflated;
a second run continues the output file.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.networks import SceneNetwork, initial_network
from amgsrn_core.networks.interpolation import cubic_targets
from amgsrn_core.runs.aspect import matched_shape
from amgsrn_core.training.fit import fit
from amgsrn_core.training.placement import place_grids
from amgsrn_core.training.quality import measure as measure_fit
from amgsrn_core.training.sampling import PointSampler, TrainingData, prepare
from amgsrn_core.volume import open_volume, volume_from_array
from amgsrn_core.volume.psnr import psnr_of

Options = dict[str, Any]
ORIGINAL: Options = {
    "learning_rate": 0.01,
    "decoder_rate": 1.0,
    "schedule": "constant",
    "targets": "linear",
    "placement": "global",
    "motion": "density",
}
PLAIN: Options = {"targets": "linear", "placement": "global", "motion": "none"}
VARIANTS: dict[str, Options] = {
    "original": ORIGINAL,
    "schedule, density motion": {**PLAIN, "motion": "density"},
    "schedule": PLAIN,
    "schedule, cubic": {**PLAIN, "targets": "cubic"},
    "default": {},
    "default, no motion": {"motion": "none"},
    "default, density motion": {"motion": "density"},
    "default, global placement": {"placement": "global"},
    "default, active placement": {"placement": "active"},
    **{f"tv {weight:g}": {"tv": weight} for weight in (1e-5, 1e-4, 1e-3)},
    **{f"l1 {weight:g}": {"l1": weight} for weight in (1e-6, 1e-5, 1e-4)},
    "match aspect": {"match_aspect": True},
}
RECIPE = list(VARIANTS)[: list(VARIANTS).index("default, active placement") + 1]


def marschner_lobb(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Marschner and Lobb, Visualization '94: 0.25 * (1 + rho) + sine along z."""
    rho = np.cos(2.0 * np.pi * 6.0 * np.cos(np.pi * np.hypot(x, y) / 2.0))
    return (1.0 - np.sin(np.pi * z / 2.0) + 0.25 * (1.0 + rho)) / 2.5


def abc(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Speed of the Arnold-Beltrami-Childress flow, two periods along each axis."""
    x, y, z = (2.0 * np.pi * c for c in (x, y, z))
    a, b, c = math.sqrt(3.0), math.sqrt(2.0), 1.0
    u = a * np.sin(z) + c * np.cos(y)
    v = b * np.sin(x) + a * np.cos(z)
    w = c * np.sin(y) + b * np.cos(x)
    return np.sqrt(u * u + v * v + w * w)


FORMULAS: dict[str, Callable[..., np.ndarray]] = {"abc": abc, "marschner-lobb": marschner_lobb}
FORMULA_SIZE = 64


def measure(
    name: str, options: Options, budget: argparse.Namespace, seed: int, packs: bool = True
) -> Options:
    """Train one variant on one volume and return its figures, how well it `packs` among them."""
    device = torch.device(budget.device)
    formula = FORMULAS.get(name.removeprefix("formula:")) if name.startswith("formula:") else None
    if formula is not None:
        z, y, x = np.meshgrid(*[np.linspace(-1.0, 1.0, FORMULA_SIZE)] * 3, indexing="ij")
        volume = volume_from_array(formula(x, y, z).astype(np.float32))
    else:
        path, _, variable = name.partition(":")
        volume = open_volume(path, variable or None)
    block = volume.read()
    summary = block.summary()
    volume.refuse_unfit(summary)
    data = prepare(block, summary.minimum, summary.maximum, device)
    size = NetworkConfig(grid_shape=(budget.resolution,) * 3)
    if options.get("match_aspect"):
        size = NetworkConfig(grid_shape=matched_shape(size.grid_shape, volume.dims))
    config = TrainingConfig(
        **{"iterations": budget.iterations, "batch": budget.batch, "seed": seed, **options}
    )
    low, high = (torch.tensor(v, dtype=torch.float32) for v in (summary.minimum, summary.maximum))
    network = initial_network(size, low, high, seed)
    placed = place_grids(network.transforms, data, config.placement)
    begun = time.process_time()
    result = fit(network.to(device), data, config)
    cpu = time.process_time() - begun
    quality = measure_fit(network, data)
    figures = {
        "shape": list(size.grid_shape),
        "psnr": quality.psnr,
        "max_error": quality.largest.max(),
        "placed": placed,
        "seconds": result.seconds,
        "cpu": cpu,
        "places": _at_places(network, data),
    }
    if formula is not None:
        figures["between"] = _between(network, formula)
    return {**figures, **(_pack(network, data, quality.psnr) if packs else {})}


def _at_places(network: SceneNetwork, data: TrainingData) -> float:
    """Return the PSNR at random places, against the data interpolated by Catmull-Rom splines."""
    index, local = PointSampler(data, 1 << 17, 12345).draw(0)
    with torch.inference_mode():
        values = torch.cat([network.normalised(part) for part in local.split(1 << 16)])
        return psnr_of(float((values - cubic_targets(data.values, index)).square().mean()))


def _pack(network: SceneNetwork, data: TrainingData, psnr: float) -> Options:
    """Round the features to 8 bits, or fewer if half a decibel allows; count deflate's bytes."""
    features = network.feature_grids.detach().clone()
    figures: Options = {}
    for levels in (127, 63, 31, 15, 7):
        step = features.abs().max() / levels
        rounded = torch.round(features / step)
        with torch.no_grad():
            network.feature_grids.copy_(rounded * step)
        if figures and measure_fit(network, data).psnr < psnr - 0.5:
            break
        packed = zlib.compress(rounded.to("cpu", torch.int8).numpy().tobytes(), 9)
        figures = {"levels": levels, "packed": len(packed)}
    return figures


def _between(network: SceneNetwork, formula: Callable[..., np.ndarray]) -> float:
    """Return the PSNR at random points against the formula."""
    points = np.random.default_rng(0).uniform(-1.0, 1.0, (1 << 17, 3)).astype(np.float32)
    device = network.minimum.device
    with torch.inference_mode():
        values = network(torch.from_numpy(points).to(device))[:, 0].cpu().numpy()
    span = float(network.maximum - network.minimum)
    return psnr_of(float(np.mean(((values - formula(*points.T)) / span) ** 2)))


def _work(tasks: Any, path: str, lock: Any, budget: argparse.Namespace) -> None:
    torch.set_num_threads(budget.threads)
    while (task := tasks.get()) is not None:
        volume, variant, seed = task
        start = time.time()
        figures = measure(volume, VARIANTS[variant], budget, seed)
        row = {"volume": volume, "variant": variant, "seed": seed, **_size(budget), **figures}
        with lock, open(path, "a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{volume}  {variant}  {figures['psnr']:.2f} dB  {time.time() - start:.0f} s")
        sys.stdout.flush()


def table(rows: list[Options], volumes: list[str], variants: list[str], key: str) -> str:
    """Return a Markdown table of means over the seeds; the last column is the mean."""
    heads = [_short(v) for v in volumes]
    lines = [
        "| variant | " + " | ".join(heads) + " | mean |",
        "| --- |" + " --- |" * (len(heads) + 1),
    ]
    for variant in variants:
        cells = []
        for volume in volumes:
            found = [
                r[key]
                for r in rows
                if r["variant"] == variant and r["volume"] == volume and key in r
            ]
            cells.append(float(np.mean(found)) if found else math.nan)
        mean = float(np.mean(cells))
        text = [f"{c:.2f}" if c == c else "-" for c in (*cells, mean)]
        lines.append(f"| {variant} | " + " | ".join(text) + " |")
    return "\n".join(lines)


def _short(volume: str) -> str:
    path, _, variable = volume.partition(":")
    return variable if path == "formula" else os.path.splitext(os.path.basename(path))[0]


def main() -> None:
    """Run what is not yet in the output file, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("volumes", nargs="+", metavar="FILE.nc[:VARIABLE] | formula:NAME")
    parser.add_argument("--output", default="ablation.jsonl")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=RECIPE)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=16384)
    parser.add_argument("--resolution", type=int, default=16)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--threads", type=int, default=2, help="threads of each run")
    arguments = parser.parse_args()
    rows = _rows(arguments.output, arguments)
    done = {(r["volume"], r["variant"], r["seed"]) for r in rows}
    everything = [
        (volume, variant, seed)
        for seed in range(arguments.seeds)
        for variant in arguments.variants
        for volume in arguments.volumes
    ]
    context = multiprocessing.get_context("spawn")
    tasks, lock = context.Queue(), context.Lock()
    for task in [t for t in everything if t not in done]:
        tasks.put(task)
    workers = [
        context.Process(target=_work, args=(tasks, arguments.output, lock, arguments))
        for _ in range(arguments.jobs)
    ]
    for worker in workers:
        tasks.put(None)
        worker.start()
    for worker in workers:
        worker.join()
    rows = _rows(arguments.output, arguments)
    for key in ("psnr", "between", "packed"):
        chosen = [v for v in arguments.volumes if key != "between" or v.startswith("formula:")]
        if chosen:
            print(f"\n{key}\n{table(rows, chosen, arguments.variants, key)}")


def _size(budget: argparse.Namespace) -> Options:
    return {
        "iterations": budget.iterations,
        "batch": budget.batch,
        "resolution": budget.resolution,
    }


def _rows(path: str, budget: argparse.Namespace) -> list[Options]:
    """Return the rows of a file that were measured with this size and budget."""
    if not os.path.exists(path):
        return []
    with open(path) as file:
        rows = [json.loads(line) for line in file]
    return [row for row in rows if _size(budget).items() <= row.items()]


if __name__ == "__main__":
    main()
