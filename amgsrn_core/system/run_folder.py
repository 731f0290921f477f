"""The folder ``NAME.amgsrn.parts`` beside a model in the making: checkpoints, and one owner."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from amgsrn_core.errors import ConfigurationError, ResumeError
from amgsrn_core.system.output import failure

_LOCK = "lock"
RUN_FILE = "run.json"
PARTS_SUFFIX = ".parts"


def parts_folder(output: str | os.PathLike[str]) -> Path:
    """Return the folder that holds the unfinished work of a model file."""
    return Path(os.fspath(output) + PARTS_SUFFIX)


def is_parts_folder(folder: Path) -> bool:
    """Tell whether a folder holds, or held, the unfinished work of a training."""
    return any((folder / name).is_file() for name in (_LOCK, RUN_FILE))


def model_of(folder: Path) -> Path:
    """Return the model file whose unfinished work a folder of parts holds."""
    return Path(os.fspath(folder).removesuffix(PARTS_SUFFIX))


def records_base(output: str | os.PathLike[str]) -> Path:
    """Return how the names of a training's records begin: like its model's, without suffix.

    A time step of a series is trained within the series' folder of parts, which goes in the end;
    its records are ``NAME.step-0003`` and so on, beside the model.
    """
    output = Path(output)
    step = output.parent
    if step.parent.suffix == PARTS_SUFFIX:
        model = model_of(step.parent)
        return model.with_name(f"{model.stem}.{step.name}")
    return output.with_suffix("")


def usable_parts(output: str | os.PathLike[str], parts: str | os.PathLike[str] | None) -> Path:
    """Return the folder of a training's unfinished work: `parts`, or the one beside the model.

    Raises
    ------
    ConfigurationError
        `parts` is no such folder. It goes when the model is complete, so it must hold nothing else.
    """
    if parts is None:
        return parts_folder(output)
    folder = Path(parts)
    is_new = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if folder.suffix != PARTS_SUFFIX or not (is_new or is_parts_folder(folder)):
        raise ConfigurationError(
            f"{folder} is no folder of unfinished work; name one that ends with {PARTS_SUFFIX} and "
            "holds nothing else, or is not there yet."
        )
    return folder


@contextlib.contextmanager
def workspace(
    output: str | os.PathLike[str], parts: str | os.PathLike[str] | None = None
) -> Iterator[Path]:
    """Yield the model's folder of parts while nobody else can work in it.

    Parameters
    ----------
    output : path
        The model file to write.
    parts : path, optional
        The folder, where it is not the one beside the model.

    Raises
    ------
    ResumeError
        Another process is training the same model.
    OutputError
        The folder cannot be made.
    """
    folder = usable_parts(output, parts)
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
        if error.errno == errno.EROFS and (folder / _LOCK).exists():
            # What is complete in it can still be finished elsewhere.
            return os.open(folder / _LOCK, os.O_RDONLY)
        raise failure(folder, error) from error


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
