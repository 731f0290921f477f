"""Bricks on a real Dask cluster of processes, whose workers and scheduler die on the way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.brick_runs import same, source, train_waves, whole

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.execution.cluster import cluster_executor
from amgsrn_core.system.interpreter import worker_environment
from amgsrn_core.training import Command, Progress

__all__ = ["source", "whole"]

distributed = pytest.importorskip(
    "distributed", reason="dask.distributed is not installed (extra `cluster`)"
)

DEADLINE = 120.0


class Cluster:
    """A scheduler and workers as processes of this computer."""

    def __init__(self, folder: Path, nanny: bool = False) -> None:
        self._nanny = "--nanny" if nanny else "--no-nanny"
        self.file = folder / "scheduler.json"
        self.folder = folder
        for attempt in range(5):  # until the scheduler gets its port before anybody else does
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            with contextlib.suppress(*([AssertionError] if attempt < 4 else [])):
                self.scheduler = self.start_scheduler()
                break
        self.workers = [self.start_worker() for _ in range(2)]

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        self.file.unlink(missing_ok=True)
        scheduler = self._start(
            "scheduler",
            *("--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"),
            *("--scheduler-file", str(self.file)),
        )
        deadline = time.monotonic() + DEADLINE
        while not self.file.exists():
            assert time.monotonic() < deadline and scheduler.poll() is None
            time.sleep(0.05)
        return scheduler

    def start_worker(self) -> subprocess.Popen[bytes]:
        return self._start(
            "worker",
            *(self.address, "--nthreads", "1", self._nanny, "--no-dashboard"),
            *("--local-directory", str(self.folder), "--death-timeout", "60"),
        )

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a nanny's worker, too
            process.wait()

    def _start(self, kind: str, *options: str) -> subprocess.Popen[bytes]:
        environment = {**worker_environment(), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "distributed.cli.dask_" + kind, *options]
        with open(self.folder / f"{kind}.log", "ab") as log:
            return subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, start_new_session=True
            )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "dask").mkdir()
    made = Cluster(tmp_path / "dask")
    try:
        yield made
    finally:
        made.close()


def test_a_cluster_makes_the_same_model(whole, source, cluster, tmp_path):
    output, log = tmp_path / "m.amgsrn", tmp_path / "log"
    outcome = train_waves(source, output, scheduler=str(cluster.file), log=str(log))
    assert outcome.completed and same(output, whole)
    assert sum(json.loads(line)["event"] == "brick" for line in log.read_text().splitlines()) == 4
    assert all(worker.poll() is None for worker in cluster.workers)  # it goes on without us


def test_a_lost_worker_costs_nothing_but_time(whole, source, cluster, tmp_path):
    output, killed = tmp_path / "m.amgsrn", []

    def kill(progress: Progress) -> Command:
        if not killed and progress.iteration:
            killed.append(cluster.workers[0])
            cluster.workers[0].kill()
        return Command.CONTINUE

    assert train_waves(source, output, scheduler=cluster.address, observer=kill).completed
    assert killed and same(output, whole)


@pytest.mark.parametrize("nanny", [True, False])
def test_a_hanging_worker_is_replaced(whole, source, tmp_path, nanny):
    (tmp_path / "dask").mkdir()
    cluster = Cluster(tmp_path / "dask", nanny)
    output, frozen = tmp_path / "m.amgsrn", []

    def freeze(progress: Progress) -> Command:
        if not frozen and progress.iteration:
            for file in Path(f"{output}.parts").glob("brick-*/status.json"):
                frozen.append(json.loads(file.read_text())["pid"])
                os.kill(frozen[0], signal.SIGSTOP)
                break
        return Command.CONTINUE

    try:
        outcome = train_waves(
            source, output, scheduler=cluster.address, observer=freeze, stall_minutes=0.25
        )
        assert frozen and outcome.completed and same(output, whole)
        with distributed.Client(cluster.address, set_as_default=False) as client:
            deadline, pids = time.monotonic() + DEADLINE, list(frozen)
            while frozen[0] in pids or len(pids) != (2 if nanny else 1):
                assert time.monotonic() < deadline, pids
                # A worker that is being replaced has no answer.
                pids = list(client.run(os.getpid, on_error="ignore").values())
                time.sleep(0.2)
        if nanny:
            assert not os.path.exists(f"/proc/{frozen[0]}")
    finally:
        for pid in frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        cluster.close()


def test_a_scheduler_may_go_and_come_back(whole, source, cluster, tmp_path):
    output, lost = tmp_path / "m.amgsrn", []

    def lose(progress: Progress) -> Command:
        if not lost and progress.bricks is not None and progress.bricks.done:
            lost.append(1)
            cluster.close()
            time.sleep(2)
            cluster.scheduler = cluster.start_scheduler()
            cluster.workers = [cluster.start_worker() for _ in range(2)]
        return Command.CONTINUE

    outcome = train_waves(source, output, scheduler=cluster.address, observer=lose)
    assert lost and outcome.completed and same(output, whole)


def test_stopping_reaches_the_cluster(whole, source, cluster, tmp_path):
    output = tmp_path / "m.amgsrn"

    def stop(progress: Progress) -> Command:
        return Command.STOP if progress.iteration > 50 else Command.CONTINUE

    assert not train_waves(source, output, scheduler=cluster.address, observer=stop).completed
    begun = list(Path(f"{output}.parts").glob("brick-*/checkpoint.safetensors"))
    assert begun
    assert train_waves(source, output).completed  # on this computer now
    assert same(output, whole)


def test_a_worker_ends_with_its_gpu(tmp_path):
    (tmp_path / "dask").mkdir()
    cluster = Cluster(tmp_path / "dask", nanny=True)
    program = f"""
import os, pathlib
from amgsrn_core.errors import DeviceLostError
mark = pathlib.Path({str(tmp_path)!r}, "mark-" + str(os.getpid()))
mark.touch()
if list(mark.parent.glob("mark-*")) == [mark]:
    raise DeviceLostError("The device cuda:0 failed (CUDA error: an illegal memory access).")
"""
    try:
        with cluster_executor(cluster.address) as executor:
            # The call is done by another process, and the one whose GPU is lost is gone.
            assert executor.submit(exec, program, {}).result(DEADLINE) is None
        pids = [int(path.name[5:]) for path in tmp_path.glob("mark-*")]
        assert len(pids) == 2
        assert sum(os.path.exists(f"/proc/{pid}") for pid in pids) == 1
    finally:
        cluster.close()


def test_no_scheduler_is_said_at_once(source, tmp_path, monkeypatch):
    monkeypatch.setattr("amgsrn_core.execution.cluster._CONNECT_SECONDS", 1)
    with pytest.raises(ConfigurationError, match="no Dask scheduler at tcp"):
        train_waves(source, tmp_path / "m.amgsrn", scheduler="tcp://127.0.0.1:9")
