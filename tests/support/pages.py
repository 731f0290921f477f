"""The commands and Python blocks of the pages, in their order."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from support.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# What a line of an indented block begins with if it is a command.
_PROGRAMS = (
    *("amgsrn", "python", "pip", "cmake", "mpiexec", "sbatch", "touch", "source", "export", "cd"),
    *(
        "eval",
        "quickstart",
        "setup",
        "test",
        "docs",
        "test-gpu",
        "test-paraview",
        "site=$",
        "mkdir",
    ),
    *("site=$", "mkdir"),
)
_COMMAND = re.compile(rf"    (?:\S*/)?(?:{'|'.join(map(re.escape, _PROGRAMS))})\b.*")


class Piece(NamedTuple):
    """A command as it stands without its comment, or the text of a Python block."""

    kind: str  # "shell" or "python"
    text: str


def pieces(page: Path) -> list[Piece]:
    """Return what a page shows that can be run."""
    return list(_pieces(page.read_text()))


def _pieces(text: str) -> Iterator[Piece]:
    # A line that ends with a backslash goes on in the next.
    text = re.sub(r"\\\n\s*", "", text)
    for found in re.finditer(r"^```(\w*)\n(.*?)^```|^( {4}\S[^\n]*)$", text, re.M | re.S):
        language, block, line = found.groups()
        if language == "python":
            yield Piece("python", textwrap.dedent(block))
        elif block is None and _COMMAND.fullmatch(line):
            yield Piece("shell", re.sub(r"\s+# .*", "", line).strip())
        elif block is not None and language in ("", "bash", "sh"):
            for each in block.splitlines():
                if _COMMAND.fullmatch(f"    {each}"):
                    yield Piece("shell", re.sub(r"\s+# .*", "", each).strip())
