"""``amgsrn script NAME``: the programs of the checkout by name, from any folder."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import amgsrn_core
from amgsrn_core.cli.report import print_rows
from amgsrn_core.errors import AmgsrnError, did_you_mean

_PLACES = (
    "docs/examples/*.py",
    "scripts/grid_video.py",
    "scripts/gallery.py",
    "scripts/flight_film.py",
    "scripts/compare_layout.py",
    "scripts/insitu/*.py",
    "scripts/paraview/[a-z]*.py",
    "scripts/slurm/*",
)
_HELP = """usage: amgsrn script NAME [ARGUMENT ...]
       amgsrn script --path NAME

Run one of the checkout's programs, those of ParaView in pvpython, or print where it is.
"""


def run_script(words: Sequence[str]) -> int:
    """Replace this process by a program of the checkout.

    Parameters
    ----------
    words : sequence of str
        Its name and arguments; ``--path`` and its name to be told its file; nothing, or
        ``--help``, to be told all names.

    Raises
    ------
    AmgsrnError
        There is no such program.
    """
    known = scripts()
    if not words or words[0] in ("--help", "-h"):
        print(_HELP)
        print_rows((name, _purpose(path)) for name, path in known.items())
        return 0
    name, *rest = words[1:] if words[0] == "--path" and len(words) > 1 else words
    if name not in known:
        raise AmgsrnError(
            f"There is no script {name}; `amgsrn script` lists them"
            f"{did_you_mean(name, known) or '.'}"
            if known
            else "The scripts are in a checkout of the repository, and this is none."
        )
    path = known[name]
    if words[0] == "--path":
        print(path)
        return 0
    sys.stdout.flush()
    imports = re.search(r"^(import|from) paraview\b", path.read_text(encoding="utf-8"), re.M)
    if imports or path.parent.name == "paraview":
        from amgsrn_core.cli.paraview_launcher import run_paraview

        return run_paraview("pvpython", [str(path), *rest])
    program = sys.executable if path.suffix == ".py" else "bash"
    os.execvp(program, [program, str(path), *rest])


def scripts() -> dict[str, Path]:
    """Return the programs by name; none where this is no checkout."""
    root = Path(amgsrn_core.__file__).resolve().parents[1]
    return {path.stem: path for place in _PLACES for path in sorted(root.glob(place))}


def _purpose(path: Path) -> str:
    """Return the first sentence that a program says of itself."""
    text = path.read_text(encoding="utf-8")
    found = re.search(r'^(?:"""|# (?!!))(.+)', text, re.M)
    return re.split(r"(?<=[a-z0-9)])[.:] |\.$", found[1])[0] if found else ""
