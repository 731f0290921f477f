"""The quick start plans its training, goes on where it stopped, and reports what it measured."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import numpy as np
import pytest
from support.paths import ROOT

from amgsrn_core.volume import write_volume

SCRIPTS = ROOT / "scripts"
sys.path.insert(0, str(SCRIPTS))

pytest.importorskip("nibabel", reason="nibabel is not installed")

import quickstart  # noqa: E402


@pytest.fixture
def source(tmp_path):
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in (20, 22, 24)], indexing="ij")
    values = np.exp(-3 * (x**2 + y**2 + z**2)).astype(np.float32)
    values[:, :6, :6] = np.nan
    return write_volume(
        tmp_path / "blob.nc", values, open_geometry(values), name="blob", valid=~np.isnan(values)
    )


def open_geometry(values):
    from amgsrn_core.volume import GridGeometry

    return GridGeometry.uniform(values.shape, spacing=(1.0, 1.0, 2.0), units="m")


def options(folder, **changed):
    folder.mkdir(exist_ok=True)
    given = {"output": folder, "variable": "blob", "iterations": 30, "batch": 512}
    return argparse.Namespace(**{**given, **changed})


def plan(folder, source, **changed):
    chosen = options(folder, **changed)
    return quickstart.plan_training(chosen, source, folder / "model.amgsrn")


def test_an_interrupted_run_goes_on_with_its_own_plan(tmp_path, source, monkeypatch):
    monkeypatch.setattr(quickstart, "TRAINING_SECONDS", 12)
    first, unfinished = plan(tmp_path / "out", source, iterations=None)
    assert not unfinished
    (tmp_path / "out" / "model.amgsrn.parts").mkdir()
    monkeypatch.setattr(quickstart, "TRAINING_SECONDS", 99)
    assert plan(tmp_path / "out", source, iterations=None) == (first, True)


def test_another_choice_begins_anew_and_removes_the_old_results(tmp_path, source):
    plan(tmp_path / "out", source)
    (tmp_path / "out" / "model.amgsrn.parts").mkdir()
    (tmp_path / "out" / "report.json").write_text("{}")
    _, unfinished = plan(tmp_path / "out", source, iterations=31)
    assert not unfinished
    assert not (tmp_path / "out" / "report.json").exists()


def test_a_finished_run_is_done_again(tmp_path, source):
    plan(tmp_path / "out", source)
    assert plan(tmp_path / "out", source)[1] is False


def test_seconds_are_the_goal_unless_steps_are_given(tmp_path, source):
    timed, _ = plan(tmp_path / "a", source, iterations=None, batch=None)
    assert timed == ["--dtype", "float16", "--max-seconds", str(quickstart.TRAINING_SECONDS)]
    counted, _ = plan(tmp_path / "b", source)
    assert "--max-seconds" not in counted and counted[-4:] == [
        "--iterations",
        "30",
        "--batch",
        "512",
    ]


def test_a_step_that_fails_ends_it_with_that_step_s_status(tmp_path):
    result = subprocess.run(
        [sys.executable, SCRIPTS / "quickstart.py", tmp_path / "no.nc", "--output", tmp_path / "o"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert "no.nc" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_figures_of_the_report_are_those_of_the_test(tmp_path, source):
    from amgsrn_core.cli import main
    from amgsrn_core.model import read_index

    model = tmp_path / "model.amgsrn"
    few = ["--iterations", "20", "--batch", "256", "--grids", "2", "--grid-shape", "4,4,4"]
    assert main(["train", str(source), "-o", str(model), *few, "--width", "8"]) == 0
    assert main(["test", str(model), "--against", str(source), "--json", f"{tmp_path}/m.json"]) == 0
    measured = json.loads((tmp_path / "m.json").read_text())
    report = quickstart.summarise(read_index(model), source, model, measured, {"training": 2.5})
    assert {key: report[key] for key in ("psnr", "ssim", "max_error")} == {
        key: measured[key] for key in ("psnr", "ssim", "max_error")
    }
    assert report["compression_ratio"] == pytest.approx(measured["ratio"])
    assert report["bytes"] == model.stat().st_size
    assert report["file_ratio"] == source.stat().st_size / model.stat().st_size
    assert report["seconds"]["total"] == 2.5
    assert report["volume"]["dims"] == [20, 22, 24]
    json.dumps(report)
