"""The transfer function: colour and opacity of a value."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from amgsrn_core.errors import ConfigurationError


@dataclass(frozen=True, eq=False)
class TransferFunction:
    """A table of colours and opacities over a range of values.

    It is looked up linearly and held at its ends outside the range, as VTK does.

    Parameters
    ----------
    low, high : float
        Values of the first and the last entry, low < high.
    table : float32 array [n, 4]
        Red, green, blue and opacity, 0 to 1 each; n >= 2. The colours are not multiplied with the
        opacity, and the opacity is that of a unit distance (see RenderSettings).
    logarithmic : bool, default: False
        The entries are evenly spaced in log10 of the value; low > 0.

    Raises
    ------
    ConfigurationError
        An empty or infinite range, one that has no logarithm, or another table.
    """

    low: float
    high: float
    table: np.ndarray
    logarithmic: bool = False

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise ConfigurationError(
                f"A transfer function needs a range with low < high, not {self.low:g} to "
                f"{self.high:g}."
            )
        if self.logarithmic and self.low <= 0:
            raise ConfigurationError(
                f"A logarithmic transfer function needs a range above zero, not {self.low:g} to "
                f"{self.high:g}."
            )
        table = np.array(self.table, dtype=np.float32)
        if table.ndim != 2 or table.shape[1] != 4 or len(table) < 2:
            raise ConfigurationError(
                "A transfer function needs a table of at least two rows of red, green, blue and "
                f"opacity, not an array of shape {list(table.shape)}."
            )
        if not ((table >= 0) & (table <= 1)).all():
            raise ConfigurationError("Colours and opacities must be between 0 and 1.")
        table.flags.writeable = False
        object.__setattr__(self, "table", table)

    def opaque(self) -> TransferFunction:
        """Return the function with its colours alone: nothing is transparent."""
        table = self.table.copy()
        table[:, 3] = 1.0
        return TransferFunction(self.low, self.high, table, self.logarithmic)

    def slopes(self) -> np.ndarray:
        """Return how much what a sample shows changes with its value, float64 [n - 1].

        That is between two entries, per unit. What is seen are the opacity and the colours
        multiplied with it.
        """
        space = np.geomspace if self.logarithmic else np.linspace
        values = space(self.low, self.high, len(self.table))
        opacity = self.table[:, 3:].astype(np.float64)
        seen = np.concatenate([opacity * self.table[:, :3], opacity], axis=1)
        change: np.ndarray = np.abs(np.diff(seen, axis=0)).max(axis=1) / np.diff(values)
        return change

    @property
    def is_empty(self) -> bool:
        """Whether everything is transparent."""
        return not self.table[:, 3].any()

    def corrected(self, ratio: float) -> TransferFunction:
        """Return the function with opacities of `ratio` unit distances.

        alpha = 1 - (1 - a)^ratio, applied to the entries and not to what is interpolated between
        them, as in VTK.
        """
        table = self.table.copy()
        table[:, 3] = 1.0 - (1.0 - table[:, 3].astype(np.float64)) ** ratio
        return TransferFunction(self.low, self.high, table, self.logarithmic)

    def position(self, values: np.ndarray) -> np.ndarray:
        """Return where values stand in the table: float64, 0 for `low` to n - 1 for `high`.

        NaN stays NaN.
        """
        low, high = self.low, self.high
        values = np.clip(np.asarray(values, dtype=np.float64), low, high)
        if self.logarithmic:
            low, high, values = math.log10(low), math.log10(high), np.log10(values)
        last = len(self.table) - 1
        position: np.ndarray = np.clip((values - low) / (high - low) * last, 0, last)
        return position

    def shows(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return where values between bounds may be visible, bool like the bounds.

        Nothing is visible where `low` is above `high`.
        """
        some = low <= high
        before = np.concatenate([[0], np.cumsum(self.table[:, 3] > 0)])
        first = np.floor(self.position(np.where(some, low, self.low))).astype(np.intp)
        last = np.ceil(self.position(np.where(some, high, self.low))).astype(np.intp)
        # Rounding may put the end of the range behind the last entry.
        last = np.minimum(last, len(self.table) - 1)
        visible: np.ndarray = some & (before[last + 1] > before[first])
        return visible

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return colours and opacities, float32 [..., 4]; all 0 where a value is NaN."""
        position = self.position(values)
        known = ~np.isnan(position)
        position = np.where(known, position, 0.0)
        entry = np.minimum(position.astype(np.intp), len(self.table) - 2)
        part = (position - entry)[..., None].astype(np.float32)
        rgba = self.table[entry] * (1 - part) + self.table[entry + 1] * part
        return np.where(known[..., None], rgba, np.float32(0))
