"""One brick from its data to its network: normalise, place, fit, measure."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
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
from amgsrn_core.field.evaluators import TorchEvaluator
from amgsrn_core.field.macro_cells import network_cells
from amgsrn_core.model import BrickRecord
from amgsrn_core.model.cell_codes import coarser_cells
from amgsrn_core.networks import SceneNetwork, initial_network, network_from_state
from amgsrn_core.training.assessment import Assessment, assessed
from amgsrn_core.training.automatic import formerly, resolved
from amgsrn_core.training.bound import Bound
from amgsrn_core.training.checkpoint import CheckpointFile
from amgsrn_core.training.compressing.compression import Packed, compressed
from amgsrn_core.training.fit import FitResult, fit
from amgsrn_core.training.history import History
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
from amgsrn_core.training.quality import measure
from amgsrn_core.training.records.records import Records
from amgsrn_core.training.sampling import TrainingData, prepare
from amgsrn_core.training.warm_start import StartingNetwork, WarmStart
from amgsrn_core.volume.block import Block
from amgsrn_core.volume.geometry import Extent
from amgsrn_core.volume.precision import is_moderate, refuse_spans
from amgsrn_core.volume.psnr import psnr_of

_SEEDS = 2**31
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
    """

    record: BrickRecord
    result: FitResult
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
    storage = storage or StorageConfig()
    with memory_errors(training, device):
        seed = (training.seed + number) % _SEEDS
        asked = dataclasses.replace(training, seed=seed)
        training, tuning = resolved(asked, network, device.type), formerly(asked)
        known = None if start is None else start.network(number, network)
        if start is not None and known is not None:
            training, tuning = start.training(training), start.training(tuning)
            low, high = known.range_for(low, high)
            record = _ranged(record, low, high)
        model, data = _start(block, (low, high), network, training, device, known)
        observer = _including(storage.finetuning, observer)
        result = fit(
            model, data, training, checkpoints=checkpoints, observer=observer, records=records
        )
        if not result.completed:
            return FittedBrick(record, result)
        after = _AfterFit(observer, tuning, result, model, data)
        try:
            after.ask("measuring")
            state = model.state_arrays()
            if storage.compress:
                begun = time.monotonic()
                reference = known.state if start and known and start.differences else None
                state = _packed(after, storage, inner, checkpoints, reference)
                seconds = result.seconds + time.monotonic() - begun
                result = dataclasses.replace(result, seconds=seconds)
            pause = after.asking("measuring")
            found = assessed(*(model, data, record, dims), state, storage, bound=bound, pause=pause)
            after.ask("saving")
        except Stopped:  # what it is continued from are the checkpoints
            return FittedBrick(record, dataclasses.replace(result, completed=False))
        fitted = _fitted(record, result, state, data, found, high - low)
        cells = network_cells(TorchEvaluator(model), record, dims, data.valid)
        fitted.state["macro_cells"] = coarser_cells(cells) if storage.compress else cells
        return fitted


def _without_network(
    record: BrickRecord, valid: np.ndarray | None, own: int, components: int
) -> FittedBrick:
    """Return a brick of which so many own voxels have a value, the same one, or none has."""
    nothing, zeros = FitResult(True, 0, 0.0, History()), np.zeros(components)
    if not own:
        empty = dataclasses.replace(record, state="empty", value_minimum=(), value_maximum=())
        return FittedBrick(empty, nothing, {}, zeros, 0, zeros)
    constant = dataclasses.replace(record, state="constant")
    state = {} if valid is None else {"mask": valid}
    return FittedBrick(constant, nothing, state, zeros, own, zeros)


def _packed(
    after: _AfterFit,
    storage: StorageConfig,
    inner: Extent,
    checkpoints: CheckpointFile | None,
    reference: Mapping[str, np.ndarray] | None,
) -> Packed:
    """Compress a network in place.

    Raises
    ------
    Stopped
        The observer stopped it.
    """
    quality = measure(after.model, after.data, inner, after.asking("measuring"))
    after.ask("compressing")

    def go_on(iteration: int) -> bool:
        after.finetuned = min(iteration, storage.compress_finetune)
        return bool(iteration % _ASK_EVERY) or after.may_go_on("compressing")

    packed = compressed(
        after.model,
        after.data,
        after.tuning,
        storage,
        error=lambda: measure(after.model, after.data, inner).mean_square,
        before=quality.mean_square,
        limit=quality.mean_square * 10.0 ** (storage.compress_loss / 10.0),
        go_on=go_on,
        checkpoints=None if checkpoints is None else checkpoints.of_finetuning(),
        reference=reference,
        pause=after.asking("compressing"),
    )
    if packed is None:
        raise Stopped
    after.finetuned = storage.compress_finetune
    return packed


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


def _start(
    block: Block,
    bounds: tuple[np.ndarray, np.ndarray],
    network: NetworkConfig,
    training: TrainingConfig,
    device: torch.device,
    known: StartingNetwork | None,
) -> tuple[SceneNetwork, TrainingData]:
    """Prepare the data (in place) and a network whose grids are placed on it, or a known one."""
    low, high = bounds
    host = training.data_device == "cpu"
    data = prepare(block, low, high, torch.device("cpu") if host else device)
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
    return model, data


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
    parameters: dict[str, np.ndarray],
    data: TrainingData,
    found: Assessment,
    span: np.ndarray,
) -> FittedBrick:
    quality = found.quality
    state = {**parameters, **found.tensors, "history": result.history.array()}
    if data.valid is not None:
        state["mask"] = data.valid
    return FittedBrick(
        record, result, state, quality.squares * span**2, quality.count, quality.largest * span
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
            psnr_of(loss),
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
