"""A trained network against its data, voxel by voxel: errors, and corrections that bound them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from amgsrn_core.config import StorageConfig
from amgsrn_core.errors import TrainingError
from amgsrn_core.evaluation.error_cells import ErrorCells
from amgsrn_core.field.evaluators import Evaluator, TorchEvaluator, make_evaluator
from amgsrn_core.kernels import load
from amgsrn_core.model import BrickRecord
from amgsrn_core.model.box import Box
from amgsrn_core.model.brick_tensors import as_stored
from amgsrn_core.model.codec import COMPRESSED
from amgsrn_core.model.correction_codes import CORRECTIONS, pack_corrections
from amgsrn_core.model.entropy import LARGEST
from amgsrn_core.model.error_codes import ERRORS
from amgsrn_core.networks import SceneNetwork, network_from_state
from amgsrn_core.training.bound import ROUNDINGS, Bound
from amgsrn_core.training.quality import FitQuality, measure
from amgsrn_core.training.sampling import TrainingData
from amgsrn_core.volume.geometry import Extent

_POINTS = 1 << 18
# Voxels at which the rounding of backends is measured, and how much more than that is allowed for:
# that of others, and that of voxels that were not looked at.
_PROBES, _SAFETY = 1 << 15, 4.0
# What two backends may differ by at least, of the network's range.
_LEAST_ROUNDING = 2.0**-21


@dataclass(frozen=True)
class Assessment:
    """What is known of a brick when it is finished.

    Attributes
    ----------
    quality : FitQuality
        Over the brick's own voxels, with the corrections.
    tensors : dict of ndarray
        What is stored of it: errors of cells, where they are known, and corrections.
    """

    quality: FitQuality
    tensors: dict[str, np.ndarray] = field(default_factory=dict)


def assessed(
    network: SceneNetwork,
    data: TrainingData,
    record: BrickRecord,
    dims: tuple[int, int, int],
    state: Mapping[str, np.ndarray],
    storage: StorageConfig,
    bound: Bound | None = None,
    pause: Callable[[], None] = lambda: None,
) -> Assessment:
    """Compare a brick's network with its data.

    Where bricks are blended at voxels, the errors are those of the whole field and not of its
    parts: they are not known here, and there are no cells. Corrections make every part, and so any
    blend of them, keep the bound.

    Parameters
    ----------
    network : SceneNetwork
        As it is going to be read, but for the rounding to float16.
    data : TrainingData
        Of the brick's ghosted extent.
    record : BrickRecord
        With the range that the data are scaled by.
    dims : tuple of int
        Voxels of the whole volume along z, y, x.
    state : dict of ndarray
        What is stored of the brick otherwise.
    storage : StorageConfig
    bound : Bound, optional
        How large errors may be at most.
    pause : callable, optional
        Called now and then; what it raises ends the comparison.

    Raises
    ------
    TrainingError
        The bound is too small for this network.
    """
    low, high = np.array(record.value_minimum), np.array(record.value_maximum)
    span = high - low
    reached = reached_voxels(record, dims)
    is_whole = record.domain is not None or reached == tuple(record.extent)
    cells = ErrorCells(record.extent, len(low)) if is_whole else None
    largest = np.maximum(np.abs(low), np.abs(high))
    margin = span * 2.0 * _LEAST_ROUNDING + 8.0 * _last_place(largest, np.float32)
    inner = _relative(record.extent, record.ghosted)
    others = sum(tensor.nbytes for name, tensor in state.items() if name != "mask")
    if storage.dtype == "float16" and not storage.compress:
        others //= 2
    if bound is None:

        def watch(slab: Extent, errors: np.ndarray, valid: np.ndarray | None) -> None:
            if cells is not None:
                cells.add(_absolute(slab, record.ghosted), errors * _of_all(span), valid)

        quality = measure(network, data, inner, pause, watch if cells else None)
        if cells is None:
            return Assessment(quality)
        return Assessment(quality, {ERRORS: cells.packed(span, margin, others)})
    region = _relative(reached, record.ghosted)
    evaluator = _as_read(network, storage, COMPRESSED in state)
    errors = _residuals(evaluator, data, record, region, pause)
    errors[span == 0] = 0.0  # what the network says does not matter there
    valid = None if data.valid is None else data.valid[region]
    if valid is not None:
        errors[:, ~valid] = 0.0
    rounding = _rounding(evaluator, record, region, pause)
    errors, corrections, margin = _corrected(errors, region, span, (low, high), bound, rounding)
    part = _relative(record.extent, reached)
    own = errors[(slice(None), *part)]
    known = None if valid is None else valid[part]
    count = own[0].size if known is None else int(np.count_nonzero(known))
    scaled = own.astype(np.float64)
    quality = FitQuality(
        np.square(scaled).sum(axis=(1, 2, 3)), count, np.abs(scaled).max(axis=(1, 2, 3))
    )
    tensors = {CORRECTIONS: corrections}
    if cells is not None:
        cells.add(record.extent, own * _of_all(span), known)
        tensors[ERRORS] = cells.packed(span, margin, others + corrections.nbytes)
    return Assessment(quality, tensors)


def reached_voxels(record: BrickRecord, dims: tuple[int, int, int]) -> Extent:
    """Return the voxels z, y, x at which a brick has a weight: its own, and those of a blend."""
    if record.domain is not None:
        z, y, x = (
            slice(
                min(own.start, max(g.start, math.ceil(low))),
                max(own.stop, min(g.stop, math.floor(high) + 1)),
            )
            for (low, high), g, own in zip(record.domain, record.ghosted, record.extent)
        )
        return z, y, x
    z, y, x = (
        slice(
            own.start - max(0, own.start - ghosted.start - 1),
            own.stop + max(0, ghosted.stop - own.stop - 1),
        )
        for own, ghosted in zip(record.extent, record.ghosted)
    )
    return z, y, x


def _as_read(network: SceneNetwork, storage: StorageConfig, packed: bool) -> TorchEvaluator:
    """Return a network as it comes back from the file, with values from 0 to 1."""
    state, count = network.state_arrays(), len(network.minimum)
    state = state if packed else as_stored(state, storage.dtype)
    read = network_from_state(network.config, state, torch.zeros(count), torch.ones(count))
    read.eval().requires_grad_(False).to(network.minimum.device)
    read.use_backend("auto")
    return TorchEvaluator(read)


def _points(region: Extent, record: BrickRecord, chosen: np.ndarray | slice) -> np.ndarray:
    """Return network coordinates float32 [N, 3] of some voxels of a region, by flat numbers."""
    shape = tuple(s.stop - s.start for s in region)
    if isinstance(chosen, slice):
        chosen = np.arange(chosen.start, chosen.stop)
    voxels = np.stack(np.unravel_index(chosen, shape)[::-1], axis=1).astype(np.float64)
    voxels += [g.start + r.start for g, r in zip(record.ghosted[::-1], region[::-1])]
    return Box.of_record(record).local(voxels)


def _residuals(
    evaluator: Evaluator,
    data: TrainingData,
    record: BrickRecord,
    region: Extent,
    pause: Callable[[], None],
) -> np.ndarray:
    """Return data minus network, both from 0 to 1, float32 [C, z, y, x] of a region."""
    wanted = data.values[(slice(None), *region)].cpu().numpy()
    errors = np.empty(wanted.shape, dtype=np.float32)
    flat, count = errors.reshape(len(errors), -1), wanted[0].size
    there = wanted.reshape(len(errors), -1)
    for start in range(0, count, _POINTS):
        pause()
        part = slice(start, min(start + _POINTS, count))
        flat[:, part] = there[:, part] - evaluator.values(_points(region, record, part)).T
    return errors


def _rounding(
    evaluator: TorchEvaluator, record: BrickRecord, region: Extent, pause: Callable[[], None]
) -> np.ndarray:
    """Return by how much backends may differ at the voxels of a region, float64 [C].

    Measured: each backend that is here against the same network in double precision.
    """
    count = math.prod(s.stop - s.start for s in region)
    chosen = np.random.default_rng(0).integers(0, count, min(count, _PROBES))
    points = _points(region, record, np.sort(chosen))
    network = copy.deepcopy(evaluator.network).cpu()
    exact = copy.deepcopy(network).double()
    exact.use_backend("torch")
    with torch.inference_mode():
        expected = exact.normalised(torch.from_numpy(points).double()).numpy()
    most = np.zeros(expected.shape[1])
    state, config = network.state_arrays(), network.config
    limits = np.zeros(len(most)), np.ones(len(most))
    library = load() if config.encoder == "adaptive" else None
    for each in dict.fromkeys([library, None]):
        pause()
        backend = "torch" if each is None else "native"
        found = make_evaluator(config, state, limits, device="cpu", backend=backend, library=each)
        most = np.maximum(most, np.abs(found.values(points) - expected).max(axis=0))
    pause()
    most = np.maximum(most, np.abs(evaluator.values(points) - expected).max(axis=0))
    rounding: np.ndarray = _SAFETY * most + _LEAST_ROUNDING
    return rounding


def _corrected(
    errors: np.ndarray,
    region: Extent,
    span: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    bound: Bound,
    rounding: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return errors after their correction, the packed corrections, and the margin [C].

    `errors` are relative to `span`, the margin and the corrections are in the volume's units.
    """
    limits = np.array(bound.limits)
    unit = np.where(span > 0, span, 1.0)
    reach = np.maximum(np.abs(ends[0]), np.abs(ends[1])) + span
    reach = reach + span * np.abs(errors).max(axis=(1, 2, 3))
    margin = span * (rounding + 2.0**-23)
    margin = margin + ROUNDINGS * _last_place(reach, np.dtype(bound.dtype).type)
    steps = np.where(np.isfinite(limits), 2.0 * (limits - margin), 0.0)
    for limit, taken in zip(limits.tolist(), margin.tolist()):
        if taken > 0.75 * limit:
            raise TrainingError(
                f"A bound of {limit:g} is too small for this network, whose rounding differs by "
                f"{taken:.3g} from computer to computer; ask for {4.0 * taken:.2g} or more "
                "(max-error), with --restart."
            )
    numbers = np.zeros(errors.shape, dtype=np.int32)
    left = np.empty_like(errors)
    for c, step in enumerate((steps / unit).tolist()):
        scaled = errors[c].astype(np.float64)
        if step:
            whole = np.rint(scaled / step)
            if np.abs(whole).max() > LARGEST // 8:
                raise TrainingError("The network is too far from its data to be corrected.")
            numbers[c] = whole
            scaled -= whole * step
        left[c] = scaled
    packed = pack_corrections(numbers, region, steps, np.where(steps > 0, limits, 0.0), margin)
    return left, packed, margin


def _last_place(sizes: np.ndarray, dtype: type[np.floating]) -> np.ndarray:
    """Return at least a unit in the last place of numbers of a size, float64, also of too large."""
    info = np.finfo(dtype)
    return np.maximum(sizes * float(info.eps), float(info.smallest_subnormal))


def _of_all(values: np.ndarray) -> np.ndarray:
    return values[:, None, None, None]


def _relative(inner: Extent, outer: Extent) -> Extent:
    z, y, x = (slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer))
    return z, y, x


def _absolute(inner: Extent, outer: Extent) -> Extent:
    z, y, x = (slice(i.start + o.start, i.stop + o.start) for i, o in zip(inner, outer))
    return z, y, x
