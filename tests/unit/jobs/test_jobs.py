"""Job files of the original: what each entry becomes, and how the jobs are run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.original_models import OPTIONS, adaptive_tensors, write_original
from support.paths import ROOT
from support.processes import end_all, left_at_last, marked
from support.sample_models import write_small_model

from amgsrn_core.cli import main, parser
from amgsrn_core.cli.options import configuration
from amgsrn_core.config import BrickConfig, NetworkConfig, TrainingConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.model import read_index
from amgsrn_core.original import jobs
from amgsrn_core.original.jobs import OBSOLETE, Folders, Job, read_jobs
from amgsrn_core.volume import GridGeometry, write_volume

SMALL = {
    "n_grids": 2,
    "feature_grid_shape": "4,4,4",
    "nodes_per_layer": 8,
    "iterations": 5,
    "points_per_iteration": 64,
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Work in a folder with the original's sub-folders and a small volume."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Data").mkdir()
    (tmp_path / "SavedModels").mkdir()
    values = np.random.default_rng(0).random((1, 8, 9, 10)).astype("f4")
    write_volume(tmp_path / "Data" / "wave.nc", values, GridGeometry.uniform((8, 9, 10)))
    return tmp_path


def write_jobs(*entries: tuple[str, dict]) -> Path:
    path = Path("settings.json")
    path.write_text(json.dumps([list(entry) for entry in entries]))
    return path


def plan(*entries: tuple[str, dict]) -> list[Job]:
    return read_jobs(write_jobs(*entries), Folders())


def training(name: str = "wave", **options) -> tuple[str, dict]:
    return "train.py", {"save_name": name, "data": "wave.nc", **SMALL, **options}


def complaint(*entries: tuple[str, dict]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        plan(*entries)
    assert "settings.json, entry" in str(caught.value)
    return str(caught.value)


def parsed(job: Job) -> tuple[NetworkConfig, TrainingConfig, BrickConfig]:
    arguments = parser.parse(job.commands[0])
    network, fit, bricks = (
        configuration(kind, arguments) for kind in (NetworkConfig, TrainingConfig, BrickConfig)
    )
    return network, fit, bricks


def test_options_of_a_training_become_ours(place):
    (job,) = plan(training(n_features=3, n_layers=3, lr=0.005, feature_grid_shape="4,5,6"))
    network, fit, bricks = parsed(job)
    assert network == NetworkConfig(grids=2, features=3, grid_shape=(4, 5, 6), layers=3, width=8)
    assert (fit.iterations, fit.batch, fit.learning_rate) == (5, 64, 0.005)
    assert bricks == BrickConfig()
    assert job.commands[0][:4] == ["train", "Data/wave.nc", "-o", "SavedModels/wave.amgsrn"]


def test_sizes_that_are_not_given_are_the_originals(place):
    (job,) = plan(("train.py", {"save_name": "wave", "data": "wave.nc"}))
    network, fit, _ = parsed(job)
    assert (network.grids, network.features, network.grid_shape) == (64, 2, (8, 8, 8))
    assert (fit.iterations, fit.batch) == (10_000, 100_000)
    assert fit.learning_rate == TrainingConfig().learning_rate


def test_texts_are_numbers_as_on_the_originals_command_line(place):
    (job,) = plan(training(n_grids="3", lr="0.01", ensemble="False", use_bias="false"))
    network, fit, _ = parsed(job)
    assert network.grids == 3 and fit.learning_rate == 0.01 and not job.spread


@pytest.mark.parametrize(
    ("model", "encoder"), [("APMGSRN", "adaptive"), ("fVSRN", "dense"), ("NGP", "hash")]
)
def test_each_model_has_its_encoder(place, model, encoder):
    options = {"num_positional_encoding_terms": 4, "hash_log2_size": 12}
    (job,) = plan(training(model=model, **options))
    network, _, _ = parsed(job)
    assert network.encoder == encoder
    assert (network.positional_terms, network.hash_log2_size) == (4, 12)


def test_an_ensemble_is_one_job_with_the_originals_overlap(place):
    ensemble = {"ensemble": True, "ensemble_grid": "2,1,3", "ensemble_ghost_cells": 2}
    (job,) = plan(training(**ensemble))
    assert job.spread
    _, _, bricks = parsed(job)
    assert (bricks.bricks, bricks.ghost) == ((2, 1, 3), 3)


def test_options_of_the_successor_are_passed_on(place):
    options = {"tv_weight": 1e-4, "l1_regularization": "0.01", "match_aspect_ratio": "True"}
    (job,) = plan(training(**options, log_features_every=50, use_amp=True, transform_lr=0.001))
    _, fit, _ = parsed(job)
    assert (fit.tv, fit.l1, fit.match_aspect, fit.log_grids) == (1e-4, 0.01, True, 50)
    assert job.ignored == ["transform_lr", "use_amp"]


def test_every_option_is_documented():
    page = (ROOT / "docs" / "original.md").read_text()
    known = {*jobs._NETWORK, *jobs._TRAINING, *jobs._OTHERS, *OBSOLETE, *jobs._SUPPORTED}
    assert {name for name in known if f"`{name}`" not in page} == set()


def test_data_may_stay_in_memory(place):
    (job,) = read_jobs(write_jobs(training()), Folders(), "cpu")
    assert parsed(job)[1].data_device == "cpu"


def test_obsolete_options_are_named(place):
    (job,) = plan(training(log_every=10, precondition=False))
    assert job.ignored == ["log_every", "precondition"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_gridz": 3}, "n_gridz; did you mean n_grids?"),
        ({"n_grids": 0}, "grids must be at least 1"),
        ({"n_grids": "many"}, "grids must be a whole number"),
        ({"feature_grid_shape": "4,4"}, "grid-shape needs 3 numbers"),
        ({"iterations": 1.5}, "iterations must be a whole number"),
        ({"model": "GMMSRN"}, "GMMSRN"),
        ({"use_bias": True}, "use_bias"),
        ({"extents": "0,4,0,4,0,4"}, "extents"),
        ({"error_volume": True}, "error_volume"),
        ({"match_aspect_ratio": 2}, "match-aspect must be true or false"),
        ({"data": "none.nc"}, "none.nc"),
        ({"data": ""}, "'data'"),
        ({"save_name": None}, "save_name"),
        ({"save_name": "../../etc"}, "save_name"),
        ({"save_name": "/etc/model"}, "save_name"),
        ({"ensemble": True, "ensemble_grid": "2,2"}, "bricks needs 3 numbers"),
        ({"ensemble": True, "ensemble_ghost_cells": "x"}, "ghost"),
    ],
    ids=str,
)
def test_wrong_options_are_named(place, options, words):
    assert words in complaint(training(**options))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ((training(), training()), "twice"),
        ((("render.py", {}),), "render.py"),
        ((("test.py", {"load_from": "none"}),), "neither trained"),
        ((("test.py", {"load_from": "all"}),), "no model"),
        ((training(), ("test.py", {"load_from": "wave", "tests": "psnr,sharpness"})), "sharpness"),
        ((training(), ("test.py", {"load_form": "wave"})), "did you mean load_from?"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_entries_are_named(place, entries, words):
    assert words in complaint(*entries)


@pytest.mark.parametrize("text", ["", "{}", "[]", '[["train.py"]]', '[["train.py", 3]]', "[1]"])
def test_what_is_not_a_job_file_is_refused(place, text):
    Path("settings.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"settings\.json"):
        read_jobs("settings.json", Folders())
    with pytest.raises(ConfigurationError, match="no job file"):
        read_jobs("other.json", Folders())


def test_tests_wait_for_the_training_of_their_model(place):
    tests = {"load_from": "wave", "tests": "psnr,error_volume,feature_locations,reconstruction"}
    first, second = plan(("test.py", tests), training())
    assert first.name == "train wave" and second.needs is first
    measure, reconstruct = second.commands
    assert measure[measure.index("--tests") + 1] == "psnr,error,feature-locations"
    assert reconstruct[:2] == ["reconstruct", "SavedModels/wave.amgsrn"]
    for command in second.commands:
        parser.parse(command)


def test_all_are_the_models_of_this_file_and_those_that_are_there(place):
    write_small_model(Path("SavedModels/wave2.amgsrn"))  # of data.nc
    write_original(Path("SavedModels/wind"), adaptive_tensors(OPTIONS))
    for name in ("data.nc", "wind.nc"):
        Path("Data", name).write_bytes(b"")
    jobs = plan(training(), ("Code/test.py", {"load_from": "all", "tests_to_run": "psnr"}))
    assert [job.name for job in jobs] == ["train wave", "test wave", "test wave2", "test wind"]
    assert [job.needs is jobs[0] for job in jobs[1:]] == [True, False, False]
    assert [command[0] for command in jobs[3].commands] == ["import", "test"]
    assert jobs[3].commands[0][-2:] == ["--volume", "Data/wind.nc"]  # or it would lie elsewhere
    against = jobs[2].commands[0]
    assert against[against.index("--against") + 1] == "Data/data.nc"


def test_a_dry_run_prints_the_plan_and_does_nothing(place, capsys):
    path = write_jobs(training(profile=True), ("test.py", {"load_from": "all"}))
    assert main(["jobs", str(path), "--dry-run", "--devices", "cpu"]) == 0
    text = capsys.readouterr().out
    assert "1. train wave" in text and "2. test wave, after train wave" in text
    assert "--grid-shape 4,4,4" in text and "no meaning here: profile" in text
    assert not list(Path("SavedModels").iterdir())


def test_jobs_run_in_order_and_leave_models_logs_and_results(place, capsys):
    tests = {"load_from": "all", "tests": "psnr,reconstruction"}
    ensemble = {"ensemble": True, "ensemble_grid": "2,1,1", "ensemble_ghost_cells": 0}
    path = write_jobs(("test.py", tests), training("parts", **ensemble))
    assert main(["jobs", str(path), "--devices", "cpu"]) == 0
    text = capsys.readouterr().out
    assert text.index("train parts: done") < text.index("test parts: on cpu")
    assert len(read_index("SavedModels/parts.amgsrn").bricks) == 2
    assert json.loads(Path("Output/parts/test.json").read_text())["psnr"] > 0
    assert Path("Output/parts/reconstruction.nc").stat().st_size > 0
    assert "$ amgsrn train Data/wave.nc" in Path("SavedModels/parts.train.log").read_text()


def test_a_job_that_fails_is_tried_again_and_skips_what_needs_it(place, capsys):
    Path("Data/bad.nc").write_bytes(b"not a volume")
    write_small_model(Path("SavedModels/fine.amgsrn"))
    tests = [
        ("test.py", {"load_from": name, "tests": "reconstruction"}) for name in ("bad", "fine")
    ]
    path = write_jobs(training("bad", data="bad.nc"), *tests)
    assert main(["jobs", str(path), "--devices", "cpu", "--retries", "2"]) == 1
    captured = capsys.readouterr()
    assert captured.out.count("once more") == 2
    assert "test bad: skipped" in captured.out and "test fine: done" in captured.out
    assert "2 of 3 jobs did not succeed: train bad, test bad" in captured.err
    log = Path("SavedModels/bad.train.log").read_text()
    assert log.count("$ amgsrn train") == 3 and "amgsrn: " in log


def test_jobs_run_side_by_side_on_several_devices(place, monkeypatch):
    from amgsrn_core.cli import jobs

    started: list[list[str]] = []

    class Sleeper:
        """Records its command and ends after three looks."""

        def __init__(self, command, **options):
            started.append(command[3:])
            self._looks, self.returncode = 0, 0

        def poll(self):
            self._looks += 1
            return None if self._looks < 4 else 0

    monkeypatch.setattr(jobs.subprocess, "Popen", Sleeper)
    monkeypatch.setattr(jobs, "_devices", lambda text: text.split(","))
    ensemble = {"ensemble": True, "ensemble_grid": "2,1,1"}
    path = write_jobs(training("a"), training("b"), training("c"), training("d", **ensemble))
    assert main(["jobs", str(path), "--devices", "x,y"]) == 0
    assert [command[-1] for command in started] == ["x", "y", "x", "x,y"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGKILL"])
def test_a_signal_ends_the_jobs_and_keeps_their_work(place, name):
    number = getattr(signal, name)
    path = write_jobs(training(iterations=10_000_000, ensemble=True, ensemble_grid="1,1,2"))
    command = [sys.executable, "-m", "amgsrn_core.cli", "jobs", str(path), "--devices", "cpu"]
    environment, mark = marked(dict(os.environ))
    process = subprocess.Popen(
        command,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # not under `nohup`
    )
    log = Path("SavedModels/wave.train.log")
    deadline = time.monotonic() + 120
    try:
        while not list(Path("SavedModels").glob("wave.amgsrn.parts/brick-0000/status.json")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(number)
        _, text = process.communicate(timeout=120)
        assert left_at_last(mark, 60) == []
    finally:
        end_all(mark)
    # The training ended by itself, and says how to go on.
    assert "is kept in" in log.read_text()
    if number == signal.SIGKILL:
        return
    assert process.returncode == 128 + number
    assert b"Stopped" in text
