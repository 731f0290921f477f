"""Where the arrays begin in VTK's XML files, such that every VTK finds them.

VTK feeds a file to its XML parser in blocks until the parser reports the tag AppendedData, behind
which raw arrays follow. Since version 2.6, earlier with security updates, that parser (libexpat)
looks at an incomplete tag again only when twice as much of it is there. VTK up to 9.2 then misses
the tag, goes on into the arrays and fails (https://github.com/libexpat/libexpat/issues/840). In the
layout that is made here the tag's name ends a block, so that VTK passes on single characters, and
the tag is of such a length that the parser's last look falls on the whole of it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import IO, Any

from amgsrn_core.errors import OutputError
from amgsrn_core.system.output import reason
from amgsrn_core.volume.vtk.xml import read_outline

_NAME = b"<AppendedData"
_BLOCK = 4096
_TAG_LENGTH = 44  # 38 to 49 characters do
_LONGEST_TAG = 4096


def raw_data_tag(header_bytes: int) -> bytes:
    """Return the blanks and the opening tag of raw arrays that follow a header of this size."""
    padding = b" " * (-(header_bytes + len(_NAME)) % _BLOCK)
    return padding + (_NAME + b' encoding="raw"').ljust(_TAG_LENGTH) + b">"


def laid_out_copy(path: Path) -> IO[bytes] | None:
    """Copy a file with raw arrays into this layout, as a temporary file that goes when closed.

    Returns
    -------
    file or None
        None where the file has no raw arrays, or has the layout already.

    Raises
    ------
    OutputError
        The folder for temporary files has no room.
    """
    outline = read_outline(path)
    start = outline.appended
    if start is None or outline.encoding != "raw":
        return None
    with open(path, "rb") as source:
        head = source.read(start)
        tag = source.read(_LONGEST_TAG)
        tag = tag[: tag.find(b">") + 1]
        if not tag or tag in raw_data_tag(start):
            return None
        source.seek(start + len(tag))
        copy: Any = tempfile.NamedTemporaryFile(prefix="amgsrn-", suffix=path.suffix)  # noqa: SIM115
        try:
            copy.write(head + raw_data_tag(start))
            del head
            shutil.copyfileobj(source, copy, 16 << 20)
            copy.flush()
        except OSError as error:
            copy.close()
            raise OutputError(
                f"'{path}' has to be copied before this VTK can read it, but {copy.name} cannot be "
                f"written: {reason(error)}; set TMPDIR to a folder with more room."
            ) from error
    return copy  # type: ignore[no-any-return]
