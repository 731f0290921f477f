"""A warm start: a training begins with the networks of another model instead of random ones."""

from __future__ import annotations

import dataclasses
import functools
import os
from dataclasses import dataclass

import numpy as np

from amgsrn_core.config import NetworkConfig, StorageConfig, TrainingConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.model import Archive, BrickRecord, ModelIndex, parameter_shapes, read_index
from amgsrn_core.system.files import FileVersion, file_version
from amgsrn_core.training.automatic import foreseen

# Learning rates relative to a cold start's: of the features, and of the decoder relative to them.
_FEATURES, _DECODER = 2.0, 1.0 / 3.0
# Codes of macro-cells reach so far beyond the range, see amgsrn_core.model.cell_codes.
_MARGIN = 0.125


@dataclass(frozen=True)
class StartingNetwork:
    """Parameters that a training starts from, and the range float64 [C] that they are scaled by."""

    state: dict[str, np.ndarray]
    minimum: np.ndarray
    maximum: np.ndarray

    def range_for(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the range that the network is to be scaled by for values from `low` to `high`.

        Its own, because another one shifts everything that it has learned; a wider one where the
        values would leave what macro-cells can express; theirs where they have moved so far that a
        range of both would be mostly empty.
        """
        margin = _MARGIN * (self.maximum - self.minimum)
        least = np.where(low < self.minimum - margin, low, self.minimum)
        most = np.where(high > self.maximum + margin, high, self.maximum)
        has_moved = most - least > 2.0 * np.maximum(self.maximum - self.minimum, high - low)
        return np.where(has_moved, low, least), np.where(has_moved, high, most)


@dataclass(frozen=True)
class WarmStart:
    """The model whose networks a training starts from; it pickles.

    Attributes
    ----------
    path : str
        A model file, by its absolute path; of a series, its last step is meant.
    iterations : int, default: 0
        How many iterations follow; 0 for half of those of a training without it.
    differences : bool, default: False
        Whether compressed networks are going to be stored as differences from this model's.
    brick : int, optional
        The brick of the model that is meant; default: that of the same number.
    """

    path: str
    iterations: int = 0
    differences: bool = False
    brick: int | None = None

    @classmethod
    def of(cls, path: str | os.PathLike[str] | None, iterations: int) -> WarmStart | None:
        """Make an instance for a model file; None for none."""
        return None if path is None else cls(os.path.abspath(path), iterations)

    def training(self, training: TrainingConfig) -> TrainingConfig:
        """Return how a network is trained that starts from one of this model's."""
        # Most of what changes from data to data that are alike is in the features, little in the
        # decoder. Other schedules, and grids at rest, do not make it sooner.
        return dataclasses.replace(
            training,
            iterations=self.iterations or max(1, training.iterations // 2),
            learning_rate=min(1.0, _FEATURES * training.learning_rate),
            decoder_rate=max(1e-4, _DECODER * training.decoder_rate),
        )

    def identity(self) -> list[str | int]:
        """Return what changes with what the training starts from, as plain JSON types."""
        with Archive(self.path) as archive:
            fingerprint = archive.index.training.config.get("fingerprint")
            identity = str(fingerprint or archive.checksum)
        return [identity, self.iterations, *(["differences"] if self.differences else [])]

    def sizes(self) -> tuple[NetworkConfig, tuple[NetworkConfig, ...]]:
        """Return the model's network, and those of its bricks; () where all have the same."""
        whole = read_index(self.path)
        index = whole.at(whole.steps - 1)
        networks = tuple(index.network_of(brick) for brick in index.bricks)
        return index.network, networks if set(networks) != {index.network} else ()

    def check(self, network: NetworkConfig, components: int, bricks: list[BrickRecord]) -> None:
        """Raise unless the model's networks can stand for those of these bricks.

        Raises
        ------
        ArchiveError
            The model cannot be read.
        ConfigurationError
            It has other networks, components or bricks.
        """
        whole = read_index(self.path)
        index = whole.at(whole.steps - 1)
        reason = ""
        if index.network != network:
            reason = "has networks of another kind or size"
        elif len(index.components) != components:
            reason = f"has {len(index.components)} component(s) instead of {components}"
        elif len(index.bricks) != len(bricks) or (
            len(bricks) > 1 and any(a.ghosted != b.ghosted for a, b in zip(index.bricks, bricks))
        ):
            reason = "is cut into other bricks"
        elif any(
            index.network_of(a) != (b.network or network) for a, b in zip(index.bricks, bricks)
        ):
            reason = "has bricks' networks of other sizes"
        if reason:
            raise ConfigurationError(
                f"The training cannot start from {self.path}, which {reason}; give the options "
                "that it was trained with, or start from another model or from none."
            )

    def network(self, number: int, network: NetworkConfig) -> StartingNetwork | None:
        """Return the network of a brick; None where the brick has none of this size."""
        archive, index = _opened(self.path, file_version(self.path))
        number = number if self.brick is None else self.brick
        record = index.bricks[number]
        if record.state != "network":
            return None
        state = archive.load_brick(archive.index.bricks_of(archive.index.steps - 1)[number])
        shapes = parameter_shapes(network, len(index.components))
        if any(state[name].shape != shape for name, shape in shapes.items()):
            return None
        low, high = (np.array(values) for values in index.value_range(record))
        return StartingNetwork(state, low, high)


@functools.lru_cache(maxsize=1)
def _opened(path: str, version: FileVersion | None) -> tuple[Archive, ModelIndex]:
    """Return a model that is held open, and the index of its last step.

    A worker starts many bricks from it, and its index is as long as they are many. Another
    `version` of the file is opened anew.
    """
    archive = Archive(path)
    return archive, archive.index.at(archive.index.steps - 1)


def planned_iterations(
    training: TrainingConfig,
    network: NetworkConfig,
    storage: StorageConfig,
    start: WarmStart | None,
) -> int:
    """Return the optimiser steps that a network takes, those of fine-tuning included."""
    training = foreseen(training, network)
    if start is not None:
        training = start.training(training)
    return training.iterations + storage.finetuning
