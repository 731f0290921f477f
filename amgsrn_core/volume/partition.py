"""Cutting a volume into bricks: an exact partition of its voxels, with ghost cells around each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from amgsrn_core.config import BrickConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.system.memory import physical_memory

if TYPE_CHECKING:
    from amgsrn_core.volume.geometry import Extent

Counts = tuple[int, int, int]
"""Bricks along z, y, x."""

_AXES = ("z", "y", "x")
# Float32 data of a brick, its mask, what training adds, and as much again for everything else.
_BYTES_PER_VALUE = 16


@dataclass(frozen=True)
class Brick:
    """Voxels z, y, x that a brick answers for, `extent`, and that it learns, `ghosted`."""

    extent: Extent
    ghosted: Extent

    @property
    def voxels(self) -> int:
        """How many voxels the brick is trained on."""
        return math.prod(s.stop - s.start for s in self.ghosted)


def partition(dims: tuple[int, int, int], counts: Counts, ghost: int) -> tuple[Brick, ...]:
    """Cut a volume into a grid of bricks whose sizes differ by one voxel at most along an axis.

    Parameters
    ----------
    dims : tuple of int
        Voxels along z, y, x.
    counts : tuple of int
        Bricks along z, y, x.
    ghost : int
        Ghost cells: how many voxels of its neighbours a brick is trained on at each face. Two
        neighbours share 2 * ghost voxels, over which the field blends them; with 0 it jumps.

    Returns
    -------
    tuple of Brick
        x runs fastest.

    Raises
    ------
    ConfigurationError
        More bricks than voxels along an axis, or a brick of a single voxel without ghost cells.

    Examples
    --------
    >>> [brick.extent[2] for brick in partition((4, 4, 7), (1, 1, 2), ghost=1)]
    [slice(0, 3, None), slice(3, 7, None)]
    """
    if ghost < 0:
        raise ConfigurationError(f"ghost must be at least 0, not {ghost}.")
    for axis, size, count in zip(_AXES, dims, counts):
        if not 1 <= count <= size:
            raise ConfigurationError(
                f"bricks along {axis} must be from 1 to its {size} voxels, not {count}."
            )
        if ghost == 0 and size // count < 2:
            raise ConfigurationError(
                f"{count} bricks along {axis} leave some with a single voxel; use fewer of them, "
                "or ghost cells."
            )
    whole = slice(0, dims[0]), slice(0, dims[1]), slice(0, dims[2])
    return partition_piece(whole, whole, counts, ghost)


def partition_piece(own: Extent, held: Extent, counts: Counts, ghost: int) -> tuple[Brick, ...]:
    """Cut a part of a volume; otherwise like :func:`partition`.

    Parameters
    ----------
    own : tuple of three slices (z, y, x)
        The part.
    held : tuple of three slices (z, y, x)
        Voxels that can be learned: ghost cells end there.
    counts, ghost
        As for :func:`partition`.
    """
    ranges = []
    for part, learned, count in zip(own, held, counts):
        cuts = [(part.start + a, part.start + b) for a, b in _cuts(part.stop - part.start, count)]
        ranges.append(
            [
                (slice(a, b), slice(max(learned.start, a - ghost), min(learned.stop, b + ghost)))
                for a, b in cuts
            ]
        )
    return tuple(
        Brick((z, y, x), (gz, gy, gx)) for (z, gz), (y, gy), (x, gx) in itertools.product(*ranges)
    )


def brick_counts(config: BrickConfig, dims: tuple[int, int, int], components: int = 1) -> Counts:
    """Return the bricks along z, y, x that a volume of these dims is cut into.

    Raises
    ------
    ConfigurationError
        Both options are given.
    """
    if config.brick_voxels and config.bricks != (1, 1, 1):
        raise ConfigurationError("Give either bricks or brick-voxels, not both.")
    if config.bricks != (1, 1, 1):
        return config.bricks
    return counts_for(
        dims, config.brick_voxels or physical_memory() // (_BYTES_PER_VALUE * components)
    )


def counts_for(dims: tuple[int, int, int], voxels: int) -> Counts:
    """Return a grid of bricks of at most `voxels` voxels each, as few and as cubic as possible.

    Parameters
    ----------
    dims : tuple of int
        Voxels along z, y, x.
    voxels : int
        Upper bound of a brick's own voxels; its ghost cells come on top.

    Raises
    ------
    ConfigurationError
        `voxels` is not positive.
    """
    if voxels < 1:
        raise ConfigurationError(f"brick-voxels must be at least 1, not {voxels}.")
    counts = [1, 1, 1]

    def edges() -> list[int]:
        return [-(-n // count) for n, count in zip(dims, counts)]

    while math.prod(edges()) > voxels:
        sizes = edges()
        longest = sizes.index(max(sizes))
        counts[longest] += 1
    # A cut that another one made superfluous costs a brick and brings nothing.
    for axis in range(3):
        while counts[axis] > 1:
            counts[axis] -= 1
            if math.prod(edges()) > voxels:
                counts[axis] += 1
                break
    return counts[0], counts[1], counts[2]


def is_partition(extents: Sequence[Extent], dims: tuple[int, int, int]) -> bool:
    """Return whether the parts fill a volume of these dims and do not overlap."""
    sizes = [math.prod(s.stop - s.start for s in extent) for extent in extents]
    if sum(sizes) != math.prod(dims):
        return False
    return not any(
        all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other))
        for number, one in enumerate(extents)
        for other in extents[:number]
    )


def _cuts(size: int, count: int) -> list[tuple[int, int]]:
    return [(i * size // count, (i + 1) * size // count) for i in range(count)]
