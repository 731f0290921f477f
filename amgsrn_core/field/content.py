"""What all fields of one open model share: bricks in memory, and tables of where they lie."""

from __future__ import annotations

import functools
import math
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from amgsrn_core.errors import ArchiveError
from amgsrn_core.field.blended_field import BlendedField, Bricks, RescaledBricks
from amgsrn_core.field.brick import FieldBrick
from amgsrn_core.field.brick_cache import BrickCache
from amgsrn_core.kernels.backend import backend_name, native_library
from amgsrn_core.model import ModelIndex
from amgsrn_core.system.devices import Device

T = TypeVar("T")

# Steps whose tables stay although no field of theirs is used: those that are looked at in turn.
_LATEST = 2


class Content:
    """An open model: all bricks of all time steps, loaded when they are needed.

    Nothing that it keeps refers back to it, so that it, and the file that `states` may hold open,
    go when the last field does and not when the garbage collector next passes.

    Parameters
    ----------
    index : ModelIndex
    states : callable
        Returns the tensors of a brick by its number.
    device, backend, memory_limit
        See :meth:`~amgsrn_core.field.neural_volume.NeuralVolume.open`.

    Attributes
    ----------
    backend : str
        What evaluates the networks: "torch", "native" or "tcnn".
    """

    def __init__(
        self,
        index: ModelIndex,
        states: Callable[[int], dict[str, np.ndarray]],
        device: Device,
        backend: str,
        memory_limit: int,
    ) -> None:
        self.index, self.device = index, device
        self.backend = chosen = backend_name(device, backend, index.network.encoder)
        self._kernels = native_library(backend, device, index.network.encoder)
        of_step = functools.lru_cache(maxsize=_LATEST)(index.at)
        each = len(index.bricks) // index.steps

        def load(number: int) -> FieldBrick:
            step, record = of_step(number // each), index.bricks[number]
            return FieldBrick.of_state(
                step, record, states(number), device, chosen, index.is_scaled_in_double
            )

        self._bricks = BrickCache(len(index.bricks), load, FieldBrick.size, memory_limit)
        self._index_of = of_step
        self._parts: weakref.WeakValueDictionary[int, Part] = weakref.WeakValueDictionary()
        self._latest: deque[Part] = deque(maxlen=_LATEST)
        self._lock = threading.RLock()

    def part(self, step: int) -> Part:
        """Return the field of a time step, the same object while anyone has it."""
        with self._lock:
            part = self._parts.get(step)
            if part is None:
                index = self._index_of(step)
                bricks: Bricks = self._bricks
                if self.index.steps > 1:
                    bricks = self._bricks.part(self.index.bricks_of(step))
                in_double = self.index.is_scaled_in_double
                field = BlendedField(index, bricks, self.device, self._kernels, in_double=in_double)
                part = self._parts[step] = Part(index, bricks, field, self._kernels, self.device)
            if part not in self._latest:
                self._latest.append(part)
            return part


class Part:
    """The field of a time step, or of some of its bricks, and what was computed of it.

    Attributes
    ----------
    index : ModelIndex
        Of the time step.
    bricks : Bricks
        Those that the index lists.
    field : BlendedField
    box : tuple of two float64 arrays [3], optional
        Lowest and highest index x, y, z of where the field has all its bricks; default: everywhere.
    """

    def __init__(
        self,
        index: ModelIndex,
        bricks: Bricks,
        field: BlendedField,
        kernels: Any,
        device: Device,
        box: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self.index, self.bricks, self.field, self.box = index, bricks, field, box
        self._kernels, self._device = kernels, device
        self._near: weakref.WeakValueDictionary[bytes, Part] = weakref.WeakValueDictionary()
        self._derived: dict[Any, Any] = {}
        self._lock = threading.RLock()

    def derived(self, key: Any, make: Callable[[], T]) -> T:
        """Return what `make` made when it was called for this key; it must not refer to this."""
        with self._lock:
            if key not in self._derived:
                self._derived[key] = make()
            made: T = self._derived[key]
            return made

    def near(self, low: np.ndarray, high: np.ndarray) -> Part:
        """Return the field of the bricks that reach into a box [3], [3]; itself if all do."""
        key = np.stack([low, high]).tobytes()
        with self._lock:
            part = self._near.get(key)
            if part is None:
                field = self.field.near(low, high)
                if field is self.field:
                    return self
                if self.box is not None:
                    low, high = np.maximum(low, self.box[0]), np.minimum(high, self.box[1])
                box = low, high
                part = Part(self.index, self.bricks, field, self._kernels, self._device, box)
                self._near[key] = part
            return part

    def in_units(self, offset: np.ndarray, factor: np.ndarray) -> Part:
        """Return this field with each value v [C] as (v - offset) / factor, always the same one."""
        key = np.stack([offset, factor]).tobytes()
        return self.derived(key, lambda: self._in_units(offset, factor))

    def scaled(self, factors: tuple[float, ...]) -> Part:
        """Return this field in a world that is stretched along x, y, z, always the same one."""
        return self.derived(("scaled", factors), lambda: self._scaled(factors))

    def _scaled(self, factors: tuple[float, ...]) -> Part:
        index = self.index.replace(geometry=self.index.geometry.scaled(factors))
        return Part(index, self.bricks, self.field, self._kernels, self._device, self.box)

    def _in_units(self, offset: np.ndarray, factor: np.ndarray) -> Part:
        index = self.index.in_units(offset, factor)
        bricks = RescaledBricks(self.bricks, index)
        field = BlendedField(
            index, bricks, self._device, self._kernels, self.field.numbers, in_double=False
        )
        return Part(index, bricks, field, self._kernels, self._device, self.box)


def refuse_gaps(index: ModelIndex, path: str) -> None:
    """Raise unless the bricks of each step have as many voxels as the volume.

    Without this a few bytes of a damaged file would claim a volume of any size.
    """
    each = len(index.bricks) // index.steps
    for first in range(0, len(index.bricks), each):
        voxels = sum(brick.own_voxels for brick in index.bricks[first : first + each])
        if voxels != math.prod(index.dims):
            raise ArchiveError(
                f"The model file {path} cannot be used: its bricks have {voxels:,} voxels, but its "
                f"volume has {math.prod(index.dims):,}; copy the file again, or train again."
            )
