"""The progress of a training that a Python program or a notebook has begun, shown by rich."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator

from amgsrn_core.system.words import decibels, duration
from amgsrn_core.training.progress import Command, Observer, Progress, unobserved


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
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True, highlight=False)
    if progress is None and not (console.is_jupyter or sys.stderr.isatty()):
        yield observer
        return
    columns = TextColumn("{task.description}", markup=False), BarColumn(20), TaskProgressColumn()
    with Bar(*columns, TextColumn("{task.fields[details]}", markup=False), console=console) as bar:
        task = bar.add_task("training", total=1.0, details="")

        def show(state: Progress) -> Command:
            done = (state.step + state.iteration / max(1, state.iterations)) / state.steps
            bar.update(task, completed=done, description=state.phase, details=_details(state))
            return observer(state)

        yield show


def _details(state: Progress) -> str:
    parts = [f"step {state.step + 1}/{state.steps}"] if state.steps > 1 else []
    if state.bricks is not None:
        parts.append(f"{state.bricks.done}/{state.bricks.total} bricks")
    if not math.isnan(state.psnr):
        parts.append(f"PSNR ~ {decibels(state.psnr)}")
    if state.eta_seconds is not None:
        parts.append(f"{duration(state.eta_seconds)} left")
    return "  ".join(parts)
