"""What happens in a run over bricks, as JSON lines for other programs."""

from __future__ import annotations

import json
import time
from typing import IO, Any

from amgsrn_core.errors import OutputError
from amgsrn_core.system.output import reason


class EventLog:
    """Appends one object per event to a file: `time` (seconds since 1970), `event`, and more.

    Parameters
    ----------
    path : str
        Empty: nothing is written.

    Raises
    ------
    OutputError
        The file cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._file: IO[str] | None = None
        if path:
            try:
                self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 -- closed below
            except OSError as error:
                raise OutputError(f"Cannot write {path}: {reason(error)}.") from error

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, event: str, **values: Any) -> None:
        """Append an event; a disk that is full costs the line, not the run."""
        if self._file is None:
            return
        plain = {k: None if isinstance(v, float) and v != v else v for k, v in values.items()}
        try:
            self._file.write(json.dumps({"time": time.time(), "event": event, **plain}) + "\n")
            self._file.flush()
        except OSError:
            pass
