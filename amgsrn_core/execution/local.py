"""An executor whose workers are processes of this computer; one that dies is replaced."""

from __future__ import annotations

import contextlib
import functools
import logging
import pickle
import queue
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from amgsrn_core.errors import WorkerLostError
from amgsrn_core.system.files import how_it_ended
from amgsrn_core.system.interpreter import worker_environment, worker_python

DEVICE_VARIABLE = "AMGSRN_DEVICE"
_HEADER = 8
_END_SECONDS = 20.0

RESULT, ERROR, LAST, UNUSABLE = "result", "error", "last", "unusable"
"""Kinds of a worker's answers: a result; an error; the last error of a process, whose GPU is lost;
an error after which the place is given up, because its device cannot be used."""

_Job = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class WorkerSlot:
    """Where one worker computes: the device, and its threads on the processor (0: as it likes)."""

    device: str = "auto"
    threads: int = 0


class LocalExecutor(Executor):
    """Runs importable functions in worker processes, one call at a time in each.

    Unlike ``ProcessPoolExecutor`` it needs nothing of the program that uses it (inside ParaView
    that is no Python interpreter), and a worker that dies fails its own call only, with
    :class:`~amgsrn_core.errors.WorkerLostError`. Workers end when this process does, however that
    ends. A place whose device cannot be used is given up as long as there is another one; its call
    is done there.

    Parameters
    ----------
    slots : sequence of WorkerSlot
        One worker for each. Processes start at once, so that they are ready for the first call.
    log : path, optional
        File that the workers' messages are appended to.
    """

    def __init__(self, slots: Sequence[WorkerSlot], log: Path | None = None) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._given_up: set[int] = set()
        self._workers = [
            _Worker(place, self._jobs, log, functools.partial(self._may_give_up, number))
            for number, place in enumerate(slots)
        ]
        self._closed = False

    @property
    def capacity(self) -> int:
        """How many calls run at a time."""
        return len(self._workers) - len(self._given_up)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn(*args, **kwargs)`` in a worker; what goes in and out must pickle."""
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[Any] = Future()
        self._jobs.put((future, fn, args, kwargs))
        return future

    def abandon(self, future: Future[Any]) -> bool:
        """End the process of a call, which fails with WorkerLostError; False if it has none."""
        for worker in self._workers:
            if worker.current is future:
                worker.kill()
                return True
        return False

    def pids(self) -> tuple[int, ...]:
        """Return the processes of the workers that are running."""
        return tuple(pid for worker in self._workers if (pid := worker.pid) is not None)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers when they have done their calls."""
        self._closed = True
        while cancel_futures:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                job[0].cancel()
        for _ in self._workers:
            self._jobs.put(None)
        if wait:
            for worker in self._workers:
                worker.thread.join()

    def _may_give_up(self, number: int) -> bool:
        """Give a worker up, unless it is the last one, or others have ended already."""
        with self._lock:
            if self.capacity <= 1 or self._closed:
                return False
            self._given_up.add(number)
            return True


class _Worker:
    """A process, and the thread that hands calls to it."""

    def __init__(
        self,
        place: WorkerSlot,
        jobs: queue.SimpleQueue[_Job | None],
        log: Path | None,
        may_give_up: Callable[[], bool],
    ) -> None:
        self._place, self._jobs, self._log = place, jobs, log
        self._may_give_up = may_give_up
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.current: Future[Any] | None = None
        with contextlib.suppress(OSError):  # tried again, and reported, with the first call
            self._start()
        self.thread = threading.Thread(target=self._serve, daemon=True, name="amgsrn-worker")
        self.thread.start()

    @property
    def pid(self) -> int | None:
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def kill(self) -> None:
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, *call = job
            # It runs already where another worker has passed it on.
            if not future.running() and not future.set_running_or_notify_cancel():
                continue
            self.current = future
            try:
                kind, value = self._call(call)
            except BaseException as error:
                kind, value = ERROR, error
            self.current = None
            if kind == UNUSABLE and self._may_give_up():
                logging.getLogger(__name__).warning("A worker less: %s", value)
                self._jobs.put(job)
                break
            if kind == RESULT:
                future.set_result(value)
            else:
                future.set_exception(value)
            # A loop variable would keep the last result alive until the next call.
            del job, future, call, value
        self._reap()

    def _call(self, call: list[Any]) -> tuple[str, Any]:
        message = pickle.dumps(call)
        # A process that ended while it was idle is nobody's failure.
        for _ in range(2):
            process = self._running()
            assert process.stdin is not None
            try:
                send(process.stdin, message)
                break
            except OSError:
                self._reap()
        assert process.stdout is not None
        answer = receive(process.stdout)
        if answer is None:
            how = how_it_ended(self._reap(), self._log)
            return ERROR, WorkerLostError(f"A worker process {how}.")
        kind, value = pickle.loads(answer)
        if kind == LAST:  # or the next call would meet a process that is about to end
            self._reap()
        return kind, value

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._reap()
            self._start()
        assert self._process is not None
        return self._process

    def _start(self) -> None:
        environment = worker_environment()
        environment[DEVICE_VARIABLE] = self._place.device
        if self._place.threads:
            environment["OMP_NUM_THREADS"] = str(self._place.threads)
        with contextlib.ExitStack() as stack:
            log: int | IO[bytes] = subprocess.DEVNULL
            if self._log is not None:
                log = stack.enter_context(open(self._log, "ab"))
            with self._lock:
                self._process = subprocess.Popen(
                    [worker_python(), "-m", "amgsrn_core.execution.local_worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=environment,
                    start_new_session=True,  # Ctrl-C in a terminal is for the program itself
                )

    def _reap(self) -> int:
        """Forget the process and return its exit code; 0 if there was none."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return 0
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        try:
            return process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def send(pipe: IO[bytes], message: bytes) -> None:
    """Write a message with its length in front."""
    pipe.write(len(message).to_bytes(_HEADER, "little") + message)
    pipe.flush()


def receive(pipe: IO[bytes]) -> bytes | None:
    """Read a message; None when the other side has gone."""
    try:
        header = pipe.read(_HEADER)
        if len(header) < _HEADER:
            return None
        size = int.from_bytes(header, "little")
        message = pipe.read(size)
    except (OSError, ValueError):
        return None
    return message if len(message) == size else None
