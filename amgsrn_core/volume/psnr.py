"""PSNR, how well values agree, and the error that it stands for."""

from __future__ import annotations

import math


def psnr_of(mean_square: float, value_range: float = 1.0) -> float:
    """Return the PSNR in dB, 10 log10(range^2 / MSE), of a mean squared error.

    Infinite without an error; NaN where the error is unknown or the range nothing.
    """
    if not mean_square >= 0.0 or not value_range > 0.0:
        return math.nan
    if mean_square == 0.0:
        return math.inf
    return 20.0 * math.log10(value_range) - 10.0 * math.log10(mean_square)


def mean_square_of(psnr: float) -> float:
    """Return the mean squared error, relative to the squared range, of a PSNR in dB."""
    return float(10.0 ** (-psnr / 10.0))
