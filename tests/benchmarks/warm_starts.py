"""How many iterations a step of a series needs that starts from the step before.

    python tests/benchmarks/warm_starts.py colpex_uk.nc:theta nmc_forecast.nc:t katrina_wrf.nc:theta

Every step after the first is trained from random numbers (cold), and from the step before (warm)
with half, a quarter and an eighth of the iterations. The table has the mean PSNR over these steps,
and how many times fewer iterations the warm starts need for the cold starts' mean PSNR,
interpolated between those (in the logarithm of the iterations).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from amgsrn_core import open_series
from amgsrn_core.config import NetworkConfig, SeriesConfig, TrainingConfig
from amgsrn_core.runs import train, train_series
from amgsrn_core.volume import Volume

_SHARES = (2, 4, 8)


def main() -> None:
    """Measure all series and print the table."""
    parser = argparse.ArgumentParser(description="Warm starts against cold starts.")
    parser.add_argument("series", nargs="+", metavar="FILE.nc:VARIABLE")
    parser.add_argument("--iterations", type=int, default=1000, help="of a cold start")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--grids", type=int, default=8)
    parser.add_argument("--resolution", type=int, default=8, help="of each feature grid")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=2, help="how many runs the means are over")
    options = parser.parse_args()
    network = NetworkConfig(
        grids=options.grids, grid_shape=(options.resolution,) * 3, width=options.width
    )
    trainings = [
        TrainingConfig(iterations=options.iterations, batch=options.batch, seed=seed, device="cpu")
        for seed in range(options.seeds)
    ]
    shares = [options.iterations // share for share in _SHARES]
    titles = ["series", "warm steps", f"cold, {options.iterations}"]
    print(" | ".join([*titles, *(f"warm, {n}" for n in shares), "fewer iterations"]), flush=True)
    for series in options.series:
        path, _, variable = series.partition(":")
        steps = open_series(path, variable or None)
        runs = [_run(steps, network, training, shares) for training in trainings]
        cold, *warm = np.mean(runs, axis=0).tolist()
        fewer = _fewer(cold, warm)
        figures = " | ".join(f"{psnr:.2f} dB" for psnr in (cold, *warm))
        print(f"{Path(path).stem}: {variable} | {len(steps) - 1} | {figures} | {fewer}", flush=True)


def _run(
    steps: Sequence[Volume], network: NetworkConfig, training: TrainingConfig, shares: Sequence[int]
) -> list[float]:
    """Return the mean PSNR of cold starts, and of warm ones with these iterations."""
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder, "first.amgsrn")
        train(steps[0], first, network, training)
        warm = [_warm(steps[1:], first, network, training, n) for n in shares]
    return [_cold(steps[1:], network, training), *warm]


def _cold(steps: Sequence[Volume], network: NetworkConfig, training: TrainingConfig) -> float:
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [
            train(step, Path(folder, f"{i}.amgsrn"), network, training)
            for i, step in enumerate(steps)
        ]
    return float(np.mean([outcome.psnr for outcome in outcomes]))


def _warm(
    steps: Sequence[Volume],
    first: Path,
    network: NetworkConfig,
    training: TrainingConfig,
    iterations: int,
) -> float:
    series = SeriesConfig(warm_iterations=iterations)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "series.amgsrn")
        return train_series(steps, path, network, training, series=series, start=first).psnr


def _fewer(cold: float, warm: Sequence[float]) -> str:
    """Return how many times fewer iterations give the cold starts' PSNR."""
    if cold > warm[0]:
        return f"less than {_SHARES[0]}"
    if cold <= warm[-1]:
        return f"more than {_SHARES[-1]}"
    exponent = np.interp(cold, warm[::-1], np.log2(_SHARES[::-1]))
    return f"{2**exponent:.1f}"


if __name__ == "__main__":
    main()
