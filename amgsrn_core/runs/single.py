"""A volume as a single brick, trained in this process."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from amgsrn_core.config import StorageConfig, TrainingConfig
from amgsrn_core.errors import (
    ArchiveError,
    DivergedError,
    NoRoomError,
    OutOfMemoryError,
    ResumeError,
)
from amgsrn_core.execution.worker_slots import device_names
from amgsrn_core.model import BrickRecord, ModelIndex, verify_archive, write_archive
from amgsrn_core.networks.devices import select_device
from amgsrn_core.runs.goals import shortfall
from amgsrn_core.runs.outcome import TrainingOutcome, model_index, training_record, with_looks
from amgsrn_core.runs.parts import PartsFolder, finish, saving
from amgsrn_core.runs.plan import Plan, with_sizes_of
from amgsrn_core.runs.resuming import as_begun, finished, resume_or_begin
from amgsrn_core.runs.retries import changes, next_try
from amgsrn_core.runs.settings import Settings
from amgsrn_core.runs.space import Room, checkpoint_bytes, mask_bytes, model_bytes, network_bytes
from amgsrn_core.runs.stop_file import StopFile, stop_file
from amgsrn_core.system.memory import physical_memory
from amgsrn_core.system.output import replacing
from amgsrn_core.system.run_folder import workspace
from amgsrn_core.system.spare import kept_elsewhere
from amgsrn_core.training.aim import Aim
from amgsrn_core.training.automatic import foreseen
from amgsrn_core.training.bound import Bound
from amgsrn_core.training.brick import FittedBrick, fit_brick, memory_errors
from amgsrn_core.training.checkpoint import CheckpointFile
from amgsrn_core.training.progress import Command, Observer, Progress, Stopped, ask
from amgsrn_core.training.records.records import Records
from amgsrn_core.training.warm_start import WarmStart, planned_iterations
from amgsrn_core.volume.block import Block
from amgsrn_core.volume.masking import ReportedFills, report_fills
from amgsrn_core.volume.psnr import psnr_of
from amgsrn_core.volume.volume import Volume

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

_WAIT_SECONDS = 1.0


def train_single(
    volume: Volume,
    output: Path,
    planned: Plan,
    *,
    start: WarmStart | None = None,
    any_values: bool = False,
    restart: bool,
    force: bool = False,
    parts_at: str | os.PathLike[str] | None = None,
    observer: Observer,
    reported: ReportedFills | None = None,
) -> TrainingOutcome:
    """Train one network on the whole volume; see :func:`amgsrn_core.runs.train`.

    With `any_values` a volume that is constant or has no value makes a model as well. `reported`
    are the fill values that were reported already, and, in the end, are.
    """
    planned = with_sizes_of(planned, start)
    with workspace(output, parts_at) as folder, stop_file(folder) as stop:
        try:
            return _train(
                volume,
                output,
                folder,
                planned,
                start,
                any_values=any_values,
                restart=restart,
                force=force,
                stop=stop,
                observer=stop.observing(observer),
                reported=set() if reported is None else reported,
            )
        except Stopped:
            return TrainingOutcome.stopped(output, stop.reason)


def _train(
    volume: Volume,
    output: Path,
    folder: Path,
    planned: Plan,
    start: WarmStart | None,
    *,
    any_values: bool,
    restart: bool,
    force: bool,
    stop: StopFile,
    observer: Observer,
    reported: ReportedFills,
) -> TrainingOutcome:
    settings = planned.settings
    network, training, storage = settings.network, settings.training, settings.storage
    device = select_device(device_names(training.device)[0], training=True)
    begin = Progress("reading", 0, planned_iterations(training, network, storage, start))
    with memory_errors(training, device):
        ask(observer, begin, pause=False)
        block = volume.scanned(checksum=True)
        ask(observer, begin, pause=False)
        summary = block.summary()
        if not any_values:
            volume.refuse_unfit(summary)
        report_fills(summary.fills.findings(volume.components), reported)
        bound = Bound.of(volume, storage, summary)
        whole = volume.geometry.resolve()
        record = BrickRecord(whole, whole)
        if start is not None:
            start.check(network, volume.n_components, [record])
        parts = PartsFolder(folder)
        settings, fingerprint = as_begun(
            *(settings, output, parts),
            lambda options: _fingerprint(volume, block, options, start),
            restart=restart,
        )
        done = resume_or_begin(output, parts, fingerprint, settings, restart=restart, force=force)
        if done is not None:
            return done
        if (done := _kept(parts, output, fingerprint, settings)) is not None:
            finish(folder)
            every = foreseen(settings.training, network).iterations
            observer(Progress("training", every, every))
            return done
        run = _Run(
            volume=volume,
            output=output,
            parts=parts,
            settings=settings,
            aim=planned.aim(0, settings),
            start=start,
            record=record,
            limits=summary.learned_range(),
            fingerprint=fingerprint,
            stop=stop,
            observer=observer,
            bound=bound,
        )
        return run.go(block, device)


@dataclass(frozen=True)
class _Run:
    """A training that has read its data; `record` is its brick, `limits` are its values'."""

    volume: Volume
    output: Path
    parts: PartsFolder
    settings: Settings
    aim: Aim
    start: WarmStart | None
    record: BrickRecord
    limits: tuple[np.ndarray, np.ndarray]
    fingerprint: str
    stop: StopFile
    observer: Observer
    bound: Bound | None

    def go(self, block: Block, device: torch.device) -> TrainingOutcome:
        """Fit the network and write the model."""
        room = self._room(is_masked=block.valid is not None)
        checkpoints = CheckpointFile(self.parts.checkpoint(0), self.fingerprint, room.watch)
        self.parts.make_brick(0)

        def fit(values: Block, tried: TrainingConfig) -> FittedBrick:
            return fit_brick(
                values,
                self.record,
                self.volume.dims,
                self.settings.network,
                tried,
                device,
                start=self.start,
                storage=self.settings.storage,
                bound=self.bound,
                checkpoints=checkpoints,
                observer=self.observer,
                records=Records(tried, self.output, self.volume.geometry, self.record),
                aim=self.aim,
            )

        fitted, training = _fitted(fit, self.volume, block, self.settings, self.parts)
        result = fitted.result
        history = result.history.array()
        if not result.completed:
            reason = self.stop.reason
            return TrainingOutcome.stopped(
                self.output, reason, result.psnr, result.seconds, history
            )
        index, psnr = self._index(fitted)
        iterations = result.iterations_done
        about = training_record(training, self.fingerprint, result.seconds, iterations)
        shown = with_looks(index.replace(training=about), [fitted.state], self.settings.goal)

        def is_complete() -> bool:
            saved = checkpoints.load()
            return saved is not None and saved.numbers["iteration"] == iterations

        _write(
            *(self.parts, self.output, lambda at: write_archive(at, shown, [fitted.state])),
            *(is_complete, self.observer),
        )
        finish(self.parts.path)
        lacks = shortfall(self.settings, psnr, self._has_most(fitted))
        if lacks:
            _log.warning(lacks)
        return TrainingOutcome(self.output, True, psnr, result.seconds, history, shortfall=lacks)

    def _has_most(self, fitted: FittedBrick) -> bool:
        """Return whether the network is as large as one that is chosen may be."""
        network, most = fitted.network, self.aim.most_nodes
        return network is not None and math.prod(network.grid_shape) >= most > 0

    def _room(self, is_masked: bool) -> Room:
        """Return the room that the run needs on its disks; raise if it surely is not there."""
        volume, settings = self.volume, self.settings
        network, training, storage = settings.network, settings.training, settings.storage
        room = Room(
            self.output,
            self.parts.path,
            model_bytes(volume, [(self.record, network)], training, storage),
            checkpoint_bytes(volume, network, training, storage),
            mask_bytes([self.record]) if is_masked else 0,
        )
        if network_bytes(network, volume.n_components, StorageConfig()) < physical_memory():
            room.require(is_new=not self.parts.has_work())  # else memory is what is short
        return room

    def _index(self, fitted: FittedBrick) -> tuple[ModelIndex, float]:
        """Return the model's index, and its PSNR."""
        low, high = self.limits
        span = np.where(high > low, high - low, 1.0)
        psnr = psnr_of(float((fitted.squares / span**2).mean() / max(1, fitted.count)))
        largest = float(fitted.largest.max())
        record = dataclasses.replace(fitted.record, psnr=psnr, max_error=largest)
        if self.start is None:  # the model's range is the network's own
            record = dataclasses.replace(record, value_minimum=(), value_maximum=())
        network = fitted.network or self.settings.network
        index = model_index(self.volume, low, high, network, self.settings.storage)
        return index.replace(bricks=(record,)), psnr


def _fitted(
    fit: Callable[[Block, TrainingConfig], FittedBrick],
    volume: Volume,
    block: Block,
    settings: Settings,
    parts: PartsFolder,
) -> tuple[FittedBrick, TrainingConfig]:
    """Fit a network; where that fails for want of memory or precision, try with less or more of it.

    Returns how it was trained in the end, too.
    """
    training = planned = settings.training
    for _ in range(settings.dispatch.retries):
        try:
            return fit(block, training), training
        except (OutOfMemoryError, DivergedError) as error:
            # Who chose a learning rate for one network has to change it.
            if isinstance(error, DivergedError) and training.backend != "tcnn":
                raise
            easier = next_try(training, planned, error, parts)
            if easier is None:
                raise
            _log.warning("%s Trying again with %s.", error, changes(training, easier))
        training, block = easier, volume.scanned()  # the values were overwritten
    return fit(block, training), training


def _write(
    parts: PartsFolder,
    output: Path,
    write: Callable[[Path], object],
    is_complete: Callable[[], bool],
    observer: Observer,
) -> None:
    """Write the model; where no disk has room for anything of it, wait until one has.

    Raises
    ------
    NoRoomError
        It is kept elsewhere, or the observer stopped the run.
    """
    has_warned = False
    while True:
        try:
            with saving(parts.path, parts.done(0), write, is_complete=is_complete):
                write(output)
            return
        except NoRoomError as error:
            if is_complete() or kept_elsewhere(parts.done(0)):
                raise
            if not has_warned:
                _log.warning("Waiting for room on any disk, or to be stopped. %s", error)
            has_warned = True
            if observer(Progress("saving", 0, 1)) is Command.STOP:
                raise
            time.sleep(_WAIT_SECONDS)


def _kept(
    parts: PartsFolder, output: Path, fingerprint: str, settings: Settings
) -> TrainingOutcome | None:
    """Put a model in its place that was complete when there was no room for it there."""
    for path in kept_elsewhere(parts.done(0)):
        try:
            outcome = finished(path, fingerprint, settings)
            verify_archive(path)
        except (ResumeError, ArchiveError):
            continue  # of another run, or damaged
        if outcome is not None:
            with saving(parts.path, kept=path), replacing(output) as temporary:
                shutil.copyfile(path, temporary)
            return dataclasses.replace(outcome, path=output, was_complete=False)
    return None


def _fingerprint(volume: Volume, block: Block, settings: Settings, start: WarmStart | None) -> str:
    data = [volume.name, volume.geometry.to_json(), block.values.shape, block.checksum()]
    return settings.fingerprint(data, start.identity() if start is not None else ())
