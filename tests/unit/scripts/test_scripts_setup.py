"""The set-up says exactly what is missing, and pins what the package asks for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
from support.paths import ROOT

COMMANDS = ["bash", "env", "dirname", "mkdir", "cat", "sha256sum", "cut", "flock", "tail", "rm"]


@pytest.fixture
def bare_machine(tmp_path):
    """A checkout on a machine without ParaView, apt or anything to build with."""
    checkout = tmp_path / "checkout"
    (checkout / "scripts").mkdir(parents=True)
    for name in ("scripts/setup", "scripts/constraints.txt", "pyproject.toml"):
        shutil.copy2(ROOT / name, checkout / name)
    programs = tmp_path / "bin"
    programs.mkdir()
    for command in COMMANDS:
        found = shutil.which(command)
        if found is None:
            pytest.skip(f"{command} is not here")
        (programs / command).symlink_to(found)
    add_program(programs, "id", "echo 1000")
    return checkout, programs


def add_program(folder, name, body):
    (folder / name).write_text(f"#!{shutil.which('bash')}\n{body}\n")
    (folder / name).chmod(0o755)


def set_up(checkout, programs, **environment):
    return subprocess.run(
        [checkout / "scripts" / "setup"],
        env={"PATH": str(programs), "HOME": os.environ.get("HOME", "/"), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_says_what_it_does_and_does_nothing(bare_machine, option):
    checkout, programs = bare_machine
    command = [checkout / "scripts" / "setup", option]
    result = subprocess.run(command, env={"PATH": str(programs)}, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "scripts/setup --view" in result.stdout and "#" not in result.stdout
    assert [path.name for path in checkout.iterdir()].count("build") == 0


def test_without_apt_it_names_what_is_missing(bare_machine):
    result = set_up(*bare_machine)
    assert result.returncode == 1
    assert "ParaView" in result.stderr
    assert "PARAVIEW_HOME" in result.stderr
    assert "cmake" in result.stderr
    assert not (bare_machine[0] / ".venv").exists()


def test_without_root_it_names_the_command_for_the_administrator(bare_machine):
    checkout, programs = bare_machine
    add_program(programs, "apt-get", "echo must not run; exit 1")
    result = set_up(checkout, programs)
    assert result.returncode == 1
    command = re.search(r"administrator must run: (.*)", result.stderr, re.DOTALL)[1]
    assert "apt-get install -y --no-install-recommends paraview python3-paraview" in command
    assert "must not run" not in result.stderr


def test_sudo_is_used_where_it_works(bare_machine, tmp_path):
    checkout, programs = bare_machine
    add_program(programs, "apt-get", f'echo "$@" >>{tmp_path}/asked; exit 0')
    add_program(programs, "sudo", '[[ $1 == -n ]] && shift; exec "$@"')
    add_program(programs, "true", "exit 0")
    set_up(checkout, programs)
    asked = (tmp_path / "asked").read_text()
    assert "update" in asked
    assert "install -y --no-install-recommends paraview" in asked


def test_packages_that_apt_cannot_install_stop_it(bare_machine):
    checkout, programs = bare_machine
    add_program(programs, "id", "echo 0")
    add_program(programs, "apt-get", "echo no such package; exit 100")
    result = set_up(checkout, programs)
    assert result.returncode == 1
    assert "no such package" in result.stderr
    assert "apt-get could not install" in result.stderr


def test_a_paraview_whose_python_is_nowhere_is_refused(bare_machine, tmp_path):
    checkout, programs = bare_machine
    home = tmp_path / "paraview"
    (home / "bin").mkdir(parents=True)
    add_program(home / "bin", "pvpython", f"echo 3.99 {home}")
    for command in ("cmake", "ninja", "git", "c++"):
        add_program(programs, command, "exit 0")
    result = set_up(checkout, programs, PARAVIEW_HOME=str(home))
    assert result.returncode == 1
    assert "3.99" in result.stderr


def test_every_requirement_is_pinned():
    text = (ROOT / "pyproject.toml").read_text()
    tables = re.findall(r"^(?:dependencies|train|test|quickstart) = \[(.*?)\]$", text, re.M | re.S)
    wanted = {name.lower() for table in tables for name in re.findall(r'"([A-Za-z0-9-]+)', table)}
    wanted.remove("amgsrn")  # its extra `train`, which its tests need
    pins = (ROOT / "scripts" / "constraints.txt").read_text()
    pinned = {name.lower() for name in re.findall(r"^([A-Za-z0-9_-]+)(?:==|<)", pins, re.M)}
    assert len(wanted) >= 8
    assert wanted <= pinned


@pytest.mark.parametrize(
    ("paraview", "torch", "numpy_is_held", "torch_is_pinned"),
    [
        ("5.11.0", "", True, True),
        ("5.11.2", "1.13.0", True, True),
        ("5.13.2", "2.6.0+debian", True, False),
        ("6.0.1", "2.9.1", True, False),
        ("6.1.1", "2.14.1+dfsg", False, False),
    ],
)
def test_the_pins_are_those_for_this_paraview_and_this_torch(
    tmp_path, paraview, torch, numpy_is_held, torch_is_pinned
):
    add_program(tmp_path, "python", f"echo '{torch}'; exit {0 if torch else 1}")
    functions = f"source <(grep -v '^main ' {ROOT}/scripts/setup)"
    values = f"PARAVIEW={paraview} PYTHON={tmp_path}/python"
    command = ["bash", "-c", f"{functions}; {values}; constraints"]
    pins = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert ("numpy<2.4\n" in pins) == numpy_is_held
    assert ("torch==" in pins) == torch_is_pinned
    assert ("sympy==" in pins) == torch_is_pinned
    assert "netCDF4==" in pins


@pytest.mark.parametrize(
    ("vtk", "qt", "torch", "wanted"),
    [
        ("vtk", "libqt5core5a", "1.13.0+dfsg", ["libqt5svg5"]),
        ("vtk", "libqt5core5t64", "2.6.0+dfsg", ["libqt5svg5", "python3-torch"]),
        ("python3-vtk9", "libqt6core6t64", "2.14.1+dfsg", ["libvtk9-dev", "qt6-svg-plugins"]),
    ],
)
def test_what_goes_with_this_paraview_is_installed_too(tmp_path, vtk, qt, torch, wanted):
    answers = f"python3-paraview) echo '  Depends: {vtk}' ;; paraview) echo '  Depends: {qt}' ;;"
    body = f"case $2 in {answers} python3-torch) echo '  Candidate: {torch}' ;; esac"
    add_program(tmp_path, "apt-cache", body)
    functions = f"source <(grep -v '^main ' {ROOT}/scripts/setup); VENV={tmp_path}"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}
    found = subprocess.run(
        ["bash", "-c", f"{functions}; companions"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert set(wanted) <= set(found)
    assert ("python3-torch" in found) == torch.startswith("2.")


@pytest.mark.parametrize(
    "name",
    [
        "setup",
        "quickstart",
        "test",
        "test-paraview",
        "test-newest",
        "build-neural-volume",
        "../.ci/run",
    ],
)
def test_the_scripts_are_executable_bash(name):
    script = ROOT / "scripts" / name
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)


def test_an_unknown_option_is_refused(bare_machine):
    checkout, programs = bare_machine
    result = subprocess.run(
        [checkout / "scripts" / "setup", "--viewer"], env={"PATH": str(programs)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 1
    assert "--view" in result.stderr


@pytest.fixture
def pretended(bare_machine, tmp_path):
    """A machine whose Python notes what pip is to install, instead of doing so."""
    checkout, programs = bare_machine
    home = tmp_path / "paraview"
    (home / "bin").mkdir(parents=True)
    add_program(home / "bin", "pvpython", f"echo 3.11 {home}")
    for name in ("setup.py", "CMakeLists.txt"):
        shutil.copy2(ROOT / name, checkout / name)
    python = (
        'case "$*" in\n'
        f'*" install "*) echo "$@" >>{tmp_path}/asked ;;\n'
        f'*"-m venv"*) mkdir -p "${{@: -1}}/bin"; cp "$0" "${{@: -1}}/bin/python"; '
        'cp "${@: -1}/bin/python" "${@: -1}/bin/pip"; echo x >"${@: -1}/pyvenv.cfg" ;;\n'
        f"*sysconfig*) echo {tmp_path} ;;\n"
        "*) echo 3.11 ;;\n"
        "esac"
    )
    add_program(home / "bin", "python3.11", python)
    (programs / "cp").symlink_to(shutil.which("cp"))
    for command in ("ninja", "git", "c++", "true"):
        add_program(programs, command, "exit 0")
    add_program(programs, "cmake", "[[ $1 == -S ]] && echo >build/CMakeCache.txt; exit 0")

    def asked(*options):
        """Set up, and return what pip was to install."""
        noted = tmp_path / "asked"
        noted.unlink(missing_ok=True)
        result = subprocess.run(
            [checkout / "scripts" / "setup", *options],
            env={"PATH": str(programs), "HOME": "/", "PARAVIEW_HOME": str(home)},
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return (
            [line.split()[-1] for line in noted.read_text().splitlines()] if noted.exists() else []
        )

    return asked


def test_a_set_up_for_viewing_installs_the_base_alone_and_is_made_whole_later(pretended):
    whole = ".[test,quickstart,cluster,tensorboard,docs]"
    assert pretended("--view") == ["."]
    assert pretended("--view") == []
    assert pretended() == [whole]
    # A whole one shows models, too.
    assert pretended("--view") == []
    assert pretended() == []
