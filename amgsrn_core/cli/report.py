"""Results on standard output for people, as JSON for programs."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any

from amgsrn_core.system.output import ensure_writable, json_text, replacing
from amgsrn_core.system.output import size as size


def prepare_report(destination: str | None) -> None:
    """Raise an error now if the JSON could not be written to `destination` later."""
    if destination not in (None, "-"):
        ensure_writable(destination)


def write_report(
    results: dict[str, Any], rows: Iterable[tuple[str, str]], destination: str | None
) -> None:
    """Print `rows` of names and texts, and write `results` as JSON where that is asked for.

    `destination` is None (no JSON), "-" (JSON on standard output instead of the text), or a file.
    """
    text = json_text(results, indent=2) + "\n"
    if destination == "-":
        sys.stdout.write(text)
        return
    try:
        if destination is not None:
            with replacing(destination) as temporary:
                temporary.write_text(text, encoding="utf-8")
    finally:
        print_rows(rows)  # what was found is not lost with the file


def print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Print a table of two columns."""
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        print(f"{name:<{width}}  {text}".rstrip())


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
