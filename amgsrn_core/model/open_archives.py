"""The model files that this process has open, each once for all who read it."""

from __future__ import annotations

import os
import threading
import weakref

from amgsrn_core.model.store import Archive

FileVersion = tuple[str, int, int, int, int]
"""Real path, device, inode, size and time of change in nanoseconds."""

_archives: weakref.WeakValueDictionary[FileVersion, Archive] = weakref.WeakValueDictionary()
_lock = threading.RLock()


def open_archive(path: str | os.PathLike[str]) -> Archive:
    """Return an open model file, the same object for all who have it; safe in several threads.

    A file that has changed since is opened anew, and what others have stays what it was. It is
    closed when nobody has it any more; nobody may close it before.

    Raises
    ------
    ArchiveNotFoundError, ArchiveVersionError, ArchiveError
        When the file is missing, of a newer major version, or damaged or foreign.
    """
    with _lock:
        while True:
            version = file_version(path)
            archive = _archives.get(version) if version else None
            if archive is not None:
                return archive
            archive = Archive(path)  # explains itself where there is no such file
            if version and version == file_version(path):
                _archives[version] = archive
                return archive
            del archive  # replaced meanwhile


def file_version(path: str | os.PathLike[str]) -> FileVersion | None:
    """Return what tells a file from all others and from itself after a change; None for no file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (
        os.path.realpath(path),
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
    )
