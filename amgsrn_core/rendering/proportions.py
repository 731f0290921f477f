"""In which proportions a volume's box is shown: degrees against metres would make a needle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Union

import numpy as np

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.volume.geometry import GridGeometry

# A box whose longest edge is longer than this many of its shortest is shown in other proportions.
MOST_UNEVEN = 20.0

# The edge that does not go with the others is shown as long as this part of the longest.
_SHARE = 0.5

Scale = Union[Literal["auto"], Sequence[float]]
"""Factors for x, y, z, or "auto"."""


def display_scale(geometry: GridGeometry, scale: Scale = "auto") -> tuple[float, float, float]:
    """Return the factors by which the world's x, y, z are stretched in a picture.

    Parameters
    ----------
    geometry : GridGeometry
    scale : three positive numbers or "auto", default: "auto"
        "auto" leaves a box as it is whose edges differ by less than 20 : 1. Of another one, the two
        edges that go together, by their units or else by their lengths, keep their proportion, and
        the third one becomes half as long as the longer of them.

    Raises
    ------
    ConfigurationError
        The factors are not three positive numbers.
    """
    if isinstance(scale, str) and scale == "auto":
        x, y, z = automatic_scale(geometry)
        return x, y, z
    try:
        x, y, z = (float(factor) for factor in scale)
    except (TypeError, ValueError):
        x = y = z = 0.0
    if not (min(x, y, z) > 0 and max(x, y, z) < np.inf):
        raise ConfigurationError(
            f"scale must be three positive numbers for x, y and z, or auto, not {scale!r}."
        )
    return x, y, z


def automatic_scale(geometry: GridGeometry) -> tuple[float, ...]:
    """Return what :func:`display_scale` does with "auto"."""
    bounds = geometry.bounds
    sides = np.array(bounds[1::2]) - np.array(bounds[::2])
    if not sides.min() > 0 or sides.max() <= MOST_UNEVEN * sides.min():
        return 1.0, 1.0, 1.0
    first, second = _pair(sides, [axis.units for axis in reversed(geometry.axes)])
    third = 3 - first - second
    factors = np.ones(3)
    longest = max(first, second, key=lambda axis: float(sides[axis]))
    for axis in range(3):
        if axis == third or sides[axis] * MOST_UNEVEN < sides[longest]:
            factors[axis] = _rounded(_SHARE * sides[longest] / sides[axis])
    return tuple(factors.tolist())


def displayed_diagonal(geometry: GridGeometry, scale: Sequence[float]) -> float:
    """Return the length of the box's diagonal as it is shown."""
    bounds = np.array(geometry.bounds)
    return float(np.linalg.norm((bounds[1::2] - bounds[::2]) * np.array(scale)))


def told(geometry: GridGeometry, scale: Sequence[float]) -> str:
    """Return a sentence on the proportions in which a box is shown."""
    bounds = geometry.bounds
    sides = " x ".join(f"{high - low:.4g}" for low, high in zip(bounds[::2], bounds[1::2]))
    factors = ",".join(f"{factor:g}" for factor in scale)
    return f"The box is {sides} (x, y, z), so it is shown with --scale {factors}; 1,1,1 leaves it."


def _pair(sides: np.ndarray, units: Sequence[str]) -> tuple[int, int]:
    """Return the two axes whose proportion means most: those of one unit, or of like lengths."""
    kinds = ["degrees" if unit.startswith("degree") else unit for unit in units]
    pairs = [(0, 1), (0, 2), (1, 2)]
    alike = [(a, b) for a, b in pairs if kinds[a] == kinds[b] and kinds[a] not in ("", "1")]
    chosen = alike if len(alike) == 1 else pairs
    return min(chosen, key=lambda pair: abs(float(np.log(sides[pair[0]] / sides[pair[1]]))))


def _rounded(factor: float) -> float:
    """Return a number with two digits, which people can read and repeat."""
    return float(f"{factor:.2g}")
