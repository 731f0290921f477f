"""The Python that runs workers: inside ParaView ``sys.executable`` is ParaView itself."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

from amgsrn_core.errors import ConfigurationError

VARIABLE = "AMGSRN_PYTHON"
# ParaView changes these for its own interpreter; another one would start with the wrong library.
_FOREIGN = ("PYTHONHOME", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")


def worker_python() -> str:
    """Return the path of a Python that has this package and torch.

    In this order: the environment variable AMGSRN_PYTHON; this interpreter, if it is one; the
    environment that torch, safetensors or this package was imported from.

    Raises
    ------
    ConfigurationError
        When there is none.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not os.access(named, os.X_OK):
            raise ConfigurationError(
                f"{VARIABLE} names {named}, which is not a program; correct or unset it."
            )
        return named
    if re.fullmatch(r"python[\d.]*(\.exe)?", os.path.basename(sys.executable or "")):
        return sys.executable
    for root in _roots():
        for place in ("bin/python3", "bin/python", "Scripts/python.exe", "python.exe"):
            if os.access(root / place, os.X_OK):
                return str(root / place)
    raise ConfigurationError(
        f"No Python was found to train with; set {VARIABLE} to the interpreter that has amgsrn "
        "installed, for example /path/to/.venv/bin/python."
    )


def worker_environment() -> dict[str, str]:
    """Return the environment for a worker: ours, without what only suits this interpreter."""
    environment = {k: v for k, v in os.environ.items() if k not in _FOREIGN}
    # A worker finds this very package, whether it is installed or a checkout.
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    # Threads that wait must not burn the cores that ParaView or a second worker needs.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return environment


def _roots() -> list[Path]:
    """Return the environments that this process imports our packages from, nearest first."""
    roots = [Path(__file__).resolve().parents[2] / ".venv"]
    for name in ("torch", "safetensors", "amgsrn_core"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            # PREFIX/lib/python3.x/site-packages/NAME/__init__.py
            roots += [p for p in Path(spec.origin).parents if (p / "pyvenv.cfg").exists()]
            roots += [p.parents[2] for p in Path(spec.origin).parents if p.name == "site-packages"]
    return roots
