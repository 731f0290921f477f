"""A simulation of two ranks in one process, which hands over time steps of a small field."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from amgsrn_core import NeuralVolume, SeriesExtractor
from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.system.run_folder import ExtractionFolder
from support.processes import left_at_last, marked

DIMS = 16, 12, 14
NETWORK = NetworkConfig(grids=2, grid_shape=(5, 5, 5), layers=1, width=16)
TRAINING = TrainingConfig(iterations=120, batch=512, device="cpu")
ALL = slice(0, DIMS[1]), slice(0, DIMS[2])
# Of each of two ranks: what it answers for, and what it has.
PARTS = (
    ((slice(0, 8), *ALL), (slice(0, 9), *ALL)),
    ((slice(8, 16), *ALL), (slice(7, 16), *ALL)),
)
WAIT = 120.0


def field(step: int) -> np.ndarray:
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in DIMS], indexing="ij")
    return (np.sin(3 * x + 0.1 * step) * np.cos(2 * y) + 0.5 * z).astype(np.float32)


def extractors(output: Path, ranks: int = 2, **options: object) -> list[SeriesExtractor]:
    about = {"name": "v", "network": NETWORK, "training": TRAINING, "ranks": ranks, **options}
    return [SeriesExtractor(output, DIMS, rank=rank, **about) for rank in range(ranks)]


def put(simulation: list[SeriesExtractor], step: int, values: np.ndarray | None = None) -> None:
    values = field(step) if values is None else values
    if len(simulation) == 1:
        simulation[0].put(step, 0.5 * step, values)
        return
    for extractor, (own, ghosted) in zip(simulation, PARTS):
        extractor.put(step, 0.5 * step, values[ghosted], own, ghosted)


def close(simulation: list[SeriesExtractor]) -> None:
    for extractor in simulation:
        extractor.close()


def folder_of(output: Path) -> ExtractionFolder:
    return ExtractionFolder(Path(f"{output}.parts"))


def close_to_data(output: Path, number: int, step: int) -> float:
    """Return the PSNR of a step's model, sampled at the voxels."""
    model = NeuralVolume.open(output, device="cpu").at(number)
    z, y, x = np.meshgrid(*map(np.arange, DIMS), indexing="ij")
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3).astype(float)
    error = model.sample(points).reshape(DIMS) - field(step)
    return float(-10 * np.log10((error**2).mean() / np.ptp(field(step)) ** 2))


def wait_until(is_so: Callable[[], object]) -> None:
    """Return when something is so."""
    end = time.monotonic() + WAIT
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


@contextlib.contextmanager
def none_left(environment: Callable[[str, str], None]) -> Iterator[None]:
    """See that nothing is left behind that is started meanwhile; `environment` sets a variable."""
    variables, mark = marked({})
    for name, value in variables.items():
        environment(name, value)
    try:
        yield
        assert [line for line in left_at_last(mark) if "extraction_worker" in line] == []
    finally:
        for line in left_at_last(mark, 0.0):
            if "extraction_worker" in line:
                os.kill(int(line.split()[0]), signal.SIGKILL)
