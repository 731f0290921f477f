"""A picture of every time step, numbered, in the order of time."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Callable
from pathlib import Path

from amgsrn_core.cli.options import variables
from amgsrn_core.cli.report import print_rows
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.model import read_index
from amgsrn_core.volume import TimeAxis
from amgsrn_core.volume.open import open_step
from amgsrn_core.volume.times import select_times, time_text


def each_step(arguments: argparse.Namespace, run: Callable[[argparse.Namespace], int]) -> int:
    """Carry out `run` for each time step of what a command names: OUT-0000.png, OUT-0001.png, ...

    Raises
    ------
    ConfigurationError
        There are no time steps, or one report is asked for.
    """
    if arguments.json is not None:
        raise ConfigurationError("--json is for one time step, not for --time all.")
    axis = _times(arguments)
    output, pictures = Path(arguments.output), []
    for number, step in enumerate(axis.steps):
        path = output.with_name(f"{output.stem}-{number:04d}{output.suffix}")
        one = argparse.Namespace(**{**vars(arguments), "output": str(path), "time": str(step)})
        with contextlib.redirect_stdout(io.StringIO()):
            run(one)
        pictures.append((str(path), time_text(axis, step)))
    print_rows(pictures)
    return 0


def _times(arguments: argparse.Namespace) -> TimeAxis:
    """Return the time axis of a model or of data, with all of its steps."""
    path = arguments.model
    if path.endswith(".amgsrn"):
        index = read_index(path)
        name, axis = index.name, index.time
        steps = None if axis is None else axis.steps or (axis.index,)
    else:
        volume = open_step(path, variables(arguments.variable, path))
        name, axis = volume.name, volume.time
        steps = None if axis is None else tuple(select_times(name, axis, "all"))
    if axis is None or steps is None:
        raise ConfigurationError(f"'{name}' has no time steps; leave --time out.")
    return TimeAxis(axis.values, axis.units, axis.calendar, name=axis.name, steps=steps)
