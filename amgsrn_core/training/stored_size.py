"""What a brick takes in a model file, and how it is made to take no more than it may."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from amgsrn_core.config import NetworkConfig, StorageConfig
from amgsrn_core.model import parameter_shapes
from amgsrn_core.model.brick_tensors import pack_cells, stored_history
from amgsrn_core.model.cell_codes import coarser_cells
from amgsrn_core.model.codec import COMPRESSED
from amgsrn_core.model.mask import pack_mask

PLANNED_ROWS = 50
"""Rows of a brick's history that a planned size has room for."""


# Bits that a compressed number is expected to take where it is fine-tuned to a size.
_BITS = 2.0


def stored_bytes(state: Mapping[str, np.ndarray], storage: StorageConfig) -> int:
    """Return the bytes of a brick's tensors as they are stored."""
    return sum(_stored(name, np.asarray(tensor), storage) for name, tensor in state.items())


def network_nbytes(
    network: NetworkConfig, components: int, storage: StorageConfig, bits: float = _BITS
) -> float:
    """Return the bytes of a network's numbers in a model file.

    About, where it is compressed: then a number takes so many bits.
    """
    exact = 12 * network.grids  # the maps, which nothing makes smaller
    other = number_count(network, components) - exact
    each = bits / 8 if storage.compress else bytes_each(storage)
    return each * other + 4 * exact + _head(network, storage)


def number_count(network: NetworkConfig, components: int) -> int:
    """Return the numbers that a network has."""
    return sum(math.prod(shape) for shape in parameter_shapes(network, components).values())


def bytes_each(storage: StorageConfig) -> float:
    """Return the bytes of a number in a model file, about where it is compressed."""
    if storage.compress:
        return _BITS / 8
    return 2 if storage.dtype == "float16" else 4


def fit_to_size(
    state: dict[str, np.ndarray], size: int, storage: StorageConfig, rows: int = 0
) -> None:
    """Leave out rows of the history, and then detail of macro-cells, that there is no room for.

    Parameters
    ----------
    state : dict of ndarray
        A brick's tensors; changed in place.
    size : int
        The bytes that it may take; 0 for any number.
    storage : StorageConfig
    rows : int, default: 0
        Of the history, where it does not count because a model of several bricks keeps but one.
    """
    if not size:
        return
    history = state.pop("history")
    room = size - stored_bytes(state, storage)
    if room < 0 and not storage.compress:
        state["macro_cells"] = coarser_cells(state["macro_cells"])
        room = size - stored_bytes(state, storage)
    each = _stored("history", history[:1], storage)
    most = rows or (max(1, room // each) if each else 1)
    state["history"] = history[::-1][:: max(1, math.ceil(len(history) / most))][::-1]


def _head(network: NetworkConfig, storage: StorageConfig) -> int:
    """Return the bytes of what tells how numbers were compressed."""
    return 4 * (network.grids * network.features + 16) if storage.compress else 0


def _stored(name: str, tensor: np.ndarray, storage: StorageConfig) -> int:
    if name == "mask":
        return 0 if tensor.all() else pack_mask(tensor).nbytes
    if name == "macro_cells":
        return pack_cells(tensor).nbytes
    if name == "history":
        return stored_history(tensor, storage.compress).nbytes
    if name == COMPRESSED or tensor.dtype == np.uint8:
        return tensor.nbytes
    return tensor.size * (2 if storage.dtype == "float16" and name != "transforms" else 4)
