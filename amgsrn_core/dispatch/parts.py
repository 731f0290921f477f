"""The files of a run, over one brick or many, in ``NAME.amgsrn.parts`` beside its model.

Everything that a run knows is here, so that any process that sees this folder can do a brick or
go on with the run: ``run.json`` says what is computed, ``command`` what the workers are to do, and
``brick-0012`` has the brick's checkpoint, its status, and when it is done the brick itself: a model
file of one brick, whose checksum and fingerprint tell whether it belongs here.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core.archive import Archive, BrickRecord, TrainingRecord
from amgsrn_core.dispatch.status import read_json, replace_text
from amgsrn_core.errors import AmgsrnError, OutputError
from amgsrn_core.output import reason, replacing
from amgsrn_core.workspace import RUN_FILE, clear

_COMMAND_FILE = "command"
_STATUS_FILE = "status.json"
_CHECKPOINT_FILE = "checkpoint.safetensors"
_DONE_FILE = "brick.amgsrn"


@dataclass(frozen=True)
class Part:
    """What a run has to know of a finished brick.

    Attributes
    ----------
    record : BrickRecord
    squares : ndarray of float64 [C]
        Sums of the squared errors over the brick's own valid voxels, in the volume's units.
    count : int
        How many voxels these are.
    training : TrainingRecord
        How it came to be.
    """

    record: BrickRecord
    squares: np.ndarray
    count: int
    training: TrainingRecord


@dataclass(frozen=True)
class PartsFolder:
    """The folder of one run."""

    path: Path

    def brick(self, number: int) -> Path:
        """Return the folder of a brick."""
        return self.path / f"brick-{number:04d}"

    def checkpoint(self, number: int) -> Path:
        """Return the file of a brick's checkpoint."""
        return self.brick(number) / _CHECKPOINT_FILE

    def done(self, number: int) -> Path:
        """Return the file of a finished brick."""
        return self.brick(number) / _DONE_FILE

    def make_brick(self, number: int) -> None:
        """Make a brick's folder.

        Raises
        ------
        OutputError
            It cannot be made.
        """
        try:
            self.brick(number).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"Cannot write {self.brick(number)}: {reason(error)}.") from error

    def finished(self, number: int, fingerprint: str, verify: bool = False) -> Part | None:
        """Return a brick if it is done and belongs to this run, else None."""
        try:
            with Archive(self.done(number)) as archive:
                index = archive.index
                about = index.training.config
                if about.get("fingerprint") != fingerprint:
                    return None
                if verify:
                    archive.load_brick(0, verify=True)
                squares = np.array(about["squares"], dtype=np.float64)
                return Part(index.bricks[0], squares, int(about["count"]), index.training)
        except (AmgsrnError, KeyError, TypeError, ValueError):
            return None

    def forget_checkpoint(self, number: int) -> None:
        """Remove a brick's checkpoints: the brick is done, or must not continue from them."""
        for path in self.brick(number).glob(f"{_CHECKPOINT_FILE}*"):
            with contextlib.suppress(OSError):
                path.unlink()

    def forget_status(self, number: int) -> None:
        """Remove what was published last."""
        with contextlib.suppress(OSError):
            (self.brick(number) / _STATUS_FILE).unlink()

    def owner(self) -> str:
        """Return the fingerprint of the run that the folder belongs to; "" if there is none."""
        values = read_json(self.path / RUN_FILE)
        return "" if values is None else str(values.get("fingerprint", ""))

    def has_work(self) -> bool:
        """Tell whether the folder holds interrupted work, of this or another kind of run."""
        kept = (_CHECKPOINT_FILE, "*.amgsrn")  # of bricks and of the steps of a series
        return any(any(self.path.rglob(pattern)) for pattern in kept)

    def claim(self, fingerprint: str, restart: bool) -> None:
        """Make the folder this run's, without other work."""
        if restart or self.owner() != fingerprint:
            for kind in ("brick-*", "step-*"):
                for folder in self.path.glob(kind):
                    clear(folder)
        with replacing(self.path / RUN_FILE) as temporary:
            temporary.write_text(json.dumps({"fingerprint": fingerprint}))

    def command(self, run: str, word: str) -> None:
        """Tell the workers of a run, and only those, to "go", "pause" or "stop"."""
        with contextlib.suppress(OSError):  # a full disk: they stop when their pipes close
            replace_text(self.path / _COMMAND_FILE, f"{run} {word}")

    def commanded(self, run: str) -> str:
        """Return what the workers of a run are to do; "stop" when another run took over."""
        try:
            words = (self.path / _COMMAND_FILE).read_text().split()
        except FileNotFoundError:
            return "stop"
        except OSError:  # a network file system that hesitates
            return "go"
        if len(words) != 2:
            return "go"
        return words[1] if words[0] == run else "stop"

    def write_status(self, number: int, values: dict[str, Any]) -> None:
        """Publish how far a brick is."""
        with contextlib.suppress(OSError):
            replace_text(self.brick(number) / _STATUS_FILE, json.dumps(values))

    def read_status(self, number: int) -> dict[str, Any]:
        """Return what was published last, or an empty dictionary."""
        return read_json(self.brick(number) / _STATUS_FILE) or {}
