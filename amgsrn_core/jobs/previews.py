"""What is shown of a network, or of many, while they are trained and when they are done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.jobs.live import PREVIEW_POINTS, LiveResult
from amgsrn_core.model import Archive, ModelIndex
from amgsrn_core.model.feature_grids import box_densities
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
    densities = box_densities(state["transforms"])
    return _live(model, densities, history.array(), progress.iteration)


def of_partial(partial: PartialModel, iteration: int) -> LiveResult:
    """Show the bricks that are done; there are no values where the others will be."""
    model = NeuralVolume(partial.index, partial.load_brick, device="cpu")
    densities, _ = _densities(partial.index, partial.load_brick)
    return _live(model, densities, np.zeros((0, len(COLUMNS))), iteration)


def of_file(path: Path, step: int = 0) -> LiveResult:
    """Show a finished model, or one of its time steps."""
    with Archive(path) as archive:
        index, numbers = archive.index.at(step), archive.index.bricks_of(step)
        densities, history = _densities(index, lambda i: archive.load_brick(numbers[i]))
    model = NeuralVolume.open(path, device="cpu").at(step)
    return _live(model, densities, history, index.training.iterations_done)


def _densities(
    index: ModelIndex, load_brick: Callable[[int], dict[str, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the density of every feature grid [G], NaN without a box, and the history."""
    densities, history = [], np.zeros((0, len(COLUMNS)))
    for number, record in enumerate(index.bricks):
        state = load_brick(number) if record.state == "network" else {}
        unknown = np.full(index.network.grids, np.nan)
        has_grids = "transforms" in state
        densities.append(box_densities(state["transforms"]) if has_grids else unknown)
        history = state.get("history", history)
    return np.concatenate(densities), history


def _live(
    model: NeuralVolume, densities: np.ndarray, history: np.ndarray, iteration: int
) -> LiveResult:
    geometry, preview = model.decoded_preview(PREVIEW_POINTS)
    return LiveResult(
        geometry=geometry,
        preview=preview,
        corners=np.concatenate(model.feature_corners()),
        densities=densities,
        history=history,
        history_columns=COLUMNS,
        iteration=iteration,
    )
