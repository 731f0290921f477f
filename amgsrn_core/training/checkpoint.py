"""Checkpoints: everything that continues an interrupted run exactly, in one safetensors file."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from amgsrn_core.errors import NoRoomError, OutputError
from amgsrn_core.system.output import failure, replacing
from amgsrn_core.system.run_folder import beside_checkpoint
from amgsrn_core.system.spare import forget_elsewhere, keep_elsewhere, kept_elsewhere

_log = logging.getLogger(__name__)


@dataclass
class Checkpoint:
    """Tensors by name, and plain numbers."""

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]


class CheckpointFile:
    """The place of one run's checkpoint.

    Parameters
    ----------
    path : path
    fingerprint : str
        Identifies data and configuration; a checkpoint of another run is not continued.
    watch : callable, optional
        Called after each checkpoint, to look after the room that is left.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fingerprint: str,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = Path(path)
        self._fingerprint, self._watch = fingerprint, watch
        self._is_elsewhere = False

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the file; where its disk takes no more, keep it in another place and say so.

        Raises
        ------
        OutputError
            It cannot be written anywhere; the old one is untouched.
        """
        numbers = {**checkpoint.numbers, "fingerprint": self._fingerprint}
        tensors = {k: v.detach().cpu().contiguous() for k, v in checkpoint.tensors.items()}

        def write(path: Path) -> None:
            try:
                save_file(tensors, path, metadata={"checkpoint": json.dumps(numbers)})
            except SafetensorError as error:
                raise failure(self.path, error) from error

        try:
            with replacing(self.path) as temporary:
                write(temporary)
        except NoRoomError as error:
            place = keep_elsewhere(self.path, write)
            if place is None:
                raise
            if not self._is_elsewhere:
                _log.warning("Going on without a checkpoint there: it is %s. %s", place, error)
            self._is_elsewhere = True
        else:
            if self._is_elsewhere:
                forget_elsewhere(self.path)
            self._is_elsewhere = False
            self._watch()

    def save_if_possible(self, checkpoint: Checkpoint) -> None:
        """Replace the file; a full disk costs the checkpoint, not the run in memory."""
        try:
            self.save(checkpoint)
        except OutputError as error:
            _log.warning("Going on without a checkpoint. %s", error)

    def load(self) -> Checkpoint | None:
        """Return the checkpoint; None when there is none, or none that this run can continue.

        A damaged file is no reason to lose a run: it starts again and says so in the log.
        """
        others = kept_elsewhere(self.path)
        self._is_elsewhere = bool(others)
        found = [self._load(path) for path in (self.path, *others)]
        known = [checkpoint for checkpoint in found if checkpoint is not None]
        return max(known, key=lambda known: int(known.numbers["iteration"]), default=None)

    def _load(self, path: Path) -> Checkpoint | None:
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                numbers = json.loads((file.metadata() or {})["checkpoint"])
                if numbers.pop("fingerprint") != self._fingerprint:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                int(numbers["iteration"])
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            _log.warning("The checkpoint %s is damaged (%s); starting again.", path, error)
            return None
        return Checkpoint(tensors, numbers)

    def of_finetuning(self) -> CheckpointFile:
        """Return the place of the checkpoint of what follows the training."""
        return self._beside("finetuning", self._fingerprint)

    def of_choice(self) -> CheckpointFile:
        """Return the place of what was chosen for the training."""
        return self._beside("choice", self._fingerprint)

    def of_pilot(self, side: int) -> CheckpointFile:
        """Return the place of the checkpoint of a pilot with grids of so many nodes an axis."""
        return self._beside("pilot", f"{self._fingerprint} {side}")

    def _beside(self, kind: str, fingerprint: str) -> CheckpointFile:
        return CheckpointFile(beside_checkpoint(self.path, kind), fingerprint, self._watch)
