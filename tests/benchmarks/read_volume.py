"""CPU seconds from a volume in memory to what a network is trained on, without the network.

    python tests/benchmarks/read_volume.py [--edge 256]

Reads a float32 cube, with range, fill values and checksum (as a training does), and normalises it;
once without and once with a mask. Prints the shortest of several times. One pass over the values
finds all of it, so that reading takes little longer than the checksum alone.
"""

from __future__ import annotations

import argparse
import time
import zlib

import numpy as np
import torch

from amgsrn_core import volume_from_array
from amgsrn_core.training.sampling import prepare


def main() -> None:
    """Measure both volumes and print the table."""
    parser = argparse.ArgumentParser(description="From a volume to training data.")
    parser.add_argument("--edge", type=int, default=256, help="voxels along each axis")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    z, y, x = np.meshgrid(*[np.linspace(0, 6, arguments.edge, dtype="f4")] * 3, indexing="ij")
    values = np.sin(2 * x) * np.cos(y) + np.sin(z)
    print("volume    checksum alone    read    prepared    (s of CPU)")
    for name, valid in (("plain", None), ("masked", x**2 + y**2 < 30)):
        volume = volume_from_array(values, valid=valid)
        rows = []
        for _ in range(arguments.repeats):
            times = [time.process_time()]
            zlib.crc32(values.data)
            times.append(time.process_time())
            block = volume.scanned(checksum=True)
            block.checksum()
            low, high = block.summary().learned_range()
            times.append(time.process_time())
            prepare(block, low, high, torch.device("cpu"))
            times.append(time.process_time())
            rows.append(np.diff(times))
        checksum, read, prepared = np.min(rows, axis=0)
        print(f"{name:8s}{checksum:16.3f}{read:8.3f}{prepared:12.3f}")


if __name__ == "__main__":
    main()
