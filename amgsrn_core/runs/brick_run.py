"""A volume as many bricks: what is left to do, onto an executor, and together into one model."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from amgsrn_core.errors import NoRoomError, TrainingError
from amgsrn_core.execution.runner import Policy, Runner
from amgsrn_core.execution.worker_slots import executor_for
from amgsrn_core.model import BrickRecord, ModelIndex, write_archive
from amgsrn_core.runs.annotation import store_errors
from amgsrn_core.runs.brick_task import BrickTask, train_brick
from amgsrn_core.runs.events import EventLog
from amgsrn_core.runs.finished_bricks import FinishedBricks, voxels
from amgsrn_core.runs.goals import shortfall
from amgsrn_core.runs.outcome import (
    TrainingOutcome,
    model_index,
    training_record,
    with_looks,
)
from amgsrn_core.runs.parts import PartsFolder, finish, saving
from amgsrn_core.runs.plan import Plan, with_sizes_of
from amgsrn_core.runs.resuming import as_begun, resume_or_begin
from amgsrn_core.runs.retries import next_try
from amgsrn_core.runs.settings import Settings
from amgsrn_core.runs.space import Room, checkpoint_bytes, exported_bytes, mask_bytes, model_bytes
from amgsrn_core.runs.stop_file import StopFile, stop_file
from amgsrn_core.system.run_folder import RunFolder, clear, workspace
from amgsrn_core.training.aim import Aim
from amgsrn_core.training.bound import Bound
from amgsrn_core.training.progress import (
    Asking,
    BrickProgress,
    BricksProgress,
    Command,
    Observer,
    PartialModel,
    Progress,
    Stopped,
    ask,
)
from amgsrn_core.training.warm_start import WarmStart, planned_iterations
from amgsrn_core.volume import export_volume
from amgsrn_core.volume.fill_values import Finding
from amgsrn_core.volume.masking import ReportedFills, report_fills
from amgsrn_core.volume.psnr import psnr_of
from amgsrn_core.volume.source import identity_of, source_of
from amgsrn_core.volume.volume import MissingValues, Volume

_log = logging.getLogger(__name__)

_DRAIN_SECONDS = 60.0
_CLUSTER_WINDOW = 1024  # bricks at a time where the number of workers may change
_ROOM_SECONDS = 5.0


def train_bricks(
    volume: Volume,
    output: Path,
    planned: Plan,
    *,
    restart: bool,
    force: bool = False,
    parts_at: str | os.PathLike[str] | None = None,
    observer: Observer,
    start: WarmStart | None = None,
    executor: Executor | None = None,
    reported: ReportedFills | None = None,
) -> TrainingOutcome:
    """Train every brick of a volume and write the model; see :func:`amgsrn_core.runs.train`.

    Parameters
    ----------
    planned : Plan
    executor : concurrent.futures.Executor, optional
        Whatever runs :func:`~amgsrn_core.runs.brick_task.train_brick` where the folder beside
        `output` and the volume's file can be seen; default: as the settings say.
    reported : set, optional
        Which fill values were reported already, and, in the end, are.
    """
    planned = with_sizes_of(planned, start)
    settings = planned.settings
    with workspace(output, parts_at) as folder, contextlib.ExitStack() as stack:
        parts = PartsFolder(folder)
        stop = stack.enter_context(stop_file(folder))
        observer = stop.observing(observer)
        if executor is None:
            # First of all, because its processes take seconds to start.
            executor = stack.enter_context(
                executor_for(settings.dispatch, settings.training, len(planned.bricks), folder)
            )
        each = planned_iterations(settings.training, settings.network, settings.storage, start)
        begin = Progress("reading", 0, each * len(planned.bricks))
        records = _records(planned, volume, start)
        run: _Run | None = None
        try:
            ask(observer, begin, pause=False)
            settings, fingerprint = as_begun(
                *(settings, output, parts),
                lambda options: _fingerprint(volume, records, options, start),
                restart=restart,
            )
            done = resume_or_begin(
                output, parts, fingerprint, settings, restart=restart, force=force
            )
            if done is not None:
                return done
            run = _Run(volume, parts, records, settings, fingerprint, start)
            run.aims = _aims(planned, settings, executor)
            run.reported = set() if reported is None else reported
            run.room = _room(volume, output, folder, records, settings, executor)
            run.room.require(is_new=not parts.has_work())
            is_left = run.look(observer)
            asking = Asking(lambda: ask(observer, begin, pause=False))
            with (
                EventLog(settings.dispatch.log) as log,
                _source(volume, folder, is_left, asking) as source,
            ):
                run.go(executor, source, observer, log)
                with saving(folder):
                    outcome = run.assemble(output, observer)
                log.write("saved", psnr=outcome.psnr, missing=sorted(outcome.missing))
        except Stopped:
            return _stopped(run, output, stop)
        if outcome.completed:
            finish(folder)
        return outcome


class _Run:
    """One run over the bricks of a volume."""

    def __init__(
        self,
        volume: Volume,
        parts: PartsFolder,
        bricks: Sequence[BrickRecord],
        settings: Settings,
        fingerprint: str,
        start: WarmStart | None,
    ) -> None:
        self._volume, self._parts, self._bricks = volume, parts, bricks
        self._settings, self._fingerprint, self._start = settings, fingerprint, start
        self._iterations = planned_iterations(
            settings.training, settings.network, settings.storage, start
        )
        self._run = uuid.uuid4().hex
        self._started = time.monotonic()
        self._finished = FinishedBricks(parts, bricks, settings.network, volume.n_components)
        self._missing: dict[int, str] = {}
        self._reached: dict[int, int] = {}  # iterations of bricks that are not finished
        self._first: tuple[float, int] | None = None  # when there was something new, and how much
        self._command = Command.CONTINUE
        self._runner: Runner[BrickTask] | None = None
        self._tasks: list[BrickTask] = []
        self._left: list[int] = []
        self._reported: set[int] = set()
        self.room: Room | None = None
        self._watched = self._started
        self._full: set[int] = set()  # tasks for whose results there was no room
        self.reported: ReportedFills = set()
        self.aims: Sequence[Aim] = ()
        self._bound = _bound(volume, settings)

    def look(self, observer: Observer) -> bool:
        """Look for bricks that are done already; return whether any is left.

        Raises
        ------
        Stopped
            The observer stopped it.
        """
        asking = Asking(lambda: ask(observer, self.progress("reading"), pause=False))
        for number in range(len(self._bricks)):
            asking()
            part = self._parts.finished(number, self._fingerprint, verify=True)
            if part is not None:
                self._finished.add(number, part)
            elif self._parts.brick(number).exists():
                self._reached[number] = int(self._parts.read_status(number).get("iteration", 0))
        self._left = [n for n in range(len(self._bricks)) if n not in self._finished.done]
        # The largest first, so that none of them is still on when all others are done.
        self._left.sort(key=lambda n: -voxels(self._bricks[n]))
        return bool(self._left)

    def go(
        self, executor: Executor, source: dict[str, Any], observer: Observer, log: EventLog
    ) -> None:
        """Train what :meth:`look` has left.

        Raises
        ------
        Stopped
            The observer stopped it.
        NoRoomError
            There was no room for what a brick has to keep.
        """
        self._parts.command(self._run, Command.CONTINUE)
        left = self._left
        self._tasks = [self._task(number, source) for number in left]
        log.write(
            "started",
            bricks=len(self._bricks),
            left=len(left),
            seconds=time.monotonic() - self._started,
        )

        capacity = getattr(executor, "capacity", None)
        self._runner = Runner(
            executor,
            train_brick,
            self._tasks,
            self._policy(log),
            # One more than there are workers, so that none has to wait for this loop.
            window=lambda: _CLUSTER_WINDOW if capacity is None else capacity + 1,
        )

        def tick() -> bool:
            self._note_finished(log)
            self._watch_room()
            command = observer(
                self.progress("paused" if self._command is Command.PAUSE else "training")
            )
            if self._no_room():
                command = Command.STOP
            if command is not self._command:
                self._command = command
                self._parts.command(self._run, command)
                log.write("go" if command is Command.CONTINUE else command.value)
            return command is not Command.STOP

        try:
            completed = self._runner.run(tick)
        except BaseException as error:
            self._parts.command(self._run, Command.STOP)
            self._runner.drain(0.0 if isinstance(error, KeyboardInterrupt) else _DRAIN_SECONDS)
            raise
        if not completed:
            self._runner.drain(_DRAIN_SECONDS)
        self._note_finished(log)
        self._missing = {self._tasks[i].number: why for i, why in self._runner.failed.items()}
        for number, why in self._missing.items():
            log.write("failed", brick=number, reason=why)
        self._refuse_full()
        if not completed:
            raise Stopped

    def _policy(self, log: EventLog) -> Policy[BrickTask]:
        """Return when and how bricks are tried again."""
        places = {number: i for i, number in enumerate(self._left)}

        def note(task: BrickTask, reason: str) -> None:
            _log.warning("Brick %d is tried again. %s", task.number, reason)
            log.write("retry", brick=task.number, reason=reason)

        def again(task: BrickTask, error: BaseException) -> BrickTask | None:
            if isinstance(error, NoRoomError):
                self._full.add(places[task.number])
            task.parts.forget_status(task.number)
            planned = self._settings.training
            training = next_try(task.settings.training, planned, error, task.parts, task.number)
            return None if training is None else task.trained_with(training)

        return Policy(
            sign=self._sign,
            progress=lambda task: float(self._parts.read_status(task.number).get("iteration", 0)),
            again=again,
            note=note,
            retries=self._settings.dispatch.retries,
            stall_seconds=60.0 * self._settings.dispatch.stall_minutes,
        )

    def progress(self, phase: str) -> Progress:
        """Return how far the run is, all bricks together."""
        total = self._iterations * len(self._bricks)
        running = self._running()
        self._reached.update({brick.number: brick.iteration for brick in running})
        done = self._iterations * len(self._finished.done) + sum(self._reached.values())
        now = time.monotonic()
        if self._first is None and any(brick.iteration for brick in running):
            self._first = now, done
        eta = None
        if self._first is not None and done > self._first[1]:
            eta = (now - self._first[0]) / (done - self._first[1]) * (total - done)
        loss = self._finished.loss(running)
        failed = 0 if self._runner is None else len(self._runner.failed)
        return Progress(
            phase,
            min(done, total),
            total,
            loss=loss,
            psnr=psnr_of(self._finished.loss(running, measured=True)),
            seconds=now - self._started,
            eta_seconds=eta,
            bricks=BricksProgress(
                len(self._bricks), len(self._finished.done), failed, running, self.partial
            ),
        )

    def partial(self) -> PartialModel:
        """Return the bricks that are done so far."""
        return PartialModel(self._index(), self._finished.load)

    def so_far(self) -> tuple[float, float]:
        """Return PSNR and seconds of a run that was stopped."""
        return psnr_of(self._finished.loss(())), time.monotonic() - self._started

    def _watch_room(self) -> None:
        """Look after the room that is left, now and then."""
        now = time.monotonic()
        if self.room is not None and now - self._watched >= _ROOM_SECONDS:
            self._watched = now
            self.room.watch()

    def _refuse_full(self) -> None:
        """Raise :class:`NoRoomError` if that is what ended the run: others would fail alike."""
        if why := self._no_room():
            raise NoRoomError(
                f"{why} {len(self._finished.done)} of {len(self._bricks)} bricks are done and kept "
                f"in {self._parts.path}, with the checkpoints of the others; make room and run the "
                "same command again."
            )

    def _no_room(self) -> str:
        """Return why a brick was given up for which there was no room; "" if there is none."""
        failed = {} if self._runner is None else self._runner.failed
        return next((why for i, why in failed.items() if i in self._full), "")

    def assemble(self, output: Path, observer: Observer) -> TrainingOutcome:
        """Write the model of all finished bricks, with holes where some are missing.

        Raises
        ------
        Stopped
            The observer stopped it, and nothing was written.
        VolumeError
            The volume has no values, or is constant: no brick needed a network.
        TrainingError
            No brick could be trained.
        """
        if not self._finished.done:
            raise TrainingError(
                f"None of the {len(self._bricks)} bricks could be trained; the first failed with: "
                f"{next(iter(self._missing.values()))}"
            )
        ask(observer, self.progress("saving"))
        asking = Asking(lambda: ask(observer, self.progress("saving")))
        tensors, history = self._finished.tensors(asking)
        psnr = psnr_of(self._finished.error())
        seconds = time.monotonic() - self._started
        iterations = sum(part.training.iterations_done for part in self._finished.done.values())
        about = training_record(self._settings.training, self._fingerprint, seconds, iterations)
        changes = self._finished.changes(self._settings.training)
        about.config.update(psnr=psnr if math.isfinite(psnr) else None, **changes)
        index = self._index().replace(training=about)
        write_archive(output, with_looks(index, tensors, self._settings.goal), tensors)
        if self._settings.bricks.ghost > 1:
            # Blended at voxels: what their errors are, no brick could tell alone.
            training = self._settings.training
            store_errors(
                output,
                lambda step: self._volume,
                device=training.device if training.device in ("auto", "cpu") else "auto",
                observer=lambda done: asking(),
            )
        if lacks := shortfall(self._settings, psnr, has_most=False):
            _log.warning(lacks)
        outcome = TrainingOutcome(output, not self._missing, psnr, seconds, history)
        return dataclasses.replace(outcome, missing=dict(self._missing), shortfall=lacks)

    # --- Helpers ---------------------------------------------------------------------------------

    def _index(self) -> ModelIndex:
        """Describe the model of the bricks that are done, as yet without a training record."""
        low, high = self._finished.range()
        index = model_index(self._volume, low, high, self._settings.network, self._settings.storage)
        return index.replace(bricks=self._finished.records())

    def _task(self, number: int, source: dict[str, Any]) -> BrickTask:
        brick = self._bricks[number]
        return BrickTask(
            number=number,
            record=dataclasses.replace(brick, network=None),
            source=source,
            folder=str(self._parts.path.absolute()),
            run=self._run,
            fingerprint=self._fingerprint,
            settings=dataclasses.replace(
                self._settings, network=brick.network or self._settings.network
            ),
            start=self._start,
            aim=self.aims[number] if self.aims else None,
            bound=self._bound,
            host=socket.gethostname(),
        )

    def _sign(self, task: BrickTask) -> Any:
        status = self._parts.read_status(task.number)
        return (status["beat"], status["pid"]) if status.get("run") == self._run else None

    def _note_finished(self, log: EventLog) -> None:
        assert self._runner is not None
        for i in self._runner.done - self._reported:
            self._reported.add(i)
            number = self._tasks[i].number
            part = self._parts.finished(number, self._fingerprint)
            if part is None:
                self._runner.done.discard(i)
                self._runner.failed[i] = f"The file {self._parts.done(number)} is gone or damaged."
                continue
            self._finished.add(number, part)
            fills = [Finding(**values) for values in part.training.config.get("fills", ())]
            report_fills(fills, self.reported, f" in brick {number}")
            self._reached.pop(number, None)
            error = self._finished.error(part)
            log.write(
                "brick",
                brick=number,
                state=part.record.state,
                loss=error,
                seconds=part.training.seconds,
                device=part.training.config.get("device"),
                phases=part.training.config.get("phases"),
            )

    def _running(self) -> tuple[BrickProgress, ...]:
        found = []
        for i in [] if self._runner is None else self._runner.running:
            number = self._tasks[i].number
            status = self._parts.read_status(number)
            if status.get("run") == self._run:
                found.append(
                    BrickProgress(
                        number,
                        str(status.get("phase", "starting")),
                        int(status.get("iteration", 0)),
                        _known(status.get("loss")),
                        status.get("eta"),
                        tuple(status.get("span") or ()),
                        psnr=_known(status.get("psnr")),
                    )
                )
        return tuple(found)


def _known(number: Any) -> float:
    return math.nan if number is None else float(number)


def _aims(planned: Plan, settings: Settings, executor: Executor) -> list[Aim]:
    """Return the bricks' aims; the bricks that one worker does share the seconds."""
    count = len(planned.bricks)
    turns = -(-count // max(1, getattr(executor, "capacity", 1)))
    aims = [planned.aim(number, settings) for number in range(count)]
    return [dataclasses.replace(aim, seconds=aim.seconds / turns) for aim in aims]


def _stopped(run: _Run | None, output: Path, stop: StopFile) -> TrainingOutcome:
    """Return the outcome of a run that was stopped, perhaps before it began."""
    psnr, seconds = (math.nan, 0.0) if run is None else run.so_far()
    return TrainingOutcome.stopped(output, stop.reason, psnr, seconds)


def _bound(volume: Volume, settings: Settings) -> Bound | None:
    """Return the bound of errors that was asked for; a share of the range takes a look at all."""
    if not settings.storage.is_bounded:
        return None
    return Bound.of(volume, settings.storage, volume.survey())


def _room(
    volume: Volume,
    output: Path,
    folder: Path,
    records: Sequence[BrickRecord],
    settings: Settings,
    executor: Executor,
) -> Room:
    """Return the room that the run needs: every brick twice, apart and together."""
    training, storage = settings.training, settings.storage
    bricks = [(record, record.network or settings.network) for record in records]
    model = model_bytes(volume, bricks, training, storage)
    # Each brick apart is a model file with a history of its own.
    apart = [model_bytes(volume, [brick], training, storage) for brick in bricks]
    largest = max(checkpoint_bytes(volume, own, training, storage) for _, own in bricks)
    parts = largest.times(min(getattr(executor, "capacity", 1), len(bricks))).plus(*apart)
    if source_of(volume) is None:
        parts = parts.plus(exported_bytes(volume))
    has_missing = volume.missing != MissingValues()
    return Room(output, folder, model, parts, mask_bytes(records) if has_missing else 0)


@contextlib.contextmanager
def _source(
    volume: Volume, folder: Path, is_needed: bool, asking: Asking
) -> Iterator[dict[str, Any]]:
    """Yield what the workers open the volume by; one in memory is written to the folder."""
    source = source_of(volume)
    if source is not None or not is_needed:
        yield source or {}
        return
    exported = RunFolder(folder).new_volume()
    try:
        export_volume(volume, exported, lambda block: asking())
        yield {"kind": "exported", "path": str(exported.absolute()), "dims": list(volume.dims)}
    finally:
        clear(exported)


def _fingerprint(
    volume: Volume,
    bricks: Sequence[BrickRecord],
    settings: Settings,
    start: WarmStart | None,
) -> str:
    cut = [brick.to_json() for brick in bricks]
    data = [identity_of(volume), volume.geometry.to_json(), cut]
    return settings.fingerprint(data, start.identity() if start is not None else ())


def _records(planned: Plan, volume: Volume, start: WarmStart | None) -> list[BrickRecord]:
    """Return the bricks' extents, with the networks of those that have others than the model's.

    Raises
    ------
    ConfigurationError
        The networks to start from are not those of such bricks.
    """
    records = [BrickRecord(brick.extent, brick.ghosted) for brick in planned.bricks]
    common = planned.settings.network
    records = [
        dataclasses.replace(record, network=None if own == common else own)
        for record, own in zip(records, planned.networks or [common] * len(records))
    ]
    if start is not None:
        start.check(common, volume.n_components, records)
    return records
