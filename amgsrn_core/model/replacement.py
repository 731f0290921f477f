"""What an output may take the place of, models and what they were trained on included."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from amgsrn_core.errors import (
    AmgsrnError,
    ArchiveVersionError,
    OutputError,
    VariableNotFoundError,
)
from amgsrn_core.model.index import ModelIndex
from amgsrn_core.model.store import Archive, read_index
from amgsrn_core.volume.open import open_step
from amgsrn_core.volume.replacement import (
    MODEL,
    Kind,
    maker_of,
    refuse_other,
    refuse_place,
    what_is,
)


def guard(
    path: str | os.PathLike[str],
    kind: Kind,
    *,
    by: str = "library",
    inputs: Iterable[str | os.PathLike[str]] = (),
    source: str = "",
    force: bool = False,
) -> None:
    """Raise :class:`OutputError` if writing `path` would cost what cannot be made again.

    Parameters
    ----------
    path : path
        To be written.
    kind : Kind
        What is going to be written.
    by : str
        The command that writes; a model or a volume that it made earlier may be replaced.
    inputs : iterable of path
        What the command reads: files and folders, also under other names. Of models the data that
        they were trained on are looked after as well.
    source : str, optional
        For trainings: the file of the data. A model of other data is another one's.
    force : bool, default: False
        Replace a model or a volume that is there, whoever made it; inputs and their data never.
    """
    read = [os.fspath(item) for item in inputs if item]
    if not refuse_place(path, kind, read):
        return
    _refuse_sources(path, Path(os.path.realpath(path)), read)
    refuse_other(
        path,
        kind,
        by=by,
        force=force,
        is_own=lambda target: _is_own(target, by, source),
    )


def mark_of(command: str, model: str | os.PathLike[str]) -> str:
    """Return the mark of what a command makes from a model."""
    # A file's name may be bytes that are no text, which no attribute can hold.
    name = os.fsencode(Path(model).name).decode(errors="backslashreplace")
    with Archive(model) as archive:
        return f"{command} of {name}, sha256 of its index {archive.checksum}"


def _refuse_sources(path: str | os.PathLike[str], target: Path, inputs: Iterable[str]) -> None:
    """Refuse the data that a model among the inputs was trained on."""
    for item in inputs:
        index, checksum = _index_of(item)
        if index is None or index.source.path != target.name:
            continue
        if checksum not in maker_of(target) and _holds_source(target, index):
            raise OutputError(
                f"Cannot write {path}: it has the name of the data that {item} was trained on, "
                "which cannot be made again; name another file."
            )


def _index_of(path: str) -> tuple[ModelIndex | None, str]:
    """Return a model's index and its checksum; none where that is no model."""
    try:
        if what_is(Path(path)) is MODEL:
            with Archive(path) as archive:
                return archive.index, archive.checksum
    except AmgsrnError:
        pass  # the command that reads it will complain
    return None, ""


def _holds_source(target: Path, index: ModelIndex) -> bool:
    """Tell whether a file may be a model's data: false only if it surely holds other ones."""
    time = None if index.time is None else index.time.index
    try:
        volume = open_step(target, index.source.variables or None, time)
    except VariableNotFoundError:
        return False
    except (AmgsrnError, OSError, ImportError):
        return True
    return volume.source_nbytes == index.source.bytes // index.steps


def _is_own(target: Path, by: str, source: str) -> bool:
    """Tell whether the command itself made the model that is there."""
    if by == "train" and _is_broken(target):
        return True  # a restart discards it
    index, _ = _index_of(os.fspath(target))
    if index is None:
        return False
    about = index.training.config
    if by == "train":
        return "fingerprint" in about and index.source.path == Path(source).name
    if by == "compress":
        return "fingerprint" not in about and index.storage.compress
    return by == "import" and "original" in about and not index.storage.compress


def _is_broken(target: Path) -> bool:
    """Tell whether a model file is of no use to anybody, a newer version included."""
    try:
        read_index(target)
    except ArchiveVersionError:
        return False
    except AmgsrnError:
        return True
    return False
