"""ParaView: its program, its Python, the plugins, displays and MPI."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator

from amgsrn_core.cli import paraview_launcher
from amgsrn_core.cli.doctor.findings import NOTE, OK, PROBLEM, Finding, in_checkout, set_up
from amgsrn_core.cli.doctor.machine import paraview_version
from amgsrn_core.cli.paraview_probe import Probe, Seen
from amgsrn_core.cli.x_server import find_server, is_reachable
from amgsrn_core.errors import AmgsrnError

_PARAVIEW_PYTHON = "paraview's python"


def begin_probe() -> Probe | AmgsrnError:
    """Start ParaView, which takes seconds; give what comes back to :func:`check_paraview`."""
    try:
        return Probe(paraview_launcher.find_program("pvpython"))
    except AmgsrnError as error:
        return error


def check_paraview(probe: Probe | AmgsrnError) -> Iterator[Finding]:
    """Look at ParaView, and at what it needs to render and to run on several ranks."""
    yield from _paraview(probe)
    yield _display(probe)
    yield _mpi()


def _paraview(probe: Probe | AmgsrnError) -> Iterator[Finding]:
    if isinstance(probe, AmgsrnError):
        help_ = f"{probe} On Debian and Ubuntu: apt-get install paraview python3-paraview"
        yield Finding("paraview", NOTE, "not found; the library and the shell work", help_)
        return
    seen: Seen | AmgsrnError
    try:
        seen = probe.seen()
    except AmgsrnError as error:
        seen = error
    version = seen.paraview if isinstance(seen, Seen) else paraview_version()
    yield Finding("paraview", OK, f"{version or 'unknown version'} ({probe.pvpython})")
    try:
        folder = paraview_launcher.plugin_folder()
    except AmgsrnError as error:
        yield Finding("plugin", PROBLEM, str(error), f"Install the suite again: {set_up()}")
        return
    files = sorted(path.name for path in folder.iterdir() if path.suffix in (".xml", ".so", ".py"))
    yield Finding("plugin", OK, f"{', '.join(files)} in {folder}")
    if isinstance(seen, AmgsrnError):
        command = "amgsrn pvpython -c 'import amgsrn_core.field.neural_volume'"
        yield Finding(_PARAVIEW_PYTHON, PROBLEM, str(seen), f"See what it says: {command}")
        return
    yield _judge_python(seen)
    yield _judge_neural_volume(seen, probe)


def _judge_python(seen: Seen) -> Finding:
    ours = "{}.{}".format(*sys.version_info[:2])
    if seen.python != ours:
        detail = f"ParaView embeds Python {seen.python}, this environment is Python {ours}"
        remedy = (
            f"Make the environment from ParaView's own version: {set_up(f'python{seen.python}')}"
        )
        return Finding(_PARAVIEW_PYTHON, PROBLEM, detail, remedy)
    if seen.failure:
        numpy = "numpy below" in seen.failure
        remedy = (
            f"Take an older one: {sys.executable} -m pip install 'numpy<2.4'"
            if numpy
            else f"Install what is missing: {set_up()}"
        )
        return Finding(_PARAVIEW_PYTHON, PROBLEM, seen.failure, remedy)
    return Finding(_PARAVIEW_PYTHON, OK, f"{seen.python} with numpy {seen.numpy}")


def _judge_neural_volume(seen: Seen, probe: Probe) -> Finding:
    name, compiled = "neural volume", paraview_launcher.neural_volume()
    build = "amgsrn paraview-setup --build"
    if in_checkout():
        build = set_up() if compiled is None else f"rm -r build && {set_up()}"
    if compiled is None:
        return Finding(
            name,
            NOTE,
            "not built: ParaView shows previews and reconstructions of models only",
            f"Build it with ParaView's development files (Debian, Ubuntu: paraview-dev): {build}",
        )
    if not seen.has_neural_volume:
        return Finding(
            name,
            NOTE,
            f"{compiled} was built for another ParaView than {probe.pvpython}",
            f"Build it for this one: {build}",
        )
    return Finding(name, OK, str(compiled))


def _display(probe: Probe | AmgsrnError) -> Finding:
    display, wayland = os.environ.get("DISPLAY"), os.environ.get("WAYLAND_DISPLAY")
    if display and is_reachable(display):
        return Finding("display", OK, display)
    if isinstance(probe, Probe) and paraview_launcher.renders_by_egl(probe.pvpython):
        return Finding("display", OK, "none; pvpython, pvbatch and pvserver render by EGL")
    if wayland and not display:
        return Finding("display", OK, wayland)
    lack = f"{display} does not let programs in" if display else "none"
    if find_server() is not None:
        return Finding("display", OK, f"{lack}; pvpython, pvbatch and pvserver get a virtual one")
    return Finding(
        "display",
        NOTE,
        f"{lack}, and no Xvfb",
        "Unless this ParaView renders off screen by itself: apt-get install xvfb xauth",
    )


def _mpi() -> Finding:
    mpiexec = shutil.which("mpiexec")
    if mpiexec is None:
        return Finding(
            "mpi",
            NOTE,
            "no mpiexec: pvbatch and pvserver run on one rank",
            "Install ParaView's MPI (Debian, Ubuntu): apt-get install openmpi-bin",
        )
    return Finding("mpi", OK, mpiexec)
