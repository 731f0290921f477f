"""Transfer functions from colour maps: a default, and presets that ParaView exported."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.model import LookRecord
from amgsrn_core.rendering.transfer import TransferFunction

_ENTRIES = 1024

# Blue to red over grey, and nothing of the lowest tenth, where the background usually is.
_COLOURS = ((0.0, 0.23, 0.30, 0.75), (0.5, 0.87, 0.87, 0.87), (1.0, 0.71, 0.02, 0.15))
_OPACITIES = ((0.0, 0.0), (0.1, 0.0), (1.0, 0.8))
_RAMP = ((0.0, 0.0), (1.0, 1.0))


def default_transfer(low: float, high: float) -> TransferFunction:
    """Return a transfer function for a range of values: transparent at its lower end."""
    return _transfer(low, high, np.array(_COLOURS), np.array(_OPACITIES))


def look_transfer(look: LookRecord, colours: tuple[float, float] | None = None) -> TransferFunction:
    """Return the transfer function of a look, with colours over its range or another one."""
    low, high = distinct(colours or (look.low, look.high))
    transfer = default_transfer(low, high)
    table = transfer.table.copy()
    values, opacities = (np.array(column) for column in zip(*look.opacities))
    table[:, 3] = np.interp(np.linspace(low, high, _ENTRIES), values, opacities)
    return TransferFunction(low, high, table)


def distinct(values: tuple[float, float]) -> tuple[float, float]:
    """Return a range of values; of a constant one that begins with it."""
    low, high = values
    return (low, high) if low < high else (low, low + (abs(low) or 1.0))


def load_colormap(path: str | os.PathLike[str], low: float, high: float) -> TransferFunction:
    """Return the transfer function of a file, stretched over a range of values.

    Parameters
    ----------
    path : path
        JSON as ParaView exports its presets: a list whose first item has `RGBPoints` (value, red,
        green, blue, ...) and perhaps `Points` (value, opacity, and two numbers that are ignored,
        ...), without which the opacity rises evenly from 0 to 1. Colours are interpolated in RGB,
        whatever the file's `ColorSpace`.
    low, high : float

    Raises
    ------
    ConfigurationError
        There is no such file, or it is something else.
    """
    try:
        with open(path, encoding="utf-8") as file:
            preset: Any = json.load(file)
    except OSError as error:
        raise ConfigurationError(f"There is no colour map {os.fspath(path)}.") from error
    except ValueError as error:
        raise ConfigurationError(f"The colour map {os.fspath(path)} is not JSON.") from error
    preset = preset[0] if isinstance(preset, list) and preset else preset
    preset = preset if isinstance(preset, dict) else {}
    colours = _points(preset.get("RGBPoints"))
    opacities = _points(preset["Points"]) if preset.get("Points") else np.array(_RAMP)
    if colours is None or opacities is None:
        raise ConfigurationError(
            f"The colour map {os.fspath(path)} lacks RGBPoints or Points in ascending order; "
            "export it with ParaView's preset dialog."
        )
    return _transfer(low, high, colours.clip(0, 1), opacities.clip(0, 1))


def _points(numbers: Any) -> np.ndarray | None:
    """Return control points [n, 4] with positions from 0 to 1."""
    try:
        points = np.array(numbers, dtype=np.float64).reshape(-1, 4)
    except (TypeError, ValueError):
        return None
    positions = points[:, 0]
    ascending = len(points) > 1 and (np.diff(positions) >= 0).all() and np.isfinite(points).all()
    if not ascending or positions[0] == positions[-1]:
        return None
    points[:, 0] = (positions - positions[0]) / (positions[-1] - positions[0])
    return points


def _transfer(
    low: float, high: float, colours: np.ndarray, opacities: np.ndarray
) -> TransferFunction:
    at = np.linspace(0.0, 1.0, _ENTRIES)
    table = [np.interp(at, colours[:, 0], colours[:, column]) for column in (1, 2, 3)]
    table.append(np.interp(at, opacities[:, 0], opacities[:, 1]))
    return TransferFunction(low, high, np.stack(table, axis=1))
