"""A model file compressed afterwards, with or without the data that it was trained on."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Callable

import numpy as np
import torch

from amgsrn_core.config import StorageConfig, TrainingConfig, from_json
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.evaluation.overlap import refuse_stranger, voxels_inside
from amgsrn_core.field.brick import FieldBrick
from amgsrn_core.field.evaluators import TorchEvaluator
from amgsrn_core.field.macro_cells import network_cells
from amgsrn_core.model import Archive, BrickRecord, ModelIndex, write_archive
from amgsrn_core.model.cell_codes import coarser_cells
from amgsrn_core.model.codec import refuse_incompressible
from amgsrn_core.model.error_codes import ERRORS
from amgsrn_core.model.replacement import guard
from amgsrn_core.networks import SceneNetwork
from amgsrn_core.networks.devices import select_device
from amgsrn_core.runs.annotation import store_errors
from amgsrn_core.system.spare import write_or_keep
from amgsrn_core.training.assessment import assessed
from amgsrn_core.training.bound import Bound
from amgsrn_core.training.brick import inner_voxels, memory_errors
from amgsrn_core.training.compressing.compression import compressed
from amgsrn_core.training.quality import FitQuality, measure
from amgsrn_core.training.sampling import TrainingData, prepare
from amgsrn_core.volume.block import Block
from amgsrn_core.volume.geometry import GridGeometry
from amgsrn_core.volume.psnr import mean_square_of, psnr_of
from amgsrn_core.volume.replacement import MODEL
from amgsrn_core.volume.volume import Volume

_POINTS = 1 << 18

Reference = Callable[[int], Volume]
"""From the number of a model's time step to the volume that it was trained on."""


def compress_model(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    storage: StorageConfig,
    *,
    reference: Reference | None = None,
    device: str = "auto",
    backend: str = "auto",
    observer: Callable[[float, int], None] = lambda done, total: None,
    force: bool = False,
) -> ModelIndex:
    """Compress every brick of a model file, and write another one.

    With a reference the loss is that against the data, as if the model had been compressed when it
    was trained. Without, there is nothing to fine-tune by: networks are only rounded. Errors are
    then measured against the model itself, and the loss is counted as if they were independent of
    those that it has: its mean squared error, known from its PSNR, may grow by what the loss stands
    for. PSNR and largest error in the new file are estimated alike, the latter as a bound.

    Parameters
    ----------
    path, output : path
    storage : StorageConfig
        With `compress`.
    reference : callable, optional
    device, backend : str
        Where and how networks are evaluated; see :class:`TrainingConfig`.
    observer : callable, optional
        Told now and then how many bricks are done, the one in hand in part, and of how many.
    force : bool, default: False
        Replace a model at `output` that compressing did not make.

    Returns
    -------
    ModelIndex
        As written to `output`.

    Raises
    ------
    ConfigurationError
        The model is compressed already, does not say how good it is (and there is no reference), is
        of a kind that cannot be compressed, or the reference is on another grid.
    VolumeError
        Less than half of the reference's valid voxels are the model's: it lies elsewhere, or other
        ones are missing.
    OutputError
        `output` cannot be written, or is a model that is kept.
    """
    guard(output, MODEL, by="compress", inputs=[path], force=force)
    if reference is None:
        _refuse_bounds(storage)
        storage = dataclasses.replace(storage, compress_finetune=0)
    with Archive(path) as archive:
        index = archive.index
        _check(index, os.fspath(path), reference)
        place = select_device(device)
        training = _training(index, str(place), backend)
        records, states, errors = [], [], _Errors()
        bounds = _bounds(reference, storage)
        with memory_errors(training, place):
            for number, record in enumerate(index.bricks):
                state = archive.load_brick(number)
                if record.state == "network":
                    brick = _Brick(index, number, state, place, training, reference)
                    brick.bound = bounds(number // (len(index.bricks) // index.steps))

                    def go_on(iteration: int, done: int = number) -> bool:
                        share = min(1.0, iteration / max(1, storage.compress_finetune))
                        observer(done + share, len(index.bricks))
                        return True

                    record, state = brick.compressed(storage, go_on)
                    errors.add(brick)
                elif record.state == "constant":
                    errors.voxels += record.own_voxels
                records.append(record)
                states.append(state)
                observer(number + 1, len(index.bricks))
    if reference is not None:
        name = f"'{reference(0).name}'"
        refuse_stranger(name, index.geometry, index.geometry, errors.common, errors.known)
    config = {**index.training.config}
    config.pop("fingerprint", None)
    if errors.voxels and (reference is not None or isinstance(config.get("psnr"), float)):
        known = 0.0 if reference is not None else mean_square_of(float(config["psnr"]))
        config["psnr"] = psnr_of(known + errors.squares / errors.voxels)
    index = index.replace(
        bricks=tuple(records),
        storage=storage,
        training=dataclasses.replace(index.training, config=config),
    )
    index = write_or_keep(
        output, lambda at: write_archive(at, index, states), "The compressed model"
    )
    if reference is not None and _lacks_errors(index, states):
        return store_errors(output, reference, device=device, backend=backend)
    return index


def _lacks_errors(index: ModelIndex, states: list[dict[str, np.ndarray]]) -> bool:
    """Return whether there are bricks that are blended at voxels, see `assessed`."""
    networks = (s for record, s in zip(index.bricks, states) if record.state == "network")
    return any(ERRORS not in state for state in networks)


def _refuse_bounds(storage: StorageConfig) -> None:
    if storage.is_bounded:
        raise ConfigurationError(
            "Errors can be bounded only against the data; name them with --against."
        )


def _bounds(reference: Reference | None, storage: StorageConfig) -> Callable[[int], Bound | None]:
    """Return what finds the bound of errors of a time step."""

    @functools.lru_cache(maxsize=1)
    def bound(step: int) -> Bound | None:
        if reference is None or not storage.is_bounded:
            return None
        volume = reference(step)
        return Bound.of(volume, storage, volume.survey())

    return bound


def _check(index: ModelIndex, path: str, reference: Reference | None) -> None:
    alone = reference is None
    if reference is not None:
        _refuse_other(reference(0), index)
    refuse_incompressible(index.network)
    if index.storage.compress:
        raise ConfigurationError(f"{path} is compressed already.")
    for record in index.bricks if alone else ():
        known = record.psnr is not None and math.isfinite(record.psnr)
        if record.state == "network" and not known:
            raise ConfigurationError(
                f"{path} does not say how well it reproduces its data, so that no loss can be "
                "allowed for; name the data with --against, or train again with --compress."
            )


def _training(index: ModelIndex, device: str, backend: str) -> TrainingConfig:
    """Return how the model was trained, as far as its file says, for fine-tuning."""
    fields = {field.name for field in dataclasses.fields(TrainingConfig)}
    fields -= {"device", "backend", "data_device"}
    known = {k: v for k, v in index.training.config.items() if k in fields}
    try:
        return from_json(TrainingConfig, {**known, "device": device, "backend": backend})
    except (ConfigurationError, TypeError):  # of another version, whose options had other values
        return TrainingConfig(device=device, backend=backend)


class _Errors:
    """Sum of the errors that count for the model's PSNR: of all bricks, or only what was added.

    Also how many voxels have a value in the data (`known`), and in both (`common`).
    """

    def __init__(self) -> None:
        self.squares, self.voxels = 0.0, 0
        self.common = self.known = 0

    def add(self, brick: _Brick) -> None:
        """Add a brick's."""
        self.squares += brick.error * brick.count
        self.voxels += brick.count
        self.common += brick.common
        self.known += brick.known


class _Brick:
    """A brick's network, and data: those that it was trained on, or its own values."""

    def __init__(
        self,
        index: ModelIndex,
        number: int,
        state: dict[str, np.ndarray],
        device: torch.device,
        training: TrainingConfig,
        reference: Reference | None,
    ) -> None:
        record = index.bricks[number]
        low, high = (np.array(v, dtype=np.float64) for v in index.value_range(record))
        span = np.array(index.value_maximum) - np.array(index.value_minimum)
        self._low, self._span = low, high - low
        # Errors are relative to the range of the brick, PSNR to that of the model.
        self._weights = (self._span / np.where(span > 0.0, span, 1.0)) ** 2
        self._index, self._record, self._state = index, record, state
        self._training, self._has_data = training, reference is not None
        loaded = FieldBrick.of_state(index, record, state, str(device), training.backend)
        self._network = loaded.network
        self.common = self.known = 0
        if reference is None:
            self._data = _decoded(self._network, record, state.get("mask"))
        else:
            step = number // max(1, len(index.bricks) // index.steps)
            block = _read(reference(step), index, record)
            self._count_common(block.valid, state.get("mask"))
            self._data = prepare(block, low, high, device)
        self.error, self.count = 0.0, 0
        self.bound: Bound | None = None

    def compressed(
        self, storage: StorageConfig, go_on: Callable[[int], bool]
    ) -> tuple[BrickRecord, dict[str, np.ndarray]]:
        """Return the brick's record and tensors; sets `error` and `count`.

        `error` is the mean square of what differs from the data, or from the model as it was,
        relative to the model's range, over `count` voxels.
        """
        record, network, unit = self._record, self._network, self._weights.mean()
        growth = 10.0 ** (storage.compress_loss / 10.0)
        before = self._measured()[0]
        if self._has_data:
            limit = before * growth
        else:
            assert record.psnr is not None
            limit = mean_square_of(record.psnr) * (growth - 1.0)
        packed = compressed(
            network,
            self._data,
            self._training,
            storage,
            error=lambda: self._measured()[0] / unit,
            before=before / unit,
            limit=limit / unit,
            go_on=go_on,
        )
        assert packed is not None
        kept = {k: v for k, v in self._state.items() if k in ("mask", "history")}
        if self._has_data:
            ranged = dataclasses.replace(
                record,
                value_minimum=tuple(self._low.tolist()),
                value_maximum=tuple((self._low + self._span).tolist()),
            )
            found = assessed(
                *(network, self._data, ranged, self._index.dims),
                {**packed, **kept},
                storage,
                bound=self.bound,
            )
            quality, error = found.quality, self._relative(found.quality)
            kept.update(found.tensors)
        else:
            error, quality = self._measured()
        self.error, self.count = error, quality.count
        largest: float | None = float((quality.largest * self._span).max())
        psnr = psnr_of(self.error)
        if not self._has_data:
            assert record.psnr is not None and largest is not None
            psnr = psnr_of(mean_square_of(record.psnr) + self.error)
            largest = None if record.max_error is None else record.max_error + largest
        record = dataclasses.replace(record, psnr=psnr, max_error=largest)
        cells = network_cells(
            TorchEvaluator(network), record, self._index.dims, self._state.get("mask")
        )
        return record, {**packed, **kept, "macro_cells": coarser_cells(cells)}

    def _count_common(self, data: np.ndarray | None, model: np.ndarray | None) -> None:
        """Count the voxels that have a value in the data, and in both."""
        whole = np.ones(self._record.ghosted_dims, dtype=bool)
        known = whole if data is None else data
        self.known = int(np.count_nonzero(known))
        self.common = int(np.count_nonzero(known & (whole if model is None else model)))

    def _measured(self) -> tuple[float, FitQuality]:
        quality = measure(self._network, self._data, inner_voxels(self._record))
        return self._relative(quality), quality

    def _relative(self, quality: FitQuality) -> float:
        return float((quality.squares * self._weights).mean() / quality.count)


def _decoded(network: SceneNetwork, record: BrickRecord, valid: np.ndarray | None) -> TrainingData:
    """Return a network's values at the voxels of its brick, 0 to 1."""
    device = network.minimum.device
    lines = [torch.linspace(-1.0, 1.0, n, device=device) for n in record.ghosted_dims]
    slabs = []
    layers = max(1, _POINTS // (len(lines[1]) * len(lines[2])))
    with torch.inference_mode():
        for z in lines[0].split(layers):
            corners = torch.meshgrid(z, *lines[1:], indexing="ij")
            points = torch.stack(corners[::-1], -1).view(-1, 3)
            values = network.normalised(points).t().reshape(-1, *corners[0].shape)
            slabs.append(values.cpu().numpy())
    block = Block(np.concatenate(slabs, axis=1), valid)
    components = len(network.minimum)
    return prepare(block, np.zeros(components), np.ones(components), device)


def _read(volume: Volume, index: ModelIndex, record: BrickRecord) -> Block:
    """Return the data of a brick."""
    _refuse_other(volume, index)
    return volume.read(record.ghosted)


def _refuse_other(volume: Volume, index: ModelIndex) -> None:
    """Raise unless a volume has the model's voxels, as far as its grid tells."""
    if volume.dims != index.dims:
        raise ConfigurationError(
            f"The volume '{volume.name}' has {list(volume.dims)} voxels and the model "
            f"{list(index.dims)}; name the data that it was trained on."
        )
    if index.geometry == GridGeometry.uniform(index.dims):
        return  # it counts in voxels, as imported models do, and lies nowhere
    inside = voxels_inside(volume.geometry, index.geometry)
    if inside is not None:
        count = volume.geometry.n_points
        refuse_stranger(f"'{volume.name}'", volume.geometry, index.geometry, inside, count)
