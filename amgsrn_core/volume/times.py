"""Choosing steps of a time dimension: by index, by value, or by date."""

from __future__ import annotations

import dataclasses
import datetime
import math
import re
from typing import Union

import numpy as np

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume.netcdf.library import import_netcdf4
from amgsrn_core.volume.volume import TimeAxis

TimeStep = Union[int, float, str, None]

_LISTED = 12
_RANGE = re.compile(r"(-?\d*):(-?\d*)(?::(\d+))?")


def select_time(name: str, axis: TimeAxis | None, wanted: TimeStep) -> TimeAxis | None:
    """Return the time axis with the wanted step selected.

    Parameters
    ----------
    name : str
        The variable, for messages.
    axis : TimeAxis or None
        None where the variable has no time dimension.
    wanted : int, float, str or None
        An index (negative: from the end), a value in the axis' units, or an ISO 8601 date
        ("2005-08-28", "2005-08-28T15:00"), as much of it as tells the step apart. A string of
        digits is an index, another number a value. None is the first step.

    Raises
    ------
    VolumeError
        There is no such step; the message lists those there are.
    """
    if isinstance(wanted, str):
        wanted = _parse(wanted)
    if axis is None:
        if wanted is None or (wanted == 0 and not isinstance(wanted, str)):
            return None
        raise VolumeError(f"'{name}' has no time dimension, so time {wanted} cannot be chosen.")
    if not axis.values:
        raise VolumeError(f"'{name}' has a time dimension ('{axis.name}') without any steps.")
    if wanted is None:
        return axis
    if isinstance(wanted, (int, np.integer)) and not isinstance(wanted, bool):
        matches = [int(wanted) % len(axis.values)] if _within(int(wanted), axis) else []
    elif isinstance(wanted, str):
        prefix = wanted.strip().upper().replace(" ", "T").rstrip("Z")
        matches = [i for i, date in enumerate(time_dates(axis)) if date.startswith(prefix)]
    else:
        matches = _nearest(float(wanted), axis)
    if len(matches) == 1:
        return dataclasses.replace(axis, index=matches[0])
    problem = "is more than one time step" if matches else "is no time step"
    raise VolumeError(f"{wanted} {problem} of '{name}'; choose one of: {_describe(axis)}.")


def names_several(wanted: TimeStep) -> bool:
    """Tell whether a choice is one for :func:`select_times`: a series rather than a step."""
    if not isinstance(wanted, str):
        return False
    return wanted == "all" or "," in wanted or _RANGE.fullmatch(wanted) is not None


def select_times(name: str, axis: TimeAxis | None, wanted: TimeStep) -> list[int]:
    """Return the indices of several steps, in the order of their times.

    Parameters
    ----------
    name : str
        The variable, for messages.
    axis : TimeAxis or None
        None where the variable has no time dimension.
    wanted : str
        "all", a range of indices "FIRST:END" or "FIRST:END:STRIDE" as in Python, or steps as in
        :func:`select_time` with commas between.

    Raises
    ------
    VolumeError
        There are no such steps, or some have no time or that of another.
    """
    if axis is None:
        raise VolumeError(f"'{name}' has no time dimension, so time {wanted} cannot be chosen.")
    text = str(wanted)
    every = list(range(len(axis.values)))
    if (found := _RANGE.fullmatch(text)) is not None:
        first, end, stride = (int(part) if part else None for part in found.groups())
        if stride == 0:
            raise VolumeError(f"The range {wanted} has the stride 0; use 1 or more.")
        chosen = every[first:end:stride]
    elif text == "all":
        chosen = every
    else:
        chosen = [_index(name, axis, part) for part in text.split(",") if part.strip()]
    if not chosen:
        raise VolumeError(f"{wanted} is no time step of '{name}'; choose from: {_describe(axis)}.")
    chosen = sorted(set(chosen))
    _refuse_unordered(name, axis, chosen)
    return sorted(chosen, key=lambda index: axis.values[index])


def _refuse_unordered(name: str, axis: TimeAxis, steps: list[int]) -> None:
    """Raise VolumeError unless each of some steps has a time of its own."""
    first: dict[float, int] = {}
    problems = []
    for step in steps:
        value = axis.values[step]
        if math.isnan(value):
            problems.append(f"step {step} has none")
        elif value in first:
            problems.append(f"step {step} has that of step {first[value]} ({_shown(axis, step)})")
        else:
            first[value] = step
    if not problems:
        return
    listed = ", ".join(problems[:_LISTED])
    more = len(problems) - _LISTED
    if more > 0:
        listed += f" and {more} more"
    good = sorted(first.values())
    remedy = "choose one step" if len(good) < 2 else "choose other steps"
    if 2 <= len(good) <= _LISTED:
        remedy += f", as in {','.join(map(str, good))}"
    raise VolumeError(
        f"A series of '{name}' needs a time of its own for each step, but in '{axis.name}' "
        f"{listed}; {remedy}, or mend the file."
    )


def _index(name: str, axis: TimeAxis, wanted: str) -> int:
    selected = select_time(name, axis, wanted.strip())
    assert selected is not None  # it is None only where there is no axis
    return selected.index


def time_dates(axis: TimeAxis) -> list[str]:
    """Return each step as an ISO 8601 date, to the second; empty if the units are no date.

    A step without a time has "".
    """
    if " since " not in axis.units:
        return []
    netcdf4 = import_netcdf4()
    try:
        known = [value for value in axis.values if not math.isnan(value)]
        dates = netcdf4.num2date(np.array(known), axis.units, axis.calendar or "standard")
        # Truncating after adding half a second rounds: 10 minutes are no exact part of an hour.
        half = datetime.timedelta(seconds=0.5)
        texts = [(date + half).strftime("%Y-%m-%dT%H:%M:%S") for date in np.atleast_1d(dates)]
        following = iter(texts)
        return ["" if math.isnan(value) else next(following) for value in axis.values]
    except (ValueError, TypeError, OverflowError):
        # Units that the calendar library does not know; values and indices still work.
        return []


def _parse(wanted: str) -> TimeStep:
    """Return a number where the text is one; ISO dates stay text."""
    for kind in (int, float):
        try:
            return kind(wanted)
        except ValueError:
            continue
    return wanted


def _within(index: int, axis: TimeAxis) -> bool:
    return -len(axis.values) <= index < len(axis.values)


def _nearest(value: float, axis: TimeAxis) -> list[int]:
    """Return the steps at a value, allowing for the rounding of printed numbers."""
    values = np.array(axis.values)
    gaps = np.abs(np.diff(values))
    tolerance = 1e-3 * gaps[gaps > 0].min() if (gaps > 0).any() else 1e-6 * max(1.0, abs(value))
    return np.flatnonzero(np.abs(values - value) <= tolerance).tolist()


def _shown(axis: TimeAxis, step: int, dates: list[str] | None = None) -> str:
    """Return the time of a step for people: a date where there is one."""
    if math.isnan(axis.values[step]):
        return "no time"
    dates = time_dates(axis) if dates is None else dates
    return dates[step] if dates else f"{axis.values[step]:.10g} {axis.units}".strip()


def _describe(axis: TimeAxis) -> str:
    dates = time_dates(axis)
    entries = [
        f"{index} ({_shown(axis, index, dates)})" for index in range(len(axis.values[:_LISTED]))
    ]
    rest = len(axis.values) - len(entries)
    return ", ".join(entries) + (f" and {rest} more" if rest > 0 else "")
