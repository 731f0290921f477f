"""`amgsrn doctor` tells what works, and fails only when something stops the suite."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

from amgsrn_core.cli import main, paraview_launcher
from amgsrn_core.cli.doctor import command, devices, packages, paraview
from amgsrn_core.cli.doctor.command import examine
from amgsrn_core.cli.doctor.findings import NOTE, OK, PROBLEM, Finding

COMMANDS = {"pip", "apt-get", "amgsrn", "setup", "rm", "scripts", Path(sys.executable).name}


def by_name(findings):
    return {finding.name: finding for finding in findings}


@pytest.fixture
def fake_pvpython(tmp_path, monkeypatch):
    """Install a pvpython that answers the doctor's probe with the given facts."""

    def install(**facts):
        program = tmp_path / "bin" / "pvpython"
        program.parent.mkdir(exist_ok=True)
        answer = json.dumps(facts)
        program.write_text(f"#!{sys.executable}\nprint('amgsrn-probe ' + {answer!r})\n")
        program.chmod(0o755)
        monkeypatch.setenv("PARAVIEW_HOME", str(tmp_path))

    return install


def facts(**changed):
    version = "{}.{}".format(*sys.version_info[:2])
    seen = {
        "python": version,
        "paraview": "5.11.0",
        "numpy": "1",
        "amgsrn_core.field.neural_volume": "",
        "amgsrn_paraview": "",
    }
    return {**seen, "neural_volume": True, **changed}


def test_a_paraview_that_can_import_the_suite_is_well(fake_pvpython):
    fake_pvpython(**facts())
    assert by_name(examine())["paraview's python"].state == OK


def test_another_python_inside_paraview_is_a_problem_with_a_remedy(fake_pvpython):
    fake_pvpython(**facts(python="2.7"))
    finding = by_name(examine())["paraview's python"]
    assert finding.state == PROBLEM
    assert "2.7" in finding.detail
    assert "scripts/setup" in finding.remedy


def test_a_suite_that_paraview_cannot_import_is_a_problem(fake_pvpython):
    fake_pvpython(**facts(amgsrn_paraview=None, amgsrn_paraview_error="ImportError: no such thing"))
    finding = by_name(examine())["paraview's python"]
    assert finding.state == PROBLEM
    assert "no such thing" in finding.detail


@pytest.mark.parametrize(
    ("built", "registered", "state", "words"),
    [
        (None, False, NOTE, "paraview-dev"),
        ("/x/NeuralVolume.so", False, NOTE, "another ParaView"),
        ("/x/NeuralVolume.so", True, OK, "/x/NeuralVolume.so"),
    ],
)
def test_neural_volume_is_there_or_else_how_to_get_it(
    fake_pvpython, monkeypatch, built, registered, state, words
):
    path = Path(built) if built else None
    monkeypatch.setattr(paraview_launcher, "neural_volume", lambda: path)
    fake_pvpython(**facts(neural_volume=registered))
    finding = by_name(examine())["neural volume"]
    assert finding.state == state
    assert words in finding.detail + finding.remedy


def test_no_paraview_is_only_a_note(tmp_path, monkeypatch):
    monkeypatch.setenv("PARAVIEW_HOME", str(tmp_path))
    finding = by_name(examine())["paraview"]
    assert finding.state == NOTE
    assert str(tmp_path) in finding.remedy


@pytest.mark.parametrize(
    ("numpy", "paraview", "state"),
    [
        ("2.4.1", "5.13.2", PROBLEM),
        ("2.4.1", "6.0.1", PROBLEM),
        ("2.4.6", "6.1.1", OK),
        ("2.3.9", "5.11.0", OK),
    ],
)
def test_a_numpy_is_too_new_for_some_paraviews_only(fake_pvpython, numpy, paraview, state):
    fake_pvpython(**facts(numpy=numpy, paraview=paraview))
    found = by_name(examine())
    assert found["numpy"].state == OK
    assert found["paraview's python"].state == state
    if state == PROBLEM:
        assert "'numpy<2.4'" in found["paraview's python"].remedy


def test_what_is_not_well_ends_with_the_command_that_mends_it(fake_pvpython, monkeypatch):
    monkeypatch.setattr(packages, "version_of", lambda package: None)
    monkeypatch.setattr(paraview_launcher, "neural_volume", lambda: None)
    monkeypatch.setattr("amgsrn_core.kernels.load", lambda: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("DISPLAY", raising=False)
    for module in ("torch", "vtkmodules.vtkCommonCore"):
        monkeypatch.setitem(sys.modules, module, None)
    fake_pvpython(**facts(python="2.7"))
    bad = [finding for finding in examine() if finding.state != OK]
    assert len(bad) >= 8
    for finding in bad:
        command = finding.remedy.rpartition(": ")[2]
        assert command.split()[0].rpartition("/")[2] in COMMANDS, finding


def test_no_finding_that_is_not_well_lacks_a_remedy():
    for path in Path(command.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding":
                states = {ast.unparse(argument) for argument in node.args}
                assert len(node.args) == 4 or not states & {"NOTE", "PROBLEM"}, ast.unparse(node)


def test_a_suite_without_its_plugin_file_is_a_problem(fake_pvpython, monkeypatch, tmp_path):
    fake_pvpython(**facts())
    (tmp_path / "half").mkdir()
    monkeypatch.setattr(
        paraview_launcher.amgsrn_core, "__file__", str(tmp_path / "half/amgsrn_core/__init__.py")
    )
    found = by_name(paraview.check_paraview(paraview.begin_probe()))
    assert found["paraview"].state == OK
    assert found["plugin"].state == PROBLEM
    assert "AMGSRN.xml was not found" in found["plugin"].detail


@pytest.mark.parametrize(("state", "status"), [(OK, 0), (NOTE, 0), (PROBLEM, 1)])
def test_only_problems_fail(monkeypatch, capsys, state, status):
    monkeypatch.setattr(command, "examine", lambda: [Finding("thing", state, "seen", "Repair it.")])
    assert main(["doctor"]) == status
    assert "Repair it." in capsys.readouterr().out


def test_the_report_is_json_with_stable_keys(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "examine", lambda: [Finding("thing", OK, "seen")])
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["healthy"] is True
    assert report["findings"] == [{"name": "thing", "state": "ok", "detail": "seen", "remedy": ""}]
    assert {"processor", "cores", "system", "python", "torch", "paraview"} <= set(report["machine"])
    main(["doctor", "--json", str(tmp_path / "report.json")])
    written = json.loads((tmp_path / "report.json").read_text())
    for picture in report.pop("pictures") + written.pop("pictures"):
        assert {"marcher", "device", "spacing", "difference", "seconds", "is_right"} <= set(picture)
    assert written == report


def test_without_pytorch_it_notes_what_cannot_be_done(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = by_name(devices.check_torch())
    assert found["torch"].state == NOTE
    assert "neither trained nor compressed" in found["torch"].detail
    assert "amgsrn[train]" in found["torch"].remedy
    assert found["backend"].detail.startswith("native on the CPU")
    monkeypatch.setattr("amgsrn_core.kernels.load", lambda: None)
    assert by_name(devices.check_torch())["backend"].state == PROBLEM
