"""Choosing steps of a time dimension: by index, by value, or by date."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import math
import re
from dataclasses import dataclass
from typing import Union

import numpy as np

from amgsrn_core.errors import VolumeError
from amgsrn_core.system.extras import require
from amgsrn_core.volume.netcdf.library import import_netcdf4
from amgsrn_core.volume.volume import TimeAxis

logger = logging.getLogger(__name__)

_LISTED = 12
_RANGE = re.compile(r"(-?\d*):(-?\d*)(?::(\d+))?")
_DATE = re.compile(r"(-?\d+)-(\d+)-(\d+)(?:T(\d+)(?::(\d+)(?::(\d+(?:\.\d*)?))?)?)?")
_VALUE = "t="


@dataclass(frozen=True)
class Nearest:
    """A wish for the step that is nearest to a time, where none is exactly there.

    `to` is an index, a value or a date as :func:`select_time` takes them.
    """

    to: int | float | str

    def __str__(self) -> str:
        return str(self.to)


TimeStep = Union[int, float, str, Nearest, None]


def select_time(name: str, axis: TimeAxis | None, wanted: TimeStep) -> TimeAxis | None:
    """Return the time axis with the wanted step selected.

    Parameters
    ----------
    name : str
        The variable, for messages.
    axis : TimeAxis or None
        None where the variable has no time dimension.
    wanted : int, float, str, Nearest or None
        A number, whether 12, 12.0 or the same as text, is the index of a step (negative: from the
        end) where it is whole and there is such a step, and else a time in the axis' units. A text
        "t=12" is always such a time; others are ISO 8601 dates ("2005-08-28",
        "2005-08-28T15:00"), as much of one as tells the step apart. None is the first step.

    Raises
    ------
    VolumeError
        There is no such step; the message names its neighbours and lists those there are.
    """
    is_nearest = isinstance(wanted, Nearest)
    given = wanted.to if isinstance(wanted, Nearest) else wanted
    plain = _parse(given) if isinstance(given, str) else given
    if axis is None:
        if plain is None or (not isinstance(plain, (str, _Time)) and plain == 0):
            return None
        raise VolumeError(f"'{name}' has no time dimension, so time {wanted} cannot be chosen.")
    if not axis.values:
        raise VolumeError(f"'{name}' has a time dimension ('{axis.name}') without any steps.")
    if plain is None:
        return axis
    matches, value = _matches(name, axis, plain)
    if len(matches) != 1 and is_nearest and value is not None:
        matches = _closest(value, axis)
    if len(matches) == 1:
        return dataclasses.replace(axis, index=matches[0])
    problem = "is more than one time step" if matches else "is no time step"
    beside = "" if matches else _neighbours(axis, value)
    raise VolumeError(f"{wanted} {problem} of '{name}'{beside}; choose one of: {_describe(axis)}.")


@dataclass(frozen=True)
class _Time:
    """A time in the axis' units, which is no index."""

    value: float


def _matches(
    name: str, axis: TimeAxis, wanted: int | float | str | _Time
) -> tuple[list[int], float | None]:
    """Return the steps that a wish may mean, and the time that it stands for, if it is one."""
    if isinstance(wanted, str):
        prefix = wanted.strip().upper().replace(" ", "T").rstrip("Z")
        found = [i for i, date in enumerate(time_dates(axis)) if date.startswith(prefix)]
        return found, _value_of(prefix, axis)
    if isinstance(wanted, _Time):
        return _nearest(wanted.value, axis), wanted.value
    value = float(wanted)
    at = _nearest(value, axis)
    if not value.is_integer() or not _within(int(value), axis):
        return at, value
    index = int(value) % len(axis.values)
    if value >= 0 and at and at != [index]:
        logger.warning(
            f"{value:g} is the index of a step of '{name}' ({shown_time(axis, index)}); the step "
            f"at the time {value:g} is {_VALUE}{value:g}."
        )
    return [index], None


def _value_of(date: str, axis: TimeAxis) -> float | None:
    """Return an ISO date in the axis' units; None where it is none, or the units are no date."""
    found = _DATE.fullmatch(date)
    if found is None or " since " not in axis.units:
        return None
    numbers = [float(part) if part else 0.0 for part in found.groups()]
    try:
        cftime = require("cftime", "A date")
        when = cftime.datetime(
            *(int(number) for number in numbers), calendar=axis.calendar or "standard"
        )
        return float(cftime.date2num(when, axis.units, axis.calendar or "standard"))
    except (ValueError, TypeError, OverflowError):
        return None


def _closest(value: float, axis: TimeAxis) -> list[int]:
    gaps = [(abs(at - value), step) for step, at in enumerate(axis.values) if not math.isnan(at)]
    return [min(gaps)[1]] if gaps else []


def _neighbours(axis: TimeAxis, value: float | None) -> str:
    """Name the steps before and after a time, as a part of a sentence."""
    if value is None or math.isnan(value):
        return ""
    before = [(at, step) for step, at in enumerate(axis.values) if at < value]
    after = [(at, step) for step, at in enumerate(axis.values) if at > value]
    dates = time_dates(axis)
    beside = [max(before)[1]] if before else []
    beside += [min(after)[1]] if after else []
    named = " and ".join(f"{step} ({shown_time(axis, step, dates)})" for step in beside)
    verb = "its neighbours are" if len(beside) > 1 else "the nearest is"
    return f", {verb} {named} (--time-method nearest takes the nearest)" if named else ""


def time_text(axis: TimeAxis, index: int) -> str:
    """Return the time of a step for people: its ISO date, and the file's number and units."""
    number = f"{axis.values[index]:.10g} {axis.units}".strip()
    shown = shown_time(axis, index)
    return shown if shown == number or math.isnan(axis.values[index]) else f"{shown} ({number})"


def tell_first(name: str, axis: TimeAxis | None) -> None:
    """Say which step is taken where nobody has chosen one of several."""
    if axis is not None and len(axis.steps or axis.values) > 1:
        first = dataclasses.replace(axis, index=axis.steps[0]) if axis.steps else axis
        count = len(axis.steps or axis.values)
        logger.warning(
            "'%s' has %d time steps; this is the first, %s. Choose another by its index or date "
            "(--time).",
            name,
            count,
            f"{first.index} ({shown_time(first, first.index)})",
        )


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
            problems.append(
                f"step {step} has that of step {first[value]} ({shown_time(axis, step)})"
            )
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


def _parse(wanted: str) -> int | float | str | _Time:
    """Return a number where the text is one; ISO dates stay text."""
    text = wanted.strip()
    try:
        if text.startswith(_VALUE):
            return _Time(float(text[len(_VALUE) :]))
        return float(text)
    except ValueError:
        return wanted


def _within(index: int, axis: TimeAxis) -> bool:
    return -len(axis.values) <= index < len(axis.values)


def _nearest(value: float, axis: TimeAxis) -> list[int]:
    """Return the steps at a value, allowing for the rounding of printed numbers."""
    values = np.array(axis.values)
    gaps = np.abs(np.diff(values))
    tolerance = 1e-3 * gaps[gaps > 0].min() if (gaps > 0).any() else 1e-6 * max(1.0, abs(value))
    return np.flatnonzero(np.abs(values - value) <= tolerance).tolist()


def shown_time(axis: TimeAxis, step: int, dates: list[str] | None = None) -> str:
    """Return the time of a step for people: a date where there is one."""
    if math.isnan(axis.values[step]):
        return "no time"
    dates = time_dates(axis) if dates is None else dates
    return dates[step] if dates else f"{axis.values[step]:.10g} {axis.units}".strip()


def _describe(axis: TimeAxis) -> str:
    dates = time_dates(axis)
    entries = [
        f"{index} ({shown_time(axis, index, dates)})" for index in range(len(axis.values[:_LISTED]))
    ]
    rest = len(axis.values) - len(entries)
    return ", ".join(entries) + (f" and {rest} more" if rest > 0 else "")
