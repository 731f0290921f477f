"""A small volume in a file and a short training over its bricks, for tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amgsrn_core import open_volume
from amgsrn_core.config import BrickConfig, DispatchConfig, NetworkConfig, TrainingConfig
from amgsrn_core.model import Archive
from amgsrn_core.runs import TrainingOutcome, train
from support.sample_volumes import write_netcdf

NETWORK = NetworkConfig(grids=2, features=2, grid_shape=(5, 5, 5), layers=1, width=16)
# Many checkpoints, and batches that take a while, so that whatever happens finds work to save.
TRAINING = TrainingConfig(iterations=600, batch=4096, device="cpu", checkpoint_seconds=0.02)
BRICKS = BrickConfig(bricks=(1, 2, 2), ghost=1)
# One thread each, on any machine: results depend on the number.
DISPATCH = DispatchConfig(workers=2)
_OPTIONS = """
--grids 2 --features 2 --grid-shape 5,5,5 --layers 1 --width 16
--iterations 600 --batch 4096 --devices cpu --checkpoint-seconds 0.02
--bricks 1,2,2 --ghost 1 --workers 2
"""
OPTIONS = _OPTIONS.split()


def waves(shape: tuple[int, int, int] = (14, 16, 18)) -> np.ndarray:
    """Return a smooth field [z, y, x]."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    return (np.sin(3 * x + y) * np.cos(4 * y * z) + 0.5 * z).astype(np.float32)


def write_waves(path: Path, values: np.ndarray | None = None, **options: Any) -> Path:
    """Write a field to a NetCDF file."""
    values = waves() if values is None else values
    return write_netcdf(path, {"wave": (("z", "y", "x"), values, {})}, **options)


def train_waves(source: Path, output: Path, **changes: Any) -> TrainingOutcome:
    """Train the file's bricks; `changes` go to the configuration that has such a field."""
    rest: dict[str, Any] = {}
    configurations: list[Any] = [NETWORK, TRAINING, None, BRICKS, DISPATCH]
    for name, value in changes.items():
        for i, config in enumerate(configurations):
            if config is not None and hasattr(config, name):
                configurations[i] = dataclasses.replace(config, **{name: value})
                break
        else:
            rest[name] = value
    return train(open_volume(source), output, *configurations, **rest)


def content(path: Path) -> dict[str, np.ndarray]:
    """Return every number of a model that training decides over."""
    with Archive(path) as archive:
        return {
            f"{number}/{name}": tensor
            for number in range(len(archive.index.bricks))
            for name, tensor in archive.load_brick(number, verify=True).items()
        }


def same(first: Path, second: Path) -> bool:
    """Tell whether two models are bit-identical."""
    a, b = content(first), content(second)
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the field."""
    return write_waves(tmp_path_factory.mktemp("data") / "wave.nc")


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed run on this computer makes, to compare with."""
    path = tmp_path_factory.mktemp("whole") / "whole.amgsrn"
    outcome = train_waves(source, path)
    assert outcome.completed and not outcome.missing
    return path
