"""Compressed models against SZ3 and ZFP: PSNR at equal size.

    pip install -e '.[compare]'
    python tests/benchmarks/rate_distortion.py FILE.nc[:VARIABLE] ...

For each volume and size of network a model is trained and compressed; then each of the two
compressors gets the error bound that makes its result as large as the model's whole file, or just
smaller. PSNR is 20 log10(range / RMSE) over all voxels. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import itertools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from amgsrn_core import NeuralVolume, open_volume, train
from amgsrn_core.config import NetworkConfig, StorageConfig, TrainingConfig

# From an absolute error bound on to the size in bytes, and the values that come back.
Codec = Callable[[np.ndarray, float], "tuple[int, np.ndarray]"]
_ROUNDS = 18


def sz3(values: np.ndarray, bound: float) -> tuple[int, np.ndarray]:
    """Compress with SZ3's default pipeline."""
    from pysz import sz, szConfig, szErrorBoundMode

    config = szConfig()
    config.errorBoundMode = szErrorBoundMode.ABS
    config.absErrorBound = bound
    packed, _ = sz.compress(values, config)
    found, _ = sz.decompress(packed, values.dtype, values.shape)
    return packed.nbytes, found


def zfp(values: np.ndarray, bound: float) -> tuple[int, np.ndarray]:
    """Compress with ZFP to a tolerance."""
    import zfpy

    packed = zfpy.compress_numpy(values, tolerance=bound)
    return len(packed), zfpy.decompress_numpy(packed)


CODECS: dict[str, Codec] = {"SZ3": sz3, "ZFP": zfp}


def psnr(values: np.ndarray, found: np.ndarray) -> float:
    """Return the PSNR in dB."""
    error = np.mean((found.astype(np.float64) - values) ** 2)
    return 20.0 * math.log10(float(np.ptp(values)) / math.sqrt(max(error, 1e-300)))


def at_size(codec: Codec, values: np.ndarray, size: int) -> tuple[int, float]:
    """Return size and PSNR of the finest result that is at most `size` bytes large."""
    low, high = -24.0, 0.0  # powers of two, relative to the range
    best = (0, math.nan)
    for _ in range(_ROUNDS):
        middle = 0.5 * (low + high)
        found_size, found = codec(values, float(np.ptp(values)) * 2.0**middle)
        if found_size <= size:
            best, high = (found_size, psnr(values, found)), middle
        else:
            low = middle
    return best


def rows(name: str, values: np.ndarray, model: NeuralVolume, size: int) -> str:
    """Return a line of the table."""
    ours = psnr(values, model.reconstruct_block().values[0])
    cells = [name, f"{size / 1000:.0f}", f"{values.nbytes / size:.0f}", f"{ours:.1f}"]
    for codec in CODECS.values():
        found_size, found = at_size(codec, values, size)
        cells.append(f"{found:.1f}" if found_size else f"more than {size / 1000:.0f} kB")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Train, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("volumes", nargs="+", metavar="FILE.nc[:VARIABLE]")
    parser.add_argument("--sides", type=int, nargs="+", default=[16], help="nodes of a grid's edge")
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=16384)
    parser.add_argument("--finetune", type=int, default=3000)
    parser.add_argument("--losses", type=float, nargs="+", default=[0.1], help="budgets in dB")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", help="folder that keeps the models (default: none)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    training = TrainingConfig(iterations=arguments.iterations, batch=arguments.batch)
    print("| volume | kB | ratio | model | " + " | ".join(CODECS) + " |")
    print("| --- |" + " ---: |" * (3 + len(CODECS)))
    with tempfile.TemporaryDirectory() as scratch:
        for text in arguments.volumes:
            path, _, variable = text.partition(":")
            volume = open_volume(path, variable or None)
            values = np.ascontiguousarray(volume.read().values[0], dtype=np.float32)
            name = Path(path).stem
            for side, loss in itertools.product(arguments.sides, arguments.losses):
                file = Path(arguments.output or scratch) / f"{name}-{side}-{loss:g}.amgsrn"
                network = NetworkConfig(grid_shape=(side,) * 3)
                storage = StorageConfig(
                    compress=True, compress_loss=loss, compress_finetune=arguments.finetune
                )
                train(volume, file, network, training, storage)
                model = NeuralVolume.open(file, device="cpu")
                print(rows(name, values, model, file.stat().st_size), flush=True)


if __name__ == "__main__":
    main()
