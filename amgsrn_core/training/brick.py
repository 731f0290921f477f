"""One brick from its data to its network: normalise, place, fit, measure."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from amgsrn_core.config import NetworkConfig, StorageConfig, TrainingConfig
from amgsrn_core.errors import (
    AmgsrnError,
    DeviceLostError,
    OutOfMemoryError,
    first_sentence,
    is_device_lost,
    is_out_of_memory,
)
from amgsrn_core.evaluation.error_cells import without_errors
from amgsrn_core.field.evaluators import TorchEvaluator
from amgsrn_core.field.macro_cells import network_cells
from amgsrn_core.model import BrickRecord
from amgsrn_core.model.cell_codes import coarser_cells
from amgsrn_core.networks import SceneNetwork, initial_network, network_from_state
from amgsrn_core.training.aim import Aim
from amgsrn_core.training.assessment import Assessment, assessed
from amgsrn_core.training.automatic import formerly, resolved
from amgsrn_core.training.bound import Bound
from amgsrn_core.training.checkpoint import CheckpointFile
from amgsrn_core.training.compressing.compression import Packed, compressed
from amgsrn_core.training.fit import FitResult, fit
from amgsrn_core.training.history import History
from amgsrn_core.training.pilots import Choice, Trial, chosen, grown
from amgsrn_core.training.placement import place_grids
from amgsrn_core.training.progress import (
    Asking,
    Command,
    Observer,
    Progress,
    Stopped,
    ask,
    unobserved,
)
from amgsrn_core.training.quality import FitQuality, measure
from amgsrn_core.training.records.records import Records
from amgsrn_core.training.sampling import TrainingData, prepare
from amgsrn_core.training.stored_size import fit_to_size, stored_bytes
from amgsrn_core.training.total_bytes import TotalBytes
from amgsrn_core.training.voxel_sample import VoxelSample
from amgsrn_core.training.warm_start import StartingNetwork, WarmStart
from amgsrn_core.volume.block import Block
from amgsrn_core.volume.geometry import Extent
from amgsrn_core.volume.precision import is_moderate, refuse_spans

_SEEDS = 2**31
_NOTHING = FitResult(True, 0, 0.0, History())
# Iterations of fine-tuning between questions to the observer.
_ASK_EVERY = 5


@dataclass
class FittedBrick:
    """What there is to store of a brick.

    Attributes
    ----------
    record : BrickRecord
        With its state, value range and quality.
    state : dict of ndarray
        The network's parameters, perhaps compressed, its macro-cells, and `mask` where voxels are
        missing.
    squares : ndarray of float64 [C]
        Sums of the squared errors over the brick's own valid voxels, in the volume's units.
    count : int
        How many voxels these are.
    largest : ndarray of float64 [C]
        Largest absolute errors, in the volume's units.
    result : FitResult
        Of the fitting; `completed` is False when the observer stopped it, and then the rest is
        that of an unfinished brick.
    network : NetworkConfig or None
        Of the brick; None where it has none.
    """

    record: BrickRecord
    result: FitResult
    network: NetworkConfig | None = None
    state: dict[str, np.ndarray] = field(default_factory=dict)
    squares: np.ndarray = field(default_factory=lambda: np.zeros(1))
    count: int = 0
    largest: np.ndarray = field(default_factory=lambda: np.zeros(1))


def fit_brick(
    block: Block,
    record: BrickRecord,
    dims: tuple[int, int, int],
    network: NetworkConfig,
    training: TrainingConfig,
    device: torch.device,
    *,
    storage: StorageConfig | None = None,
    bound: Bound | None = None,
    number: int = 0,
    start: WarmStart | None = None,
    checkpoints: CheckpointFile | None = None,
    observer: Observer = unobserved,
    records: Records | None = None,
    aim: Aim | None = None,
) -> FittedBrick:
    """Fit a network to a brick, unless the brick is constant or has no values of its own.

    Parameters
    ----------
    block : Block
        Values of the ghosted extent; they are overwritten.
    record : BrickRecord
        Says which voxels those are.
    dims : tuple of int
        Voxels of the whole volume along z, y, x.
    network, training : configurations
    device : torch.device
    storage : StorageConfig, optional
        Whether the network is compressed, and at which cost.
    bound : Bound, optional
        How large errors may be at most.
    number : int, default: 0
        Of the brick: each has random numbers of its own.
    start : WarmStart, optional
        The model whose brick of this number the network starts from, if that has one, and whose
        range it keeps as long as the values fit.
    checkpoints : CheckpointFile, optional
        Continued from if there is one.
    observer : callable, optional
    records : Records, optional
    aim : Aim, optional
        What the training is for, which may choose the size of the network and the length.

    Raises
    ------
    TrainingError
        The training diverged, or (OutOfMemoryError) ran out of memory.
    """
    inner = inner_voxels(record)
    low, high = block.summary().learned_range()
    refuse_spans([f"component {number}" for number in range(len(low))], low, high)
    record = _ranged(record, low, high)
    own = record.own_voxels if block.valid is None else int(block.valid[inner].sum())
    if not own or (low == high).all():
        return _without_network(record, block.valid, own, len(low))
    with memory_errors(training, device):
        seed = (training.seed + number) % _SEEDS
        training = dataclasses.replace(training, seed=seed)
        known = None if start is None else start.network(number, network)
        if known is not None:
            low, high = known.range_for(low, high)
            record = _ranged(record, low, high)
        trial = trial_on(block, (low, high), record, training, device, aim=aim, known=known)
        storage = storage or StorageConfig()
        total = TotalBytes.of(bound, storage, high - low, block.values[0].size)
        trial = dataclasses.replace(trial, checkpoints=checkpoints, observer=observer, total=total)
        choice = chosen(trial, network, training, aim or Aim())
        while choice is not None:
            work = _Work(
                *(record, dims, choice, storage),
                bound=bound,
                start=start,
                known=known,
            )
            model = trial.begin(choice.network)
            result = work.fit(model, trial, records)
            if result.met or not (result.completed and choice.aim.grows):
                return work.finished(result, model, trial)
            choice = grown(choice, result, checkpoints)
        return FittedBrick(record, dataclasses.replace(_NOTHING, completed=False))


def trial_on(
    block: Block,
    bounds: tuple[np.ndarray, np.ndarray],
    record: BrickRecord,
    training: TrainingConfig,
    device: torch.device,
    *,
    aim: Aim | None = None,
    known: StartingNetwork | None = None,
) -> Trial:
    """Return what networks are trained on: a brick, whose values are overwritten.

    Parameters
    ----------
    block, record, training, device, aim
        As for :func:`fit_brick`.
    bounds : two ndarray [C]
        Range of the values.
    known : StartingNetwork, optional
    """
    host = training.data_device == "cpu"
    data = prepare(block, *bounds, torch.device("cpu") if host else device)
    sample = VoxelSample(data, inner_voxels(record), _weights(bounds[1] - bounds[0], aim))

    def begin(network: NetworkConfig) -> SceneNetwork:
        return _begun(data, bounds, network, training, device, known)

    return Trial(begin, data, sample, device.type)


@dataclass(frozen=True)
class _Work:
    """What is to be done with a brick whose network's size is known."""

    record: BrickRecord
    dims: tuple[int, int, int]
    choice: Choice
    storage: StorageConfig
    bound: Bound | None
    start: WarmStart | None
    known: StartingNetwork | None

    def fit(
        self,
        model: SceneNetwork,
        trial: Trial,
        records: Records | None,
    ) -> FitResult:
        """Fit the network."""
        choice = self.choice
        training = resolved(choice.training, choice.network, model.minimum.device.type)
        if self.start is not None and self.known is not None:
            training = self.start.training(training)
        result = fit(
            model,
            trial.data,
            training,
            checkpoints=trial.checkpoints,
            observer=_including(self.storage.finetuning, trial.observer),
            records=records,
            aim=choice.aim,
            sample=trial.sample,
        )
        return dataclasses.replace(result, seconds=result.seconds + choice.seconds)

    def finished(
        self,
        result: FitResult,
        model: SceneNetwork,
        trial: Trial,
    ) -> FittedBrick:
        """Measure and pack the network."""
        record, choice, storage, data = self.record, self.choice, self.storage, trial.data
        sample, checkpoints = trial.sample, trial.checkpoints
        if not result.completed:
            return FittedBrick(record, result)
        observer = _including(storage.finetuning, trial.observer)
        tuning = formerly(choice.training)
        if self.start is not None and self.known is not None:
            tuning = self.start.training(tuning)
        after = _AfterFit(observer, tuning, result, model, data)
        try:
            after.ask("measuring")
            state = model.state_arrays()
            if storage.compress:
                begun = time.monotonic()
                quality = measure(model, data, sample.region, after.asking("measuring"))
                state = self._packed(after, sample, quality, checkpoints)
                seconds = result.seconds + time.monotonic() - begun
                result = dataclasses.replace(result, seconds=seconds)
            found = assessed(
                *(model, data, record, self.dims, state, storage),
                bound=self.bound,
                pause=after.asking("measuring"),
            )
            after.ask("saving")
        except Stopped:  # what it is continued from are the checkpoints
            return FittedBrick(record, dataclasses.replace(result, completed=False))
        low, high = model.value_range
        fitted = _fitted(
            *(record, result, choice.network, state),
            data=data,
            found=found,
            span=high - low,
        )
        fitted.state["macro_cells"] = self._cells(model, data)
        fit_to_size(fitted.state, choice.aim.size, storage, choice.aim.rows)
        return fitted

    def _packed(
        self,
        after: _AfterFit,
        sample: VoxelSample,
        quality: FitQuality,
        checkpoints: CheckpointFile | None,
    ) -> Packed:
        """Compress the network in place.

        Raises
        ------
        Stopped
            The observer stopped it.
        """
        after.ask("compressing")
        storage, aim, start = self.storage, self.choice.aim, self.start
        known = self.known

        def go_on(iteration: int) -> bool:
            after.finetuned = min(iteration, storage.compress_finetune)
            return bool(iteration % _ASK_EVERY) or after.may_go_on("compressing")

        def room() -> int:
            state = {"macro_cells": self._cells(after.model, after.data)}
            if not aim.rows:
                state["history"] = after.history
            if after.data.valid is not None:
                state["mask"] = after.data.valid
            return int(without_errors(aim.size - stored_bytes(state, storage)))

        limit = quality.mean_square * 10.0 ** (storage.compress_loss / 10.0)
        if aim.psnr and (wanted := sample.limit(aim.psnr)) > quality.mean_square:
            limit = wanted
        packed = compressed(
            after.model,
            after.data,
            after.tuning,
            storage,
            error=lambda: measure(after.model, after.data, sample.region).mean_square,
            before=quality.mean_square,
            limit=limit,
            go_on=go_on,
            checkpoints=None if checkpoints is None else checkpoints.of_finetuning(),
            reference=known.state if start and known and start.differences else None,
            pause=after.asking("compressing"),
            room=room if aim.size else None,
        )
        if packed is None:
            raise Stopped
        after.finetuned = storage.compress_finetune
        return packed

    def _cells(self, model: SceneNetwork, data: TrainingData) -> np.ndarray:
        evaluator, hasty = TorchEvaluator(model), self.choice.aim.hasty
        cells = network_cells(evaluator, self.record, self.dims, data.valid, hasty=hasty)
        return coarser_cells(cells) if self.storage.compress else cells


def _weights(span: np.ndarray, aim: Aim | None) -> list[float]:
    """Return how the components' errors count relative to the whole volume's ranges."""
    whole = np.array(aim.span if aim is not None and aim.span else span)
    return ((span / np.where(whole > 0, whole, 1.0)) ** 2).tolist()


def _without_network(
    record: BrickRecord, valid: np.ndarray | None, own: int, components: int
) -> FittedBrick:
    """Return a brick of which so many own voxels have a value, the same one, or none has."""
    nothing, zeros = dataclasses.replace(_NOTHING), np.zeros(components)
    if not own:
        empty = dataclasses.replace(record, state="empty", value_minimum=(), value_maximum=())
        return FittedBrick(empty, nothing, squares=zeros, largest=zeros)
    constant = dataclasses.replace(record, state="constant")
    state = {} if valid is None else {"mask": valid}
    return FittedBrick(constant, nothing, None, state, squares=zeros, count=own, largest=zeros)


@contextlib.contextmanager
def memory_errors(training: TrainingConfig, device: torch.device) -> Iterator[None]:
    """Say in a sentence that memory ran out, or that a GPU failed, and what helps."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, AmgsrnError):
            raise
        if is_device_lost(error):
            raise DeviceLostError(
                f"The device {device} failed ({first_sentence(error)}); start the training again "
                "in a new process, which continues where its last checkpoint was."
            ) from error
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"There is not enough memory on {device}; use a smaller batch (it is "
            f"{training.batch}), a smaller network, smaller bricks, or another device."
        ) from error


def _begun(
    data: TrainingData,
    bounds: tuple[np.ndarray, np.ndarray],
    network: NetworkConfig,
    training: TrainingConfig,
    device: torch.device,
    known: StartingNetwork | None,
) -> SceneNetwork:
    """Return a network whose grids are placed on the data, or a known one."""
    low, high = bounds
    outputs = low, high
    if not is_moderate([(low.tolist(), high.tolist())]):
        outputs = np.zeros_like(low), (high > low).astype(np.float64)
    minimum, maximum = (torch.tensor(v, dtype=torch.float32) for v in outputs)
    if known is None:
        model = initial_network(network, minimum, maximum, training.seed)
        place_grids(model.transforms, data, training.placement)
    else:
        model = network_from_state(network, known.state, minimum, maximum)
        _rescale(model, known, high - low)
    model.value_range = low, high
    model.to(device).use_backend(training.backend)
    return model


def _rescale(model: SceneNetwork, known: StartingNetwork, span: np.ndarray) -> None:
    """Make outputs that are scaled by another range stand for the same differences of values."""
    ratio = (known.maximum - known.minimum) / np.where(span > 0, span, 1.0)
    with torch.no_grad():
        model.weights[-1].mul_(torch.tensor(ratio, dtype=torch.float32)[:, None])


def _ranged(record: BrickRecord, low: np.ndarray, high: np.ndarray) -> BrickRecord:
    return dataclasses.replace(
        record, value_minimum=tuple(low.tolist()), value_maximum=tuple(high.tolist())
    )


def _fitted(
    record: BrickRecord,
    result: FitResult,
    network: NetworkConfig,
    parameters: dict[str, np.ndarray],
    data: TrainingData,
    found: Assessment,
    span: np.ndarray,
) -> FittedBrick:
    quality = found.quality
    state = {**parameters, **found.tensors, "history": result.history.array()}
    if data.valid is not None:
        state["mask"] = data.valid
    squares, largest = quality.squares * span**2, quality.largest * span
    return FittedBrick(
        record, result, network, state, squares=squares, count=quality.count, largest=largest
    )


class _AfterFit:
    """Reports to an observer what is done with a network after its training."""

    def __init__(
        self,
        observer: Observer,
        tuning: TrainingConfig,
        result: FitResult,
        model: SceneNetwork,
        data: TrainingData,
    ) -> None:
        self._observer, self._result = observer, result
        self.tuning, self.model, self.data = tuning, model, data
        self._begun = time.monotonic()
        self.finetuned = 0
        self.history = result.history.array()

    def ask(self, phase: str) -> None:
        """Report how far things are; wait for as long as the answer is to pause.

        Raises
        ------
        Stopped
            The answer is to stop.
        """
        result, loss = self._result, self._result.history.last_loss
        progress = Progress(
            phase,
            result.iterations_done + self.finetuned,
            result.iterations_done,
            loss,
            result.psnr,
            seconds=result.seconds + time.monotonic() - self._begun,
            eta_seconds=0.0,
            network=self.model,
            history=result.history,
            valid=self.data.valid,
        )
        ask(self._observer, progress)

    def asking(self, phase: str) -> Asking:
        """Return what asks now and then."""
        return Asking(lambda: self.ask(phase))

    def may_go_on(self, phase: str) -> bool:
        """Report, and wait for as long as the answer is to pause; False when it is to stop."""
        try:
            self.ask(phase)
        except Stopped:
            return False
        return True


def _including(finetuning: int, observer: Observer) -> Observer:
    """Return an observer whose progress counts the iterations of fine-tuning as well."""

    def observe(progress: Progress) -> Command:
        each = progress.seconds / max(1, progress.iteration)
        total = progress.iterations + finetuning
        eta = progress.eta_seconds
        if eta is not None:
            eta = max(0, total - progress.iteration) * each
        return observer(dataclasses.replace(progress, iterations=total, eta_seconds=eta))

    return observe if finetuning else observer


def inner_voxels(record: BrickRecord) -> Extent:
    """Return the brick's own voxels as ranges within its ghosted extent."""
    z, y, x = (
        slice(own.start - ghosted.start, own.stop - ghosted.start)
        for own, ghosted in zip(record.extent, record.ghosted)
    )
    return z, y, x
