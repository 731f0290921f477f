"""Tasks onto an executor until each is done or has failed for good."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from amgsrn_core.errors import WorkerLostError

T = TypeVar("T")

_POLL_SECONDS = 0.25
_SIGN_SECONDS = 1.0
_AWAY_SECONDS = 1.0
_LAST_BACKOFF = 60.0


@dataclass
class _Attempt(Generic[T]):
    number: int
    task: T
    tries: int = 0
    sign: Any = None  # the last sign of life, and when it was new
    seen: float = 0.0
    abandoned: bool = False


@dataclass(frozen=True)
class Policy(Generic[T]):
    """What a runner has to know about its tasks.

    Attributes
    ----------
    sign : callable
        Returns something that changes while a task is being worked on; None before it has begun.
    progress : callable
        Returns how far a task is; one that came further than in the try before starts counting
        its tries anew.
    again : callable
        Returns the task to try next from one that failed and its error; None gives it up at once.
    note : callable
        Is told a task that is going to be tried again, and why.
    """

    sign: Callable[[T], Any]
    progress: Callable[[T], float]
    again: Callable[[T, BaseException], T | None]
    note: Callable[[T, str], None] = lambda task, reason: None
    retries: int = 3
    backoff: float = 1.0
    stall_seconds: float = 600.0


class Runner(Generic[T]):
    """Keeps an executor busy with tasks.

    Parameters
    ----------
    executor : concurrent.futures.Executor
        If it has a method ``abandon(future)``, that is called for a call that shows no life, and
        returns whether the call is going to fail because of that; if it has one ``poll()``, a few
        times a second, for executors without a thread of their own.
    function : callable
        Does a task in a worker and returns "done", or "stopped" when it ended before it was done.
    tasks : sequence
        In the order in which they start.
    policy : Policy
    window : callable
        Returns how many tasks to hand out at a time: few, so that memory stays flat however many
        there are.

    Attributes
    ----------
    done : set of int
        Numbers (positions in `tasks`) of those that are done.
    failed : dict of int to str
        Those that were given up, and why.
    """

    def __init__(
        self,
        executor: Executor,
        function: Callable[[T], str],
        tasks: Sequence[T],
        policy: Policy[T],
        window: Callable[[], int],
    ) -> None:
        self._executor, self._function, self._policy = executor, function, policy
        self._window = window
        self._ready = deque(_Attempt(i, task) for i, task in enumerate(tasks))
        self._waiting: list[tuple[float, int, _Attempt[T]]] = []
        self._running: dict[Future[Any], _Attempt[T]] = {}
        self._furthest: dict[int, float] = {}
        self._signs = 0.0
        self._away: tuple[float, float] | None = None  # since when, and when to ask again
        self.done: set[int] = set()
        self.failed: dict[int, str] = {}

    @property
    def running(self) -> list[int]:
        """Numbers of the tasks that are handed out."""
        return [attempt.number for attempt in self._running.values()]

    def run(self, tick: Callable[[], bool]) -> bool:
        """Go on until everything is done or has failed; return False when told to stop.

        Parameters
        ----------
        tick : callable
            Called a few times a second; False stops handing out tasks, and this returns when
            those that are handed out have ended, which it is up to the caller to bring about
            (see :meth:`drain`).
        """
        asked = -1e9
        while self._ready or self._waiting or self._running:
            now = time.monotonic()
            if now - asked >= _POLL_SECONDS:
                asked = now
                if not tick():
                    return False
            self._hand_out(now)
            self._collect(_POLL_SECONDS)
            if now - self._signs >= _SIGN_SECONDS:
                self._signs = now
                self._look_for_life(now)
        return tick()

    def drain(self, seconds: float) -> None:
        """Wait for the tasks that are handed out, and give up on those that take longer."""
        end = time.monotonic() + seconds
        for future in self._running:
            future.cancel()
        while self._running and time.monotonic() < end:
            self._collect(_POLL_SECONDS, last=True)
        for future in list(self._running):
            if not future.cancel():
                self._abandon(future)

    def _hand_out(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            self._ready.append(heapq.heappop(self._waiting)[2])
        if self._away is not None and now < self._away[1]:
            return
        window = self._window()
        while self._ready and len(self._running) < window:
            attempt = self._ready.popleft()
            attempt.sign, attempt.seen = None, now
            try:
                future = self._executor.submit(self._function, attempt.task)
            except Exception as error:  # the scheduler of a cluster has gone, perhaps not for good
                since = now if self._away is None else self._away[0]
                self._away = since, now + _AWAY_SECONDS
                if now - since > self._policy.stall_seconds:
                    self.failed[attempt.number] = str(error) or type(error).__name__
                else:
                    self._ready.appendleft(attempt)
                return
            self._away = None
            attempt.tries += 1
            self._running[future] = attempt

    def _collect(self, seconds: float, last: bool = False) -> None:
        poll = getattr(self._executor, "poll", None)
        if poll is not None:
            poll()
        if not self._running:
            time.sleep(min(seconds, 0.05))
            return
        ended, _ = wait(self._running, timeout=seconds, return_when=FIRST_COMPLETED)
        for future in ended:
            attempt = self._running.pop(future)
            try:
                state = future.result(timeout=0)
                error: BaseException | None = None
            except (Exception, CancelledError) as problem:
                state, error = "failed", problem
            if state == "done":
                self.done.add(attempt.number)
            elif not last:
                self._failed(attempt, error or WorkerLostError("The worker was told to end."))

    def _failed(self, attempt: _Attempt[T], error: BaseException) -> None:
        policy = self._policy
        reached = policy.progress(attempt.task)
        task = policy.again(attempt.task, error)
        if reached > self._furthest.get(attempt.number, 0.0):
            self._furthest[attempt.number] = reached
            attempt.tries = 1
        reason = str(error) or type(error).__name__
        if task is None or attempt.tries > policy.retries:
            self.failed[attempt.number] = reason
            return
        policy.note(task, reason)
        attempt.task, attempt.abandoned = task, False
        delay = min(policy.backoff * 2 ** (attempt.tries - 1), _LAST_BACKOFF)
        heapq.heappush(self._waiting, (time.monotonic() + delay, attempt.number, attempt))

    def _look_for_life(self, now: float) -> None:
        for future, attempt in list(self._running.items()):
            sign = self._policy.sign(attempt.task)
            # A task that waits for its turn has none, which is no fault of its worker.
            waits = sign is None and not (hasattr(self._executor, "abandon") and future.running())
            if sign != attempt.sign or waits:
                attempt.sign, attempt.seen = sign, now
            elif now - attempt.seen > self._policy.stall_seconds and not attempt.abandoned:
                self._abandon(future)

    def _abandon(self, future: Future[Any]) -> None:
        attempt = self._running[future]
        attempt.abandoned = True
        abandon = getattr(self._executor, "abandon", None)
        if abandon is not None and abandon(future):
            return
        # Whatever may still come of it would be the same.
        del self._running[future]
        future.cancel()
        self._failed(attempt, WorkerLostError("A worker did not answer any more."))
