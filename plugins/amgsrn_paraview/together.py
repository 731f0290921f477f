"""A training that ParaView's ranks share: each trains the bricks of its own piece of the volume.

The first rank runs what a run over bricks is elsewhere, too: it hands out tasks, keeps count, and
writes the file. Values stay where they are; between the ranks go the tasks, what comes of them, and
through the folder of parts the finished bricks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import os
import queue
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from amgsrn_core.config import BrickConfig, TrainingConfig
from amgsrn_core.errors import AmgsrnError, ConfigurationError, TrainingError
from amgsrn_core.execution.worker_slots import worker_slots
from amgsrn_core.jobs import PREVIEW_POINTS, JobStatus, LiveResult
from amgsrn_core.model import Archive
from amgsrn_core.runs.brick_run import train_bricks
from amgsrn_core.runs.brick_task import BrickTask, train_brick
from amgsrn_core.runs.goals import Look
from amgsrn_core.runs.plan import Cutter, Plan, plan
from amgsrn_core.runs.resuming import refuse_output
from amgsrn_core.system.extras import require
from amgsrn_core.system.output import ensure_writable
from amgsrn_core.training.progress import Command, Progress
from amgsrn_core.volume import Volume
from amgsrn_core.volume.masking import resolved
from amgsrn_core.volume.partition import Brick, brick_counts, counts_for, partition_piece
from amgsrn_core.volume.pieces import PieceVolume
from amgsrn_core.volume.preview import preview_geometry
from amgsrn_paraview.datasets import Looks, VTKExtent
from amgsrn_paraview.explanation import explain
from amgsrn_paraview.handover import FILL_VALUES
from amgsrn_paraview.pieces import Piece, join, summary_of, take
from amgsrn_paraview.ranks import SLEEP_SECONDS, local_rank, rank, ranks, share, share_cores
from amgsrn_paraview.session import (
    Report,
    Request,
    Shown,
    describe,
    output_of,
    own_output,
    untrained,
)

_LABEL = "AMGSRN Trainer"
_END_SECONDS = 60.0

T = TypeVar("T")

Result = tuple[int, str, Any]
"""Number of a call, "result" or "error", and which."""


@dataclasses.dataclass(frozen=True)
class RankProgress:
    """What the first rank tells the others: calls for each, and at last how it ended."""

    state: str = ""  # until the end
    model: tuple[str, str, int] | None = None
    calls: tuple[tuple[tuple[int, BrickTask], ...], ...] = ()


class SharedTraining:
    """The training of a filter on several ranks; every rank has one and calls the same methods."""

    def __init__(self) -> None:
        self.output = ""
        self.status: JobStatus | None = None
        self.notes: list[str] = []
        self._asked: tuple[Any, ...] = ()

    def train(self, request: Request, whole: VTKExtent, report: Report) -> Shown | RankProgress:
        """Train until the model is complete, or the run was stopped.

        Parameters
        ----------
        request : Request
            Its data set is this rank's piece, with ghost cells.
        whole : six integers
            VTK's extent of all pieces together.
        report : callable
            Called on the first rank about once a second; it returns whether to go on.

        Returns
        -------
        Shown or RankProgress
            What there is to show on the first rank; on the others, how it ended.

        Raises
        ------
        AmgsrnError
            On every rank alike, if the volume is unfit; else on the first rank.
        """
        require("torch", "Training")
        self.status = JobStatus(pid=os.getpid())
        volume: Volume | None = None
        self.notes = []

        def look() -> tuple[Piece | None, bool]:
            nonlocal volume
            piece = None
            if request.dataset.GetNumberOfPoints():
                arrays, association = request.arrays, request.association
                numbers = request.data.fill_numbers
                volume, piece = take(request.dataset, arrays, association, whole, numbers)
            asked = (request.options(), piece is None or piece.digest)
            is_same, self._asked = asked == self._asked, asked
            return piece, is_same

        try:
            heard = agree(look)
            pieces = [piece for piece, _ in heard]
            present = [piece for piece in pieces if piece is not None]
            fills: tuple[float, ...] = ()
            if present:
                fills, self.notes = resolved(
                    summary_of(present), present[0].components, request.data, FILL_VALUES
                )
            fills = (*request.data.fill_numbers, *fills)
            joined = join(volume, pieces[rank()], present, fills)
            cutter = _Cutter(joined, pieces)
            planned = plan(request.settings, cutter)
            chosen = planned.settings
            request = dataclasses.replace(request, network=chosen.network, training=chosen.training)
        except AmgsrnError as problem:
            self._end("failed", str(problem))
            raise
        if rank():
            news = _serve(joined)
            self.status = dataclasses.replace(self.status, state=news.state)
            return news
        restart = request.restart and not all(is_same for _, is_same in heard)
        return self._lead(joined, cutter.owners, planned, request, restart, report)

    def _lead(
        self,
        volume: PieceVolume,
        owners: Sequence[int],
        planned: Plan,
        request: Request,
        restart: bool,
        report: Report,
    ) -> Shown:
        executor = RankExecutor(volume)
        state, model = "failed", None
        try:
            request = dataclasses.replace(request, arrays=(volume.name,))
            digest = zlib.crc32(repr(volume.identity).encode())
            self.output = output_of(request.output or own_output(volume.name, digest, request))
            ensure_writable(Path(self.output))
            refuse_output(Path(self.output), volume.source, None, force=False)
            executor.owners = owners
            outcome = train_bricks(
                volume,
                Path(self.output),
                planned,
                restart=restart,
                observer=_Observer(self, report),
                executor=executor,
            )
            outcome.refuse_missing()
            state = "done" if outcome.completed else "stopped"
            if outcome.completed:
                with Archive(self.output) as archive:
                    model = (self.output, archive.checksum, 0)
        except AmgsrnError as error:
            self._end("failed", str(error))
            raise
        finally:
            executor.end(RankProgress(state=state, model=model))
        self._end(state, "", outcome.stopped_by)
        return self._shown(volume, model)

    def _end(self, state: str, message: str, stopped_by: str = "") -> None:
        assert self.status is not None
        self.status = dataclasses.replace(
            self.status, state=state, message=message, stopped_by=stopped_by
        )
        if state == "done":
            self.status = dataclasses.replace(self.status, iteration=self.status.iterations)

    def _shown(self, volume: PieceVolume, model: tuple[str, str, int] | None) -> Shown:
        assert self.status is not None
        live: LiveResult | None = None
        geometry = preview_geometry(volume.geometry, PREVIEW_POINTS)
        if model is not None:
            from amgsrn_core.jobs import previews

            live = previews.of_file(Path(self.output))
        low, high = volume.span
        return Shown(
            status=self.status,
            name=volume.name,
            components=volume.components,
            geometry=geometry,
            preview=untrained(geometry, low, high) if live is None else live.preview,
            looks=Looks((), volume.units, tuple(zip(low.tolist(), high.tolist()))),
            live=live,
            model=model,
        )


class RankExecutor(Executor):
    """On the first rank: has each brick trained by the rank that owns it.

    Parameters
    ----------
    volume : PieceVolume
        What this rank has.

    Attributes
    ----------
    owners : sequence of int
        The rank of each brick.
    """

    def __init__(self, volume: PieceVolume) -> None:
        self.owners: Sequence[int] = ()
        self._worker = _Worker(volume)
        self._calls: list[tuple[int, BrickTask]] = []  # not yet handed out
        self._futures: list[Future[str]] = []
        self._last = -math.inf

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Let :func:`train_brick` do a task, which is the only call that there is."""
        (task,) = args
        if fn is not train_brick or kwargs or not isinstance(task, BrickTask):
            raise ValueError("Ranks train bricks and nothing else.")
        future: Future[str] = Future()
        self._calls.append((len(self._futures), task))
        self._futures.append(future)
        return future

    def poll(self) -> None:
        """Exchange tasks for what came of earlier ones, about once a second."""
        if time.monotonic() - self._last < SLEEP_SECONDS and not self._calls:
            return
        self._last = time.monotonic()
        mail: list[list[tuple[int, BrickTask]]] = [[] for _ in range(ranks())]
        for number, task in self._calls:
            if self._futures[number].set_running_or_notify_cancel():
                mail[self.owners[task.number]].append((number, task))
        self._calls.clear()
        for call in mail[0]:
            self._worker.put(call)
        heard = share(RankProgress(calls=tuple(map(tuple, mail))))
        for number, kind, value in [*self._worker.results(), *itertools.chain(*heard[1:])]:
            if kind == "result":
                self._futures[number].set_result(value)
            else:
                self._futures[number].set_exception(value)

    def end(self, news: RankProgress) -> None:
        """Tell the other ranks how it ended; they listen no more."""
        share(news)
        self._worker.end()


class _Worker:
    """Trains bricks in a thread, so that its rank can listen to the others meanwhile."""

    def __init__(self, volume: PieceVolume) -> None:
        self._volume = volume
        self._calls: queue.SimpleQueue[tuple[int, BrickTask] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, daemon=True, name="amgsrn-rank")
        self._thread.start()

    def put(self, call: tuple[int, BrickTask]) -> None:
        self._calls.put(call)

    def results(self) -> list[Result]:
        """Return what there is since the last time."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._results.get_nowait())
        return found

    def end(self) -> None:
        """Wait for the end of the brick in training, which was told to stop."""
        self._calls.put(None)
        self._thread.join(_END_SECONDS)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            number, task = call
            try:
                self._results.put((number, "result", self._train(task)))
            except BaseException as error:
                self._results.put((number, "error", _of_this_rank(error)))

    def _train(self, task: BrickTask) -> str:
        if task.parts.owner() != task.fingerprint:
            raise ConfigurationError(
                f"the folder {task.folder} is not the one that the first rank has; name an output "
                "file in a folder that all ranks share."
            )
        share_cores()
        own = _on_this_rank(task.settings.training)
        return train_brick(task.trained_with(own), self._volume)


class _Observer:
    """Keeps the status up to date, and lets ParaView show it."""

    def __init__(self, training: SharedTraining, report: Report) -> None:
        self._training, self._report = training, report
        self._reported = -math.inf
        self._goes_on = True

    def __call__(self, progress: Progress) -> Command:
        status = self._training.status = JobStatus.of_progress(progress)
        if self._goes_on and time.monotonic() - self._reported >= SLEEP_SECONDS:
            self._reported = time.monotonic()
            self._goes_on = self._report(status.fraction, describe(status))
        return Command.CONTINUE if self._goes_on else Command.STOP


def _serve(volume: PieceVolume) -> RankProgress:
    """On another rank: train what the first one asks for, until it has come to an end."""
    worker = _Worker(volume)
    try:
        while True:
            news: RankProgress = share(worker.results())[0]
            if news.state:
                return news
            for call in news.calls[rank()]:
                worker.put(call)
            time.sleep(SLEEP_SECONDS / 4)
    finally:
        worker.end()


def agree(work: Callable[[], T]) -> list[T]:
    """Do something on every rank; return what came of it on each.

    Raises
    ------
    TrainingError
        On every rank, if it went wrong on one.
    """
    result, error = None, ""
    try:
        result = work()
    except Exception as problem:
        error = explain(problem, _LABEL, "use more ranks on more computers")
    heard = share((result, error))
    for number, (_, sentence) in enumerate(heard):
        if sentence:
            raise TrainingError(f"Rank {number}: {sentence}")
    return [result for result, _ in heard]


class _Cutter(Cutter):
    """Cuts each rank's piece; every rank looks at the data of its own bricks.

    Attributes
    ----------
    owners : list of int
        The rank of each brick; they are numbered from rank to rank.
    """

    def __init__(self, volume: PieceVolume, pieces: Sequence[Piece | None]) -> None:
        super().__init__(volume)
        self.owners: list[int] = []
        self._pieces = pieces

    def cut(self, config: BrickConfig) -> list[Brick]:
        """Return the bricks of every piece, about as large as those of the whole would be."""
        counts = brick_counts(config, self.volume.dims, self.volume.n_components)
        voxels = -(-math.prod(self.volume.dims) // math.prod(counts))
        found: list[Brick] = []
        for owner, piece in enumerate(self._pieces):
            if piece is not None:
                z, y, x = (s.stop - s.start for s in piece.own)
                counts = counts_for((z, y, x), voxels)
                cut = partition_piece(piece.own, piece.held, counts, config.ghost)
                found += cut
                self.owners += [owner] * len(cut)
        if any(s.stop - s.start < 2 for brick in found for s in brick.ghosted):
            raise ConfigurationError(
                "Some ranks have a single layer of voxels; use fewer ranks, or ghost cells."
            )
        return found

    def measure(self, bricks: Sequence[Brick]) -> list[np.ndarray]:
        mine = [brick for owner, brick in zip(self.owners, bricks) if owner == rank()]
        return list(itertools.chain(*agree(lambda: super(_Cutter, self).measure(mine))))

    def look(self, bricks: Sequence[Brick]) -> list[Look]:
        mine = [brick for owner, brick in zip(self.owners, bricks) if owner == rank()]
        return list(itertools.chain(*agree(lambda: super(_Cutter, self).look(mine))))

    def agreed(self, check: Callable[[], T]) -> T:
        """Check together, because a package may be missing on one computer."""
        return agree(check)[rank()]


def _on_this_rank(training: TrainingConfig) -> TrainingConfig:
    """Choose a device: ranks of one computer take its GPUs in turn."""
    found = worker_slots(training.device, 1, ranks())
    return dataclasses.replace(training, device=found[local_rank() % len(found)].device)


def _of_this_rank(error: BaseException) -> AmgsrnError:
    """Return an error that says whose it is, and that every rank understands."""
    kind = type(error) if isinstance(error, AmgsrnError) else TrainingError
    return kind(f"Rank {rank()}: {error or type(error).__name__}")
