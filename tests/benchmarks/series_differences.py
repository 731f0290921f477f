"""How much smaller a compressed series is whose steps are stored as differences.

    python tests/benchmarks/series_differences.py colpex_uk.nc:theta nmc_forecast.nc:t

The same series is trained and compressed twice with the same budget, every step by itself and with
differences; once without and once with fine-tuning. Sizes are those of the whole files.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from amgsrn_core import open_series
from amgsrn_core.config import NetworkConfig, SeriesConfig, StorageConfig, TrainingConfig
from amgsrn_core.runs import train_series
from amgsrn_core.volume import Volume


def main() -> None:
    """Measure all series and print the table."""
    parser = argparse.ArgumentParser(description="Steps as differences against whole ones.")
    parser.add_argument("series", nargs="+", metavar="FILE.nc:VARIABLE")
    parser.add_argument("--time", default="all", help="steps, as for amgsrn train")
    parser.add_argument("--iterations", type=int, default=800)
    parser.add_argument("--warm-iterations", type=int, default=200)
    parser.add_argument("--finetune", type=int, nargs="+", default=[0, 1500])
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--grids", type=int, default=8)
    parser.add_argument("--resolution", type=int, default=8, help="of each feature grid")
    parser.add_argument("--width", type=int, default=32)
    options = parser.parse_args()
    network = NetworkConfig(
        grids=options.grids, grid_shape=(options.resolution,) * 3, width=options.width
    )
    training = TrainingConfig(iterations=options.iterations, batch=options.batch, device="cpu")
    print("series | steps | fine-tuning | whole | differences | saved | PSNR", flush=True)
    for series in options.series:
        path, _, variable = series.partition(":")
        steps = open_series(path, variable or None, options.time)
        for finetune in options.finetune:
            storage = StorageConfig(compress=True, compress_finetune=finetune)
            runs = [
                _run(steps, network, training, storage, options.warm_iterations, differences)
                for differences in (False, True)
            ]
            (before, psnr), (after, psnr_after) = runs
            print(
                f"{Path(path).stem}: {variable} | {len(steps)} | {finetune} | {before / 1e3:.1f} kB"
                f" | {after / 1e3:.1f} kB | {1 - after / before:.0%}"
                f" | {psnr:.2f}, {psnr_after:.2f} dB",
                flush=True,
            )


def _run(
    steps: Sequence[Volume],
    network: NetworkConfig,
    training: TrainingConfig,
    storage: StorageConfig,
    warm_iterations: int,
    differences: bool,
) -> tuple[int, float]:
    """Return the bytes of a series' file, and its mean PSNR."""
    series = SeriesConfig(warm_iterations=warm_iterations, series_differences=differences)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "series.amgsrn")
        psnr = train_series(steps, path, network, training, storage, series=series).psnr
        return path.stat().st_size, psnr


if __name__ == "__main__":
    main()
