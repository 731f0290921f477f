"""From a volume to a model file: read, fit, measure, save; resume what was interrupted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from amgsrn_core import __version__
from amgsrn_core.archive import BrickRecord, ModelIndex, TrainingRecord, read_index, write_archive
from amgsrn_core.config import NetworkConfig, StorageConfig, TrainingConfig, to_json
from amgsrn_core.devices import select_device
from amgsrn_core.errors import (
    AmgsrnError,
    ArchiveError,
    OutputError,
    ResumeError,
    TrainingError,
    is_out_of_memory,
)
from amgsrn_core.macro_cells import network_cells
from amgsrn_core.networks import SceneNetwork, initial_network
from amgsrn_core.output import ensure_writable, reason, replacing
from amgsrn_core.training.checkpoint import CheckpointFile
from amgsrn_core.training.fit import FitResult, fit
from amgsrn_core.training.history import COLUMNS, psnr_of
from amgsrn_core.training.placement import place_grids
from amgsrn_core.training.progress import Observer, Progress, unobserved
from amgsrn_core.training.quality import measure
from amgsrn_core.training.sampling import TrainingData, prepare
from amgsrn_core.volume.volume import Block, FieldSummary, Volume
from amgsrn_core.workspace import clear, workspace

_OWNER, _CHECKPOINT = "fingerprint", "checkpoint.safetensors"


@dataclass(frozen=True)
class TrainingOutcome:
    """Result of :func:`train`.

    Attributes
    ----------
    path : Path
        The model file; written only if `completed`.
    completed : bool
        False when the observer stopped the run; its state is kept beside `path`.
    psnr : float
        In dB over all valid voxels; while incomplete, the estimate from the last loss.
    seconds : float
        Time spent training.
    history : ndarray of float64 [rows, columns]
        Columns as in `history_columns`.
    """

    path: Path
    completed: bool
    psnr: float
    seconds: float
    history: np.ndarray
    history_columns: tuple[str, ...] = COLUMNS


def train(
    volume: Volume,
    output: str | os.PathLike[str],
    network: NetworkConfig | None = None,
    training: TrainingConfig | None = None,
    storage: StorageConfig | None = None,
    *,
    restart: bool = False,
    observer: Observer = unobserved,
) -> TrainingOutcome:
    """Train a network on a volume and write it as a model file.

    An interrupted run continues where it was when the same call is made again (without `restart`,
    even if it was interrupted with it); a finished one returns at once.

    Parameters
    ----------
    volume : Volume
    output : path
        The model file to write, ``NAME.amgsrn``.
    network, training, storage : configurations, optional
    restart : bool, default: False
        Begin anew: discard interrupted work, and replace a model that is there when the new one
        is complete.
    observer : callable, optional
        Receives a :class:`Progress` a few times per second and may pause or stop the run.

    Raises
    ------
    VolumeError
        The data cannot be trained on (constant, nothing valid, infinite values).
    ResumeError
        `output` holds other work and `restart` is False, or another process is at it.
    OutputError
        A file cannot be written.
    TrainingError
        The training diverged or ran out of memory.

    Examples
    --------
    >>> from amgsrn_core import open_volume, train
    >>> train(open_volume("ocean.nc", "temperature"), "ocean.amgsrn")  # doctest: +SKIP
    """
    network, training = network or NetworkConfig(), training or TrainingConfig()
    storage = storage or StorageConfig()
    output = Path(output)
    device = select_device(training.device)
    ensure_writable(output)
    with workspace(output) as folder, _memory_errors(training, device):
        observer(Progress("reading", 0, training.iterations))
        block = volume.read()
        summary = volume.summarise([block])
        fingerprint = _fingerprint(volume, block, network, training, storage)
        brick = folder / "brick-0000"
        if not restart and not _holds(brick, fingerprint):
            if (done := _finished(output, fingerprint)) is not None:
                return done
            _refuse_other_work(brick, output)
        _claim(brick, fingerprint, restart)
        checkpoints = CheckpointFile(brick / _CHECKPOINT, fingerprint)
        model, data = _start(block, summary, network, training, device)
        result = fit(model, data, training, checkpoints=checkpoints, observer=observer)
        if not result.completed:
            estimate = psnr_of(result.history.last_loss)
            return TrainingOutcome(output, False, estimate, result.seconds, result.history.array())
        observer(_finishing("measuring", training, result, model, data))
        quality = measure(model, data)
        observer(_finishing("saving", training, result, model, data))
        index = _index(volume, summary, network, training, storage, fingerprint, result)
        span = summary.maximum - summary.minimum
        record = BrickRecord(
            extent=index.bricks[0].extent,
            ghosted=index.bricks[0].ghosted,
            psnr=quality.psnr,
            max_error=float((quality.largest * span).max()),
        )
        state = {**model.state_arrays(), "history": result.history.array()}
        if data.valid is not None:
            state["mask"] = data.valid
        state["macro_cells"] = network_cells(
            model, record, index.dims, index.value_minimum, index.value_maximum, data.valid
        )
        write_archive(output, index.replace(bricks=(record,)), [state])
        clear(folder)
    return TrainingOutcome(output, True, quality.psnr, result.seconds, result.history.array())


@contextlib.contextmanager
def _memory_errors(training: TrainingConfig, device: torch.device) -> Iterator[None]:
    """Say in a sentence that memory ran out, and what helps."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, AmgsrnError) or not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"There is not enough memory on {device}; use a smaller batch (it is "
            f"{training.batch}), a smaller network, or another device."
        ) from error


def model_index(
    volume: Volume,
    minimum: np.ndarray,
    maximum: np.ndarray,
    network: NetworkConfig,
    storage: StorageConfig,
) -> ModelIndex:
    """Describe the model of a volume, as yet without a training record."""
    return ModelIndex.of_volume(
        volume,
        minimum.tolist(),
        maximum.tolist(),
        network,
        storage=storage,
        history_columns=COLUMNS,
    )


def _index(
    volume: Volume,
    summary: FieldSummary,
    network: NetworkConfig,
    training: TrainingConfig,
    storage: StorageConfig,
    fingerprint: str,
    result: FitResult,
) -> ModelIndex:
    index = model_index(volume, summary.minimum, summary.maximum, network, storage)
    return index.replace(
        training=TrainingRecord(
            config={**to_json(training), "fingerprint": fingerprint},
            versions={"amgsrn": __version__, "torch": torch.__version__, "numpy": np.__version__},
            seconds=result.seconds,
            iterations_done=result.iterations_done,
        )
    )


def _start(
    block: Block,
    summary: FieldSummary,
    network: NetworkConfig,
    training: TrainingConfig,
    device: torch.device,
) -> tuple[SceneNetwork, TrainingData]:
    """Prepare the data (in place) and a network whose grids are placed on it."""
    data = prepare(block, summary.minimum, summary.maximum, device)
    low = torch.tensor(summary.minimum, dtype=torch.float32)
    high = torch.tensor(summary.maximum, dtype=torch.float32)
    model = initial_network(network, low, high, training.seed)
    place_grids(model.transforms, data, training.placement)
    model.to(device).use_backend(training.backend)
    return model, data


def _finishing(
    phase: str,
    training: TrainingConfig,
    result: FitResult,
    model: SceneNetwork,
    data: TrainingData,
) -> Progress:
    loss = result.history.last_loss
    return Progress(
        phase,
        result.iterations_done,
        training.iterations,
        loss,
        psnr_of(loss),
        0.0,
        result.seconds,
        0.0,
        model,
        result.history,
        data.valid,
    )


def _fingerprint(
    volume: Volume,
    block: Block,
    network: NetworkConfig,
    training: TrainingConfig,
    storage: StorageConfig,
) -> str:
    """Identify what a run computes: same data, same configuration, same result."""
    crc = zlib.crc32(np.ascontiguousarray(block.values).data)
    if block.valid is not None:
        crc = zlib.crc32(np.ascontiguousarray(block.valid).data, crc)
    what = [
        volume.name,
        volume.geometry.to_json(),
        block.values.shape,
        crc,
        to_json(network),
        training.substance(),
        to_json(storage),
    ]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _finished(output: Path, fingerprint: str) -> TrainingOutcome | None:
    """Return the outcome of an earlier run that made `output`; None when there is no file.

    Raises
    ------
    ResumeError
        Another run made it, or it is no model: neither is replaced unasked.
    """
    if not output.exists():
        return None
    try:
        index = read_index(output)
    except ArchiveError as error:
        raise ResumeError(
            f"{output} exists and is not a complete model; restart to replace it, or name another "
            "output."
        ) from error
    if index.training.config.get("fingerprint") != fingerprint:
        raise ResumeError(
            f"{output} exists and was trained with other data or options; restart to replace it, "
            "or name another output."
        )
    psnr = index.bricks[0].psnr
    seconds = index.training.seconds
    empty = np.zeros((0, len(COLUMNS)))
    return TrainingOutcome(output, True, float("nan") if psnr is None else psnr, seconds, empty)


def _holds(brick: Path, fingerprint: str) -> bool:
    """Tell whether a folder holds interrupted work of this very run."""
    return _owner(brick) == fingerprint and (brick / _CHECKPOINT).exists()


def _owner(brick: Path) -> str:
    """Return the fingerprint of the run that works in a folder; "" when none does."""
    try:
        return (brick / _OWNER).read_text()
    except OSError:
        return ""


def _refuse_other_work(brick: Path, output: Path) -> None:
    if (brick / _CHECKPOINT).exists():
        raise ResumeError(
            f"{brick.parent} holds an interrupted run with other data or options; restart to "
            f"discard it, repeat its options to continue it, or name another output than {output}."
        )


def _claim(brick: Path, fingerprint: str, restart: bool) -> None:
    """Make the brick's folder ours, empty unless its work is ours."""
    if restart or _owner(brick) != fingerprint:
        clear(brick)
        try:
            brick.mkdir()
        except OSError as error:
            raise OutputError(f"Cannot write {brick}: {reason(error)}.") from error
        with replacing(brick / _OWNER) as temporary:
            temporary.write_text(fingerprint)
