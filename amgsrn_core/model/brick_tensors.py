"""The tensors of a brick as they lie in a model file: one table, with a codec for each kind.

A tensor's name says its kind: one of :data:`CODECS`, or else it is a parameter of the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from amgsrn_core.errors import ArchiveError
from amgsrn_core.model.cell_codes import cell_shape
from amgsrn_core.model.codec import COMPRESSED, DIFFERENCES
from amgsrn_core.model.correction_codes import CORRECTIONS
from amgsrn_core.model.deflate import deflated, inflated
from amgsrn_core.model.error_codes import ERRORS
from amgsrn_core.model.index import BrickRecord, ModelIndex
from amgsrn_core.model.mask import pack_mask, unpack_mask
from amgsrn_core.model.shapes import parameter_shapes

PACKED = (COMPRESSED, DIFFERENCES)
"""Tensors that hold all parameters of a network; only :mod:`amgsrn_core.model.codec` reads them."""

# Of a history beside compressed numbers.
_COMPRESSED_ROWS = 50

Shape = tuple[int, ...]
Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class StoredBrick:
    """A brick by its number in an index, which says what its tensors must be."""

    index: ModelIndex
    number: int

    @property
    def record(self) -> BrickRecord:
        """The index's record of it."""
        return self.index.bricks[self.number]

    @property
    def parameters(self) -> dict[str, Shape]:
        """Name and shape of each parameter of its network."""
        network = self.index.network_of(self.record)
        return parameter_shapes(network, len(self.index.components))

    @property
    def cells(self) -> Shape:
        """Shape of its macro-cells' codes."""
        return 2, len(self.index.components), *cell_shape(self.record, self.index.dims)

    def pack(self, tensors: Tensors) -> dict[str, np.ndarray]:
        """Return tensors as they are stored, see :func:`~amgsrn_core.model.write_archive`.

        Raises
        ------
        ArchiveError
            When they contradict the index.
        """
        packed = {}
        for name, given in tensors.items():
            tensor = _codec(name).pack(np.asarray(given), self, name)
            if tensor is not None:
                packed[name] = np.ascontiguousarray(tensor)
        try:
            self.check({name: tensor.shape for name, tensor in packed.items()})
        except ArchiveError as error:
            raise ArchiveError(f"Cannot store the model: {error}.") from error
        return packed

    def unpack(self, stored: Tensors) -> dict[str, np.ndarray]:
        """Return stored tensors as they are used, but for :data:`PACKED` ones, left as they are.

        Raises
        ------
        ArchiveError
            When their bytes are not what the index asks for.
        """
        return {name: _codec(name).unpack(t, self, name) for name, t in stored.items()}

    def check(self, shapes: Mapping[str, Shape]) -> None:
        """Raise :class:`ArchiveError` unless these are the shapes of the stored tensors."""
        record, number = self.record, self.number
        packed = any(name in shapes for name in PACKED)
        if packed and (record.state != "network" or not self.index.storage.compress):
            raise ArchiveError(f"the index does not expect brick {number} to be compressed")
        expected = self.parameters if record.state == "network" and not packed else {}
        for name in expected:
            if name not in shapes:
                raise ArchiveError(f"brick {number} has no '{name}'")
        for name, shape in shapes.items():
            if shape == expected.get(name):
                continue
            wanted = CODECS[name].shape(self) if name in CODECS else expected.get(name, shape)
            if len(shape) != len(wanted) or any(n not in (m, -1) for m, n in zip(shape, wanted)):
                needed = ", ".join("any" if n < 0 else str(n) for n in wanted)
                raise ArchiveError(
                    f"'{name}' of brick {number} has the shape {list(shape)}, but the index needs "
                    f"[{needed}]"
                )


@dataclass(frozen=True)
class Codec:
    """How one kind of tensor is stored.

    Attributes
    ----------
    pack : callable
        Returns a tensor, of a brick and with a name, as it is stored; None where it need not be.
    unpack : callable
        Returns a stored tensor as it is used.
    shape : callable
        Returns the shape that a brick's stored tensor has, -1 for any number.
    """

    pack: Callable[[np.ndarray, StoredBrick, str], np.ndarray | None]
    unpack: Callable[[np.ndarray, StoredBrick, str], np.ndarray]
    shape: Callable[[StoredBrick], Shape]


def _bytes(brick: StoredBrick) -> Shape:
    return (-1,)


def _as_it_is(tensor: np.ndarray, brick: StoredBrick, name: str) -> np.ndarray:
    return tensor


def _pack_mask(valid: np.ndarray, brick: StoredBrick, name: str) -> np.ndarray | None:
    if valid.shape != brick.record.ghosted_dims:
        raise ArchiveError(f"The mask of brick {brick.number} has the shape {valid.shape}.")
    return None if valid.all() else pack_mask(valid)


def _unpack_mask(packed: np.ndarray, brick: StoredBrick, name: str) -> np.ndarray:
    return unpack_mask(packed, brick.record.ghosted_dims)


def _pack_cells(codes: np.ndarray, brick: StoredBrick, name: str) -> np.ndarray:
    if codes.dtype != np.uint8 or codes.shape != brick.cells:
        raise ArchiveError(f"The macro-cells of brick {brick.number} are {codes.shape}.")
    return pack_cells(codes)


def pack_cells(codes: np.ndarray) -> np.ndarray:
    """Return macro-cells as they are stored."""
    return deflated(codes)


def _unpack_cells(packed: np.ndarray, brick: StoredBrick, name: str) -> np.ndarray:
    return inflated(packed, math.prod(brick.cells), "macro-cells").reshape(brick.cells)


def _pack_history(rows: np.ndarray, brick: StoredBrick, name: str) -> np.ndarray:
    return stored_history(rows, brick.index.storage.compress)


def stored_history(rows: np.ndarray, compress: bool) -> np.ndarray:
    """Return a history as it is stored; beside compressed numbers all of it would be large."""
    if not compress:
        return rows.astype("<f8")
    every = max(1, math.ceil(len(rows) / _COMPRESSED_ROWS))
    return rows[::-1][::every][::-1].astype("<f4")  # the last row is always there


def _unpack_history(rows: np.ndarray, brick: StoredBrick, name: str) -> np.ndarray:
    return rows.astype(np.float64)


def _history_shape(brick: StoredBrick) -> Shape:
    return -1, len(brick.index.history_columns)


def as_stored(state: Tensors, dtype: str) -> dict[str, np.ndarray]:
    """Return parameters float32 as they come back from a file with numbers of a type."""
    return {name: _rounded(v, dtype, name).astype(np.float32) for name, v in state.items()}


def _pack_parameter(values: np.ndarray, brick: StoredBrick, name: str) -> np.ndarray:
    return _rounded(values, brick.index.storage.dtype, name)


def _rounded(values: np.ndarray, dtype: str, name: str) -> np.ndarray:
    if dtype == "float16" and name != "transforms":
        with np.errstate(over="ignore"):
            half = values.astype("<f2")
        if np.isfinite(half).all():
            return half
        # A number beyond 65504 would become infinite; such a tensor keeps its full size.
    return values.astype("<f4")


def _unpack_parameter(stored: np.ndarray, brick: StoredBrick, name: str) -> np.ndarray:
    values = stored.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise ArchiveError(f"'{name}' of brick {brick.number} holds numbers that are not finite")
    return values


CODECS = {
    "mask": Codec(_pack_mask, _unpack_mask, _bytes),
    "macro_cells": Codec(_pack_cells, _unpack_cells, _bytes),
    "history": Codec(_pack_history, _unpack_history, _history_shape),
    COMPRESSED: Codec(_as_it_is, _as_it_is, _bytes),
    DIFFERENCES: Codec(_as_it_is, _as_it_is, _bytes),
    ERRORS: Codec(_as_it_is, _as_it_is, _bytes),
    CORRECTIONS: Codec(_as_it_is, _as_it_is, _bytes),
}
"""The kinds of tensors beside parameters, by their names."""

# A parameter's shape depends on its name, see StoredBrick.check.
_PARAMETER = Codec(_pack_parameter, _unpack_parameter, _bytes)


def _codec(name: str) -> Codec:
    return CODECS.get(name, _PARAMETER)
