"""The folder ``NAME.amgsrn.parts`` beside a model in the making: checkpoints, and one owner."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from amgsrn_core.errors import OutputError, ResumeError
from amgsrn_core.output import reason

_LOCK = "lock"


def parts_folder(output: str | os.PathLike[str]) -> Path:
    """Return the folder that holds the unfinished work of a model file."""
    return Path(os.fspath(output) + ".parts")


@contextlib.contextmanager
def workspace(output: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the model's folder of parts while nobody else can work in it.

    Raises
    ------
    ResumeError
        Another process is training the same model.
    OutputError
        The folder cannot be made.
    """
    folder = parts_folder(output)
    try:
        folder.mkdir(exist_ok=True)
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OutputError(f"Cannot write {folder}: {reason(error)}.") from error
    try:
        if not _lock(handle):
            raise ResumeError(
                f"Another process is training {output} right now; wait for it, stop it, or name "
                "another output."
            )
        yield folder
    finally:
        os.close(handle)


def clear(folder: Path) -> None:
    """Remove a folder of parts; its model is complete, or is to be trained again."""
    shutil.rmtree(folder, ignore_errors=True)


def _lock(handle: int) -> bool:
    """Take the lock of an open file without waiting; the system frees it when a process dies."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
