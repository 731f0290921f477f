"""`amgsrn paraview-setup` says of each ParaView whether it can be connected, and why not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from amgsrn_core.cli import main, paraview_launcher, paraview_setup

OURS = "{}.{}".format(*sys.version_info[:2])


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without any ParaView, where nothing of the machine's own is found."""
    for name in ("PARAVIEW_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(paraview_setup, "_USUAL", ("~/ParaView*",))
    monkeypatch.setattr(paraview_launcher.sys, "prefix", str(tmp_path / "environment"))
    return tmp_path


def add_paraview(home, folder, **seen):
    """Make a ParaView whose Python answers with the given facts."""
    facts = {"paraview": "6.1.1", "python": OURS, "numpy": "2.4.6", "neural_volume": False}
    facts |= {"amgsrn_core.field.neural_volume": "", "amgsrn_paraview": "", "filters": True}
    facts["user_site"] = str(home / "site")
    answer = json.dumps({**facts, **seen})
    program = home / folder / "bin" / "pvpython"
    program.parent.mkdir(parents=True)
    place = Path(paraview_setup.amgsrn_core.__file__).parent
    program.write_text(
        f"#!{sys.executable}\nimport sys\nprint('amgsrn-probe ' + {answer!r})\n"
        f"if 'LoadPlugin' in sys.argv[2]:\n    print('amgsrn-found 0 {place}')\n"
    )
    program.chmod(0o755)
    return program


def settings(home):
    return {path.name: path.read_text() for path in home.glob(".config/ParaView/*")}


def test_the_only_one_is_connected_and_disconnected(home, capsys):
    add_paraview(home, "ParaView-6.1.1")
    assert main(["paraview-setup"]) == 0
    said = capsys.readouterr().out
    assert "ParaView 6.1.1" in said
    assert "no Neural Volume" in said
    assert "paraview-setup --build" in said
    text = settings(home)["ParaView.ini"]
    assert "AMGSRN.py" in text
    assert "NeuralVolume" not in text
    assert not (home / "site").exists()
    assert main(["paraview-setup", "--remove"]) == 0
    assert "AMGSRN" not in settings(home)["ParaView.ini"]


def test_one_that_loads_no_python_plugins_is_told_where_the_package_is(home):
    if OURS == "3.10":
        pytest.skip("with this Python every ParaView loads them")
    add_paraview(home, "ParaView-5.11", paraview="5.11.0", numpy="1.24.2")
    assert main(["paraview-setup"]) == 0
    assert "AMGSRN.xml" in settings(home)["ParaView5.11.0.ini"]
    bridge = Path((home / "site" / "amgsrn.pth").read_text().strip())
    # Nothing but the package: the environment's numpy must not reach other programs.
    assert [path.name for path in bridge.iterdir()] == ["amgsrn_paraview"]
    assert (bridge / "amgsrn_paraview" / "search_path.py").is_file()
    assert main(["paraview-setup", "--remove"]) == 0
    assert not (bridge / "amgsrn_paraview").exists()


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"python": "3.1"}, "python3.1 -m venv"),
        ({"paraview": "5.9.0"}, "install 5.11 or later"),
        ({"numpy": "2.4.1", "paraview": "5.13.2"}, "needs a numpy below 2.4"),
        (
            {"amgsrn_paraview": None, "amgsrn_paraview_error": "ImportError: no x"},
            "cannot be imported inside ParaView (ImportError: no x)",
        ),
    ],
)
def test_one_that_cannot_be_connected_says_why(home, capsys, seen, words):
    add_paraview(home, "ParaView", **seen)
    assert main(["paraview-setup"]) == 1
    assert words in capsys.readouterr().err
    assert settings(home) == {}


def test_a_paraview_without_python_is_no_use(home, capsys):
    program = add_paraview(home, "ParaView")
    program.write_text("#!/bin/sh\nexit 1\n")
    assert main(["paraview-setup"]) == 1
    assert "is it a ParaView with Python?" in capsys.readouterr().err


def test_of_several_one_has_to_be_chosen(home, capsys):
    first = add_paraview(home, "ParaView-6.1.1")
    add_paraview(home, "ParaView-6.0.1", paraview="6.0.1", numpy="1.26")
    assert main(["paraview-setup"]) == 1
    assert "--paraview" in capsys.readouterr().err
    assert main(["paraview-setup", "--version", "6.0"]) == 0
    assert "ParaView-6.0.1" in settings(home)["ParaView.ini"].replace("\\", "/")
    assert main(["paraview-setup", "--version", "7"]) == 1
    assert main(["paraview-setup", "--paraview", str(first.parents[1])]) == 0
    assert settings(home)["ParaView.ini"].count("Local%3A") == 2


def test_none_at_all_and_a_wrong_folder_are_said(home, capsys):
    assert main(["paraview-setup"]) == 1
    assert "No ParaView was found" in capsys.readouterr().err
    assert main(["paraview-setup", "--paraview", str(home)]) == 1
    assert "has no bin/pvpython" in capsys.readouterr().err
    assert main(["paraview-setup", "--remove"]) == 0


def test_another_suite_that_comes_first_is_named(home, capsys):
    program = add_paraview(home, "ParaView")
    text = program.read_text()
    program.write_text(text[: text.index("amgsrn-found")] + "amgsrn-found 0.1 /other/suite')\n")
    assert main(["paraview-setup"]) == 1
    assert "0.1 in /other/suite" in capsys.readouterr().err


def test_a_half_installed_suite_is_said(home, capsys, monkeypatch, tmp_path):
    (tmp_path / "half" / "amgsrn_core").mkdir(parents=True)
    monkeypatch.setattr(
        paraview_launcher.amgsrn_core, "__file__", str(tmp_path / "half/amgsrn_core/__init__.py")
    )
    assert main(["paraview-setup"]) == 1
    assert "install the suite again" in capsys.readouterr().err


def test_a_compiled_plugin_takes_the_development_files(home, capsys):
    add_paraview(home, "ParaView")
    assert main(["paraview-setup", "--build"]) == 1
    assert "paraview-dev" in capsys.readouterr().err
