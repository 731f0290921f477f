"""The file ``stop`` in a run's folder of parts, by which whoever sees the folder ends the run."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from amgsrn_core.errors import OutputError, ResumeError
from amgsrn_core.system.run_folder import RunFolder, parts_folder, workspace
from amgsrn_core.training.progress import Command, Observer, Progress

_log = logging.getLogger(__name__)


class StopFile:
    """The stop file of one run.

    Parameters
    ----------
    folder : Path
        ``NAME.amgsrn.parts``.

    Attributes
    ----------
    path : Path
    """

    def __init__(self, folder: Path) -> None:
        self.path = RunFolder(folder).stop_file
        self._seen = False

    @property
    def reason(self) -> str:
        """Who stopped the run, for :class:`TrainingOutcome`: the file, or "" if it was not it."""
        return str(self.path) if self._seen else ""

    def observing(self, observer: Observer) -> Observer:
        """Return an observer that answers to stop, whatever it is told, once the file is there."""

        def observe(progress: Progress) -> Command:
            command = observer(progress)
            self._seen = self._seen or self.path.exists()
            return Command.STOP if self._seen else command

        return observe

    def remove(self) -> None:
        """Remove the file if it is there."""
        with contextlib.suppress(OSError):
            self.path.unlink()


@contextlib.contextmanager
def stop_file(folder: Path) -> Iterator[StopFile]:
    """Yield the stop file of a run that has just taken its folder.

    A file ends the run that is on, not the next one: one that is there already is removed, with a
    word in the log, and so is the one that ended this run.
    """
    stop = StopFile(folder)
    if stop.path.exists():
        _log.warning("%s was there before this run, which goes on and removes it.", stop.path)
        stop.remove()
    try:
        yield stop
    finally:
        if stop.reason:
            stop.remove()


def stopped_since(output: Path, since_ns: int) -> str:
    """Return the stop file that was made while a run was being prepared; "" without one.

    It is removed. One that another process's run is about to see stays, and does not count.

    Parameters
    ----------
    output : path
        The run's model file.
    since_ns : int
        When the preparation began, by the clock of the file system: a file's time in ns.
    """
    stop = StopFile(parts_folder(output))
    try:
        if stop.path.stat().st_mtime_ns < since_ns:
            return ""
        with workspace(output):
            stop.remove()
    except (OSError, OutputError, ResumeError):
        return ""
    return str(stop.path)
