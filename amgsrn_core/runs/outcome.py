"""What comes of a training: the outcome for the caller, and the model file's index."""

from __future__ import annotations

import importlib.metadata
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from amgsrn_core import __version__
from amgsrn_core.config import GoalConfig, NetworkConfig, StorageConfig, TrainingConfig, to_json
from amgsrn_core.errors import AmgsrnError, TrainingError
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.model import ModelIndex, TrainingRecord, read_index
from amgsrn_core.rendering.looks import suggestions
from amgsrn_core.system.output import size
from amgsrn_core.system.words import decibels, duration, figure
from amgsrn_core.training.history import COLUMNS

if TYPE_CHECKING:
    from amgsrn_core.volume.volume import Volume


@dataclass(frozen=True, repr=False)
class TrainingOutcome:
    """Result of :func:`amgsrn_core.runs.train`.

    Attributes
    ----------
    path : Path
        The model file.
    completed : bool
        False when the observer stopped the run, and nothing was written to `path`, or when bricks
        are missing. The work is kept beside `path`.
    psnr : float
        In dB over all valid voxels; while incomplete, an estimate.
    seconds : float
        Time spent training; of several bricks, from start to end.
    history : ndarray of float64 [rows, columns]
        Columns as in `history_columns`; of several bricks, their mean.
    missing : dict of int to str
        The bricks that could not be trained, and why. With some missing, the file at `path` has
        holes there.
    stopped_by : str
        The stop file that ended the run; empty where the observer did, or nothing.
    was_complete : bool
        Nothing was trained, because an earlier run of the same data and options had made the model.
    shortfall : str
        In a sentence, how far the model is from what it was to reach; empty where it is not.
    """

    path: Path
    completed: bool
    psnr: float
    seconds: float
    history: np.ndarray
    history_columns: tuple[str, ...] = COLUMNS
    missing: dict[int, str] = field(default_factory=dict)
    stopped_by: str = ""
    was_complete: bool = False
    shortfall: str = ""

    def __repr__(self) -> str:
        """Return three lines: the model, its quality, the time that it took."""
        try:
            bytes_ = os.path.getsize(self.path)
            ratio = figure(read_index(self.path).source.bytes / bytes_, digits=3)
            about = f"{self.path}, {size(bytes_)}, {ratio} : 1"
        except (OSError, AmgsrnError):
            about = f"{self.path}, not written yet"
        state = "" if self.completed else " (incomplete)"
        return (
            f"model  {about}\nPSNR   {decibels(self.psnr)}{state}\ntime   {duration(self.seconds)}"
        )

    def refuse_missing(self) -> None:
        """Raise :class:`TrainingError` if bricks are missing: which, and how to go on."""
        for number, why in self.missing.items():
            raise TrainingError(
                f"{len(self.missing)} brick(s) are missing, and {self.path} has holes there; "
                f"start it again to train them. Brick {number}: {why}"
            )

    @classmethod
    def stopped(
        cls,
        path: Path,
        by: str,
        psnr: float = math.nan,
        seconds: float = 0.0,
        history: np.ndarray | None = None,
    ) -> TrainingOutcome:
        """Return the outcome of a run that was stopped, perhaps before there was anything."""
        if history is None:
            history = np.zeros((0, len(COLUMNS)))
        return cls(path, False, psnr, seconds, history, stopped_by=by)


def stopped_text(by: str) -> str:
    """Return the beginning of a sentence on a run that was stopped; see `stopped_by`."""
    return f"Stopped by the file {by}" if by else "Stopped"


def model_index(
    volume: Volume,
    minimum: np.ndarray,
    maximum: np.ndarray,
    network: NetworkConfig,
    storage: StorageConfig,
) -> ModelIndex:
    """Describe the model of a volume, as yet without a training record."""
    return ModelIndex.of_volume(
        volume,
        minimum.tolist(),
        maximum.tolist(),
        network,
        storage=storage,
        history_columns=COLUMNS,
    )


def with_looks(
    index: ModelIndex, bricks: Sequence[Mapping[str, np.ndarray]], goal: GoalConfig
) -> ModelIndex:
    """Return the index with how to show the model, as its values suggest.

    Parameters
    ----------
    index : ModelIndex
    bricks : sequence of dict
        As :func:`amgsrn_core.model.write_archive` takes them.
    goal : GoalConfig
        Where it counts bytes, or bricks are compressed, nothing is stored: it is found out when
        somebody looks at the model.
    """
    if index.storage.compress or goal.sizes_file:
        return index
    return index.replace(
        looks=suggestions(NeuralVolume(index, lambda number: dict(bricks[number])))
    )


def training_record(
    training: TrainingConfig, fingerprint: str, seconds: float, iterations: int
) -> TrainingRecord:
    """Describe how a model came to be."""
    packages = ("torch", "numpy")
    return TrainingRecord(
        config={**to_json(training), "fingerprint": fingerprint},
        versions={
            "amgsrn": __version__,
            **{name: importlib.metadata.version(name) for name in packages},
        },
        seconds=seconds,
        iterations_done=iterations,
    )
