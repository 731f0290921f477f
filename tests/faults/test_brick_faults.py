"""What happens to a training over bricks when processes die, files rot and disks fill up."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.brick_runs import OPTIONS, same, source, train_waves, waves, whole, write_waves
from support.small_disk import mounted

from amgsrn_core import NeuralVolume
from amgsrn_core.errors import ResumeError
from amgsrn_core.training import Command, Progress

__all__ = ["source", "whole"]

COMMAND = [sys.executable, "-m", "amgsrn_core.cli", "train"]
DEADLINE = 240.0


def workers(parts: Path) -> list[int]:
    """Return the processes that train a brick right now, by what they publish."""
    pids = []
    for file in parts.glob("brick-*/status.json"):
        try:
            pid = json.loads(file.read_text())["pid"]
            os.kill(pid, 0)
            pids.append(pid)
        except (OSError, ValueError, KeyError):
            continue
    return pids


class Killer:
    """Kills workers of a run at random times, from its observer.

    A worker has some time to train first: without progress, a brick is tried again ever later.
    """

    def __init__(self, parts: Path, kills: int, seed: int, number: int = signal.SIGKILL) -> None:
        self._parts, self.left, self._number = parts, kills, number
        self._random = random.Random(seed)
        # The first one that trains, because the others may be done before a later moment.
        self._delay, self._seen = 0.0, math.inf

    def __call__(self, progress: Progress) -> Command:
        pids, now = workers(self._parts), time.monotonic()
        self._seen = min(self._seen, now) if pids else math.inf
        if self.left and now >= self._seen + self._delay:
            os.kill(self._random.choice(pids), self._number)
            self.left -= 1
            self._delay, self._seen = self._random.uniform(0, 1), math.inf
        return Command.CONTINUE


@pytest.mark.parametrize(("kills", "seed"), [(3, 1), pytest.param(20, 2, marks=pytest.mark.slow)])
def test_workers_that_are_killed_cost_nothing_but_time(whole, source, tmp_path, kills, seed):
    output = tmp_path / "m.amgsrn"
    killer = Killer(tmp_path / "m.amgsrn.parts", kills, seed)
    # Enough work that the kills find some.
    outcome = train_waves(source, output, observer=killer, retries=kills + 3)
    assert outcome.completed and killer.left < kills
    assert same(output, whole)


def test_a_worker_that_is_asked_to_end_is_replaced(whole, source, tmp_path):
    output = tmp_path / "m.amgsrn"
    killer = Killer(tmp_path / "m.amgsrn.parts", 2, 5, signal.SIGTERM)
    assert train_waves(source, output, observer=killer).completed
    assert killer.left < 2 and same(output, whole)


def start(source: Path, output: Path, *more: str) -> subprocess.Popen[str]:
    command = [*COMMAND, str(source), "-o", str(output), *OPTIONS, *more]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs, as these tests may be, ignore Ctrl-C or hang-ups and hand that
        # down.
        preexec_fn=lambda: [
            signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, signal.SIGHUP)
        ],
    )


def until(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGINT])
def test_a_run_that_is_ended_goes_on_with_the_same_command(whole, source, tmp_path, number):
    output, parts = tmp_path / "m.amgsrn", tmp_path / "m.amgsrn.parts"
    process = start(source, output)
    until(lambda: list(parts.glob("brick-*/checkpoint.safetensors")))
    found = workers(parts)
    process.send_signal(number)
    _, err = process.communicate(timeout=DEADLINE)
    assert not output.exists()
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert "same command again" in err and "Traceback" not in err
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in found))
    again = start(source, output)
    out, err = again.communicate(timeout=DEADLINE)
    assert again.returncode == 0, err
    assert "PSNR" in out and same(output, whole) and not parts.exists()


def test_a_second_run_on_the_same_output_is_refused(source, tmp_path):
    output = tmp_path / "m.amgsrn"
    refused: list[str] = []

    def observer(progress: Progress) -> Command:
        if not refused and progress.iteration:
            with pytest.raises(ResumeError, match="Another process is training") as caught:
                train_waves(source, output)
            refused.append(str(caught.value))
        return Command.CONTINUE

    assert train_waves(source, output, observer=observer).completed and refused


@pytest.fixture
def stopped(source, tmp_path) -> Path:
    """An output whose run was stopped with one brick or more done, and one begun."""
    output = tmp_path / "m.amgsrn"

    def stop(progress: Progress) -> Command:
        some = progress.bricks is not None and progress.bricks.done >= 1
        begun = any(Path(f"{output}.parts").glob("brick-*/checkpoint.safetensors"))
        return Command.STOP if some and begun else Command.CONTINUE

    assert not train_waves(source, output, observer=stop).completed
    return output


@pytest.mark.parametrize(
    ("name", "damage"),
    [("checkpoint.safetensors", "truncated"), ("brick.amgsrn", "flipped")],
)
def test_damaged_parts_are_trained_again(whole, source, stopped, name, damage):
    found = list(Path(f"{stopped}.parts").glob(f"brick-*/{name}"))
    assert found
    for file in found:
        data = bytearray(file.read_bytes())
        if damage == "truncated":
            data = data[: len(data) // 2]
        else:
            data[-20] ^= 0xFF
        file.write_bytes(data)
    assert train_waves(source, stopped).completed
    assert same(stopped, whole)


def test_a_hanging_worker_is_replaced(whole, source, tmp_path):
    output, parts = tmp_path / "m.amgsrn", tmp_path / "m.amgsrn.parts"
    frozen: list[int] = []

    def freeze(progress: Progress) -> Command:
        if not frozen and progress.iteration and (pids := workers(parts)):
            frozen.append(pids[0])
            os.kill(pids[0], signal.SIGSTOP)
        return Command.CONTINUE

    log = tmp_path / "log.jsonl"
    outcome = train_waves(source, output, observer=freeze, stall_minutes=0.25, log=str(log))
    assert outcome.completed
    assert frozen and not os.path.exists(f"/proc/{frozen[0]}")
    assert same(output, whole)
    assert any(json.loads(line)["event"] == "retry" for line in log.read_text().splitlines())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "256k") as place:
        yield place


def test_a_full_disk_loses_no_brick_that_is_done(whole, source, small_disk):
    output, filler = small_disk / "m.amgsrn", small_disk / "filler"

    def fill(progress: Progress) -> Command:
        if progress.bricks is not None and progress.bricks.done and not filler.exists():
            with open(filler, "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(b"x" * 1024)
                except OSError:
                    pass
        return Command.CONTINUE

    try:
        outcome = train_waves(source, output, observer=fill, retries=1)
        # The bricks were kept elsewhere, and what was freed on the way is enough for the model.
        assert outcome.completed
    except OSError as error:
        assert "disk is full" in str(error)
        assert list(Path(f"{output}.parts").glob("brick-*/brick.amgsrn"))
    filler.unlink()
    assert train_waves(source, output).completed
    assert same(output, whole)


def test_an_unreadable_region_is_a_hole_with_a_reason(source, tmp_path):
    values = waves()
    path = write_waves(tmp_path / "chunked.nc", values, chunksizes=(14, 8, 9), fletcher32=True)
    stored = values[:, 8:, 9:].astype("<f4").tobytes()
    data = bytearray(path.read_bytes())
    place = data.find(stored[:64])
    assert place > 0
    data[place + 8] ^= 0xFF
    path.write_bytes(data)
    output = tmp_path / "m.amgsrn"
    outcome = train_waves(path, output, retries=1, ghost=0)
    assert list(outcome.missing) == [3] and "cannot be read" in outcome.missing[3]
    assert NeuralVolume.open(output, device="cpu").index.holes == (3,)


def test_the_command_says_what_is_missing(tmp_path):
    values = waves()
    values[3, 12, 14] = np.inf
    source = write_waves(tmp_path / "wave.nc", values)
    process = start(source, tmp_path / "m.amgsrn", "--retries", "0")
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1 and out == ""
    assert "1 brick(s) are missing: 3 (" in err and "infinite" in err and "Traceback" not in err
