"""A model of a volume that is larger than memory, without the volume.

    .venv/bin/python tests/benchmarks/large_model.py OUT.amgsrn --voxels 512 --bricks 3
    .venv/bin/python tests/benchmarks/large_model.py OUT.amgsrn --voxels 2048 --bricks 1

makes one of BRICKS^3 bricks of VOXELS^3. Each network is trained for a moment on 64^3 values of its
brick of a formula; a network does not know how many voxels it stands for. Macro-cells are those of
the small bricks, repeated.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np

from amgsrn_core import NetworkConfig, TrainingConfig, train, volume_from_array
from amgsrn_core.model import BrickRecord, load_brick, read_index, write_archive
from amgsrn_core.model.cell_codes import cell_edge, cell_numbers
from amgsrn_core.volume.geometry import GridGeometry

_SIDE = 64


def main() -> None:
    """Train the bricks and put them together."""
    parser = argparse.ArgumentParser(description="A model of a volume larger than memory.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--voxels", type=int, default=512)
    parser.add_argument("--bricks", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=150)
    options = parser.parse_args()
    count, voxels = options.bricks, options.voxels
    places = list(itertools.product(range(count), repeat=3))
    extents = [tuple(slice(i * voxels, (i + 1) * voxels) for i in place) for place in places]
    records = [BrickRecord(extent=extent, ghosted=extent) for extent in extents]
    dims = (count * voxels,) * 3
    network = NetworkConfig(grids=8, features=2, grid_shape=(16, 16, 16), layers=2, width=32)
    bricks = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (place, record) in enumerate(zip(places, records)):
            path = Path(folder) / f"{number}.amgsrn"
            training = TrainingConfig(iterations=options.iterations, batch=8192, device="cpu")
            train(volume_from_array(values(place, count)), path, network, training)
            brick = dict(load_brick(path, 0))
            brick.pop("history", None)
            brick["macro_cells"] = repeated(brick["macro_cells"], record, dims)
            bricks.append({n: brick[n] for n in brick if not n.startswith("error")})
            index = read_index(path)
            print(f"{number + 1} of {len(places)}", flush=True)
    index = index.replace(
        geometry=GridGeometry.uniform(dims),
        bricks=tuple(records),
        value_minimum=(-1.0,),
        value_maximum=(1.0,),
        history_columns=(),
    )
    write_archive(options.output, index, bricks)


def values(place: tuple[int, ...], count: int) -> np.ndarray:
    """Return 64^3 values of a brick, which are between -1 and 1 in every one."""
    z, y, x = np.meshgrid(
        *[(i + np.linspace(0, 1, _SIDE)) * 3 / count for i in place], indexing="ij"
    )
    random = np.random.default_rng(0)
    total = np.zeros_like(x)
    for _ in range(24):
        a, b, c = random.normal(0, 9, 3)
        total += np.sin(a * x + b * y + c * z + random.uniform(0, 6)) / 8
    # The corners hold both ends of the range, so that all networks are scaled alike.
    total = np.clip(total, -1, 1)
    total[0, 0, 0], total[-1, -1, -1] = -1, 1
    return total.astype(np.float32)


def repeated(codes: np.ndarray, record: BrickRecord, dims: tuple[int, int, int]) -> np.ndarray:
    """Return the macro-cells of a small brick as those of a large one."""
    places = []
    for (first, last), own, size in zip(
        cell_numbers(record, dims), record.extent, codes.shape[-3:]
    ):
        middle = (np.arange(first, last) + 0.5) * cell_edge(record) - own.start
        places.append(np.clip(middle * size / (own.stop - own.start), 0, size - 1).astype(int))
    z, y, x = places
    return np.ascontiguousarray(codes[..., z[:, None, None], y[:, None], x])


if __name__ == "__main__":
    main()
