"""Models with a bound of their errors against SZ3, SPERR and ZFP: bytes, and whether all keep it.

    pip install -e '.[compare]' h5py hdf5plugin
    python tests/benchmarks/bounds.py FILE.nc[:VARIABLE] ... --side 16

Of each volume one compressed model is trained; for each bound, a share of the range, it gets its
corrections. The reconstruction is compared with the data for each instruction set of the CPU, with
one thread and with all, and with PyTorch. Prints a Markdown table of bytes, of the whole file in
the case of the model; the last column is the largest error over all backends, as a share of the
bound. SPERR needs h5py and hdf5plugin.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import torch
from rate_distortion import sz3, zfp

from amgsrn_core import NeuralVolume, open_volume, train
from amgsrn_core.config import NetworkConfig, StorageConfig, TrainingConfig
from amgsrn_core.field.brick import FieldBrick
from amgsrn_core.kernels import load
from amgsrn_core.model import Archive, write_archive
from amgsrn_core.training.assessment import assessed
from amgsrn_core.training.bound import Bound
from amgsrn_core.training.sampling import prepare
from amgsrn_core.volume import Volume


def sperr(values: np.ndarray, bound: float) -> tuple[int, np.ndarray]:
    """Compress with SPERR to a pointwise error, through HDF5."""
    import h5py
    import hdf5plugin

    with h5py.File("sperr", "w", driver="core", backing_store=False) as file:
        options = hdf5plugin.Sperr(absolute=bound)
        data = file.create_dataset("v", data=values, chunks=values.shape, **options)
        file.flush()
        return data.id.get_storage_size(), data[()]


def bounded(path: Path, output: Path, volume: Volume, share: float) -> Bound:
    """Write a model of one brick with corrections for a bound; return the bound."""
    with Archive(path) as archive:
        index, packed = archive.index, archive.load_brick(0, decode=False)
        (record,) = index.bricks
        network = FieldBrick.of_state(index, record, archive.load_brick(0), "cpu", "auto").network
    storage = dataclasses.replace(index.storage, max_relative_error=share)
    bound = Bound.of(volume, storage, volume.survey())
    assert bound is not None
    ranged = dataclasses.replace(
        record, value_minimum=index.value_minimum, value_maximum=index.value_maximum
    )
    limits = np.array(index.value_minimum), np.array(index.value_maximum)
    data = prepare(volume.read(), *limits, torch.device("cpu"))
    found = assessed(*(network, data, ranged, index.dims), packed, storage, bound=bound)
    write_archive(output, index.replace(storage=storage), [{**packed, **found.tensors}])
    return bound


def largest_error(path: Path, volume: Volume) -> float:
    """Return the largest error over all backends, instruction sets and numbers of threads."""
    data = volume.read()
    valid = np.ones(data.values.shape[1:], bool) if data.valid is None else data.valid
    most, library, threads = 0.0, load(), torch.get_num_threads()

    def look(backend: str) -> None:
        nonlocal most
        block = NeuralVolume.open(path, "cpu", backend=backend).reconstruct_block()
        error = np.abs(data.values.astype(np.float64) - block.values)[:, valid]
        most = max(most, float(error.max()))  # NaN counts as larger than any

    for count in (1, 7):
        torch.set_num_threads(count)
        look("torch")
        for isa in library.isas if library is not None else ():
            library.use_isa(isa)
            look("native")
    if library is not None:
        library.use_isa(None)
    torch.set_num_threads(threads)
    return most


def main() -> None:
    """Train, bound, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("volumes", nargs="+", metavar="FILE.nc[:VARIABLE]")
    parser.add_argument("--side", type=int, default=16, help="nodes of a grid's edge")
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--finetune", type=int, default=0)
    parser.add_argument("--loss", type=float, default=1.0, help="dB for compression")
    parser.add_argument("--bounds", type=float, nargs="+", default=[1e-1, 3e-2, 1e-2, 1e-3])
    parser.add_argument("--others", action="store_true", help="also run SZ3, SPERR and ZFP")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    others = {"SZ3": sz3, "SPERR": sperr, "ZFP": zfp} if arguments.others else {}
    names = ["bound", "network", "model", *others, "largest error / bound"]
    print(f"| volume | {' | '.join(names)} |")
    print("| --- |" + " ---: |" * len(names))
    network = NetworkConfig(grid_shape=(arguments.side,) * 3)
    training = TrainingConfig(iterations=arguments.iterations, batch=arguments.batch)
    storage = StorageConfig(
        compress=True, compress_loss=arguments.loss, compress_finetune=arguments.finetune
    )
    with tempfile.TemporaryDirectory() as folder:
        for text in arguments.volumes:
            path, _, variable = text.partition(":")
            volume = open_volume(path, variable or None)
            model, corrected = Path(folder) / "m.amgsrn", Path(folder) / "c.amgsrn"
            train(volume, model, network, training, storage, restart=True, force=True)
            values = np.ascontiguousarray(volume.read().values[0], dtype=np.float32)
            for share in arguments.bounds:
                bound = bounded(model, corrected, volume, share)
                asked = share * float(np.ptp(np.array(NeuralVolume.open(model).index.own_range)))
                sizes = [model.stat().st_size, corrected.stat().st_size]
                sizes += [codec(values, asked)[0] for codec in others.values()]
                error = largest_error(corrected, volume) / max(asked, bound.limits[0])
                cells = [f"{share:g}", *(f"{size:,}" for size in sizes), f"{error:.4f}"]
                name = f"{Path(path).stem} {variable}".strip()
                print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
