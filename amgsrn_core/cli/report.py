"""Results on standard output for people, as JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from amgsrn_core.system.output import ensure_writable, json_text, replacing
from amgsrn_core.system.output import size as size
from amgsrn_core.system.words import decibels as decibels
from amgsrn_core.system.words import duration as duration
from amgsrn_core.system.words import figure as figure
from amgsrn_core.system.words import interval as interval


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
