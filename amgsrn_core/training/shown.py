"""The progress of a training that a Python program or a notebook has begun, shown by rich."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from amgsrn_core.system.words import decibels, duration
from amgsrn_core.training.progress import Command, Observer, Progress, unobserved

if TYPE_CHECKING:
    from rich.console import Console

# Shows a phase, the part that is done, and details.
_Show = Callable[[str, float, str], None]

# A browser is told no more often than this.
_NOTEBOOK_SECONDS = 0.3


@contextlib.contextmanager
def shown_to(observer: Observer, progress: bool | None) -> Iterator[Observer]:
    """Yield an observer that also shows the progress, where it is to be shown.

    Parameters
    ----------
    observer : callable
        Decides as before.
    progress : bool, optional
        By default it is shown where somebody looks on, in a terminal or a notebook, unless there
        is an observer, which shows it in its own way.
    """
    if progress is False or (progress is None and observer is not unobserved):
        yield observer
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if progress is None and not (console.is_jupyter or sys.stderr.isatty()):
        yield observer
        return
    with _in_notebook() if console.is_jupyter else _in_terminal(console) as show:

        def told(state: Progress) -> Command:
            done = (state.step + state.iteration / max(1, state.iterations)) / state.steps
            show(state.phase, done, _details(state))
            return observer(state)

        yield told


@contextlib.contextmanager
def _in_terminal(console: Console) -> Iterator[_Show]:
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = TextColumn("{task.description}", markup=False), BarColumn(20), TaskProgressColumn()
    with Bar(*columns, TextColumn("{task.fields[details]}", markup=False), console=console) as bar:
        task = bar.add_task("training", total=1.0, details="")

        def show(phase: str, done: float, details: str) -> None:
            bar.update(task, completed=done, description=phase, details=details)

        yield show


@contextlib.contextmanager
def _in_notebook() -> Iterator[_Show]:
    """Show a line that is replaced; rich would need ipywidgets and warn at each line without."""
    from IPython.display import display

    handle = display({"text/plain": ""}, raw=True, display_id=True)
    line, next_time = "", 0.0

    def show(phase: str, done: float, details: str) -> None:
        nonlocal line, next_time
        line = f"{phase} {done:4.0%}  {details}"
        if time.monotonic() >= next_time:
            handle.update({"text/plain": line}, raw=True)
            next_time = time.monotonic() + _NOTEBOOK_SECONDS

    try:
        yield show
    finally:
        handle.update({"text/plain": line}, raw=True)


def _details(state: Progress) -> str:
    parts = [f"step {state.step + 1}/{state.steps}"] if state.steps > 1 else []
    if state.bricks is not None:
        parts.append(f"{state.bricks.done}/{state.bricks.total} bricks")
    if not math.isnan(state.psnr):
        parts.append(f"PSNR ~ {decibels(state.psnr)}")
    if state.eta_seconds is not None:
        parts.append(f"{duration(state.eta_seconds)} left")
    return "  ".join(parts)
