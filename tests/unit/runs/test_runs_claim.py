"""How a run begins: one volume, its bricks and a series go on, end or refuse in the same way."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np
import pytest

from amgsrn_core import volume_from_array
from amgsrn_core.config import (
    NetworkConfig,
    SeriesConfig,
    StorageConfig,
    TrainingConfig,
)
from amgsrn_core.errors import ResumeError
from amgsrn_core.model import read_index
from amgsrn_core.runs import TrainingOutcome, train, train_series
from amgsrn_core.runs.brick_run import train_bricks
from amgsrn_core.runs.plan import Plan
from amgsrn_core.runs.settings import Settings
from amgsrn_core.training import Command, Progress
from amgsrn_core.training.progress import Observer, unobserved
from amgsrn_core.volume.partition import partition

SIZE = NetworkConfig(grids=2, grid_shape=(4, 4, 4), width=8)
KINDS = ("single", "bricks", "series")
Z, Y, X = np.meshgrid(*[np.linspace(-1, 1, 8)] * 3, indexing="ij")
VOLUME = volume_from_array((X * Y + Z).astype("f4"), name="saddle")
LATER = volume_from_array((X * Y - Z).astype("f4"), name="saddle")


class Here(Executor):
    """Runs calls at once, in this process, and leaves those beyond some number undone."""

    def __init__(self, calls: int) -> None:
        self._calls = calls

    def submit(self, fn, /, *args, **kwargs):
        future: Future = Future()
        self._calls -= 1
        future.set_result(fn(*args, **kwargs) if self._calls >= 0 else "stopped")
        return future


def run(
    kind: str,
    output: Path,
    iterations: int = 30,
    restart: bool = False,
    observer: Observer = unobserved,
    batch: int = 64,
) -> TrainingOutcome:
    training = TrainingConfig(
        iterations=iterations, batch=batch, device="cpu", checkpoint_seconds=0
    )
    if kind == "single":
        return train(VOLUME, output, SIZE, training, restart=restart, observer=observer)
    if kind == "series":
        steps, series = [VOLUME, LATER], SeriesConfig(warm_iterations=iterations)
        return train_series(
            steps, output, SIZE, training, series=series, restart=restart, observer=observer
        )
    return train_bricks(
        VOLUME,
        output,
        Plan(Settings(SIZE, training), partition(VOLUME.dims, (1, 1, 2), 1)),
        restart=restart,
        observer=observer,
        executor=Here(1 if observer is stop else 2),
    )


def stop(progress: Progress) -> Command:
    """Stop a run when a brick, a step, or a part of a network is done."""
    half = progress.bricks is not None and progress.bricks.done
    if half or progress.step or (progress.network is not None and progress.iteration):
        return Command.STOP
    return Command.CONTINUE


def break_down(progress: Progress) -> Command:
    raise RuntimeError("a power cut")


def interrupt(kind: str, output: Path, **options) -> None:
    assert not run(kind, output, observer=stop, **options).completed


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the observer all the time."""
    monkeypatch.setattr("amgsrn_core.training.fit._PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("amgsrn_core.execution.runner._POLL_SECONDS", 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_restart_that_broke_down_at_once_goes_on_over_the_older_model(kind, tmp_path):
    output = tmp_path / "m.amgsrn"
    run("single", output, iterations=3)
    with pytest.raises(RuntimeError, match="power cut"):
        run(kind, output, restart=True, observer=_when_training(break_down))
    assert read_index(output).training.iterations_done == 3
    assert run(kind, output).completed
    assert read_index(output).training.iterations_done > 3
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_is_complete_ends_the_run(kind, tmp_path):
    """Also where the work that it was made of is still there."""
    output, parts, aside = (tmp_path / name for name in ("m.amgsrn", "m.amgsrn.parts", "aside"))
    interrupt(kind, output)
    shutil.copytree(parts, aside)
    assert run(kind, output).completed
    aside.rename(parts)
    made, heard = output.stat().st_mtime_ns, []

    def listen(progress: Progress) -> Command:
        heard.append(progress.phase)
        return Command.CONTINUE

    assert run(kind, output, observer=listen).completed
    assert output.stat().st_mtime_ns == made and set(heard) <= {"reading"}
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_complete_already_is_told(kind, tmp_path):
    output = tmp_path / "m.amgsrn"
    assert [run(kind, output).was_complete for _ in range(2)] == [False, True]
    assert not run(kind, output, restart=True).was_complete


@pytest.mark.parametrize("kind", KINDS)
def test_the_options_that_are_others_are_named(kind, tmp_path):
    output = tmp_path / "m.amgsrn"
    interrupt(kind, output)
    with pytest.raises(ResumeError, match=r"other options \(iterations 30, now 31.*\); restart"):
        run(kind, output, iterations=31)
    assert run(kind, output).completed
    with pytest.raises(
        ResumeError, match=r"other options \(iterations 30, now 31; batch 64, now 9"
    ):
        run(kind, output, iterations=31, batch=9)


def test_other_data_are_told_from_other_options(tmp_path):
    output, training = tmp_path / "m.amgsrn", TrainingConfig(iterations=3, batch=64, device="cpu")
    train(VOLUME, output, SIZE, training)
    with pytest.raises(ResumeError, match="trained with the same options but other data"):
        train(LATER, output, SIZE, training)
    with pytest.raises(ResumeError, match=r"other options \(grids 2, now 3\)"):
        train(VOLUME, output, dataclasses.replace(SIZE, grids=3), training)
    storage = StorageConfig(dtype="float16")
    with pytest.raises(ResumeError, match=r"other options \(dtype float32, now float16\)"):
        train(VOLUME, output, SIZE, training, storage)


@pytest.mark.parametrize("record", ["", "{}", '{"fingerprint": "?", "options": {"training": 3}}'])
def test_a_run_of_an_earlier_version_says_nothing_of_its_options(record, tmp_path):
    output = tmp_path / "m.amgsrn"
    interrupt("single", output)
    (tmp_path / "m.amgsrn.parts/run.json").write_text(record)
    with pytest.raises(ResumeError, match="interrupted run with other data or options"):
        run("single", output)


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(KINDS, 2)))
def test_a_folder_holds_the_work_of_one_run(first, second, tmp_path):
    output = tmp_path / "m.amgsrn"
    interrupt(first, output)
    for kind, iterations in ((second, 30), (first, 31)):
        with pytest.raises(
            ResumeError,
            match=r"interrupted run with (other options|the same options but other data)",
        ):
            run(kind, output, iterations=iterations)
    interrupt(second, output, restart=True)
    with pytest.raises(
        ResumeError, match=r"interrupted run with (other options|the same options but other data)"
    ):
        run(first, output)
    assert run(second, output).completed


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on_with_what_its_options_meant_when_it_was_begun(kind, tmp_path):
    """Of an earlier version, in which no batch meant one of 65536 points."""
    output = tmp_path / "m.amgsrn"
    interrupt(kind, output, iterations=2, batch=65536)
    assert run(kind, output, iterations=2, batch=0).completed
    assert read_index(output).training.config["batch"] == 65536
    made = output.stat().st_mtime_ns
    assert run(kind, output, iterations=2, batch=0).completed
    assert output.stat().st_mtime_ns == made
    with pytest.raises(ResumeError, match=r"trained with other options \(.*iterations 2, now 3"):
        run(kind, output, iterations=3, batch=0)
    assert run(kind, output, iterations=2, batch=0, restart=True).completed
    assert read_index(output).training.config["batch"] != 65536


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_kept_nothing_is_in_nobody_s_way(kind, tmp_path):
    output = tmp_path / "m.amgsrn"
    with pytest.raises(RuntimeError, match="power cut"):
        run(kind, output, observer=_when_training(break_down))
    assert run("single", output, iterations=5).completed


def _when_training(observer: Observer) -> Observer:
    def observe(progress: Progress) -> Command:
        is_on = progress.bricks is not None or progress.network is not None
        return observer(progress) if is_on else Command.CONTINUE

    return observe
