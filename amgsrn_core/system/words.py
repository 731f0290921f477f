"""Numbers in words for people."""

from __future__ import annotations

import math


def figure(value: float | None, unit: str = "", digits: int = 4) -> str:
    """Return a number for people; "unknown" where there is none.

    The unit "1" is how CF says that there is none.
    """
    if value is None or math.isnan(value):
        return "unknown"
    text = "infinite" if math.isinf(value) else f"{value:.{digits}g}"
    return text if unit in ("", "1") else f"{text} {unit}"


def interval(low: float, high: float, unit: str = "") -> str:
    """Return a range for people, with as many digits as tell its ends apart."""
    digits = 6
    if high > low:
        spare = math.log10(max(abs(low), abs(high))) - math.log10(high - low)
        digits = min(17, digits + max(0, math.ceil(spare) - 1))
    return f"{low:.{digits}g} to {figure(high, unit, digits=digits)}"


def decibels(value: float | None) -> str:
    """Return a PSNR for people."""
    if value is None or math.isnan(value):
        return "unknown"
    return "infinite" if math.isinf(value) else f"{value:.2f} dB"


def duration(seconds: float) -> str:
    """Return a time span for people."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
