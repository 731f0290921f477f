"""The memory of decoded blocks through which the kernels march; see docs/rendering.md."""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.kernels.loader import Level, WorkingSet

EDGE = 8
"""Cells of a block along each axis; it has one layer of lattice points more."""

_POINTS = (EDGE + 1) ** 3
_BOUNDS = 32  # of each eighth least and largest code, and the largest differences
_CODES = 65535

# The coarsest lattice has no more cells than this along any axis.
_COARSEST = 32

# Bytes of a slot beside its codes: owner, frame and place among the victims.
_SLOT_BYTES = 20

# Of the memory, what the pages of all levels may take.
_PAGE_SHARE = 0.25

# Bounds of the values are estimates; they are widened by this part of the range.
_MARGIN = 0.01

# Codes of one slot must have numbers of 32 bits.
_MOST_CODES = 2**31 - 1


@dataclass(frozen=True)
class LatticeLevel:
    """A lattice over a volume, which begins at its first voxel.

    Attributes
    ----------
    spacing : float
        Voxels from a lattice point to the next: a power of two.
    cells, blocks : three ints
        Along x, y, z. The last cells may reach beyond the volume.
    """

    spacing: float
    cells: tuple[int, int, int]
    blocks: tuple[int, int, int]


def lattice_levels(size: Sequence[int], cells_per_voxel: int) -> list[LatticeLevel]:
    """Return the levels of a volume of `size` voxels along x, y, z, the finest first.

    Each has half as many points along each axis as the one before, until the whole is a few blocks.
    """
    levels: list[LatticeLevel] = []
    spacing = 1.0 / cells_per_voxel
    while not levels or max(levels[-1].cells) > _COARSEST:
        x, y, z = (max(math.ceil((n - 1) / spacing), 1) for n in size)
        blocks = -(-x // EDGE), -(-y // EDGE), -(-z // EDGE)
        levels.append(LatticeLevel(spacing, (x, y, z), blocks))
        spacing *= 2.0
    return levels


class BlockStore:
    """Decoded blocks of one field, kept from picture to picture within a limit of memory.

    Parameters
    ----------
    size : three ints
        Voxels along x, y, z.
    low, high : float32 arrays [C]
        Between which the components' values lie; 16 bits divide this range.
    cell_edge : int
        Voxels of a macro-cell.
    cells_per_voxel : int
        Of the finest level: a power of two.
    memory : int
        Bytes that blocks and their tables may take.
    whole : array [3, 2], optional
        From and to which index x, y, z no brick is missing; what is beyond is not seen. Default:
        everywhere.

    Attributes
    ----------
    levels : list of LatticeLevel
        The finest first. Those whose tables alone would fill the memory are left out.
    left_out : int
        How many these are.
    argument : WorkingSet
        What the C functions take; valid while this object is.
    busy : Lock
        Held while a picture is marched.

    Raises
    ------
    ConfigurationError
        The memory does not hold the coarsest level.
    """

    def __init__(
        self,
        size: Sequence[int],
        low: np.ndarray,
        high: np.ndarray,
        *,
        cell_edge: int,
        cells_per_voxel: int,
        memory: int,
        whole: np.ndarray | None = None,
    ) -> None:
        self.levels = lattice_levels(size, cells_per_voxel)
        every = len(self.levels)
        components = len(low)
        slot = 2 * (_POINTS + _BOUNDS) * components + _SLOT_BYTES
        least = math.prod(self.levels[-1].blocks)
        # The tables leave room for the coarsest level in any case.
        pages = min(_PAGE_SHARE * memory, memory - least * slot)
        while len(self.levels) > 1 and self._page_bytes() > pages:
            del self.levels[0]
        self.left_out = every - len(self.levels)
        everything = sum(math.prod(level.blocks) for level in self.levels)
        slots = max(0, memory - self._page_bytes()) // slot
        slots = min(slots, everything, _MOST_CODES // (_POINTS * components))
        if slots < least:
            needed = math.ceil((least * slot + self._page_bytes() + 1) / 100) / 1e4
            raise ConfigurationError(
                f"{memory / 1e6:.3g} MB do not hold the blocks of a picture; cache_memory must be "
                f"at least {needed:g} MB for this model."
            )
        span = np.where(high > low, high - low, 1.0).astype(np.float64)
        self._low = (low - _MARGIN * span).astype(np.float32)
        self._unit = ((1 + 2 * _MARGIN) * span / _CODES).astype(np.float32)
        self._slot, self.slots = slot, slots
        self.busy = threading.Lock()
        self.begins = np.zeros(len(self.levels))
        everywhere = [(-math.inf, math.inf)] * 3
        self.argument = WorkingSet(
            level_count=len(self.levels),
            begins=self.begins.ctypes.data,
            low=self._low.ctypes.data,
            unit=self._unit.ctypes.data,
            slots=slots,
            whole=(ctypes.c_double * 6)(*np.ravel(everywhere if whole is None else whole)),
            cell_edge=cell_edge,
        )
        self.clear()

    def clear(self) -> None:
        """Forget all blocks and give their memory back."""
        argument, components = self.argument, len(self._low)
        # Zeros and empty arrays take no memory before they are touched.
        self._pages = [np.zeros(math.prod(level.blocks), np.int32) for level in self.levels]
        # Pairs of neighbours are read as one number.
        self._codes = np.empty(self.slots * components * _POINTS + 1, np.uint16)
        self._bounds = np.empty(self.slots * components * _BOUNDS, np.uint16)
        self._owners, self._frames = np.zeros((2, self.slots), np.int64)
        self._victims = np.zeros(self.slots, np.int32)
        self._levels = (Level * len(self.levels))(*map(_level, self.levels, self._pages))
        argument.levels = self._levels
        argument.codes = self._codes.ctypes.data
        argument.bounds = self._bounds.ctypes.data
        argument.owners = self._owners.ctypes.data
        argument.frames = self._frames.ctypes.data
        argument.victims = self._victims.ctypes.data
        argument.filled = argument.broken = 0
        self.begin_frame()

    def begin_frame(self) -> int:
        """Begin another frame and return its number: what others have seen may now be replaced."""
        argument = self.argument
        argument.frame += 1
        argument.is_full = argument.victim_count = argument.next_victim = 0
        return int(argument.frame)

    def limit(self, nbytes: int | None) -> None:
        """Take no more than so many bytes for blocks beyond those that there are; None: any."""
        slots = self.slots
        if nbytes is not None:
            slots = min(slots, int(self.argument.filled) + max(0, nbytes) // self._slot)
        self.argument.slots = slots

    def codes(self, level: int, block: Sequence[int]) -> np.ndarray | None:
        """Return the codes uint16 [C, z, y, x] of a block x, y, z; None while it is not there."""
        across, down, _ = self.levels[level].blocks
        x, y, z = block
        page = int(self._pages[level][(z * down + y) * across + x])
        if page <= 0:
            return None
        side = EDGE + 1
        return self._codes[:-1].reshape(self.slots, -1, side, side, side)[page - 1]

    @property
    def scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Low and unit, float32 [C]: a value is low + code * unit."""
        return self._low, self._unit

    @property
    def nbytes(self) -> int:
        """Bytes in use: blocks that were decoded, and the tables."""
        return int(self.argument.filled) * self._slot + self._page_bytes()

    def _page_bytes(self) -> int:
        return 4 * sum(math.prod(level.blocks) for level in self.levels)


def _level(level: LatticeLevel, pages: np.ndarray) -> Level:
    return Level(
        cells=(ctypes.c_int64 * 3)(*level.cells),
        blocks=(ctypes.c_int64 * 3)(*level.blocks),
        spacing=level.spacing,
        pages=pages.ctypes.data,
    )
