"""A training's history as a file for TensorBoard, written row by row.

tensorboardX's own writer works in a thread that ends on a full disk and then lets a training wait
for it for ever; this one writes at once, and without it the training goes on.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

from amgsrn_core.errors import OutputError
from amgsrn_core.system.output import reason
from amgsrn_core.training.history import COLUMNS

_log = logging.getLogger(__name__)


class ScalarFile:
    """An event file in a folder, which may hold those of earlier parts of the same run.

    Parameters
    ----------
    folder : Path
    iteration : int
        Where the run continues; what an earlier part wrote after that is hidden.

    Raises
    ------
    OutputError
        It cannot be written.
    """

    def __init__(self, folder: Path, iteration: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        self._folder, self._writer = folder, None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Parts of a run may begin within a second, which the name would not tell apart.
            suffix = f".{os.getpid()}.{iteration}"
            self._writer = EventsWriter(str(folder / "events"), suffix)
            start = SessionLog(status=SessionLog.START)
            self._write(iteration + 1, file_version="brain.Event:2")
            self._write(iteration + 1, session_log=start)
        except OSError as error:
            raise OutputError(f"Cannot write {folder}: {reason(error)}.") from error

    def add(self, row: tuple[float, ...]) -> None:
        """Add a row of the history; where that fails, this and all that follow are left out."""
        from tensorboardX.summary import scalar

        try:
            for name, value in zip(COLUMNS[1:], row[1:]):
                self._write(int(row[0]), summary=scalar(name, value))
            if self._writer is not None:
                self._writer.flush()
        except OSError as error:
            _log.warning("Going on without TensorBoard in %s: %s.", self._folder, reason(error))
            self._writer = None

    def close(self) -> None:
        """Complete the file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except OSError as error:
                _log.warning("%s lacks its last rows: %s.", self._folder, reason(error))

    def _write(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        if self._writer is not None:
            self._writer.write_event(Event(step=step, wall_time=time.time(), **content))
