"""A volume as a single brick, trained in this process."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np

from amgsrn_core.archive import BrickRecord, write_archive
from amgsrn_core.config import NetworkConfig, StorageConfig, TrainingConfig, to_json
from amgsrn_core.devices import select_device
from amgsrn_core.dispatch.parts import PartsFolder
from amgsrn_core.training.brick import fit_brick, memory_errors, value_range
from amgsrn_core.training.checkpoint import CheckpointFile
from amgsrn_core.training.claim import claim
from amgsrn_core.training.history import psnr_of
from amgsrn_core.training.outcome import TrainingOutcome, model_index, training_record
from amgsrn_core.training.progress import Observer, Progress
from amgsrn_core.training.records import Records
from amgsrn_core.training.start import WarmStart, planned_iterations
from amgsrn_core.volume.masking import Told, tell
from amgsrn_core.volume.volume import Block, FieldSummary, Volume
from amgsrn_core.workspace import clear, workspace


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
    observer: Observer,
    told: Told | None = None,
) -> TrainingOutcome:
    """Train one network on the whole volume; see :func:`amgsrn_core.training.train`.

    With `any_values` a volume that is constant or has no value makes a model as well. `told` are
    the fill values that were told of already, and, in the end, are.
    """
    device = select_device(training.device.split(",")[0], training=True)
    with workspace(output) as folder, memory_errors(training, device):
        observer(Progress("reading", 0, planned_iterations(training, storage, start)))
        block = volume.read()
        summary = FieldSummary.of_nothing(volume.n_components).with_block(block)
        if not any_values:
            volume.refuse_unfit(summary)
        tell(summary.fills.findings(volume.components), set() if told is None else told)
        low, high = value_range(block)
        whole = volume.geometry.resolve()
        record = BrickRecord(whole, whole)
        if start is not None:
            start.check(network, volume.n_components, [record])
        fingerprint = _fingerprint(volume, block, network, training, storage, start)
        parts = PartsFolder(folder)
        if (done := claim(output, parts, fingerprint, training, restart=restart)) is not None:
            return done
        parts.make_brick(0)
        fitted = fit_brick(
            block,
            record,
            volume.dims,
            network,
            training,
            device,
            start=start,
            storage=storage,
            checkpoints=CheckpointFile(parts.checkpoint(0), fingerprint),
            observer=observer,
            records=Records(training, output, volume.geometry, record),
        )
        result = fitted.result
        history = result.history.array()
        if not result.completed:
            estimate = psnr_of(result.history.last_loss)
            return TrainingOutcome(output, False, estimate, result.seconds, history)
        span = np.where(high > low, high - low, 1.0)
        psnr = psnr_of(float((fitted.squares / span**2).mean() / max(1, fitted.count)))
        record = dataclasses.replace(
            fitted.record, psnr=psnr, max_error=float(fitted.largest.max())
        )
        if start is None:  # the model's range is the network's own
            record = dataclasses.replace(record, value_minimum=(), value_maximum=())
        index = model_index(volume, low, high, network, storage)
        about = training_record(training, fingerprint, result.seconds, result.iterations_done)
        write_archive(output, index.replace(training=about, bricks=(record,)), [fitted.state])
        clear(folder)
    return TrainingOutcome(output, True, psnr, result.seconds, history)


def _fingerprint(
    volume: Volume,
    block: Block,
    network: NetworkConfig,
    training: TrainingConfig,
    storage: StorageConfig,
    start: WarmStart | None,
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
