"""The stop file ends a run at any moment, in a state from which it goes on to the same model."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np
import pytest
from support.brick_runs import same, write_waves

from amgsrn_core import volume_from_array
from amgsrn_core.config import (
    NetworkConfig,
    SeriesConfig,
    StorageConfig,
    TrainingConfig,
)
from amgsrn_core.runs import TrainingOutcome, train, train_series
from amgsrn_core.runs import brick_run as dispatch
from amgsrn_core.runs.plan import Plan
from amgsrn_core.runs.settings import Settings
from amgsrn_core.runs.stop_file import stopped_since
from amgsrn_core.system.run_folder import workspace
from amgsrn_core.training import Command, Observer, Progress
from amgsrn_core.volume.partition import partition

SIZE = NetworkConfig(grids=2, features=2, grid_shape=(3, 3, 3), layers=1, width=8)
TRAINING = TrainingConfig(iterations=5, batch=64, device="cpu", checkpoint_seconds=0)
Z, Y, X = np.meshgrid(*[np.linspace(-1, 1, 8)] * 3, indexing="ij")
VOLUME = volume_from_array((X * Y + Z).astype("f4"), name="saddle")
LATER = volume_from_array((X * Y - Z).astype("f4"), name="saddle")
KINDS = ("single", "compressed", "bricks", "series")


class Here(Executor):
    """Runs calls at once, in this process."""

    def submit(self, fn, /, *args, **kwargs):
        future: Future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def run(kind: str, output: Path, observer: Observer) -> TrainingOutcome:
    if kind == "single":
        return train(VOLUME, output, SIZE, TRAINING, observer=observer)
    if kind == "compressed":
        storage = StorageConfig(compress=True, compress_finetune=10, compress_loss=3.0)
        return train(VOLUME, output, SIZE, TRAINING, storage, observer=observer)
    if kind == "series":
        series = SeriesConfig(warm_iterations=3)
        steps = [VOLUME, LATER]
        return train_series(steps, output, SIZE, TRAINING, series=series, observer=observer)
    return dispatch.train_bricks(
        VOLUME,
        output,
        Plan(Settings(SIZE, TRAINING), partition(VOLUME.dims, (1, 1, 2), 1)),
        restart=False,
        observer=observer,
        executor=Here(),
    )


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the observer at every opportunity."""
    monkeypatch.setattr("amgsrn_core.training.fit._PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("amgsrn_core.training.progress._ASK_SECONDS", 0.0)
    monkeypatch.setattr("amgsrn_core.training.progress._PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("amgsrn_core.execution.runner._POLL_SECONDS", 0.0)


def stop_of(output: Path) -> Path:
    return Path(f"{output}.parts") / "stop"


class Touching:
    """Makes the stop file when it is asked for the n-th time, and lets the run go on."""

    def __init__(self, output: Path, number: float, answer: Command = Command.CONTINUE) -> None:
        self._file, self._number, self._answer = stop_of(output), number, answer
        self.phases: list[str] = []

    def __call__(self, progress: Progress) -> Command:
        self.phases.append(progress.phase)
        if len(self.phases) >= self._number:
            self._file.touch()
        return self._answer


@pytest.mark.parametrize("kind", KINDS)
def test_whenever_the_file_appears_the_run_ends_and_goes_on_later(kind, tmp_path):
    whole, output = tmp_path / "whole.amgsrn", tmp_path / "m.amgsrn"
    undisturbed = Touching(whole, float("inf"))
    assert run(kind, whole, undisturbed).completed
    phases = undisturbed.phases
    wanted = {"reading", "saving"} | ({"training"} if kind != "bricks" else set())
    assert wanted | ({"compressing"} if kind == "compressed" else set()) <= set(phases)
    for number in range(1, len(phases) + 1):
        touching = Touching(output, number)
        outcome = run(kind, output, touching)
        assert not outcome.completed and not output.exists(), phases[number - 1]
        assert outcome.stopped_by == str(stop_of(output))
        assert len(touching.phases) == number  # it is asked no more
        assert not stop_of(output).exists()
        assert not list(tmp_path.glob("*.tmp"))
        assert run(kind, output, Touching(output, float("inf"))).completed
        assert same(output, whole)
        assert not stop_of(output).parent.exists()
        output.unlink()


# (Bricks pause in processes of their own, see tests/unit/runs/test_runs_brick_networks.py.)
@pytest.mark.parametrize("kind", ["single", "compressed", "series"])
def test_a_paused_run_ends_as_well(kind, tmp_path):
    output = tmp_path / "m.amgsrn"
    phases: list[str] = []

    def pause(progress: Progress) -> Command:
        phases.append(progress.phase)
        if phases.count("paused") == 2:
            stop_of(output).touch()
        return Command.PAUSE

    outcome = run(kind, output, pause)
    assert not outcome.completed and outcome.stopped_by
    assert phases[-2:] == ["paused"] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_there_already_is_removed_with_a_word(kind, tmp_path, caplog):
    output = tmp_path / "m.amgsrn"
    stop_of(output).parent.mkdir()
    stop_of(output).touch()
    with caplog.at_level(logging.WARNING):
        assert run(kind, output, Touching(output, float("inf"))).completed
    assert [r.message for r in caplog.records] == [
        f"{stop_of(output)} was there before this run, which goes on and removes it."
    ]


def test_a_run_that_the_observer_stops_names_no_file(tmp_path):
    outcome = run("single", tmp_path / "m.amgsrn", lambda progress: Command.STOP)
    assert not outcome.completed and outcome.stopped_by == ""


def test_a_file_counts_from_when_the_run_was_asked_for(tmp_path):
    output = tmp_path / "m.amgsrn"
    stop = stop_of(output)
    assert stopped_since(output, 0) == ""
    stop.parent.mkdir()
    stop.touch()
    now = stop.stat().st_mtime_ns
    assert stopped_since(output, now + 1) == "" and stop.exists()
    with workspace(output):  # another run's
        assert stopped_since(output, now) == "" and stop.exists()
    assert stopped_since(output, now) == str(stop) and not stop.exists()


@pytest.mark.parametrize("bricks", ["1,1,1", "1,1,2"])
def test_a_file_ends_a_command_in_one_sentence(tmp_path, bricks):
    source, output = write_waves(tmp_path / "wave.nc"), tmp_path / "m.amgsrn"
    options = "--grids 2 --grid-shape 5,5,5 --width 8 --batch 64 --device cpu --workers 1"
    command = [sys.executable, "-m", "amgsrn_core.cli", "train", str(source), "-o", str(output)]
    command += [*options.split(), "--bricks", bricks, "--iterations", "100000000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: stop_of(output).parent.is_dir() or process.poll() is not None)
        time.sleep(1.0)  # whatever it is at by then
        stop_of(output).touch()
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    (line,) = [line for line in err.splitlines() if line.startswith("amgsrn: ")]
    assert line.startswith(f"amgsrn: Stopped by the file {stop_of(output)}; ")
    assert line.endswith("Run the same command again to continue.")
    assert os.path.exists(f"{output}.parts") == ("is kept in" in line)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
