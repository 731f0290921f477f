"""What an output may take the place of: the one guard of every path that is written.

Never replaced are what a command reads, the data that a model was trained on, and unfinished work.
A model, a volume or a web page is replaced by what made it before, or when that is asked for
(force). Volumes and pages that are written carry a mark of who made them; a model tells by its
training record.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from amgsrn_core.errors import AmgsrnError, OutputError
from amgsrn_core.system.run_folder import PARTS_SUFFIX, is_parts_folder

NETCDF_SUFFIXES = (".nc", ".nc4", ".cdf", ".netcdf")
VTK_SUFFIXES = (".vti", ".vtr")

MARK = "amgsrn_made_by"
"""Attribute of a NetCDF file, or word of a comment in a file of VTK's or a page: who made it."""


@dataclass(frozen=True)
class Kind:
    """A kind of output: its name in a sentence, and the suffixes of its files."""

    name: str
    suffixes: tuple[str, ...] = ()


MODEL = Kind("a model", (".amgsrn",))
VOLUME = Kind("a volume", NETCDF_SUFFIXES + VTK_SUFFIXES)
PICTURE = Kind("a picture", (".png",))
PARAVIEW_PICTURE = Kind("a picture", (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"))
PAGE = Kind("a page", (".html", ".htm"))
FILM = Kind("a film", (".avi", ".ogv"))
JSON = Kind("JSON", (".json",))
TABLE = Kind("a table", (".csv",))
EVENTS = Kind("a log of JSON lines", (".jsonl", ".json", ".log", ".txt"))
TEXT = Kind("a log", (".log", ".txt"))
FOLDER = Kind("a folder")

# The first bytes decide what a file is: a name tells little about what would be lost.
_HDF5 = b"\x89HDF\r\n\x1a\n"
_NETCDF = (_HDF5, b"CDF\x01", b"CDF\x02", b"CDF\x05")
_DATA = (*_NETCDF, b"\x93NUMPY", b"# vtk DataFile", b"NRRD000")
_LIKE = {
    PICTURE: b"\x89PNG",
    JSON: b"{",
    EVENTS: b"{",
    TABLE: b"iteration,",
}
_HEAD = 4096
_EXPORTED, _EXPORTED_FILES = "volume.json", ("volume.json", "values.npy", "valid.npy")
_ORIGINAL, _ORIGINAL_FILES = "model.ckpt.tar", ("options.json", "model.ckpt.tar")


def guard(
    path: str | os.PathLike[str], kind: Kind, *, by: str = "library", force: bool = False
) -> None:
    """Raise :class:`OutputError` if writing `path` would cost what cannot be made again.

    It knows nothing of models: they are nobody's own here. That in
    :mod:`amgsrn_core.model.replacement` has them, too, and what a command reads.

    Parameters
    ----------
    path : path
        To be written.
    kind : Kind
        What is going to be written.
    by : str
        The command that writes; a volume or a page that it made earlier may be replaced.
    force : bool, default: False
        Replace a model, a volume or a page that is there, whoever made it.
    """
    if refuse_place(path, kind):
        refuse_other(path, kind, by=by, force=force)


def refuse_place(
    path: str | os.PathLike[str], kind: Kind, inputs: Iterable[str | os.PathLike[str]] = ()
) -> bool:
    """Refuse a wrong suffix, what is read, and folders of work; return whether a file is there."""
    target = Path(os.path.realpath(path))
    _refuse_suffix(path, target, kind)
    _refuse_inputs(path, target, [os.fspath(item) for item in inputs if item])
    _refuse_place(path, target, kind)
    return kind is not FOLDER and _has_content(target)


def refuse_other(
    path: str | os.PathLike[str],
    kind: Kind,
    *,
    by: str,
    force: bool,
    is_own: Callable[[Path], bool] = lambda target: False,
) -> None:
    """Refuse a file that somebody else made; `is_own` tells whether a model is the command's."""
    target = Path(os.path.realpath(path))
    existing = what_is(target)
    is_free = existing is None and kind is not PAGE  # by hand, a page may be a day's work
    if force or (is_free and (target.suffix or _looks_like(target, kind))):
        return
    if kind in (VOLUME, PAGE) and maker_of(target).split(" ")[0] == by:
        return
    if existing is kind and kind is not VOLUME and is_own(target):
        return
    name = "a file" if existing is None else existing.name
    maker = "an earlier output" if by == "library" else f"an earlier output of this {by}"
    # ParaView's trainer has no such option, and the same sentence.
    way = "force replaces it" if by == "library" else "in the shell --force replaces it"
    raise OutputError(
        f"Cannot write {path}: there is {name} that is not {maker}; name another file, or "
        f"remove this one ({way})."
    )


def what_is(path: Path) -> Kind | None:
    """Return MODEL or VOLUME for a file that is one, perhaps a damaged one; else None."""
    head = _head(path)
    # A file of the safetensors format begins with the length of a header in JSON.
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 1 << 32:
        return MODEL
    # HDF5 may come after other things.
    is_hdf5 = any(head.startswith(_HDF5, offset) for offset in (512, 1024, 2048))
    if is_hdf5 or head.startswith(_DATA) or b"<VTKFile" in head[:1024]:
        return VOLUME
    return None


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""


def _looks_like(path: Path, kind: Kind) -> bool:
    """Tell whether a file without a suffix may be an earlier output of the same kind."""
    return kind in _LIKE and _head(path).startswith(_LIKE[kind])


def maker_of(path: str | os.PathLike[str]) -> str:
    """Return the mark of a volume or a page that this package wrote; "" where there is none."""
    try:
        head = _head(Path(path))
        found = re.search(rb"<!-- %b: (.*?) -->" % MARK.encode(), head)
        if found is not None:
            return found[1].decode(errors="replace")
        if not head.startswith(_NETCDF):
            return ""
        from amgsrn_core.volume.netcdf.library import LOCK, import_netcdf4

        with LOCK, import_netcdf4().Dataset(os.fspath(path)) as dataset:
            return str(getattr(dataset, MARK, ""))
    except (OSError, RuntimeError, ValueError, AmgsrnError):
        return ""


def comment(made_by: str) -> str:
    """Return the mark as a comment of XML, in which no two hyphens may stand together."""
    return f"<!-- {MARK}: {re.sub('-(?=-|$)', '- ', made_by)} -->"


def _refuse_suffix(path: str | os.PathLike[str], target: Path, kind: Kind) -> None:
    suffix = Path(path).suffix or target.suffix
    if kind.suffixes and suffix and suffix.lower() not in kind.suffixes:
        *others, last = kind.suffixes
        known = f"{', '.join(others)} or {last}" if others else last
        raise OutputError(
            f"Cannot write {path}: the suffix {suffix} does not fit {kind.name}; use {known}."
        )


def _refuse_inputs(path: str | os.PathLike[str], target: Path, inputs: Iterable[str]) -> None:
    for item in inputs:
        read = Path(os.path.realpath(item))
        if target == read or _is_same(target, read) or (read in target.parents and target.exists()):
            raise OutputError(
                f"Cannot write {path}: it would replace {item}, which is read; name another file."
            )


def _refuse_place(path: str | os.PathLike[str], target: Path, kind: Kind) -> None:
    for folder in (target, *target.parents):
        if folder.suffix == PARTS_SUFFIX and is_parts_folder(folder):
            raise OutputError(
                f"Cannot write {path}: {folder} holds the unfinished work of a training; name "
                "another folder."
            )
    folder = target if kind is FOLDER else target.parent
    for sign, files in ((_EXPORTED, _EXPORTED_FILES), (_ORIGINAL, _ORIGINAL_FILES)):
        is_part = kind is FOLDER or (target.name in files and target.exists())
        if is_part and _is_kept(folder / sign):
            raise OutputError(
                f"Cannot write {path}: the folder {folder} is a "
                f"{'volume' if sign == _EXPORTED else 'model of the original code'}; name another."
            )


def _is_kept(sign: Path) -> bool:
    """Tell whether a file shows that its folder is a volume or a model."""
    if sign.name != _EXPORTED:
        return sign.is_file()
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads(sign.read_bytes())).get("format") == "amgsrn-volume"
    return False


def _has_content(target: Path) -> bool:
    try:
        return target.is_file() and target.stat().st_size > 0
    except OSError:
        return False  # whoever writes will complain


def _is_same(first: Path, second: Path) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:
        return False
