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
_SUFFIX = ".parts"


def parts_folder(output: str | os.PathLike[str]) -> Path:
    """Return the folder that holds the unfinished work of a model file."""
    return Path(os.fspath(output) + _SUFFIX)


def model_of(folder: Path) -> Path:
    """Return the model file whose unfinished work a folder of parts holds."""
    return Path(os.fspath(folder).removesuffix(_SUFFIX))


def records_base(output: str | os.PathLike[str]) -> Path:
    """Return how the names of a training's records begin: like its model's, without suffix.

    A time step of a series is trained within the series' folder of parts, which goes in the end;
    its records are ``NAME.step-0003`` and so on, beside the model.
    """
    output = Path(output)
    step = output.parent
    if step.parent.suffix == _SUFFIX:
        model = model_of(step.parent)
        return model.with_name(f"{model.stem}.{step.name}")
    return output.with_suffix("")


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
    handle = _open_lock(folder)
    try:
        # Whoever held the lock may have removed the folder just before we opened its file.
        if not try_lock(handle) or not _is_current(handle, folder / _LOCK):
            raise ResumeError(
                f"Another process is training {output} right now; wait for it, stop it, or name "
                "another output."
            )
        try:
            yield folder
        finally:
            _remove_if_bare(folder)
    finally:
        os.close(handle)


def _open_lock(folder: Path) -> int:
    try:
        folder.mkdir(exist_ok=True)
        return os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OutputError(f"Cannot write {folder}: {reason(error)}.") from error


def _is_current(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _remove_if_bare(folder: Path) -> None:
    """Leave nothing behind that holds no work."""
    try:
        if [entry.name for entry in folder.iterdir()] == [_LOCK]:
            (folder / _LOCK).unlink()
            folder.rmdir()
    except OSError:
        pass  # gone with the finished run


def clear(folder: Path) -> None:
    """Remove a folder of parts; its model is complete, or is to be trained again."""
    shutil.rmtree(folder, ignore_errors=True)


def try_lock(handle: int) -> bool:
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
