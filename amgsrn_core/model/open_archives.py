"""The model files that this process has open, each once for all who read it."""

from __future__ import annotations

import os
import threading
import weakref

from amgsrn_core.model.store import Archive
from amgsrn_core.system.files import FileVersion, file_version

# By the file's real path as well, which an archive's errors name.
_archives: weakref.WeakValueDictionary[tuple[str, FileVersion], Archive] = (
    weakref.WeakValueDictionary()
)
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
            place, version = os.path.realpath(path), file_version(path)
            archive = _archives.get((place, version)) if version else None
            if archive is not None:
                return archive
            archive = Archive(path)  # explains itself where there is no such file
            if version and version == file_version(path):
                _archives[place, version] = archive
                return archive
            del archive  # replaced meanwhile
