"""Start ParaView's programs with this suite on their paths, on a virtual display where none is."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

import amgsrn_core
from amgsrn_core.cli.virtual_display import run_on_virtual_display
from amgsrn_core.cli.x_server import find_server, is_reachable
from amgsrn_core.errors import AmgsrnError
from amgsrn_core.system import interpreter

PROGRAMS = ("pvpython", "pvbatch", "pvserver", "paraview")

PYTHON_VARIABLE = interpreter.VARIABLE
VERSION_RECORD = "paraview-version"
"""A file of this environment: the version of the ParaView that it was set up with, and its path."""

_PLUGIN_FILE = "AMGSRN.xml"
_NEURAL_VOLUME = "NeuralVolume.so"
_RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID")


def run_paraview(program: str, args: Sequence[str]) -> int:
    """Replace this process by one of ParaView's programs, as ``env`` does.

    Signals, standard input and the exit status are therefore the program's own, also under
    ``mpiexec``. Where there is no X display the program gets a virtual one, on each rank its own,
    and this process stays to end both together; see
    :func:`amgsrn_core.cli.virtual_display.run_on_virtual_display`.

    Parameters
    ----------
    program : {"pvpython", "pvbatch", "pvserver", "paraview"}
        Which program.
    args : sequence of str
        Its arguments, untouched.

    Raises
    ------
    AmgsrnError
        When the program, the plugin or a display for ParaView's window is missing.
    """
    command = [str(find_program(program)), *args]
    needs_display = _needs_display(program, args)
    environment = paraview_environment()
    if needs_display and renders_by_egl(Path(command[0])):
        environment.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
        needs_display = False
    if needs_display and _rank() == 0:
        print(_note(program), file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    if needs_display and find_server() is not None:
        return run_on_virtual_display(command, environment)
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        raise AmgsrnError(f"Cannot start {command[0]}: {error.strerror}.") from error


def _needs_display(program: str, args: Sequence[str]) -> bool:
    """Tell whether a program is going to look for an X display that does not let it in.

    Raises
    ------
    AmgsrnError
        It is ParaView's window, which nobody would see on a virtual display.
    """
    if sys.platform in ("win32", "darwin"):  # windows without X
        return False
    if args and set(args) <= {"--help", "-h", "--version", "-V"}:
        return False
    display = os.environ.get("DISPLAY")
    if display and is_reachable(display):
        return False
    if program != "paraview":
        return True
    if os.environ.get("WAYLAND_DISPLAY"):
        return False
    why = f"DISPLAY={display} does not let it in" if display else "DISPLAY is not set"
    raise AmgsrnError(
        f"ParaView's window needs a display and {why}: start it on a desktop, through ssh -X, or "
        "connect a ParaView on your desktop to `amgsrn pvserver` here."
    )


def renders_by_egl(program: Path) -> bool:
    """Tell whether a ParaView needs no display: from 6.0 on, where there is libEGL.

    Its version is what was recorded when this environment was set up, for asking takes a second.
    """
    version, _, pvpython = _first_line(Path(sys.prefix) / VERSION_RECORD).partition(" ")
    if Path(pvpython).parent != program.parent or not version.partition(".")[0].isdigit():
        return False
    if sys.platform != "linux" or int(version.partition(".")[0]) < 6:
        return False
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError:
        return False
    return True


def _note(program: str) -> str:
    display = os.environ.get("DISPLAY")
    lack = f"Display {display} does not let {program} in" if display else "No display"
    if find_server() is not None:
        return f"{lack}: {program} renders on a virtual one (Xvfb)."
    return (
        f"{lack} and no Xvfb: rendering works only if this ParaView renders off screen by "
        "itself (EGL, OSMesa); else install the package xvfb."
    )


def paraview_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return `base` (default: this process's environment) with this suite on ParaView's paths."""
    environment = dict(os.environ if base is None else base)
    _prepend(environment, "PYTHONPATH", python_folders())
    _prepend(environment, "PV_PLUGIN_PATH", plugin_folders())
    # Inside ParaView sys.executable is ParaView; training runs in this interpreter instead.
    environment.setdefault(PYTHON_VARIABLE, sys.executable)
    # MPI asks hwloc what the computer has, and hwloc's plugin for NVIDIA GPUs opens each of the
    # displays :0 to :9: where another program's display ends just then, X ends this one.
    environment.setdefault("HWLOC_COMPONENTS", "-gl")
    return environment


def find_program(program: str) -> Path:
    """Find one of ParaView's programs.

    Looked for in ``PARAVIEW_HOME``, then in the ParaView that this environment was set up with,
    then on the PATH.
    """
    recorded = Path(sys.prefix) / "paraview-home"
    for home, origin in (
        (os.environ.get("PARAVIEW_HOME"), "PARAVIEW_HOME names"),
        (_first_line(recorded), "this environment was set up with"),
    ):
        if home:
            found = Path(home) / "bin" / program
            if os.access(found, os.X_OK) and found.is_file():
                return found
            raise AmgsrnError(
                f"{origin} {home}, which has no bin/{program}: set PARAVIEW_HOME to the folder of "
                "an installed ParaView."
            )
    on_path = shutil.which(program)
    if on_path is None:
        raise AmgsrnError(
            f"{program} was not found: install ParaView (Debian, Ubuntu: apt-get install paraview "
            "python3-paraview), put its bin folder on the PATH, or set PARAVIEW_HOME."
        )
    return Path(on_path)


def plugin_folders() -> list[Path]:
    """Return the folders of plugin files that PV_PLUGIN_PATH has to name."""
    compiled = neural_volume()
    return [plugin_folder(), *([compiled.parent] if compiled else [])]


def neural_volume() -> Path | None:
    """Return the compiled plugin, the representation Neural Volume; None where it was not built."""
    root = Path(amgsrn_core.__file__).resolve().parents[1]
    built = root / "build" / "plugins" / "NeuralVolume" / "lib" / "NeuralVolume"
    for folder in (built, root.parent / "NeuralVolume", own_neural_volume()):
        if (folder / _NEURAL_VOLUME).is_file():
            return folder / _NEURAL_VOLUME
    return None


def own_neural_volume() -> Path:
    """Return the folder of this environment for a compiled plugin that was built for it."""
    return Path(sys.prefix) / "lib" / "amgsrn" / "NeuralVolume"


def plugin_folder() -> Path:
    """Return the folder of the plugin file that describes the proxies."""
    root = Path(amgsrn_core.__file__).resolve().parents[1]
    # A checkout keeps them in xml/; `cmake --install` puts them beside the Python packages, and a
    # wheel into the plugin's package.
    for folder in (root / "xml", root.parent / "paraview", root / "amgsrn_paraview" / "xml"):
        if (folder / _PLUGIN_FILE).is_file():
            return folder
    raise AmgsrnError(
        f"The plugin file {_PLUGIN_FILE} was not found near {root}: install the suite again, from "
        "a wheel, a checkout or with `cmake --install`."
    )


def python_folders() -> list[Path]:
    """Return the folders that ParaView's Python needs on its path, first one first."""
    # ParaView's Python does not run the .pth files by which an editable installation is found.
    root = Path(amgsrn_core.__file__).resolve().parents[1]
    folders = [root]
    if (root / "plugins" / "amgsrn_paraview").is_dir():
        folders.append(root / "plugins")
    folders += [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")]
    return list(dict.fromkeys(folders))


def _rank() -> int:
    for name in _RANK_VARIABLES:
        value = os.environ.get(name, "")
        if value.isdigit():
            return int(value)
    return 0


def _prepend(environment: dict[str, str], name: str, folders: Sequence[Path]) -> None:
    present = [entry for entry in environment.get(name, "").split(os.pathsep) if entry]
    wanted = [str(folder) for folder in folders]
    rest = [entry for entry in present if entry not in wanted]
    environment[name] = os.pathsep.join([*wanted, *rest])


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
