"""What a run over bricks has so far: bricks, their errors, and the model that they make."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.model import BrickRecord, OnDemand, load_brick
from amgsrn_core.runs.parts import Part, PartsFolder
from amgsrn_core.training.history import COLUMNS
from amgsrn_core.training.progress import BrickProgress
from amgsrn_core.volume.psnr import mean_square_of, psnr_of


class FinishedBricks:
    """The bricks of a run that are done.

    Parameters
    ----------
    parts : PartsFolder
        Where they are.
    bricks : sequence of BrickRecord
        All bricks of the run.
    network : NetworkConfig
        Of the model; bricks may have others.
    components : int
        Of the volume.

    Attributes
    ----------
    done : dict of int to Part
        By the bricks' numbers.
    """

    def __init__(
        self,
        parts: PartsFolder,
        bricks: Sequence[BrickRecord],
        network: NetworkConfig,
        components: int,
    ) -> None:
        self._network = network
        self.done: dict[int, Part] = {}
        self._parts, self._bricks = parts, bricks
        self._squares, self._count = np.zeros(components), 0
        self._minimum = np.full(components, np.inf)
        self._maximum = np.full(components, -np.inf)

    def add(self, number: int, part: Part) -> None:
        """Note that a brick is done."""
        self.done[number] = part
        self._squares = self._squares + part.squares
        self._count += part.count
        if part.record.state != "empty":
            self._minimum = np.minimum(self._minimum, part.record.value_minimum)
            self._maximum = np.maximum(self._maximum, part.record.value_maximum)

    def range(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the range float64 [C] of the bricks that have values; zeros if none has."""
        if not self._count:
            return np.zeros_like(self._squares), np.zeros_like(self._squares)
        return self._minimum, self._maximum

    def error(self, part: Part | None = None) -> float:
        """Return the mean squared error of one brick, or of all, relative to the whole range.

        NaN where there is no value.
        """
        squares, count = (
            (self._squares, self._count) if part is None else (part.squares, part.count)
        )
        return float((squares / self._span() ** 2).mean() / count) if count else math.nan

    def loss(self, running: Sequence[BrickProgress], *, measured: bool = False) -> float:
        """Return the mean squared error so far, that of bricks in training estimated.

        That is from their loss, or, if `measured`, from what was measured on voxels.
        """
        span = self._span()
        total, weight = (self.error() * self._count, self._count) if self._count else (0.0, 0)
        for brick in running:
            loss = mean_square_of(brick.psnr) if measured else brick.loss
            if loss == loss and len(brick.span) == len(span):
                # Before a brick is finished, its own range is the best that is known.
                scale = np.array(brick.span) / (span if self._count else brick.span)
                size = voxels(self._bricks[brick.number])
                total += loss * float(np.mean(scale**2)) * size
                weight += size
        return total / weight if weight else math.nan

    def records(self) -> tuple[BrickRecord, ...]:
        """Return the records of all bricks; those that are not done are holes."""
        records = []
        for number, brick in enumerate(self._bricks):
            part = self.done.get(number)
            if part is None:
                records.append(dataclasses.replace(brick, state="missing"))
                continue
            own = None if part.network == self._network else part.network
            record = dataclasses.replace(part.record, network=own)
            if part.count:
                record = dataclasses.replace(record, psnr=psnr_of(self.error(part)))
            records.append(record)
        return tuple(records)

    def load(self, number: int, decode: bool = True) -> dict[str, np.ndarray]:
        """Return the tensors of a brick, perhaps as they are stored; none if it is not done."""
        if number not in self.done:
            return {}
        return load_brick(self._parts.stored(number), 0, decode=decode)

    def tensors(self, pause: Callable[[], None]) -> tuple[OnDemand, np.ndarray]:
        """Return all bricks' tensors, to be loaded one by one, and the mean of their histories.

        One history for the model, which its first network keeps: those of thousands of bricks
        would be larger than the networks. Before each is loaded `pause` is called; what it raises
        ends the loading.
        """
        keeper, history = self._history()

        def load(number: int) -> dict[str, np.ndarray]:
            pause()
            tensors = self.load(number, decode=False)
            tensors.pop("history", None)
            return {**tensors, "history": history} if number == keeper else tensors

        return OnDemand(len(self._bricks), load), history

    def changes(self, training: TrainingConfig) -> dict[str, Any]:
        """Return which bricks were trained otherwise than asked for, and how."""
        asked = training.substance()
        changed = {}
        for number, part in self.done.items():
            theirs = part.training.config
            other = {key: theirs[key] for key in asked if theirs.get(key) != asked[key]}
            if other and part.record.state == "network":
                changed[str(number)] = other
        return {"changed": changed} if changed else {}

    def _span(self) -> np.ndarray:
        low, high = self.range()
        return np.where(high > low, high - low, 1.0)

    def _history(self) -> tuple[int, np.ndarray]:
        """Return the first brick with a history, -1 without any, and the mean of all."""
        histories, weights, keeper = [], [], -1
        for number in sorted(self.done):
            history = self.load(number, decode=False).get("history")
            if history is None or not len(history):
                continue
            keeper = number if keeper < 0 else keeper
            record = self.done[number].record
            own = np.array(record.value_maximum) - np.array(record.value_minimum)
            history = history.copy()
            history[:, 1] *= float(np.mean((own / self._span()) ** 2))
            histories.append(history)
            weights.append(voxels(self._bricks[number]))
        if keeper < 0:
            return keeper, np.zeros((0, len(COLUMNS)))
        rows = min(map(len, histories))
        merged: np.ndarray = np.average([h[:rows] for h in histories], axis=0, weights=weights)
        merged[:, 2] = [psnr_of(loss) for loss in merged[:, 1]]
        return keeper, merged


def voxels(brick: BrickRecord) -> int:
    """Return how many voxels a brick is trained on."""
    return math.prod(brick.ghosted_dims)
