"""Calls in worker processes, and tasks that are tried again."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from amgsrn_core.errors import (
    ConfigurationError,
    DeviceError,
    DeviceLostError,
    OutputError,
    WorkerLostError,
)
from amgsrn_core.execution.local import LocalExecutor, WorkerSlot
from amgsrn_core.execution.runner import Policy, Runner
from amgsrn_core.execution.worker_slots import worker_slots
from amgsrn_core.runs.events import EventLog
from amgsrn_core.system.cores import available_cores


@pytest.fixture
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor([WorkerSlot("cpu", 1), WorkerSlot("cuda:7", 3)]) as made:
        yield made


def test_calls_run_elsewhere_and_come_back(executor: LocalExecutor) -> None:
    assert [executor.submit(math.sqrt, n).result(60) for n in (4, 9)] == [2.0, 3.0]
    assert executor.submit(int, "ff", base=16).result(60) == 255
    assert executor.submit(os.getpid).result(60) in executor.pids()
    with pytest.raises(ValueError, match="invalid literal"):
        executor.submit(int, "x").result(60)


def test_what_a_worker_prints_does_no_harm(executor: LocalExecutor) -> None:
    assert executor.submit(print, "hello").result(60) is None
    assert executor.submit(os.system, "echo hello").result(60) == 0


def test_each_worker_is_told_its_place(executor: LocalExecutor) -> None:
    barrier = [executor.submit(time.sleep, 0.3) for _ in range(2)]
    calls = [executor.submit(os.getenv, name) for name in ("AMGSRN_DEVICE", "OMP_NUM_THREADS") * 4]
    values = {call.result(60) for call in calls}
    assert all(call.result(60) is None for call in barrier)
    assert values <= {"cpu", "cuda:7", "1", "3"} and len(values) >= 2


def test_a_worker_that_dies_fails_its_own_call_and_is_replaced(tmp_path: Path) -> None:
    with LocalExecutor([WorkerSlot("cpu", 1)], tmp_path / "log") as executor:
        with pytest.raises(WorkerLostError, match="signal 9"):
            executor.submit(signal.raise_signal, signal.SIGKILL).result(60)
        with pytest.raises(WorkerLostError, match="exit code 7"):
            executor.submit(os._exit, 7).result(60)
        assert executor.submit(abs, -1).result(60) == 1
        # One that dies while nobody waits is not even noticed.
        os.kill(executor.pids()[0], signal.SIGKILL)
        while executor.pids():
            time.sleep(0.01)
        assert executor.submit(abs, -2).result(60) == 2


# Workers import nothing of the tests, so these are programs: each leaves a file that tells where it
# was done, and fails as on a device that cannot be used, or that is lost.
UNUSABLE = """
import os, pathlib, time, uuid
from amgsrn_core.errors import DeviceError
place = os.environ["AMGSRN_DEVICE"]
pathlib.Path(folder, f"{place}-{uuid.uuid4()}").touch()
if place != "cpu":
    raise DeviceError(f"There is no device {place} here.")
time.sleep(0.1)
"""
LOST = """
import os, pathlib
from amgsrn_core.errors import DeviceLostError
mark = pathlib.Path(folder, str(os.getpid()))
mark.touch()
if list(mark.parent.iterdir()) == [mark]:
    raise DeviceLostError("The device cuda:0 failed (CUDA error: an illegal memory access).")
"""


def test_a_place_whose_device_cannot_be_used_is_given_up(tmp_path: Path, caplog: Any) -> None:
    program = UNUSABLE, {"folder": str(tmp_path)}
    with LocalExecutor([WorkerSlot("cuda:7", 1), WorkerSlot("cpu", 1)]) as executor:
        while len(executor.pids()) < 2:
            time.sleep(0.01)
        calls = []
        while not list(tmp_path.glob("cuda:7-*")):  # it may start later than the other one
            calls += [executor.submit(exec, *program) for _ in range(4)]
            assert calls[-1].result(60) is None
        assert all(call.result(60) is None for call in calls)
        # The worker that is always free would have taken, and failed, most of them.
        assert len(list(tmp_path.glob("cuda:7-*"))) == 1 and executor.capacity == 1
        assert len(list(tmp_path.glob("cpu-*"))) == len(calls)
        assert "no device cuda:7" in caplog.text


def test_the_last_place_is_not_given_up(tmp_path: Path) -> None:
    with LocalExecutor([WorkerSlot("cuda:7", 1)]) as executor:
        for _ in range(2):
            with pytest.raises(DeviceError, match="no device cuda:7"):
                executor.submit(exec, UNUSABLE, {"folder": str(tmp_path)}).result(60)


def test_a_process_ends_with_its_gpu_and_fails_one_call_only(tmp_path: Path) -> None:
    with LocalExecutor([WorkerSlot("cuda:0", 1)]) as executor:
        calls = [executor.submit(exec, LOST, {"folder": str(tmp_path)}) for _ in range(6)]
        with pytest.raises(DeviceLostError, match="illegal memory access"):
            calls[0].result(60)
        assert [call.result(60) for call in calls[1:]] == [None] * 5
        assert len(list(tmp_path.iterdir())) == 2  # the process that failed, and its successor


def test_a_call_that_hangs_can_be_ended(executor: LocalExecutor) -> None:
    hanging = executor.submit(time.sleep, 3600)
    while not hanging.running():
        time.sleep(0.01)
    time.sleep(0.2)
    executor.abandon(hanging)
    with pytest.raises(WorkerLostError):
        hanging.result(60)


def test_no_process_is_left_behind() -> None:
    executor = LocalExecutor([WorkerSlot("cpu", 1)] * 2)
    assert executor.submit(abs, -1).result(60) == 1
    pids = executor.pids()
    executor.shutdown()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(abs, -1)


def test_workers_end_with_the_program_however_it_ends(tmp_path: Path) -> None:
    program = f"""
import os, signal, time
from amgsrn_core.execution.local import LocalExecutor, WorkerSlot
executor = LocalExecutor([WorkerSlot("cpu", 1)])
executor.submit(abs, -1).result(60)
open({str(tmp_path / "pid")!r}, "w").write(str(executor.pids()[0]))
os.kill(os.getpid(), signal.SIGKILL)
"""
    with LocalExecutor([WorkerSlot("cpu", 1)]) as outer:
        assert outer.submit(os.spawnlp, os.P_WAIT, "python3", "python3", "-c", program) is not None
        deadline = time.monotonic() + 60
        pid = tmp_path / "pid"
        while not (pid.exists() and pid.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        while os.path.exists(f"/proc/{pid.read_text()}") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not os.path.exists(f"/proc/{pid.read_text()}")


def policy(**changes: Any) -> Policy[Any]:
    values = {
        "sign": lambda task: None,
        "progress": lambda task: 0.0,
        "again": lambda task, error: task,
        "backoff": 0.01,
    }
    return Policy(**{**values, **changes})


def go(function: Any, tasks: list[Any], tick: Any = lambda: True, **changes: Any) -> Runner[Any]:
    with ThreadPoolExecutor(2) as pool:
        runner = Runner(pool, function, tasks, policy(**changes), lambda: 3)
        runner.run(tick)
    return runner


def test_all_tasks_are_done_once() -> None:
    calls: list[int] = []

    def function(task: int) -> str:
        calls.append(task)
        return "done"

    runner = go(function, list(range(50)))
    assert sorted(calls) == list(range(50))
    assert runner.done == set(range(50)) and not runner.failed


def test_a_task_is_tried_again_until_its_tries_are_used_up() -> None:
    calls: list[str] = []

    def function(task: str) -> str:
        calls.append(task)
        if task == "bad" or (task == "shaky" and calls.count(task) < 3):
            raise OSError(f"{task} failed")
        return "done"

    runner = go(function, ["good", "bad", "shaky"], retries=2)
    assert runner.done == {0, 2} and runner.failed == {1: "bad failed"}
    assert [calls.count(t) for t in ("good", "bad", "shaky")] == [1, 3, 3]


def test_tries_with_progress_do_not_count() -> None:
    calls: list[int] = []

    def function(task: int) -> str:
        calls.append(task)
        if len(calls) < 8:
            raise OSError("lost")
        return "done"

    assert go(function, [0], retries=1, progress=lambda task: len(calls)).done == {0}


def test_a_task_may_change_and_a_hopeless_one_is_not_repeated() -> None:
    calls: list[Any] = []

    def function(task: int) -> str:
        calls.append(task)
        if task < 0:
            raise ConfigurationError("no such option")
        if task > 4:
            raise MemoryError
        return "done"

    def again(task: int, error: BaseException) -> int | None:
        return None if isinstance(error, ConfigurationError) else task // 2

    runner = go(function, [16, -1], again=again)
    assert calls.count(-1) == 1 and [c for c in calls if c > 0] == [16, 8, 4]
    assert runner.failed == {1: "no such option"}


def test_no_more_tasks_are_handed_out_than_fit_the_window() -> None:
    most: list[int] = []

    def function(task: int) -> str:
        return "done"

    with ThreadPoolExecutor(1) as pool:
        runner = Runner(pool, function, range(100), policy(), lambda: 3)
        runner.run(lambda: most.append(len(runner.running)) is None)
    assert len(runner.done) == 100 and max(most) <= 3


def test_stopping_leaves_the_rest_undone() -> None:
    stop = threading.Event()

    def function(task: int) -> str:
        stop.wait(30)
        return "stopped"

    with ThreadPoolExecutor(2) as pool:
        runner = Runner(pool, function, range(9), policy(), lambda: 3)
        ticks: list[int] = []
        assert not runner.run(lambda: ticks.append(1) or len(ticks) < 2)
        stop.set()
        runner.drain(30)
    assert not runner.done and not runner.failed and not runner.running


def test_a_worker_without_a_sign_of_life_is_given_up() -> None:
    with LocalExecutor([WorkerSlot("cpu", 1)]) as executor:
        executor.submit(abs, -1).result(60)
        stalled = policy(sign=lambda task: "same", stall_seconds=1.0, retries=0)
        runner = Runner(executor, time.sleep, [3600], stalled, lambda: 2)
        start = time.monotonic()
        assert runner.run(lambda: True)
        assert "signal 9" in runner.failed[0]
        assert time.monotonic() - start < 30


def test_an_executor_that_refuses_is_asked_again() -> None:
    class Away(ThreadPoolExecutor):
        refused = 0

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            if self.refused < 2:
                self.refused += 1
                raise OSError("the scheduler is away")
            return super().submit(fn, *args, **kwargs)

    with Away(1) as pool:
        runner = Runner(pool, lambda task: "done", [0, 1], policy(), lambda: 3)
        assert runner.run(lambda: True) and runner.done == {0, 1}


SHARE = max(1, available_cores() // 2)  # of the cores, for each of two workers


@pytest.mark.parametrize(
    ("device", "workers", "bricks", "expected"),
    [
        ("cuda:0,cuda:2", 0, 9, [("cuda:0", SHARE), ("cuda:2", SHARE)]),
        ("cuda:0,cuda:2", 0, 1, [("cuda:0", available_cores())]),
        ("mps", 3, 9, [("mps", available_cores())]),
        ("cuda:1,cpu", 1, 9, [("cuda:1", SHARE), ("cpu", SHARE)]),
        ("cpu", 2, 9, [("cpu", SHARE)] * 2),
        ("cpu", 5, 3, [("cpu", max(1, available_cores() // 3))] * 3),
    ],
)
def test_places_of_workers(device: str, workers: int, bricks: int, expected: Any) -> None:
    assert [(p.device, p.threads) for p in worker_slots(device, workers, bricks)] == expected


def test_cores_are_shared_out_by_default() -> None:
    found = worker_slots("cpu", 0, 1000)
    assert 1 <= len(found) <= available_cores()
    assert len(found) * found[0].threads <= max(available_cores(), len(found))


def test_events_are_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for number in range(2):
        with EventLog(str(path)) as log:
            log.write("brick", brick=number, loss=math.nan)
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(e["event"], e["brick"], e["loss"]) for e in events] == [
        ("brick", 0, None),
        ("brick", 1, None),
    ]
    with pytest.raises(OutputError, match="nowhere"):
        EventLog(str(tmp_path / "nowhere" / "log"))
