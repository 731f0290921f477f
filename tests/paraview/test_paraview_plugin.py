"""The plugin: one file, loaded in every way that ParaView has, quickly and without PyTorch."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.paths import ROOT

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
            {"PYTHONPATH": str(Path(__file__).parent / "programs")},
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
