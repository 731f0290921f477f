"""A finished model file measured against its data, and what was found added to it."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable

import numpy as np

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.evaluation.error_cells import ErrorCells
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.model import Archive, BrickRecord, ModelIndex, OnDemand, write_archive
from amgsrn_core.model.error_codes import ERRORS
from amgsrn_core.volume.psnr import psnr_of
from amgsrn_core.volume.volume import Volume

_SLAB_VOXELS = 1 << 20


def store_errors(
    path: str | os.PathLike[str],
    reference: Callable[[int], Volume],
    *,
    device: str = "auto",
    backend: str = "auto",
    observer: Callable[[float], None] = lambda done: None,
) -> ModelIndex:
    """Measure a model's errors at all voxels, and store those of each macro-cell in its file.

    PSNR and largest error of each brick become those that were found. The file is replaced when the
    new one is complete.

    Parameters
    ----------
    path : path
        A model file.
    reference : callable
        From the number of a time step to the volume that it was trained on.
    device, backend : str
        See :meth:`~amgsrn_core.field.neural_volume.NeuralVolume.open`.
    observer : callable, optional
        Told now and then how much is done, from 0 to 1.

    Returns
    -------
    ModelIndex
        As written.

    Raises
    ------
    ConfigurationError
        The reference has other voxels.
    OutputError
        The file cannot be written.
    """
    with Archive(path) as archive:
        index = archive.index
        each = len(index.bricks) // index.steps
        model = NeuralVolume.open(path, device, backend=backend)
        records, found, errors = [], {}, []
        for number, record in enumerate(index.bricks):
            step, own = divmod(number, each)
            volume = reference(step)
            if volume.dims != index.dims or volume.n_components != len(index.components):
                raise ConfigurationError(
                    f"The volume '{volume.name}' has other voxels or components than the model; "
                    "name the data that it was trained on."
                )
            if record.state == "network":
                brick = _Brick(model.at(step), volume, own)
                others = _stored_bytes(archive, number)
                found[number], record = brick.packed(others), brick.record(record)
                errors.append((brick.error, brick.count))
            elif record.state == "constant":
                errors.append((0.0, record.own_voxels))
            records.append(record)
            observer((number + 1) / len(index.bricks))
        count = sum(count for _, count in errors)
        config = {**index.training.config}
        if count and len(index.bricks) > 1:
            psnr = psnr_of(sum(error for error, _ in errors) / count)
            config["psnr"] = psnr if math.isfinite(psnr) else None
        index = index.replace(
            bricks=tuple(records), training=dataclasses.replace(index.training, config=config)
        )

        def load(number: int) -> dict[str, np.ndarray]:
            stored = archive.load_brick(number, decode=False)
            return {**stored, ERRORS: found[number]} if number in found else stored

        return write_archive(path, index, OnDemand(len(index.bricks), load))


def _stored_bytes(archive: Archive, number: int) -> int:
    stored = archive.load_brick(number, decode=False)
    size = sum(v.nbytes for name, v in stored.items() if name not in ("mask", ERRORS))
    return size // 2 if archive.index.storage.dtype == "float16" else size


class _Brick:
    """The errors of one brick's own voxels.

    Attributes
    ----------
    error : float
        Sum of the squared errors relative to the model's range, the components' mean.
    count : int
        Of voxels with a value.
    """

    def __init__(self, model: NeuralVolume, volume: Volume, number: int) -> None:
        self._index, own = model.index, model.index.bricks[number]
        components = len(model.components)
        self._cells = ErrorCells(own.extent, components)
        squares, self.largest, self.count = np.zeros(components), np.zeros(components), 0
        low, high = np.array(model.index.value_range(own))
        self._span = high - low
        most = np.maximum(np.abs(low), np.abs(high))
        self._margin = 1e-6 * self._span + 8.0 * np.spacing(most.astype(np.float32))
        z, y, x = own.extent
        layers = max(1, _SLAB_VOXELS // ((y.stop - y.start) * (x.stop - x.start)))
        for start in range(z.start, z.stop, layers):
            extent = slice(start, min(start + layers, z.stop)), y, x
            data, block = volume.read(extent), model.reconstruct_block(None, extent)
            valid = np.ones(block.values.shape[1:], dtype=bool)
            for part in (data.valid, block.valid):
                valid &= True if part is None else part
            errors = np.where(valid, data.values.astype(np.float64) - block.values, 0.0)
            self._cells.add(extent, errors, valid)
            squares += np.square(errors).sum(axis=(1, 2, 3))
            self.largest = np.maximum(self.largest, np.abs(errors).max(axis=(1, 2, 3)))
            self.count += int(np.count_nonzero(valid))
        span = np.subtract(model.index.value_maximum, model.index.value_minimum)
        self.error = float((squares / np.where(span > 0, span, 1.0) ** 2).mean())

    def packed(self, others: int) -> np.ndarray:
        """Return the errors of the cells as a file has them; `others` are the bytes of all else."""
        return self._cells.packed(self._span, self._margin, others)

    def record(self, record: BrickRecord) -> BrickRecord:
        """Return the brick's record with its quality."""
        if not self.count:
            return record
        psnr = psnr_of(self.error / self.count)
        return dataclasses.replace(record, psnr=psnr, max_error=float(self.largest.max()))
