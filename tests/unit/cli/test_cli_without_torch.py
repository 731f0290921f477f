"""The commands where PyTorch is not installed: models are shown, the rest says what to do."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.sample_models import write_small_model

PROGRAM = """
import sys
sys.modules["torch"] = None
from amgsrn_core.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def model(tmp_path):
    write_small_model(tmp_path / "model.amgsrn")
    return "model.amgsrn"


@pytest.fixture
def amgsrn(tmp_path):
    """Run a command in a folder of its own, in a Python that has no PyTorch."""

    def run(*words):
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *words], cwd=tmp_path, capture_output=True, text=True
        )

    return run


@pytest.mark.parametrize(
    ("words", "purpose"),
    [
        ("train missing.nc -o new/m.amgsrn", "Training"),
        ("train missing.nc -o m.amgsrn --time all", "Training"),
        ("compress missing.amgsrn -o m.amgsrn", "Compressing a model"),
        ("bench inference --json bench.json", "A comparison with PyTorch's speed"),
        ("doctor --build", "Building nerfacc's operators"),
    ],
)
def test_what_needs_it_says_so_before_anything_else(amgsrn, tmp_path, words, purpose):
    result = amgsrn(*words.split())
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"amgsrn: {purpose} needs PyTorch, which is not installed here; install amgsrn[train] "
        "(in a checkout: scripts/setup).\n"
    )
    assert not list(tmp_path.iterdir())
