"""Progress of a long command on standard error: a live bar in a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from amgsrn_core.cli.report import duration

# Seconds between lines where nobody watches a terminal (log files, batch jobs).
_LINE_SECONDS = 10.0
_LINE_WIDTH = 80
_BAR_WIDTH = 10


Rows = Sequence[tuple[str, ...]]


class Display(Protocol):
    """Shows how far the work is."""

    def update(self, done: float, details: Sequence[str], rows: Rows = ()) -> None:
        """Show that `done` (0 to 1) of the work is done, and `details` about it.

        Of the details the second ones go first where there is no room for all. `rows` are those of
        a table below, where there is room for one.
        """

    def message(self, text: str) -> None:
        """Show a line that stays."""


@contextlib.contextmanager
def display(title: str) -> Iterator[Display]:
    """Yield a display that fits standard error."""
    if sys.stderr.isatty():
        with _bar(title) as bar:
            yield bar
    else:
        yield Lines(title)


def fitted(details: Sequence[str], width: int) -> str:
    """Return as many details as a width takes; the second ones go first, the last one never."""
    shown = [text for text in details if text]
    while len(text := "  ".join(shown)) > width and len(shown) > 1:
        del shown[1 if len(shown) > 2 else 0]
    return text


class Lines:
    """One line now and then; the first and the last state are always shown."""

    def __init__(self, title: str, seconds: float = _LINE_SECONDS) -> None:
        self._title = title
        self._seconds = seconds
        self._last: float | None = None
        self._finished = False

    def update(self, done: float, details: Sequence[str], rows: Rows = ()) -> None:
        """Print a line if the last one is old enough, or the work has just been done."""
        now = time.monotonic()
        just_done = done >= 1 and not self._finished
        if self._last is not None and now - self._last < self._seconds and not just_done:
            return
        self._last = now
        self._finished = done >= 1
        start = f"{self._title} {100 * done:3.0f} %  "
        self.message(f"{start}{fitted(details, _LINE_WIDTH - len(start))}".rstrip())

    def message(self, text: str) -> None:
        """Print a line."""
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _bar(title: str) -> Iterator[Display]:
    from rich.console import Console
    from rich.live import Live
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=_BAR_WIDTH),  # leaves room for the details in a narrow terminal
        TaskProgressColumn(),
        TextColumn("{task.fields[details]}", markup=False),
    )
    console = Console(stderr=True, highlight=False)
    progress = Progress(*columns, console=console)
    task = progress.add_task(title, total=1.0, details="")
    with Live(progress, console=console) as live:
        yield _Bar(live, progress, task, title)


class _Bar:
    def __init__(self, live: Any, progress: Any, task: Any, title: str) -> None:
        self._live, self._progress, self._task = live, progress, task
        self._title = title

    def update(self, done: float, details: Sequence[str], rows: Rows = ()) -> None:
        from rich.console import Group
        from rich.table import Table

        room = self._live.console.width - len(self._title) - _BAR_WIDTH - len("  100%  ")
        self._progress.update(self._task, completed=done, details=fitted(details, room))
        if not rows:
            self._live.update(self._progress)
            return
        table = Table.grid(padding=(0, 2))
        most = max(1, self._live.console.height - 3)
        for row in rows[:most]:
            table.add_row(*row)
        self._live.update(Group(self._progress, table))

    def message(self, text: str) -> None:
        self._live.console.print(text, markup=False)


class Remaining:
    """Estimates the time that is left from the share that is done."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def text(self, done: float) -> str:
        """Return the estimate as text, empty at the start."""
        elapsed = time.monotonic() - self._start
        return f"{duration(elapsed * (1 - done) / done)} left" if 0 < done < 1 else ""
