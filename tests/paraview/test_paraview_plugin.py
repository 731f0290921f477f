"""The plugin: one file, loaded in every way that ParaView has, quickly and without PyTorch."""

from __future__ import annotations

import pytest
from conftest import PROGRAMS, missing
from support.paths import ROOT

from amgsrn_core.cli.paraview_launcher import neural_volume

PROXIES = [
    "AMGSRNTrainer",
    "AMGSRNReader",
    "AMGSRNReconstruction",
    "AMGSRNReconstructionSource",
]


@pytest.mark.parametrize(
    ("way", "path", "environment"),
    [
        ("xml", ROOT / "xml" / "AMGSRN.xml", {}),
        # A Python plugin finds everything by itself; only the programs need a path here.
        (
            "python",
            ROOT / "plugins" / "AMGSRN.py",
            {"PYTHONPATH": str(PROGRAMS)},
        ),
        ("path", "-", {"PV_PLUGIN_PATH": str(ROOT / "xml")}),
    ],
    ids=["xml", "python", "path"],
)
def test_one_file_brings_everything(paraview, way, path, environment):
    run = paraview.run("pvpython", "load.py", way, path, environment=environment)
    assert run.messages == []
    assert run.results["proxies"] == PROXIES
    assert run.results["label"] == "AMGSRN Reconstruction Source"
    # Processor time, which a busy machine does not lengthen.
    assert run.results["seconds"] < 1.0
    assert "torch" not in run.results["imported"]


@pytest.mark.parametrize("path", [[PROGRAMS], [PROGRAMS, ROOT / "plugins"]], ids=["alone", "suite"])
@pytest.mark.parametrize("program", ["pvpython", "pvbatch"])
def test_neural_volume_without_its_python_side_says_why(paraview, program, path):
    plugin = neural_volume() or missing("The compiled plugin (Debian, Ubuntu: paraview-dev)")
    environment = {"PYTHONPATH": ":".join(map(str, path))}
    run = paraview.run(program, "load_check.py", plugin, environment=environment)
    is_whole = len(path) > 1
    # A client loads it in any case, for a server may be the one that draws.
    is_welcome = is_whole or program == "pvpython"
    assert run.results["complete"] is is_welcome
    assert run.results["loaded"] is (is_welcome or run.results["version"] < [6, 1])
    what = "cannot draw here" if is_welcome else "is not loaded"
    why = f"Neural Volume {what}: The suite's Python code cannot be imported (No module named"
    assert (why in run.stderr) is not is_whole
