"""Data as a model of themselves, so that whatever renders models renders data too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amgsrn_core.config import NetworkConfig, Triple, option
from amgsrn_core.field.macro_cells import voxel_cells
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.model import BrickRecord, ModelIndex
from amgsrn_core.volume import Block, FieldSummary, Volume
from amgsrn_core.volume.normalising import normalised_values


@dataclass(frozen=True)
class _Voxels(NetworkConfig):
    """A network with a node for every voxel, however many they are."""

    grid_shape: Triple = option((2, 2, 2), "voxels along z, y, x", minimum=2)  # noqa: RUF009


def model_of_data(volume: Volume, device: str = "auto", *, backend: str = "auto") -> NeuralVolume:
    """Return the field of a volume's voxels, interpolated linearly.

    It is a network without anything learnt: the voxels, scaled to [0, 1], are the features of one
    grid that fills the volume, and the decoder hands them on, since a ReLU changes nothing there.

    Parameters
    ----------
    volume : Volume
        Read as a whole; the result takes about three times the memory of its values as float32,
        and for a while another two times where these are float64.
    device, backend : str
        See :meth:`NeuralVolume.open`.

    Raises
    ------
    VolumeError
        When the volume cannot be read.
    """
    block = volume.read()
    summary = FieldSummary.of_block(block)
    if not summary.valid_count or (summary.minimum == summary.maximum).all():
        return _without_network(volume, block, summary, device, backend)
    volume.refuse_unfit(summary)
    count = volume.n_components
    network = _Voxels(grids=1, features=count, grid_shape=volume.dims, layers=1, width=count)
    index = ModelIndex.of_volume(
        volume, summary.minimum.tolist(), summary.maximum.tolist(), network
    )
    if index.is_scaled_in_double or block.values.dtype != np.float32:
        features = normalised_values(block, summary.minimum, summary.maximum)
    else:
        low, span = (
            values.astype(np.float32)[:, None, None, None]
            for values in (summary.minimum, summary.maximum - summary.minimum)
        )
        features = block.values
        features -= low
        features /= np.where(span > 0, span, 1)
    np.clip(features, 0, 1, out=features)  # missing voxels may hold anything
    state = {
        "feature_grids": features[None],
        "transforms": np.eye(3, 4, dtype=np.float32)[None],
        "decoder.0.weight": np.eye(count, dtype=np.float32),
        "decoder.1.weight": np.eye(count, dtype=np.float32),
        "macro_cells": voxel_cells(features, index.bricks[0], block.valid),
    }
    if block.valid is not None:
        state["mask"] = block.valid
    return NeuralVolume(index, [state], path=volume.source, device=device, backend=backend)


def _without_network(
    volume: Volume, block: Block, summary: FieldSummary, device: str, backend: str
) -> NeuralVolume:
    """Return the field of a volume that has one value or none."""
    whole = volume.geometry.resolve()
    level = tuple(summary.minimum.tolist()) if summary.valid_count else ()
    state = "constant" if level else "empty"
    record = BrickRecord(whole, whole, state=state, value_minimum=level, value_maximum=level)
    level = level or (0.0,) * volume.n_components
    index = ModelIndex.of_volume(volume, level, level, NetworkConfig(), [record])
    tensors = {} if block.valid is None else {"mask": block.valid}
    return NeuralVolume(index, [tensors], path=volume.source, device=device, backend=backend)
