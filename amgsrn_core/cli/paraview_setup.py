"""``amgsrn paraview-setup``: somebody's own ParaView gets the suite, without any variable."""

from __future__ import annotations

import argparse
import contextlib
import glob
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import amgsrn_core
from amgsrn_core.cli import paraview_launcher as launcher
from amgsrn_core.cli.paraview_probe import Probe, Seen, version_numbers
from amgsrn_core.cli.paraview_settings import (
    Plugin,
    programs_in,
    set_plugins,
    settings_file,
    settings_folder,
)
from amgsrn_core.cli.report import print_rows
from amgsrn_core.errors import AmgsrnError, ConfigurationError

NAMES = ("AMGSRN", "NeuralVolume")
"""What the suite's plugins are called."""

_OLDEST = (5, 11)
# From here on ParaView loads plugins that are Python; before, only with a Python below 3.11.
_LOADS_PYTHON = (5, 13)
_USUAL = (
    "/opt/[Pp]ara[Vv]iew*",
    "/usr/local/[Pp]ara[Vv]iew*",
    "~/[Pp]ara[Vv]iew*",
    "~/Downloads/ParaView*",
    "~/.local/[Pp]ara[Vv]iew*",
    "/Applications/ParaView*.app/Contents",
    "C:/Program Files/ParaView*",
)
_WITHOUT_VARIABLES = """
import os, sys
from paraview import simple
for path in sys.argv[1:]:
    simple.LoadPlugin(path, remote=False, ns=globals())
import amgsrn_paraview
import amgsrn_core
print("amgsrn-found", amgsrn_core.__version__, os.path.dirname(amgsrn_core.__file__))
"""


@dataclass(frozen=True)
class Found:
    """A ParaView on this machine, and what was seen of it; else why nothing was."""

    pvpython: Path
    seen: Seen | None
    failure: str

    @property
    def window(self) -> Path:
        """The program that people start."""
        return self.pvpython.with_name(self.pvpython.name.replace("pvpython", "paraview"))

    @property
    def name(self) -> str:
        """What it is called here."""
        version = self.seen.paraview if self.seen else ""
        return f"ParaView {version or 'of an unknown version'} in {self.pvpython.parent}"


def run(arguments: argparse.Namespace) -> int:
    """List the ParaViews that are here, and connect the one that is chosen.

    Raises
    ------
    AmgsrnError
        There is none, none can be connected, or something cannot be written.
    """
    if arguments.remove:
        removed = list(_remove())
        print_rows(("removed", path) for path in removed or ["nothing: nothing was connected"])
        return 0
    launcher.plugin_folder()  # an installation without it is said first
    found = [_look(probe) for probe in [Probe(path) for path in _pvpythons(arguments.paraview)]]
    print_rows(("found" if not each.failure else "no use", _described(each)) for each in found)
    chosen = _chosen(found, arguments)
    if arguments.build:
        _build(chosen)
        chosen = _look(Probe(chosen.pvpython))
    assert chosen.seen is not None
    plugins = list(_plugins(chosen.seen))
    changed = list(_connect(chosen, plugins))
    _verify(chosen, plugins)
    print_rows([("connected", chosen.name), *(("written", str(path)) for path in changed)])
    print_rows(_what_next(chosen.seen))
    return 0


# --- Finding -----------------------------------------------------------------------------------


def _pvpythons(named: str | None) -> list[Path]:
    """Return the programs to look at: those of the folder that is named, or all that are found."""
    suffix = ".exe" if sys.platform == "win32" else ""
    if named is not None:
        home = Path(named).expanduser()
        for place in (home / "bin", home, home / "Contents" / "bin"):
            if (place / f"pvpython{suffix}").is_file():
                return [(place / f"pvpython{suffix}").absolute()]
        raise ConfigurationError(f"{home} has no bin/pvpython: name the folder of a ParaView.")
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    with contextlib.suppress(AmgsrnError):
        folders.insert(0, launcher.find_program("pvpython").parent)
    for pattern in _USUAL:
        folders += [Path(home, "bin") for home in sorted(glob.glob(os.path.expanduser(pattern)))]
    programs = [folder / f"pvpython{suffix}" for folder in folders]
    real = {p.resolve(): p for p in reversed(programs) if p.is_file() and os.access(p, os.X_OK)}
    return list(reversed(real.values()))


def _look(probe: Probe) -> Found:
    ours = "{}.{}".format(*sys.version_info[:2])
    try:
        seen = probe.seen()
    except AmgsrnError as error:
        return Found(probe.pvpython, None, f"{error}; is it a ParaView with Python?")
    failure = seen.failure
    if version_numbers(seen.paraview)[:2] < _OLDEST:
        failure = f"version {seen.paraview or 'unknown'} is not supported: install 5.11 or later"
    elif seen.python != ours:
        failure = (
            f"it embeds Python {seen.python}, and this is Python {ours}: install the suite for "
            f"its own, with python{seen.python} -m venv amgsrn and amgsrn/bin/pip install WHEEL"
        )
    return Found(probe.pvpython, seen, failure)


def _described(found: Found) -> str:
    if found.failure or found.seen is None:
        return f"{found.name}: {found.failure}"
    compiled = "Neural Volume works" if found.seen.has_neural_volume else "no Neural Volume"
    details = f"Python {found.seen.python}, numpy {found.seen.numpy}; the filters work, {compiled}"
    return f"{found.name}: {details}"


def _chosen(found: Sequence[Found], arguments: argparse.Namespace) -> Found:
    if not found:
        raise ConfigurationError(
            "No ParaView was found on the PATH, in PARAVIEW_HOME or in the usual folders: install "
            "one, or name its folder with --paraview."
        )
    wanted = arguments.version or ""
    fit = [
        each
        for each in found
        if not wanted or f"{each.seen.paraview if each.seen else ''}.".startswith(f"{wanted}.")
    ]
    if not fit:
        raise ConfigurationError(f"There is no ParaView {wanted} here; see the list above.")
    usable = [each for each in fit if not each.failure]
    if not usable:
        raise ConfigurationError(f"{fit[0].name} cannot be connected: {fit[0].failure}.")
    if len(usable) > 1:
        raise ConfigurationError(
            "Several ParaViews can be connected; choose one with --paraview "
            f"{usable[0].pvpython.parents[1]} or another folder."
        )
    return usable[0]


# --- Connecting --------------------------------------------------------------------------------


def _plugins(seen: Seen) -> Iterator[Plugin]:
    """Yield what a ParaView loads: the plugin that finds everything by itself, if it can."""
    package = _package()
    if _loads_python(seen):
        beside = package.parent / "AMGSRN.py"  # in a checkout
        yield Plugin(NAMES[0], beside if beside.is_file() else package / "plugin" / "AMGSRN.py")
    else:
        yield Plugin(NAMES[0], launcher.plugin_folder() / "AMGSRN.xml")
    compiled = launcher.neural_volume()
    if seen.has_neural_volume and compiled is not None:
        yield Plugin(NAMES[1], compiled)


def _loads_python(seen: Seen) -> bool:
    python = version_numbers(seen.python)[:2]
    return version_numbers(seen.paraview)[:2] >= _LOADS_PYTHON or python < (3, 11)


def _package() -> Path:
    root = Path(amgsrn_core.__file__).resolve().parents[1]
    for folder in (root / "plugins", root):
        if (folder / "amgsrn_paraview" / "__init__.py").is_file():
            return folder / "amgsrn_paraview"
    raise AmgsrnError(
        f"The plugin's package amgsrn_paraview is not beside {root / 'amgsrn_core'}: the suite is "
        "half installed, install it again."
    )


def _connect(found: Found, plugins: Sequence[Plugin]) -> Iterator[Path]:
    """Write what makes a ParaView load the plugins; yield the files that were changed."""
    seen = found.seen
    assert seen is not None
    if not _loads_python(seen):
        yield from _link(seen)
    path = settings_file(seen.paraview)
    # Qt names a program by its real path.
    for program in dict.fromkeys((found.window, found.window.resolve())):
        if set_plugins(path, program, plugins, NAMES):
            yield path
    record = Path(sys.prefix) / launcher.VERSION_RECORD
    if sys.prefix != sys.base_prefix:
        with contextlib.suppress(OSError):  # only EGL goes unused without it
            record.write_text(f"{seen.paraview} {found.pvpython}\n", encoding="utf-8")


def _link(seen: Seen) -> Iterator[Path]:
    """Tell ParaView's Python where the plugin's package is, and of nothing else that is there."""
    bridge, site = _bridge(), Path(seen.user_site)
    try:
        bridge.mkdir(parents=True, exist_ok=True)
        link = bridge / "amgsrn_paraview"
        if link.is_symlink():
            link.unlink()
        link.symlink_to(_package(), target_is_directory=True)
        site.mkdir(parents=True, exist_ok=True)
        (site / "amgsrn.pth").write_text(f"{bridge}\n", encoding="utf-8")
    except OSError as error:
        raise AmgsrnError(
            f"{error.filename} cannot be written ({error.strerror}), which this ParaView needs: "
            "free the folder, or use `amgsrn paraview`, which needs nothing written."
        ) from error
    yield site / "amgsrn.pth"


def _bridge() -> Path:
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "amgsrn" / "python"


def _verify(found: Found, plugins: Sequence[Plugin]) -> None:
    """Load the plugins as the window will, without variables, and see whose suite comes."""
    hidden = ("PYTHONPATH", "PV_PLUGIN_PATH", launcher.PYTHON_VARIABLE)
    result = subprocess.run(
        [str(found.pvpython), "-c", _WITHOUT_VARIABLES, *(str(each.path) for each in plugins)],
        env={name: value for name, value in os.environ.items() if name not in hidden},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    here = Path(amgsrn_core.__file__).parent
    line = next((x for x in result.stdout.splitlines() if x.startswith("amgsrn-found ")), "")
    if not line:
        last = (result.stderr.strip().splitlines() or ["no output"])[-1]
        raise AmgsrnError(f"{found.name} was connected, but the plugin does not load there: {last}")
    _, version, place = line.split(" ", 2)
    if Path(place).resolve() != here.resolve():
        raise AmgsrnError(
            f"{found.name} finds another suite first, {version} in {place}, before "
            f"{amgsrn_core.__version__} in {here}: remove that one, and run this again."
        )


def _what_next(seen: Seen) -> Iterator[tuple[str, str]]:
    yield "", "Start ParaView as ever: Filters > AMGSRN; models open by File > Open."
    yield "", "pvpython and pvbatch: `amgsrn pvpython`; amgsrn paraview-setup --remove undoes this."
    if not seen.has_neural_volume:
        yield (
            "",
            "Neural Volume has to be compiled for this ParaView, with its development files: "
            "amgsrn paraview-setup --build",
        )


def _remove() -> Iterator[str]:
    """Undo everything that this command wrote; yield what was changed."""
    for path in sorted(settings_folder().glob("ParaView*.ini")):
        changes = [set_plugins(path, program, [], NAMES) for program in programs_in(path)]
        if any(changes):
            yield str(path)
    bridge = _bridge()
    for path in sorted((Path.home() / ".local" / "lib").glob("python3*/site-packages/amgsrn.pth")):
        if path.read_text(encoding="utf-8").strip() == str(bridge):
            path.unlink()
            yield str(path)
    if (bridge / "amgsrn_paraview").is_symlink():
        (bridge / "amgsrn_paraview").unlink()
        yield str(bridge / "amgsrn_paraview")
    own = launcher.own_neural_volume()
    if own.is_dir():
        shutil.rmtree(own)
        yield str(own)


# --- The compiled plugin -----------------------------------------------------------------------


def _build(found: Found) -> None:
    """Compile Neural Volume for a ParaView, into this environment.

    Raises
    ------
    AmgsrnError
        Something that this takes is missing, or it fails.
    """
    sources = _package() / "NeuralVolume"
    if not sources.is_dir():
        sources = _package().parent / "NeuralVolume"
    files = [
        path
        for pattern in ("lib*/cmake/paraview-*", "lib*/*/cmake/paraview-*")
        for path in found.pvpython.resolve().parents[1].glob(f"{pattern}/paraview-config.cmake")
    ]
    if not files or shutil.which("cmake") is None:
        missing = "CMake" if files else "its development files (Debian, Ubuntu: paraview-dev)"
        raise AmgsrnError(f"Neural Volume cannot be compiled for {found.name} without {missing}.")
    target = launcher.own_neural_volume()
    print(f"Compiling Neural Volume for {found.name}, which takes minutes ...", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        options = [f"-DParaView_DIR={files[0].parent}", "-Wno-dev"]
        options.append(f"-DAMGSRN_VERSION={amgsrn_core.__version__}")
        options += ["-G", "Ninja"] if shutil.which("ninja") else []
        for command in (
            ["cmake", "-S", str(sources), "-B", folder, *options],
            ["cmake", "--build", folder, "--parallel"],
        ):
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                raise AmgsrnError(
                    f"Neural Volume does not compile for {found.name}: "
                    f"{_first_error(result.stderr + result.stdout)}"
                )
        built = next(Path(folder).rglob("NeuralVolume.so"), None)
        if built is None:
            raise AmgsrnError(
                f"Neural Volume was left out by CMake ({files[0].parent}): install paraview-dev "
                "and what it needs (Debian 13 and later: libvtk9-dev, libopenmpi-dev)."
            )
        try:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(built, target)
        except OSError as error:
            raise AmgsrnError(f"{target} cannot be written ({error.strerror}).") from error


def _first_error(text: str) -> str:
    """Return the first error of CMake or a compiler; CMake's goes on in the next lines."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = next((i for i, line in enumerate(lines) if "rror" in line), max(0, len(lines) - 1))
    return " ".join(lines[first : first + 3]) or "no output"
