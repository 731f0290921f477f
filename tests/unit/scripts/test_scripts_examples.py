"""The examples of docs/examples run as they stand, and their pictures show something."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.paths import ROOT
from support.pictures import content, read_png
from support.sample_models import write_small_model

EXAMPLES = sorted((ROOT / "docs" / "examples").glob("[0-9][0-9]_*.py"))
LIBRARY = [path for path in EXAMPLES if "import paraview" not in path.read_text()]
LARGEST = 150_000


def test_every_example_is_on_the_page_with_a_small_picture_of_it():
    page = (ROOT / "docs" / "examples.md").read_text()
    assert [path.name[:2] for path in EXAMPLES] == [f"{n:02d}" for n in range(1, 9)]
    for path in EXAMPLES:
        picture = path.with_suffix(".png")
        assert path.name in page and f"(examples/{picture.name})" in page
        assert picture.stat().st_size < LARGEST


@pytest.mark.slow
@pytest.mark.parametrize("example", LIBRARY, ids=lambda path: path.stem)
def test_an_example_writes_its_picture(example, tmp_path):
    picture, program = tmp_path / "picture.png", example.read_text()
    command = [sys.executable, str(example), str(picture)]
    if "from trame" in program:
        pytest.skip("it serves a browser")
    if "vtkmodules" in program and not os.environ.get("DISPLAY"):
        pytest.skip("no X display: scripts/test starts one")
    if "import pyvista" in program:
        pytest.importorskip("pyvista")
        write_small_model(tmp_path / "model.amgsrn")
        command.insert(2, str(tmp_path / "model.amgsrn"))
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    share, colours = content(read_png(picture))
    assert 0.05 < share < 0.95
    assert colours > 20
