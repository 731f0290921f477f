"""Axes by their names: which one a name means, and numbers as the source's file has them.

In the world up is up, and longitudes ascend. A file may count depths downwards and let longitudes
jump by a turn; who names an axis gives its numbers as the file has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume.axis import Axis
from amgsrn_core.volume.geometry import GridGeometry

_TURN = 360.0
_SLACK = 1e-6
_LONGITUDES = ("lon", "long", "longitude")
_LATITUDES = ("lat", "latitude")


def axis_number(geometry: GridGeometry, name: str) -> int:
    """Return which axis a name means: 0 (z), 1 (y) or 2 (x).

    That is the axis of this name or standard name, "lon" and "lat" (also in full) where it is one,
    or the letter.

    Raises
    ------
    VolumeError
        There is no such axis; the message lists them.
    """
    wanted = name.strip()
    tests = (
        lambda axis, letter: axis.name == wanted,
        lambda axis, letter: axis.standard_name == wanted,
        lambda axis, letter: wanted.lower() in _LONGITUDES and is_longitude(axis),
        lambda axis, letter: wanted.lower() in _LATITUDES and _is_latitude(axis),
        lambda axis, letter: wanted.lower() == letter,
    )
    for test in tests:
        found = [i for i, axis in enumerate(geometry.axes) if test(axis, "zyx"[i])]
        if len(found) == 1:
            return found[0]
    raise VolumeError(f"There is no axis '{name}'; the axes are {describe_axes(geometry)}.")


def is_longitude(axis: Axis) -> bool:
    """Tell whether an axis is one of geographic longitudes."""
    units = axis.units.lower().replace("_", "").replace("degrees", "degree")
    return axis.standard_name == "longitude" or units in ("degreeeast", "degreee")


def _is_latitude(axis: Axis) -> bool:
    units = axis.units.lower().replace("_", "").replace("degrees", "degree")
    return axis.standard_name == "latitude" or units in ("degreenorth", "degreen")


def is_angle(axis: Axis) -> bool:
    """Tell whether an axis is one on which a turn more is the same place."""
    return axis.wrap is not None or is_longitude(axis) or axis.standard_name == "grid_longitude"


def to_world(axis: Axis, values: Any) -> np.ndarray:
    """Return coordinates as the file has them, of any shape, as ones of the world."""
    world = np.asarray(values, dtype=np.float64)
    if axis.negated:
        world = 0.0 - world
    return _turned(axis, world) if is_angle(axis) else world


def _turned(axis: Axis, values: np.ndarray) -> np.ndarray:
    """Return longitudes turned to where the axis has them, if it has them."""
    low, high = float(axis.coordinates[0]), float(axis.coordinates[-1])
    slack = _SLACK * (high - low)
    turned = values - _TURN * np.floor((values - low + slack) / _TURN)
    inside = (values >= low - slack) & (values <= high + slack)
    return np.where(inside | (turned > high + slack), values, turned)


def file_ends(axis: Axis) -> tuple[float, float]:
    """Return the ends of an axis as its file has them, the smaller one first."""
    low, high = float(axis.coordinates[0]), float(axis.coordinates[-1])
    return (0.0 - high, 0.0 - low) if axis.negated else (low, high)


def describe_axis(axis: Axis, letter: str) -> str:
    """Return name, ends and units of an axis in the file's numbers, for messages."""
    low, high = file_ends(axis)
    name = axis.name if axis.name == letter else f"{axis.name} ({letter})"
    units = "" if axis.units in ("", "1") else f" {axis.units}"
    return f"{name} {low:.6g} to {high:.6g}{units}{' downwards' if axis.negated else ''}"


def describe_axes(geometry: GridGeometry) -> str:
    """Return all axes, x first, for messages."""
    return ", ".join(
        describe_axis(axis, letter) for axis, letter in zip(reversed(geometry.axes), "xyz")
    )


def other_sign(axis: Axis, low: float, high: float) -> str:
    """Say what is wrong with world coordinates outside an axis, where that can be guessed.

    Returns
    -------
    str
        A part of a sentence, or "".
    """
    first, last = float(axis.coordinates[0]), float(axis.coordinates[-1])
    if is_angle(axis) and any(
        _overlap(low + turn, high + turn, first, last) for turn in (-_TURN, _TURN)
    ):
        return "it would be inside with 360 degrees more or less"
    if _overlap(-high, -low, first, last):
        if axis.negated:
            return "its depths are positive by name and negative as world coordinates (up is up)"
        return "it would be inside with the other sign"
    return ""


def _overlap(low: float, high: float, first: float, last: float) -> bool:
    return low <= last and high >= first and (low, high) != (0.0, 0.0)
