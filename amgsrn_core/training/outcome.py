"""What comes of a training: the outcome for the caller, and the model file's index."""

from __future__ import annotations

import importlib.metadata
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from amgsrn_core import __version__
from amgsrn_core.archive import ModelIndex, TrainingRecord, read_index
from amgsrn_core.config import NetworkConfig, StorageConfig, TrainingConfig, to_json
from amgsrn_core.errors import ArchiveError, ResumeError
from amgsrn_core.training.history import COLUMNS

if TYPE_CHECKING:
    from amgsrn_core.volume.volume import Volume


@dataclass(frozen=True)
class TrainingOutcome:
    """Result of :func:`amgsrn_core.training.train`.

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
    """

    path: Path
    completed: bool
    psnr: float
    seconds: float
    history: np.ndarray
    history_columns: tuple[str, ...] = COLUMNS
    missing: dict[int, str] = field(default_factory=dict)


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


def finished(output: Path, fingerprint: str) -> TrainingOutcome | None:
    """Return the outcome of an earlier run that made `output`; None when there is no file.

    A model of the same run with holes counts as none: it is completed.

    Raises
    ------
    ResumeError
        Another run made it, or it is no model: neither is replaced unasked.
    """
    if not output.exists():
        return None
    try:
        index = read_index(output)
    except ArchiveError as error:
        raise ResumeError(
            f"{output} exists and is not a complete model; restart to replace it, or name another "
            "output."
        ) from error
    if index.training.config.get("fingerprint") != fingerprint:
        raise ResumeError(
            f"{output} exists and was trained with other data or options; restart to replace it, "
            "or name another output."
        )
    if index.holes:
        return None
    empty = np.zeros((0, len(COLUMNS)))
    return TrainingOutcome(output, True, _psnr(index), index.training.seconds, empty)


def other_work(folder: Path, output: Path) -> ResumeError:
    """Return the complaint that the folder beside `output` holds the work of another run."""
    return ResumeError(
        f"{folder} holds an interrupted run with other data or options; restart to discard it, "
        f"repeat its options to continue it, or name another output than {output}."
    )


def _psnr(index: ModelIndex) -> float:
    """Return the whole model's PSNR: its mean squared error is the mean over the voxels."""
    if len(index.bricks) == 1:
        psnr = index.bricks[0].psnr
        return math.nan if psnr is None else psnr
    return float(index.training.config.get("psnr", math.nan))
