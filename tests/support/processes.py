"""Which processes a test has left behind, found by a mark in their environment."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

MARK = "AMGSRN_TEST_MARK"


def marked(environment: dict[str, str]) -> tuple[dict[str, str], str]:
    """Return an environment whose processes :func:`left` finds by the mark."""
    mark = uuid.uuid4().hex
    return {**environment, MARK: mark}, mark


def left(mark: str) -> list[str]:
    """Return the command lines of the processes that have a mark."""
    entry, found = f"{MARK}={mark}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if entry in (folder / "environ").read_bytes().split(b"\0"):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                found.append(f"{folder.name} {b' '.join(words).decode(errors='replace')}")
        except OSError:  # it has just ended, or is another user's
            continue
    return found


def left_at_last(mark: str, seconds: float = 20.0) -> list[str]:
    """Return the processes that are still there after a while, none as soon as there are none."""
    end = time.monotonic() + seconds
    while (found := left(mark)) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def end_all(mark: str) -> None:
    """Leave nothing behind where a test has failed."""
    for line in left(mark):
        try:
            os.kill(int(line.split()[0]), 9)
        except ProcessLookupError:
            continue
