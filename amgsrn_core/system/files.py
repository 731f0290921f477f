"""Small files that others read while they are replaced, and what tells that a file has changed."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

_LOG_TAIL_BYTES = 2000


class FileVersion(NamedTuple):
    """What tells a file from all others, and from itself after a change; times in nanoseconds."""

    device: int
    inode: int
    size: int
    changed: int


def file_version(path: str | os.PathLike[str]) -> FileVersion | None:
    """Return which version of which file lies at a path now; None for no file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return FileVersion(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a small JSON file's object; None when it is not there or not readable."""
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def how_it_ended(code: int, log: Path | None) -> str:
    """Say how a process ended by its exit code, with the last line of its log if there is one."""
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    lines: list[str] = []
    with contextlib.suppress(OSError):
        if log is not None:
            with open(log, "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
                lines = file.read().decode(errors="replace").strip().splitlines()
    return f"{how} ({lines[-1]})" if lines else how


def replace_text(path: Path, text: str) -> None:
    """Write a small file aside and rename it; without fsync, since it is written often."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
