"""What the doctor says of one thing that it looked at."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import amgsrn_core
from amgsrn_core.system.extras import wanted

OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
        What it is about; stable, for programs that read the JSON.
    state : {"ok", "note", "problem"}
        A note limits what can be done; a problem stops the suite from working.
    detail : str
        What was found.
    remedy : str
        What to do about it: a sentence that ends with a command, or "".
    """

    name: str
    state: str
    detail: str
    remedy: str = ""


def in_checkout() -> bool:
    """Tell whether the suite is a checkout, which its own script sets up."""
    root = Path(amgsrn_core.__file__).resolve().parents[1]
    return (root / "scripts" / "setup").is_file()


def set_up(python: str = "") -> str:
    """Return the command that sets the suite up again, in a checkout or with pip.

    Parameters
    ----------
    python : str, optional
        The interpreter to make another environment from.
    """
    if in_checkout():
        root = Path(amgsrn_core.__file__).resolve().parents[1]
        return f"rm -rf {root}/.venv && {root}/scripts/setup" if python else f"{root}/scripts/setup"
    wheel = "pip install 'amgsrn[train]'"
    return f"{python} -m venv amgsrn && amgsrn/bin/{wheel}" if python else wheel


def install(package: str) -> str:
    """Return how to get a package, ending with the command."""
    pip = f"{sys.executable} -m pip install '{wanted(package)}'"
    return f"Install it (in a checkout also by scripts/setup): {pip}"
