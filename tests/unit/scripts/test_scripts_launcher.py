"""`amgsrn pvpython` and its siblings start ParaView's programs with the suite on their paths."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

from amgsrn_core.cli import paraview_launcher as launcher
from amgsrn_core.cli.x_server import find_server, virtual_display
from amgsrn_core.errors import AmgsrnError


@pytest.fixture
def paraview_home(tmp_path, monkeypatch):
    """A ParaView whose pvpython tells what it was given."""
    programs = tmp_path / "paraview" / "bin"
    programs.mkdir(parents=True)
    for name in launcher.PROGRAMS:
        program = programs / name
        program.write_text(
            f"#!{sys.executable}\n"
            "import json, os, sys\n"
            "print(json.dumps({'args': sys.argv[1:], 'environment': dict(os.environ)}))\n"
            "sys.exit(7)\n"
        )
        program.chmod(0o755)
    monkeypatch.setenv("PARAVIEW_HOME", str(programs.parent))
    return programs.parent


@pytest.fixture
def no_display(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def display(tmp_path, monkeypatch):
    if find_server() is None:
        pytest.skip("Xvfb is missing")
    with virtual_display(tmp_path) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield


def run(program, *args):
    code = "import sys; from amgsrn_core.cli.paraview_launcher import run_paraview as r; "
    code += "sys.exit(r(sys.argv[1], sys.argv[2:]))"
    return subprocess.run(
        [sys.executable, "-c", code, program, *args], capture_output=True, text=True, timeout=60
    )


def test_the_program_gets_its_arguments_and_its_exit_status_comes_back(paraview_home, display):
    result = run("pvpython", "script.py", "--flag", "a b")
    assert result.returncode == 7
    assert json.loads(result.stdout)["args"] == ["script.py", "--flag", "a b"]
    assert result.stderr == ""


def test_the_suite_is_on_the_program_s_paths(paraview_home, display, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/mine")
    monkeypatch.setenv("PV_PLUGIN_PATH", "/my/plugins")
    environment = json.loads(run("pvbatch").stdout)["environment"]
    python_path = environment["PYTHONPATH"].split(os.pathsep)
    assert str(ROOT) in python_path
    assert any((Path(folder) / "safetensors").is_dir() for folder in python_path)
    assert python_path[-1] == "/mine"
    plugins = environment["PV_PLUGIN_PATH"].split(os.pathsep)
    assert (Path(plugins[0]) / "AMGSRN.xml").is_file()
    assert plugins[-1] == "/my/plugins"
    assert environment["AMGSRN_PYTHON"] == sys.executable


@pytest.mark.parametrize(
    ("library", "plugin"),
    [
        ("amgsrn_core", "build/plugins/NeuralVolume/lib/NeuralVolume/NeuralVolume.so"),
        ("python/amgsrn_core", "NeuralVolume/NeuralVolume.so"),  # as `cmake --install` puts it
    ],
)
def test_the_compiled_plugin_is_on_the_program_s_path(tmp_path, monkeypatch, library, plugin):
    xml = {"amgsrn_core": "xml", "python/amgsrn_core": "paraview"}[library]
    for name in (f"{library}/__init__.py", f"{xml}/AMGSRN.xml"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(launcher.amgsrn_core, "__file__", str(tmp_path / library / "__init__.py"))
    assert launcher.neural_volume() is None
    assert launcher.paraview_environment({})["PV_PLUGIN_PATH"] == str(tmp_path / xml)
    (tmp_path / plugin).parent.mkdir(parents=True)
    (tmp_path / plugin).touch()
    assert launcher.neural_volume() == tmp_path / plugin
    folders = launcher.paraview_environment({})["PV_PLUGIN_PATH"].split(os.pathsep)
    assert folders == [str(tmp_path / xml), str((tmp_path / plugin).parent)]


def test_paths_are_not_repeated_when_launchers_nest():
    once = launcher.paraview_environment({})
    twice = launcher.paraview_environment(once)
    assert once["PYTHONPATH"] == twice["PYTHONPATH"]
    assert once["PV_PLUGIN_PATH"] == twice["PV_PLUGIN_PATH"]


def test_without_a_display_or_a_virtual_one_the_program_tries_alone(
    paraview_home, no_display, monkeypatch
):
    monkeypatch.setenv("PATH", str(paraview_home))
    result = run("pvserver")
    assert result.returncode == 7
    assert "DISPLAY" not in json.loads(result.stdout)["environment"]
    assert "install the package xvfb" in result.stderr


@pytest.mark.parametrize(
    ("version", "egl", "renders"),
    [
        ("6.0.1", True, True),
        ("6.1.1", True, True),
        ("6.1.1", False, False),
        ("5.13.2", True, False),
    ],
)
def test_from_6_on_egl_takes_the_place_of_a_display(
    paraview_home, tmp_path, monkeypatch, version, egl, renders
):
    def load(name):
        if not egl:
            raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(launcher.ctypes, "CDLL", load)
    monkeypatch.setattr(launcher.sys, "prefix", str(tmp_path))
    monkeypatch.setattr(launcher.sys, "platform", "linux")
    program = paraview_home / "bin" / "pvbatch"
    assert not launcher.renders_by_egl(program)  # what was not recorded is not asked for
    record = f"{version} {paraview_home}/bin/pvpython\n"
    (tmp_path / launcher.VERSION_RECORD).write_text(record)
    assert launcher.renders_by_egl(program) == renders
    assert not launcher.renders_by_egl(Path("/another/bin/pvbatch"))


def test_a_program_that_renders_by_egl_gets_no_display(
    paraview_home, no_display, monkeypatch, capfd
):
    monkeypatch.setattr(launcher, "renders_by_egl", lambda program: True)
    started = []
    monkeypatch.setattr(launcher.os, "execvpe", lambda *arguments: started.append(arguments))
    launcher.run_paraview("pvbatch", ["script.py"])
    environment = started[0][2]
    assert environment["VTK_DEFAULT_OPENGL_WINDOW"] == "vtkEGLRenderWindow"
    assert "DISPLAY" not in environment
    assert capfd.readouterr().err == ""


def test_a_display_that_lets_nobody_in_is_none(paraview_home, display, monkeypatch):
    monkeypatch.setenv("XAUTHORITY", os.devnull)
    refused = os.environ["DISPLAY"]
    result = run("pvpython")
    assert json.loads(result.stdout)["environment"]["DISPLAY"] != refused
    assert f"Display {refused} does not let pvpython in: pvpython renders" in result.stderr
    with pytest.raises(AmgsrnError, match=f"DISPLAY={refused} does not let it in"):
        launcher.run_paraview("paraview", [])


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_there_are_windows_without_x(paraview_home, no_display, monkeypatch, platform):
    monkeypatch.setattr(launcher.sys, "platform", platform)
    assert not launcher._needs_display("paraview", [])
    assert not launcher._needs_display("pvserver", [])


def test_the_window_is_not_hidden_on_a_virtual_display(paraview_home, no_display):
    with pytest.raises(AmgsrnError, match="needs a display"):
        launcher.run_paraview("paraview", [])


def test_a_folder_without_the_program_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PARAVIEW_HOME", str(tmp_path))
    with pytest.raises(AmgsrnError, match=r"has no bin/pvserver"):
        launcher.find_program("pvserver")


def test_a_missing_paraview_is_said_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.delenv("PARAVIEW_HOME", raising=False)
    monkeypatch.setattr(launcher.sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AmgsrnError, match="apt-get install paraview"):
        launcher.find_program("pvpython")


def test_the_paraview_of_the_set_up_is_found_again(paraview_home, tmp_path, monkeypatch):
    monkeypatch.delenv("PARAVIEW_HOME")
    (tmp_path / "paraview-home").write_text(f"{paraview_home}\n")
    monkeypatch.setattr(launcher.sys, "prefix", str(tmp_path))
    assert launcher.find_program("pvpython") == paraview_home / "bin" / "pvpython"
