"""The commands where PyTorch is not installed: models are shown, the rest says what to do."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support.original_models import OPTIONS, adaptive_tensors, write_original
from support.sample_models import write_small_model

from amgsrn_core.cli import main
from amgsrn_core.model import read_index
from amgsrn_core.volume import open_volume

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
        ("bench training --json bench.json", "A measurement of training"),
        ("bench render", "A picture of no model that you name (--model)"),
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


def test_models_are_described_reconstructed_drawn_and_measured(amgsrn, model, tmp_path):
    for words in (
        "info model.amgsrn --verify",
        "reconstruct model.amgsrn -o back.nc --shape 8,9,10",
        "reconstruct model.amgsrn -o same.nc",
        "render model.amgsrn -o picture.png --hw 40,50",
        "render same.nc -o data.png --hw 40,50",
        "test model.amgsrn --against same.nc --tests psnr,throughput --json test.json",
    ):
        result = amgsrn(*words.split())
        assert result.returncode == 0, result.stderr
    assert open_volume(tmp_path / "back.nc").dims == (8, 9, 10)
    measured = json.loads((tmp_path / "test.json").read_text())
    assert measured["psnr"] is None or measured["psnr"] > 100
    assert measured["throughput"]["backend"] == "native"
    # With PyTorch they are the same.
    again = tmp_path / "again.png"
    assert main(["render", str(tmp_path / model), "-o", str(again), "--hw", "40,50"]) == 0
    assert again.read_bytes() == (tmp_path / "picture.png").read_bytes()


def test_the_kernels_speed_is_measured(amgsrn, model, tmp_path):
    sizes = "--grids 2 --grid-shape 4,4,4 --width 16 --points 2000"
    small = "--repetitions 1 --threads 1 --json bench.json"
    for what in (f"inference {sizes}", f"render --model {model}"):
        result = amgsrn("bench", *what.split(), *small.split())
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith("Without PyTorch, which is not installed here")
        measured = json.loads((tmp_path / "bench.json").read_text())
        assert [row["backend"] for row in measured["results"]] == ["native"]
        assert measured["ratio"] == []


def test_what_pytorch_alone_computes_says_so(amgsrn, model, tmp_path):
    result = amgsrn("reconstruct", model, "-o", "back.nc", "--backend", "torch")
    assert result.returncode == 1
    assert "needs PyTorch, which is not installed here" in result.stderr
    result = amgsrn("render", model, "-o", "p.png", "--device", "cuda")
    assert result.returncode == 1
    assert "needs PyTorch, which is not installed here" in result.stderr
    result = amgsrn("export", model, "folder")
    assert result.returncode == 1
    assert result.stderr.startswith("amgsrn: Writing a checkpoint needs PyTorch")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.amgsrn"]


def test_a_model_of_the_original_is_imported(amgsrn, tmp_path):
    write_original(tmp_path / "old", adaptive_tensors(OPTIONS))
    result = amgsrn("import", "old", "-o", "new.amgsrn")
    assert result.returncode == 0, result.stderr
    assert read_index(tmp_path / "new.amgsrn").network.grids == OPTIONS["n_grids"]


def test_the_plan_of_jobs_is_shown_and_trainings_are_refused(amgsrn, tmp_path):
    job = ["train.py", {"save_name": "a", "data": "a.nc"}]
    (tmp_path / "jobs.json").write_text(json.dumps([job]))
    (tmp_path / "a.nc").touch()
    result = amgsrn("jobs", "jobs.json", "--dry-run")
    assert result.returncode == 0, result.stderr
    result = amgsrn("jobs", "jobs.json")
    assert result.returncode == 1
    assert result.stderr.startswith("amgsrn: Training needs PyTorch")
    assert {path.name for path in tmp_path.iterdir()} == {"jobs.json", "a.nc"}
