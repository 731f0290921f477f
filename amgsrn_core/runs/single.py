"""A volume as a single brick, trained in this process."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from amgsrn_core.config import NetworkConfig, StorageConfig, TrainingConfig, to_json
from amgsrn_core.errors import (
    ArchiveError,
    DivergedError,
    NoRoomError,
    OutOfMemoryError,
    ResumeError,
)
from amgsrn_core.execution.places import device_names
from amgsrn_core.model import BrickRecord, verify_archive, write_archive
from amgsrn_core.networks.devices import select_device
from amgsrn_core.runs.claim import as_begun, claim, finished
from amgsrn_core.runs.easing import changes, eased
from amgsrn_core.runs.outcome import TrainingOutcome, model_index, training_record
from amgsrn_core.runs.parts import PartsFolder, finish, saving
from amgsrn_core.runs.space import Room, checkpoint_bytes, mask_bytes, model_bytes, network_bytes
from amgsrn_core.runs.stop_file import StopFile, stop_file
from amgsrn_core.system.memory import physical_memory
from amgsrn_core.system.output import replacing
from amgsrn_core.system.run_folder import workspace
from amgsrn_core.system.spare import kept_elsewhere
from amgsrn_core.training.automatic import foreseen
from amgsrn_core.training.brick import FittedBrick, fit_brick, learned_range, memory_errors
from amgsrn_core.training.checkpoint import CheckpointFile
from amgsrn_core.training.history import psnr_of
from amgsrn_core.training.progress import Command, Observer, Progress, Stopped, ask
from amgsrn_core.training.records.records import Records
from amgsrn_core.training.warm_start import WarmStart, planned_iterations
from amgsrn_core.volume.masking import Told, tell
from amgsrn_core.volume.volume import Block, FieldSummary, Volume

_log = logging.getLogger(__name__)

_WAIT_SECONDS = 1.0
_TRIES = 3


def train_single(
    volume: Volume,
    output: Path,
    network: NetworkConfig,
    training: TrainingConfig,
    storage: StorageConfig,
    *,
    start: WarmStart | None = None,
    any_values: bool = False,
    restart: bool,
    force: bool = False,
    parts_at: str | os.PathLike[str] | None = None,
    observer: Observer,
    told: Told | None = None,
) -> TrainingOutcome:
    """Train one network on the whole volume; see :func:`amgsrn_core.runs.train`.

    With `any_values` a volume that is constant or has no value makes a model as well. `told` are
    the fill values that were told of already, and, in the end, are.
    """
    with workspace(output, parts_at) as folder, stop_file(folder) as stop:
        try:
            return _train(
                volume,
                output,
                folder,
                network,
                training,
                storage,
                start,
                any_values=any_values,
                restart=restart,
                force=force,
                stop=stop,
                observer=stop.observing(observer),
                told=set() if told is None else told,
            )
        except Stopped:
            return TrainingOutcome.stopped(output, stop.reason)


def _train(
    volume: Volume,
    output: Path,
    folder: Path,
    network: NetworkConfig,
    training: TrainingConfig,
    storage: StorageConfig,
    start: WarmStart | None,
    *,
    any_values: bool,
    restart: bool,
    force: bool,
    stop: StopFile,
    observer: Observer,
    told: Told,
) -> TrainingOutcome:
    device = select_device(device_names(training.device)[0], training=True)
    begin = Progress("reading", 0, planned_iterations(training, network, storage, start))
    with memory_errors(training, device):
        ask(observer, begin, pause=False)
        block = volume.read()
        ask(observer, begin, pause=False)
        summary = FieldSummary.of_block(block)
        if not any_values:
            volume.refuse_unfit(summary)
        tell(summary.fills.findings(volume.components), told)
        low, high = learned_range(block)
        whole = volume.geometry.resolve()
        record = BrickRecord(whole, whole)
        if start is not None:
            start.check(network, volume.n_components, [record])
        parts = PartsFolder(folder)
        identified = functools.partial(_fingerprint, volume, block, network, storage, start)
        training, fingerprint = as_begun(training, output, parts, identified, restart)
        done = claim(output, parts, fingerprint, training, restart=restart, force=force)
        if done is not None:
            return done
        if (done := _kept(parts, output, fingerprint)) is not None:
            finish(folder)
            every = foreseen(training, network).iterations
            observer(Progress("training", every, every))
            return done
        room = Room(
            output,
            folder,
            model_bytes(volume, [(record, network)], training, storage),
            checkpoint_bytes(volume, network, training, storage),
            0 if block.valid is None else mask_bytes([record]),
        )
        if network_bytes(network, volume.n_components, StorageConfig()) < physical_memory():
            room.require(is_new=not parts.has_work())  # else memory is what is short
        checkpoints = CheckpointFile(parts.checkpoint(0), fingerprint, room.watch)
        parts.make_brick(0)

        def fit(values: Block, tried: TrainingConfig) -> FittedBrick:
            return fit_brick(
                values,
                record,
                volume.dims,
                network,
                tried,
                device,
                start=start,
                storage=storage,
                checkpoints=checkpoints,
                observer=observer,
                records=Records(tried, output, volume.geometry, record),
            )

        fitted, training = _fitted(fit, volume, block, training, parts)
        result = fitted.result
        history = result.history.array()
        if not result.completed:
            estimate = psnr_of(result.history.last_loss)
            return TrainingOutcome.stopped(output, stop.reason, estimate, result.seconds, history)
        span = np.where(high > low, high - low, 1.0)
        psnr = psnr_of(float((fitted.squares / span**2).mean() / max(1, fitted.count)))
        record = dataclasses.replace(
            fitted.record, psnr=psnr, max_error=float(fitted.largest.max())
        )
        if start is None:  # the model's range is the network's own
            record = dataclasses.replace(record, value_minimum=(), value_maximum=())
        index = model_index(volume, low, high, network, storage)
        about = training_record(training, fingerprint, result.seconds, result.iterations_done)
        index = index.replace(training=about, bricks=(record,))

        def is_complete() -> bool:
            saved = checkpoints.load()
            return saved is not None and saved.numbers["iteration"] == result.iterations_done

        _write(
            *(parts, output, lambda at: write_archive(at, index, [fitted.state])),
            *(is_complete, observer),
        )
        finish(folder)
    return TrainingOutcome(output, True, psnr, result.seconds, history)


def _fitted(
    fit: Callable[[Block, TrainingConfig], FittedBrick],
    volume: Volume,
    block: Block,
    planned: TrainingConfig,
    parts: PartsFolder,
) -> tuple[FittedBrick, TrainingConfig]:
    """Fit a network; where that fails for want of memory or precision, try with less or more of it.

    Returns how it was trained in the end, too.
    """
    training = planned
    for _ in range(_TRIES):
        try:
            return fit(block, training), training
        except (OutOfMemoryError, DivergedError) as error:
            easier = eased(training, planned, error)
            if easier is None or not _may_help(training, error):
                raise
            if isinstance(error, DivergedError):
                parts.forget_checkpoint(0)  # of the training that went wrong
            _log.warning("%s Trying again with %s.", error, changes(training, easier))
        training, block = easier, volume.read()  # the values were overwritten
    return fit(block, training), training


def _may_help(training: TrainingConfig, error: Exception) -> bool:
    """Return whether to try on without being asked: a rate that diverges is whoever chose it's."""
    return isinstance(error, OutOfMemoryError) or training.backend == "tcnn"


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


def _kept(parts: PartsFolder, output: Path, fingerprint: str) -> TrainingOutcome | None:
    """Put a model in its place that was complete when there was no room for it there."""
    for path in kept_elsewhere(parts.done(0)):
        try:
            outcome = finished(path, fingerprint)
            verify_archive(path)
        except (ResumeError, ArchiveError):
            continue  # of another run, or damaged
        if outcome is not None:
            with saving(parts.path, kept=path), replacing(output) as temporary:
                shutil.copyfile(path, temporary)
            return dataclasses.replace(outcome, path=output)
    return None


def _fingerprint(
    volume: Volume,
    block: Block,
    network: NetworkConfig,
    storage: StorageConfig,
    start: WarmStart | None,
    training: TrainingConfig,
) -> str:
    """Identify what a run computes: same data, same configuration, same result."""
    what = [
        volume.name,
        volume.geometry.to_json(),
        block.values.shape,
        block.checksum(),
        to_json(network),
        training.substance(),
        storage.to_json(),
        *(start.identity() if start is not None else ()),
    ]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
