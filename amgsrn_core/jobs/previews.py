"""What is shown of a network, or of many, while they are trained and when they are done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.field.open_models import open_model
from amgsrn_core.jobs.live import PREVIEW_POINTS, LiveResult
from amgsrn_core.model import open_archive
from amgsrn_core.runs.outcome import model_index
from amgsrn_core.training.history import COLUMNS

if TYPE_CHECKING:
    from amgsrn_core.config import StorageConfig
    from amgsrn_core.training.progress import PartialModel, Progress
    from amgsrn_core.volume.volume import Volume


def of_network(volume: Volume, progress: Progress, storage: StorageConfig) -> LiveResult:
    """Show the one network that is being trained."""
    network, history = progress.network, progress.history
    assert network is not None and history is not None
    low, high = network.value_range
    index = model_index(volume, low, high, network.config, storage)
    state = network.state_arrays()
    if progress.valid is not None:
        state["mask"] = progress.valid
    model = NeuralVolume(index, [state], device=str(network.minimum.device))
    return _live(model, history.array(), progress.iteration)


def of_partial(partial: PartialModel, iteration: int) -> LiveResult:
    """Show the bricks that are done; there are no values where the others will be."""
    model = NeuralVolume(partial.index, partial.load_brick, device="cpu")
    return _live(model, np.zeros((0, len(COLUMNS))), iteration)


def of_file(path: Path, step: int = 0) -> LiveResult:
    """Show a finished model, or one of its time steps."""
    archive = open_archive(path)
    index, numbers = archive.index.at(step), archive.index.bricks_of(step)
    history = np.zeros((0, len(COLUMNS)))
    for number, record in zip(numbers, index.bricks):
        if record.state == "network":
            history = archive.load_brick(number).get("history", history)
    model = open_model(archive, device="cpu").at(step)
    return _live(model, history, index.training.iterations_done)


def _live(model: NeuralVolume, history: np.ndarray, iteration: int) -> LiveResult:
    geometry, preview = model.decoded_preview(PREVIEW_POINTS)
    return LiveResult(
        geometry=geometry,
        preview=preview,
        corners=np.concatenate(model.feature_corners()),
        densities=np.concatenate(model.feature_densities()),
        history=history,
        history_columns=COLUMNS,
        iteration=iteration,
    )
