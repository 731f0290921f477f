"""What happens to training when processes die, disks fill up and files rot."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.small_disk import mounted

from amgsrn_core import volume_from_array
from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.errors import OutputError
from amgsrn_core.jobs import TrainingJob
from amgsrn_core.model import load_brick
from amgsrn_core.runs import train
from amgsrn_core.runs.settings import Settings
from amgsrn_core.training import Command, Progress
from amgsrn_core.volume import export_volume, open_volume
from amgsrn_core.volume.volume import Volume

SIZE = NetworkConfig(grids=2, grid_shape=(6, 6, 6), width=16)
# Checkpoints at every opportunity, so that a kill at any time finds work to save.
CONFIG = TrainingConfig(iterations=600, batch=256, device="cpu", checkpoint_seconds=1e-6)


def saddle() -> Volume:
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, 12)] * 3, indexing="ij")
    return volume_from_array((x * y + z).astype(np.float32), name="saddle")


@pytest.fixture
def source(tmp_path: Path) -> dict[str, Any]:
    return {"kind": "exported", "path": str(export_volume(saddle(), tmp_path / "exported"))}


@pytest.fixture
def single_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def same(first: Path, second: Path) -> bool:
    a, b = load_brick(first, 0), load_brick(second, 0)
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def until(job: TrainingJob, iteration: int) -> None:
    deadline = time.monotonic() + 120
    while job.status().iteration < iteration and time.monotonic() < deadline:
        assert not job.status().has_ended, job.status().message
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_worker_is_continued_to_the_same_model(
    tmp_path: Path, source: dict[str, Any], single_thread: None, number: int
) -> None:
    output = tmp_path / "m.amgsrn"
    chance = random.Random(int(number))
    for _ in range(2):
        job = TrainingJob.start(output, source, Settings(SIZE, CONFIG), threads=1)
        until(job, 1)
        time.sleep(chance.uniform(0, 0.4))
        os.kill(job.status().pid, number)
        status = job.wait()
        if number == signal.SIGTERM:
            assert status.state in ("stopped", "done")
        elif status.state != "done":
            assert "signal 9" in status.message and "again" in status.message
    last = TrainingJob.start(output, source, Settings(SIZE, CONFIG), threads=1)
    assert last.wait().state == "done"
    whole = train(open_volume(source["path"]), tmp_path / "whole.amgsrn", SIZE, CONFIG)
    assert same(output, whole.path)


def test_a_second_run_on_the_same_output_is_refused_and_the_first_undisturbed(
    tmp_path: Path, source: dict[str, Any]
) -> None:
    output = tmp_path / "m.amgsrn"
    endless = TrainingConfig(iterations=10**6, batch=128, device="cpu")
    first = TrainingJob.start(output, source, Settings(SIZE, endless), threads=1)
    try:
        until(first, 1)
        second = TrainingJob.start(output, source, Settings(SIZE, endless), threads=1)
        assert second.wait().state == "failed"
        assert "Another process is training" in second.status().message
        done = first.status().iteration
        until(first, done + 1)
    finally:
        first.stop()
    assert first.status().state == "stopped"


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_a_damaged_checkpoint_costs_time_and_nothing_else(
    tmp_path: Path, single_thread: None, damage: str
) -> None:
    output = tmp_path / "m.amgsrn"
    config = TrainingConfig(iterations=30, batch=128, device="cpu")

    def stop(progress: Progress) -> Command:
        return Command.STOP if progress.iteration == 30 else Command.CONTINUE

    assert not train(saddle(), output, SIZE, config, observer=stop).completed
    checkpoint = tmp_path / "m.amgsrn.parts" / "brick-0000" / "checkpoint.safetensors"
    content = checkpoint.read_bytes()
    damaged = {"truncated": content[: len(content) // 2], "garbage": b"x" * 999, "empty": b""}
    checkpoint.write_bytes(damaged[damage])
    assert train(saddle(), output, SIZE, config).completed
    whole = train(saddle(), tmp_path / "whole.amgsrn", SIZE, config)
    assert same(output, whole.path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 kB."""
    with mounted(tmp_path / "disk", "128k") as place:
        yield place


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return filler


def test_a_disk_that_fills_up_while_saving_loses_nothing(small_disk: Path) -> None:
    output = small_disk / "m.amgsrn"
    config = TrainingConfig(iterations=30, batch=128, device="cpu")

    def fill_before_saving(progress: Progress) -> Command:
        if progress.phase == "saving":
            fill(small_disk)
        return Command.CONTINUE

    with pytest.raises(OutputError, match="disk is full"):
        train(saddle(), output, SIZE, config, observer=fill_before_saving)
    assert not output.exists()
    (small_disk / "filler").unlink()
    heard: list[int] = []

    def listen(progress: Progress) -> Command:
        if progress.phase == "training":
            heard.append(progress.iteration)
        return Command.CONTINUE

    assert train(saddle(), output, SIZE, config, observer=listen).completed
    assert heard == [30]  # nothing was trained again


def test_a_full_disk_costs_checkpoints_but_not_the_run(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = small_disk / "m.amgsrn"
    state = {"filled": False}

    def observer(progress: Progress) -> Command:
        if progress.phase == "training" and not state["filled"]:
            fill(small_disk)
            state["filled"] = True
        if progress.phase == "saving":
            (small_disk / "filler").unlink()
        return Command.CONTINUE

    assert train(saddle(), output, SIZE, CONFIG, observer=observer).completed
    assert "without a checkpoint" in caplog.text
