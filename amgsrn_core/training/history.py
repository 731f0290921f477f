"""The history of a training run: one row of figures every few iterations."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from amgsrn_core.volume.psnr import psnr_of

COLUMNS = ("iteration", "loss", "psnr", "learning_rate", "grid_motion")
"""`grid_motion` is the root mean square change of the grids' affine maps since their start."""

_ROWS = 400


class History:
    """Rows of :data:`COLUMNS`.

    Parameters
    ----------
    rows : iterable of tuple, optional
        Rows of an earlier run that is being continued.
    """

    def __init__(self, rows: Iterable[Iterable[float]] = ()) -> None:
        self.rows: list[tuple[float, ...]] = [tuple(float(v) for v in row) for row in rows]

    def add(self, iteration: int, loss: float, learning_rate: float, grid_motion: float) -> None:
        """Append a row; the PSNR follows from the loss."""
        self.rows.append((float(iteration), loss, psnr_of(loss), learning_rate, grid_motion))

    def array(self) -> np.ndarray:
        """Return float64 [rows, columns]."""
        return np.array(self.rows, dtype=np.float64).reshape(-1, len(COLUMNS))

    @property
    def last_loss(self) -> float:
        """Loss of the last row; NaN before the first."""
        return self.rows[-1][1] if self.rows else math.nan


def row_interval(iterations: int) -> int:
    """Return how many iterations one row of a run stands for."""
    return max(1, iterations // _ROWS)
