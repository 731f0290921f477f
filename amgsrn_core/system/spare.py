"""Where work is kept that its own place has no room for: a file on another disk.

Its name follows from that of the place, so that whoever looks there on the same computer finds it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from amgsrn_core.errors import NoRoomError, OutputError
from amgsrn_core.system.output import replacing

T = TypeVar("T")


def keep_elsewhere(path: str | os.PathLike[str], write: Callable[[Path], object]) -> Path | None:
    """Write what did not fit at `path` to the first other place that takes it.

    Parameters
    ----------
    path : path
        Where it belongs.
    write : callable
        Writes it to the path that it is given.

    Returns
    -------
    Path or None
        Where it is now; None if no place takes it.
    """
    for place in _places(path, make=True):
        try:
            with replacing(place) as temporary:
                write(temporary)
        except (OutputError, OSError):
            continue
        return place
    return None


def write_or_keep(path: str | os.PathLike[str], write: Callable[[Path], T], what: str) -> T:
    """Write a file that took long to make; where there is no room, keep it elsewhere and say so.

    Raises
    ------
    NoRoomError
        `path` cannot be written; the sentence says where `what`, as "The picture", is instead.
    """
    try:
        return write(Path(path))
    except NoRoomError as error:
        place = keep_elsewhere(path, write)
        if place is None:
            raise
        raise NoRoomError(f"{error} {what} is kept as {place}.") from error


def kept_elsewhere(path: str | os.PathLike[str]) -> list[Path]:
    """Return the files that :func:`keep_elsewhere` has written for a path."""
    return [place for place in _places(path) if place.is_file()]


def forget_elsewhere(path: str | os.PathLike[str]) -> None:
    """Remove them."""
    for place in _places(path):
        with contextlib.suppress(OSError):
            place.unlink()
        with contextlib.suppress(OSError):  # others may be in it
            place.parent.rmdir()


def roots() -> tuple[str, ...]:
    """Return the folders that are tried, one after the other."""
    return tempfile.gettempdir(), "/var/tmp", os.path.expanduser("~"), "/dev/shm"


def _places(path: str | os.PathLike[str], make: bool = False) -> Iterator[Path]:
    """Yield the file's other places in folders that nobody else can write to."""
    full = Path(os.path.realpath(path))
    name = f"{hashlib.sha256(os.fsencode(full)).hexdigest()[:24]}{full.suffix}"
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    for root in dict.fromkeys(os.path.realpath(root) for root in roots() if os.path.isdir(root)):
        folder = Path(root, f".amgsrn-{user}")
        with contextlib.suppress(OSError):
            if make:
                folder.mkdir(mode=0o700, exist_ok=True)
            about = os.lstat(folder)
            if stat.S_ISDIR(about.st_mode) and about.st_uid == getattr(os, "getuid", int)():
                yield folder / name
