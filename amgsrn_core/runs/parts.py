"""The files of a run, over one brick or many, in ``NAME.amgsrn.parts`` beside its model.

Everything that a run knows is here, so that any process that sees this folder can do a brick or
go on with the run: ``run.json`` says what is computed, ``command`` what the workers are to do, and
``brick-0012`` has the brick's checkpoint, its status, and when it is done the brick itself: a model
file of one brick, whose checksum and fingerprint tell whether it belongs here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import AmgsrnError, NoRoomError
from amgsrn_core.model import Archive, BrickRecord, TrainingRecord
from amgsrn_core.system.files import read_json, replace_text
from amgsrn_core.system.output import failure, replacing
from amgsrn_core.system.run_folder import PARTS_SUFFIX, RunFolder, clear
from amgsrn_core.system.spare import forget_elsewhere, keep_elsewhere, kept_elsewhere
from amgsrn_core.training.progress import Command


def forget_spares(folder: Path) -> None:
    """Remove what is kept elsewhere of the work of a folder, and of the steps in it."""
    for path in RunFolder(folder).saved():
        forget_elsewhere(path)


def finish(folder: Path) -> None:
    """Remove a folder of parts whose model is complete, and what is kept elsewhere of it."""
    forget_spares(folder)
    clear(folder)


@contextlib.contextmanager
def saving(
    folder: Path,
    path: Path | None = None,
    write: Callable[[Path], object] | None = None,
    *,
    kept: Path | None = None,
    is_complete: Callable[[], bool] = lambda: True,
) -> Iterator[None]:
    """Say how a training goes on whose model is complete, but finds no room in the block.

    Parameters
    ----------
    folder : Path
        Of parts, where the training is kept.
    path, write : optional
        Where the model is put aside and looked for, if it is not in the folder, and what writes
        it to another path.
    kept : path, optional
        Where it is put aside already.
    is_complete : callable, optional
        Tells whether the folder has all that was trained; else nothing is said where that is lost.

    Raises
    ------
    NoRoomError
    """
    try:
        yield
    except NoRoomError as error:
        if path is not None and write is not None:
            kept = keep_elsewhere(path, write)
            if kept is None and not is_complete():
                raise
        where = f"in {folder}" if kept is None else f"as {kept}"
        # A step of a series lies in the folder of the whole, which others still have to follow.
        is_step = folder.parent.parent.suffix == PARTS_SUFFIX
        way = "" if is_step else f", or finish it elsewhere with -o OTHER.amgsrn --parts {folder}"
        raise NoRoomError(
            f"{error} What was trained is kept {where}: make room and run the same command again"
            f"{way}."
        ) from error


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
    network : NetworkConfig
        Its network.
    """

    record: BrickRecord
    squares: np.ndarray
    count: int
    training: TrainingRecord
    network: NetworkConfig


class PartsFolder(RunFolder):
    """What the files of one run say, and how they are changed."""

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
            raise failure(self.brick(number), error) from error

    def finished(self, number: int, fingerprint: str, verify: bool = False) -> Part | None:
        """Return a brick if it is done and belongs to this run, else None."""
        found = (self._finished(path, fingerprint, verify) for path in self._done_files(number))
        return next((part for part in found if part is not None), None)

    def stored(self, number: int) -> Path:
        """Return where a finished brick is: in its place, or where that had no room for it."""
        return next((path for path in self._done_files(number) if path.exists()), self.done(number))

    def _done_files(self, number: int) -> list[Path]:
        return [self.done(number), *kept_elsewhere(self.done(number))]

    def _finished(self, path: Path, fingerprint: str, verify: bool) -> Part | None:
        try:
            with Archive(path) as archive:
                index = archive.index
                about = index.training.config
                if about.get("fingerprint") != fingerprint:
                    return None
                if verify:
                    archive.load_brick(0, verify=True)
                squares = np.array(about["squares"], dtype=np.float64)
                count = int(about["count"])
                return Part(index.bricks[0], squares, count, index.training, index.network)
        except (AmgsrnError, KeyError, TypeError, ValueError):
            return None

    def forget_checkpoint(self, number: int) -> None:
        """Remove a brick's checkpoints: the brick is done, or must not continue from them."""
        for path in self.checkpoints(self.brick(number)):
            forget_elsewhere(path)
            with contextlib.suppress(OSError):
                path.unlink()

    def forget_status(self, number: int) -> None:
        """Remove what was published last."""
        with contextlib.suppress(OSError):
            self.status_file(number).unlink()

    def owner(self) -> str:
        """Return the fingerprint of the run that the folder belongs to; "" if there is none."""
        values = read_json(self.run_file)
        return "" if values is None else str(values.get("fingerprint", ""))

    def options(self) -> dict[str, Any] | None:
        """Return the options of the run that the folder belongs to; None where it has none."""
        options = (read_json(self.run_file) or {}).get("options")
        return options if isinstance(options, dict) else None

    def assign(self, fingerprint: str, restart: bool, options: dict[str, Any]) -> None:
        """Make the folder this run's, without other work, with options for those who ask."""
        if restart or self.owner() != fingerprint:
            forget_spares(self.path)
            for folder in self.parts():
                clear(folder)
        if self.owner() == fingerprint:
            return  # and the disk may be full
        with replacing(self.run_file) as temporary:
            temporary.write_text(json.dumps({"fingerprint": fingerprint, "options": options}))

    def command(self, run: str, command: Command) -> None:
        """Tell the workers of a run, and only those, what to do."""
        with contextlib.suppress(OSError):  # a full disk: they stop when their pipes close
            replace_text(self.command_file, f"{run} {command.value}")

    def commanded(self, run: str) -> Command:
        """Return what the workers of a run are to do; to stop when another run took over."""
        try:
            words = self.command_file.read_text().split()
        except FileNotFoundError:
            return Command.STOP
        except OSError:  # a network file system that hesitates
            return Command.CONTINUE
        if len(words) != 2:
            return Command.CONTINUE
        return Command.of(words[1]) if words[0] == run else Command.STOP

    def write_status(self, number: int, values: dict[str, Any]) -> None:
        """Publish how far a brick is."""
        with contextlib.suppress(OSError):
            replace_text(self.status_file(number), json.dumps(values))

    def read_status(self, number: int) -> dict[str, Any]:
        """Return what was published last, or an empty dictionary."""
        return read_json(self.status_file(number)) or {}
