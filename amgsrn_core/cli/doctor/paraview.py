"""ParaView: its program, its Python, the plugins, displays and MPI."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from amgsrn_core.cli import paraview_launcher
from amgsrn_core.cli.doctor.findings import NOTE, OK, PROBLEM, Finding
from amgsrn_core.cli.doctor.machine import paraview_version
from amgsrn_core.cli.x_server import find_server, is_reachable
from amgsrn_core.errors import AmgsrnError

_PARAVIEW_SECONDS = 120
_PARAVIEW_PYTHON = "paraview's python"

_PARAVIEW_PROBE = """
import json, sys
seen = {"python": "%d.%d" % sys.version_info[:2]}
for name in ("numpy", "amgsrn_core.field.neural_volume", "amgsrn_paraview"):
    try:
        module = __import__(name)
        seen[name] = getattr(module, "__version__", "")
    except Exception as error:
        seen[name] = None
        seen[name + "_error"] = "%s: %s" % (type(error).__name__, error)
from paraview import servermanager, simple
proxies = servermanager.ProxyManager().SMProxyManager
seen["neural_volume"] = proxies.HasDefinition("representations", "NeuralVolumeRepresentation")
print("amgsrn-doctor " + json.dumps(seen))
"""


def check_paraview() -> Iterator[Finding]:
    """Look at ParaView, and at what it needs to render and to run on several ranks."""
    yield from _paraview()
    yield _display()
    yield _mpi()


def _paraview() -> Iterator[Finding]:
    try:
        pvpython = paraview_launcher.find_program("pvpython")
    except AmgsrnError as error:
        yield Finding("paraview", NOTE, "not found; the library and the shell work", str(error))
        return
    yield Finding("paraview", OK, f"{paraview_version() or 'unknown version'} ({pvpython})")
    try:
        folder = paraview_launcher.plugin_folder()
    except AmgsrnError as error:
        yield Finding("plugin", PROBLEM, "not found", str(error))
        return
    files = sorted(path.name for path in folder.iterdir() if path.suffix in (".xml", ".so", ".py"))
    yield Finding("plugin", OK, f"{', '.join(files)} in {folder}")
    yield from _paraview_python(str(pvpython))


def _paraview_python(pvpython: str) -> Iterator[Finding]:
    """Import the suite inside ParaView, as the plugin will, and look for what it registered."""
    seen = _seen_inside(pvpython)
    if isinstance(seen, Finding):
        yield seen
        return
    yield _judge_python(seen)
    yield _judge_neural_volume(seen, pvpython)


def _seen_inside(pvpython: str) -> dict[str, Any] | Finding:
    """Return what a program inside ParaView sees, or why there is nothing to be seen."""
    try:
        result = subprocess.run(
            [pvpython, "-c", _PARAVIEW_PROBE],
            env=paraview_launcher.paraview_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PARAVIEW_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        detail = f"{pvpython} does not run ({error})"
        return Finding(_PARAVIEW_PYTHON, PROBLEM, detail, "Repair ParaView.")
    line = re.search(r"^amgsrn-doctor (\{.*\})$", result.stdout, re.MULTILINE)
    if line is None:
        tail = (result.stderr.strip().splitlines() or ["no output"])[-1]
        return Finding(
            _PARAVIEW_PYTHON,
            PROBLEM,
            f"{pvpython} ended with status {result.returncode} ({tail})",
            "Try `amgsrn pvpython -c 'import amgsrn_core.field.neural_volume'` by hand.",
        )
    return dict(json.loads(line[1]))


def _judge_python(seen: dict[str, Any]) -> Finding:
    ours = "{}.{}".format(*sys.version_info[:2])
    if seen["python"] != ours:
        return Finding(
            _PARAVIEW_PYTHON,
            PROBLEM,
            f"ParaView embeds Python {seen['python']}, this environment is Python {ours}",
            "Remove .venv and run scripts/setup, which makes it from ParaView's own version.",
        )
    first = next((name for name, version in seen.items() if version is None), None)
    if first is not None:
        return Finding(
            _PARAVIEW_PYTHON,
            PROBLEM,
            f"{first} cannot be imported inside ParaView ({seen[first + '_error']})",
            "Run scripts/setup.",
        )
    return Finding(_PARAVIEW_PYTHON, OK, f"{seen['python']} with numpy {seen['numpy']}")


def _judge_neural_volume(seen: dict[str, Any], pvpython: str) -> Finding:
    name, compiled = "neural volume", paraview_launcher.neural_volume()
    if compiled is None:
        return Finding(
            name,
            NOTE,
            "not built: ParaView shows previews and reconstructions of models only",
            "Install ParaView's development files (Debian, Ubuntu: paraview-dev) and run "
            "scripts/setup.",
        )
    if not seen["neural_volume"]:
        return Finding(
            name,
            NOTE,
            f"{compiled} was built for another ParaView than {pvpython}",
            "Remove the folder build and run scripts/setup with this ParaView.",
        )
    return Finding(name, OK, str(compiled))


def _display() -> Finding:
    display, wayland = os.environ.get("DISPLAY"), os.environ.get("WAYLAND_DISPLAY")
    if display and is_reachable(display):
        return Finding("display", OK, display)
    if wayland and not display:
        return Finding("display", OK, wayland)
    lack = f"{display} does not let programs in" if display else "none"
    if find_server() is not None:
        return Finding("display", OK, f"{lack}; pvpython, pvbatch and pvserver get a virtual one")
    return Finding(
        "display",
        NOTE,
        f"{lack}, and no Xvfb",
        "Install the package xvfb, unless this ParaView renders off screen by itself.",
    )


def _mpi() -> Finding:
    mpiexec = shutil.which("mpiexec")
    if mpiexec is None:
        return Finding(
            "mpi",
            NOTE,
            "no mpiexec: pvbatch and pvserver run on one rank",
            "Install ParaView's MPI (Debian, Ubuntu: apt-get install openmpi-bin).",
        )
    return Finding("mpi", OK, mpiexec)
