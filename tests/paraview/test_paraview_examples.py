"""The example of docs/examples that needs ParaView draws its picture."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import covered, executable
from support.paths import ROOT


@pytest.mark.slow
def test_the_scene_is_drawn(tmp_path):
    executable("pvpython")
    picture = tmp_path / "scene.png"
    example = ROOT / "docs" / "examples" / "04_paraview_scene.py"
    command = [sys.executable, "-m", "amgsrn_core.cli", "pvpython", str(example), str(picture)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    share, colours = covered(picture)
    assert 0.05 < share < 0.95
    assert colours > 20
