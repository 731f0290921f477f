"""Writing a result so that it is either complete or not there: temporary file, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from amgsrn_core.errors import NoRoomError, OutputError

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.ENAMETOOLONG: "the name is too long",
}

# What another place for the same file may help against.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


def json_text(values: Any, **options: Any) -> str:
    """Return JSON in plain characters, and in escapes where a file name is not UTF-8."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, **options)
    # Python lets such a byte of a name stand as half a character, which cannot be written.
    return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary name beside `path` that takes its place when the block succeeds.

    The data reach the disk before the rename. When anything fails, the temporary file is removed
    and a file that was at `path` before is untouched.

    Raises
    ------
    OutputError
        When the folder is missing or not writable, or the disk is full.
    """
    target = _resolved(path)
    # The suffix is kept, because writers choose their format by it.
    temporary = target.with_name(f".{target.stem[:100]}.{uuid.uuid4().hex[:12]}{target.suffix}")
    try:
        with open(temporary, "xb") as file:
            mode = os.stat(target if target.exists() else file.fileno()).st_mode
        yield temporary
        os.chmod(temporary, stat.S_IMODE(mode))  # some writers make files that only they may read
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise failure(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def ensure_writable(path: str | os.PathLike[str]) -> None:
    """Raise :class:`OutputError` now if `path` could not be written later.

    A file is really made beside the target and removed, because permission bits say little about
    the super-user, network shares and read-only mounts.
    """
    target = _resolved(path)
    probe = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex[:12]}")
    try:
        with open(probe, "xb"):
            pass
    except OSError as error:
        raise failure(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def reason(error: BaseException) -> str:
    """Say in a few plain words why writing or reading a file failed."""
    number = _number_of(error)
    if number is None:
        return str(error).rstrip(".") or error.__class__.__name__
    return _REASONS.get(number, os.strerror(number).lower())


def size(count: int) -> str:
    """Return a number of bytes for people."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def failure(path: str | os.PathLike[str], error: BaseException) -> OutputError:
    """Return what to raise when `path` could not be written: one sentence with the reason.

    It is a :class:`NoRoomError` where the disk takes no more.
    """
    kind = NoRoomError if _number_of(error) in _NO_ROOM else OutputError
    return kind(f"Cannot write {path}: {reason(error)}.")


def _number_of(error: BaseException) -> int | None:
    number: int | None = getattr(error, "errno", None)
    if number is None and (match := re.search(r"(?:code: |os error )(\d+)", str(error))):
        number = int(match[1])  # safetensors reports the system's error inside its text
    return number


def _resolved(path: str | os.PathLike[str]) -> Path:
    """Follow a symbolic link, so that its target is replaced and not the link."""
    target = Path(os.path.realpath(path))
    try:
        is_folder, is_there = target.is_dir(), target.exists()
        parent_is_folder = target.parent.is_dir()
    except OSError as error:  # a folder on the way may not be entered
        raise OutputError(f"Cannot write {path}: {reason(error)}.") from error
    if is_folder:
        raise OutputError(f"Cannot write {path}: it is a folder; name a file in it.")
    if is_there and not target.is_file():
        raise OutputError(f"Cannot write {path}: it is a device or a pipe, not a file.")
    if not parent_is_folder:
        raise OutputError(f"Cannot write {path}: the folder {target.parent} does not exist.")
    return target


def _sync(path: Path) -> None:
    """Ask the system to put a file, or a folder's list of names, on the disk."""
    flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) if path.is_dir() else os.O_RDWR
    try:
        handle = os.open(path, flags)
    except OSError:
        if path.is_dir():
            return  # not every system lets a program open a folder
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
