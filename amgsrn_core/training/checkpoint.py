"""Checkpoints: everything that continues an interrupted run exactly, in one safetensors file."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from amgsrn_core.errors import OutputError
from amgsrn_core.output import reason, replacing

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
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: str) -> None:
        self.path = Path(path)
        self._fingerprint = fingerprint

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the file, or leave the old one and raise :class:`OutputError`."""
        numbers = {**checkpoint.numbers, "fingerprint": self._fingerprint}
        tensors = {k: v.detach().cpu().contiguous() for k, v in checkpoint.tensors.items()}
        with replacing(self.path) as temporary:
            try:
                save_file(tensors, temporary, metadata={"checkpoint": json.dumps(numbers)})
            except SafetensorError as error:
                raise OutputError(f"Cannot write {self.path}: {reason(error)}.") from error

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
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                numbers = json.loads((file.metadata() or {})["checkpoint"])
                if numbers.pop("fingerprint") != self._fingerprint:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            _log.warning("The checkpoint %s is damaged (%s); starting again.", self.path, error)
            return None
        return Checkpoint(tensors, numbers)

    def of_finetuning(self) -> CheckpointFile:
        """Return the place of the checkpoint of what follows the training."""
        return CheckpointFile(f"{self.path}.finetuning", self._fingerprint)

    def remove(self) -> None:
        """Delete the file, and that of fine-tuning, if they are there."""
        for path in (self.path, self.of_finetuning().path):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
