"""Folders of the original, opened in place: imported once, into this user's cache."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import amgsrn_core
from amgsrn_core.errors import OutputError
from amgsrn_core.model import write_archive
from amgsrn_core.original.importing import import_model
from amgsrn_core.system.output import reason

OPTIONS_FILE = "options.json"


def imported(options: str | os.PathLike[str]) -> str:
    """Return a model file that stands for the folder with this `options.json`.

    It is made when there is none for the folder as it is now, below `XDG_CACHE_HOME` or
    `~/.cache`.

    Raises
    ------
    ArchiveError, ArchiveNotFoundError
        As from :func:`~amgsrn_core.original.import_model`.
    OutputError
        The cache cannot be written.
    """
    folder = Path(options).resolve().parent
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "amgsrn"
    target = cache / f"{folder.name[:100]}-{_identity(folder)}.amgsrn"
    if not target.exists():
        index, bricks = import_model(folder)
        try:
            cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise OutputError(f"Cannot make the folder {cache}: {reason(error)}.") from error
        write_archive(target, index, bricks)
    return str(target)


def _identity(folder: Path) -> str:
    """Return a digest of where the folder is, of sizes and times of the files in it, and of us."""
    digest = hashlib.sha256(str(folder).encode("utf-8", "surrogateescape"))
    digest.update(amgsrn_core.__version__.encode())
    for path in sorted(folder.rglob("*")):
        about = path.stat()
        digest.update(
            f"{path.name} {about.st_size} {about.st_mtime_ns}\n".encode("utf-8", "replace")
        )
    return digest.hexdigest()[:16]
