"""What stands in the text of VTK's XML files: their kind, pieces, arrays, and whether it ends.

VTK's readers leave numbers that mean nothing where pieces are missing, and mix up arrays that
pieces list in another order, without a word; here both are refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np

from amgsrn_core.errors import VolumeError

_FIRST_BLOCK, _BLOCK = 4096, 1 << 20
_SECTIONS = {"PointData": "point", "CellData": "cell"}
# expat's own, and VTK gives it no others.
_ENCODINGS = ("utf-8", "utf-16", "iso-8859-1", "us-ascii")
_INCOMPLETE = ("no element found", "unclosed token", "unclosed CDATA section")

Extent = tuple[int, ...]
"""First and last point (inclusive) along x, y, z."""


@dataclass
class Piece:
    """A piece of a data set: its extent, and name, type and components of its arrays.

    `source` is the file that it is in, if that is another one.
    """

    extent: Extent
    source: str = ""
    arrays: dict[str, list[tuple[str, str, str]]] = field(
        default_factory=lambda: {"point": [], "cell": []}
    )


@dataclass
class Outline:
    """What the text of a file says, up to its appended arrays.

    Attributes
    ----------
    kind : str
        Type of data set that the root element declares; empty if there is no such element.
    whole : tuple of six integers
        Extent of the whole; empty if there is none.
    pieces : list of Piece
    appended : int or None
        Position of the first byte of the tag AppendedData; None without one.
    encoding : str or None
        Encoding of the arrays that follow this tag.
    text_encoding : str
        Encoding that the file declares for its text; empty if it declares none.
    problem : str
        Why the text ends too early or is no XML; empty where it is in order.
    """

    kind: str = ""
    whole: Extent = ()
    pieces: list[Piece] = field(default_factory=list)
    appended: int | None = None
    encoding: str | None = None
    text_encoding: str = ""
    problem: str = ""


def vtk_file_kind(path: Path) -> str | None:
    """Return the data set type that the root element of an XML file of VTK's declares, or None."""
    outline = Outline()
    _parse(path, outline, lambda: bool(outline.kind))
    return outline.kind or None


def read_outline(path: Path) -> Outline:
    """Return what the text of a whole file says.

    Raises
    ------
    VolumeError
        The end of the file is missing, or VTK cannot read such a text.
    """
    outline = Outline()
    _parse(path, outline, lambda: outline.appended is not None)
    with open(path, "rb") as file:
        is_wide = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
    encoding = "utf-16" if is_wide else outline.text_encoding.lower()
    if is_wide or (encoding and encoding not in _ENCODINGS):
        raise VolumeError(
            f"'{path}' is a text in the encoding {encoding}, in which VTK finds no arrays; save it "
            "as UTF-8."
        )
    if outline.appended is None and outline.problem:
        if outline.problem.startswith(_INCOMPLETE):
            raise VolumeError(f"'{path}' is truncated: its end is missing.")
        raise VolumeError(f"'{path}' is no XML that VTK can read ({outline.problem}).")
    if outline.appended is not None and not _has_end(path):
        raise VolumeError(f"'{path}' is truncated: its end is missing.")
    return outline


def require_whole(path: Path, outline: Outline, whole: Extent, association: str) -> None:
    """Raise VolumeError unless a file's pieces are its whole extent and have the same arrays."""
    pieces = [p for p in outline.pieces if all(p.extent[i] <= p.extent[i + 1] for i in (0, 2, 4))]
    for number, piece in enumerate(pieces):
        for each, arrays in piece.arrays.items():
            if arrays != pieces[0].arrays[each]:
                raise VolumeError(
                    f"The pieces of '{path}' differ in their {each} arrays (those of piece "
                    f"{number} are {_listed(arrays)}, of piece 0 {_listed(pieces[0].arrays[each])})"
                    ", which VTK's readers mix up; write it as one piece."
                )
    last = int(association == "point")
    boxes = [[(p.extent[i], p.extent[i + 1] + last) for i in (0, 2, 4)] for p in pieces]
    if not _covers(boxes, [(whole[i], whole[i + 1] + last) for i in (0, 2, 4)]):
        raise VolumeError(
            f"The pieces in '{path}' leave gaps in its extent {' '.join(map(str, whole))}; the "
            "file is incomplete."
        )


def _covers(boxes: list[list[tuple[int, int]]], whole: list[tuple[int, int]]) -> bool:
    """Tell whether boxes, half-open ranges along each axis, cover a whole one."""
    lines = [
        np.unique([b for box in [whole, *boxes] for b in np.clip(box[axis], *whole[axis])])
        for axis in range(3)
    ]
    covered = np.zeros([len(line) - 1 for line in lines], dtype=bool)
    for box in boxes:
        covered[
            tuple(
                slice(*np.searchsorted(line, np.clip(ends, *limits)))
                for line, ends, limits in zip(lines, box, whole)
            )
        ] = True
    return bool(covered.all())


def _listed(arrays: list[tuple[str, str, str]]) -> str:
    return ", ".join(f"{name} ({kind} x {count})" for name, kind, count in arrays) or "none"


def _parse(path: Path, outline: Outline, is_enough: Callable[[], bool]) -> None:
    """Fill in an outline until it is enough, or the text ends."""
    parser = expat.ParserCreate()
    path_in_file: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if is_enough():
            return
        path_in_file.append(tag)
        depth = len(path_in_file)
        if depth == 1:
            outline.kind = attributes.get("type", "?") if tag == "VTKFile" else ""
            if not outline.kind:
                raise _Other
        elif depth == 2 and tag == "AppendedData":
            outline.appended = parser.CurrentByteIndex
            outline.encoding = attributes.get("encoding")
        elif depth == 2:
            outline.whole = _extent(attributes.get("WholeExtent", ""))
        elif depth == 3 and tag == "Piece":
            if extent := _extent(attributes.get("Extent", "")):
                outline.pieces.append(Piece(extent, attributes.get("Source", "")))
        elif depth == 5 and path_in_file[3] in _SECTIONS and outline.pieces:
            outline.pieces[-1].arrays[_SECTIONS[path_in_file[3]]].append(
                (
                    attributes.get("Name", ""),
                    attributes.get("type", ""),
                    attributes.get("NumberOfComponents", "1"),
                )
            )

    def end(tag: str) -> None:
        if path_in_file and not is_enough():
            path_in_file.pop()

    def declaration(version: str, encoding: str | None, standalone: int) -> None:
        outline.text_encoding = encoding or ""

    handlers: Any = parser
    handlers.StartElementHandler, handlers.EndElementHandler = start, end
    handlers.XmlDeclHandler = declaration
    size = _FIRST_BLOCK
    try:
        with open(path, "rb") as file:
            while not is_enough():
                block = file.read(size)
                parser.Parse(block, not block)
                if not block:
                    return
                # A comment that is not complete is looked at again with every further block.
                size = _BLOCK if outline.kind else 2 * size
    except expat.ExpatError as error:
        # Behind the tag of appended arrays, which are no XML, the parser may have gone on.
        outline.problem = "" if is_enough() else str(error)
    except _Other:
        outline.problem = "another root element"


def _extent(text: str) -> Extent:
    numbers = text.split()
    if len(numbers) != 6 or not all(n.lstrip("+-").isdigit() for n in numbers):
        return ()
    return tuple(map(int, numbers))


class _Other(Exception):
    """The root element is not VTK's."""


def _has_end(path: Path) -> bool:
    """Tell whether the root element is closed, with nothing but comments and the like behind it."""
    size = os.path.getsize(path)
    length = _FIRST_BLOCK
    with open(path, "rb") as file:
        while True:
            file.seek(max(0, size - length))
            tail = file.read().rstrip(b" \t\r\n\0")
            found = tail.rfind(b"</VTKFile")
            while found >= 0:
                rest = tail[found + len(b"</VTKFile") :].lstrip()
                if rest.startswith(b">") and _is_comments(rest[1:]):
                    return True
                found = tail.rfind(b"</VTKFile", 0, found)
            # Blanks, or a comment that begins further up, may hide the end.
            if length >= size or not (not tail or tail.endswith((b"-->", b"?>"))):
                return False
            length *= 4


def _is_comments(text: bytes) -> bool:
    """Tell whether a text is comments, processing instructions and blanks alone."""
    position = 0
    while True:
        while position < len(text) and text[position : position + 1].isspace():
            position += 1
        if position == len(text):
            return True
        for opening, closing in ((b"<!--", b"-->"), (b"<?", b"?>")):
            if text.startswith(opening, position):
                end = text.find(closing, position + len(opening))
                if end < 0:
                    return False
                position = end + len(closing)
                break
        else:
            return False
