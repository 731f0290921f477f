"""A model file compressed afterwards, when the data that it was trained on may be gone."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable

import numpy as np
import torch

from amgsrn_core.archive import Archive, BrickRecord, ModelIndex, write_archive
from amgsrn_core.archive.cells import coarser_cells
from amgsrn_core.archive.compression import refuse_incompressible
from amgsrn_core.config import StorageConfig, TrainingConfig
from amgsrn_core.devices import select_device
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.macro_cells import network_cells
from amgsrn_core.networks import SceneNetwork, network_from_state
from amgsrn_core.training.brick import inner_voxels
from amgsrn_core.training.compression import compressed
from amgsrn_core.training.history import psnr_of
from amgsrn_core.training.quality import FitQuality, measure
from amgsrn_core.training.sampling import TrainingData, prepare
from amgsrn_core.volume.volume import Block

_POINTS = 1 << 18


def compress_model(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    storage: StorageConfig,
    *,
    device: str = "auto",
    backend: str = "auto",
    observer: Callable[[int, int], None] = lambda done, total: None,
) -> ModelIndex:
    """Compress every brick of a model file, and write another one.

    Errors are measured against the model itself. The loss is counted as if they were independent
    of those that it has: its mean squared error, known from its PSNR, may grow by what the loss
    stands for. PSNR and largest error in the new file are estimated alike, the latter as a bound.

    Parameters
    ----------
    path, output : path
    storage : StorageConfig
        With `compress`.
    device, backend : str
        Where and how networks are evaluated; see :class:`TrainingConfig`.
    observer : callable, optional
        Told before each brick how many are done, and of how many.

    Returns
    -------
    ModelIndex
        As written to `output`.

    Raises
    ------
    ConfigurationError
        The model is compressed already, does not say how good it is, or is of a kind that cannot
        be compressed.
    """
    with Archive(path) as archive:
        index = archive.index
        _check(index, os.fspath(path))
        place = select_device(device)
        training = TrainingConfig(device=str(place), backend=backend)
        records, states = [], []
        added, voxels = 0.0, 0
        for number, record in enumerate(index.bricks):
            observer(number, len(index.bricks))
            state = archive.load_brick(number)
            if record.state == "network":
                brick = _Brick(index, record, state, place, training)
                record, state = brick.compressed(storage)
                added += brick.added * brick.count
                voxels += brick.count
            elif record.state == "constant":
                voxels += record.own_voxels
            records.append(record)
            states.append(state)
    config = {k: v for k, v in index.training.config.items() if k != "fingerprint"}
    psnr = config.get("psnr")
    if isinstance(psnr, float) and voxels:
        config["psnr"] = psnr_of(10.0 ** (-psnr / 10.0) + added / voxels)
    index = index.replace(
        bricks=tuple(records),
        storage=storage,
        training=dataclasses.replace(index.training, config=config),
    )
    return write_archive(output, index, states)


def _check(index: ModelIndex, path: str) -> None:
    refuse_incompressible(index.network)
    if index.storage.compress:
        raise ConfigurationError(f"{path} is compressed already.")
    for record in index.bricks:
        known = record.psnr is not None and math.isfinite(record.psnr)
        if record.state == "network" and not known:
            raise ConfigurationError(
                f"{path} does not say how well it reproduces its data, so that no loss can be "
                "allowed for; train again with --compress."
            )


class _Brick:
    """A brick's network, and its own values as data."""

    def __init__(
        self,
        index: ModelIndex,
        record: BrickRecord,
        state: dict[str, np.ndarray],
        device: torch.device,
        training: TrainingConfig,
    ) -> None:
        low, high = (np.array(v, dtype=np.float64) for v in index.value_range(record))
        span = np.array(index.value_maximum) - np.array(index.value_minimum)
        self._span = high - low
        # Errors are relative to the range of the brick, PSNR to that of the model.
        self._weights = (self._span / np.where(span > 0.0, span, 1.0)) ** 2
        self._index, self._record, self._state = index, record, state
        self._training, self._valid = training, state.get("mask")
        limits = (torch.tensor(v, dtype=torch.float32) for v in (low, high))
        self._network = network_from_state(index.network_of(record), state, *limits).to(device)
        self._network.use_backend(training.backend)
        self._data = _decoded(self._network, record, self._valid)
        self.added, self.count = 0.0, 0

    def compressed(self, storage: StorageConfig) -> tuple[BrickRecord, dict[str, np.ndarray]]:
        """Return the brick's record and tensors; sets `added`, the error that it costs."""
        record, network = self._record, self._network
        assert record.psnr is not None
        before = 10.0 ** (-record.psnr / 10.0)
        unit = self._weights.mean()
        limit = before * (10.0 ** (storage.compress_loss / 10.0) - 1.0) / unit
        packed = compressed(
            network, self._data, self._training, storage, lambda: self._error()[0] / unit, limit
        )
        assert packed is not None
        self.added, quality = self._error()
        self.count = quality.count
        largest = record.max_error
        if largest is not None:
            largest += float((quality.largest * self._span).max())
        record = dataclasses.replace(record, psnr=psnr_of(before + self.added), max_error=largest)
        kept = {k: v for k, v in self._state.items() if k in ("mask", "history")}
        cells = network_cells(network, record, self._index.dims, self._valid)
        return record, {**packed, **kept, "macro_cells": coarser_cells(cells)}

    def _error(self) -> tuple[float, FitQuality]:
        quality = measure(self._network, self._data, inner_voxels(self._record))
        return float((quality.squares * self._weights).mean() / quality.count), quality


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
