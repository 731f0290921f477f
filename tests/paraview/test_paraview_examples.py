"""The example of docs/examples that needs ParaView draws its picture."""

from __future__ import annotations

import pytest
from conftest import executable, finish
from support.paths import ROOT


@pytest.mark.slow
def test_the_scene_is_drawn(paraview, tmp_path):
    picture = tmp_path / "scene.png"
    example = ROOT / "docs" / "examples" / "04_paraview_scene.py"
    run = finish(paraview.start([executable("pvpython"), str(example), str(picture)]), 150)
    assert run.returncode == 0, run.stdout + run.stderr
    # An empty picture compresses to next to nothing.
    assert picture.stat().st_size > 20_000
