"""How large each brick's network is: where much happens a larger one, where little a smaller.

The squared error that a grid of n nodes leaves falls about like A / n^p, with A how much the field
changes. Of all ways to share out a number of nodes, n proportional to A^(1 / (1 + p)) has the least
error in sum. A is measured on a sample of each brick. How p is chosen hardly matters: 1/2, 1 and 2
come to the same within 0.3 dB (docs/cluster.md).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.volume.partition import Brick

if TYPE_CHECKING:
    from amgsrn_core.volume.block import Block
    from amgsrn_core.volume.volume import Volume

POWER = 1.0
"""p of the module's text."""

# Each brick is looked at in blocks of this many voxels per axis, at most two along an axis.
_SIDE = 32
_SMALLEST, _LARGEST = 2, 1024


def measure_brick(volume: Volume, brick: Brick) -> np.ndarray:
    """Return how much each component changes in a brick, float64 [C]: 0 where it is constant.

    It is the sum of the squared differences of neighbouring voxels, over those of a sample. The
    units are those of the values, squared.
    """
    cuts = [_samples(part) for part in brick.extent]
    total = np.zeros(volume.n_components)
    share = math.prod(
        (part.stop - part.start) / sum(s.stop - s.start for s in cut)
        for part, cut in zip(brick.extent, cuts)
    )
    for z, y, x in itertools.product(*cuts):
        total += _changes(volume.read((z, y, x)))
    return total * share


def networks_for(
    network: NetworkConfig, changes: Sequence[np.ndarray]
) -> tuple[NetworkConfig, ...]:
    """Return a network for each brick, together with no more nodes than equal ones would have.

    Parameters
    ----------
    network : NetworkConfig
        The size of all of them if they were equal.
    changes : sequence of ndarray [C]
        Of each brick, from :func:`measure_brick`. One of zeros gets the smallest network: if the
        brick is constant it needs none, and the others do not get its share.

    Raises
    ------
    ConfigurationError
        The encoder has no grids of nodes.
    """
    if network.encoder == "hash":
        raise ConfigurationError(
            "A hash grid has no nodes to share out; use --sizes equal, or another encoder."
        )
    weights = complexities(changes)
    active = weights > 0
    budget = int(active.sum()) * math.prod(network.grid_shape)
    if not active.any():
        return (network,) * len(weights)

    def shapes(scale: float) -> np.ndarray:
        edges = np.cbrt(scale * weights)[:, None] * np.array(network.grid_shape)
        return np.clip(np.floor(edges), _SMALLEST, _LARGEST).astype(np.int64)

    low, high = 0.0, len(weights) / weights[active].min()
    for _ in range(60):
        middle = 0.5 * (low + high)
        if shapes(middle)[active].prod(axis=1).sum() <= budget:
            low = middle
        else:
            high = middle
    return tuple(
        dataclasses.replace(network, grid_shape=(int(z), int(y), int(x))) for z, y, x in shapes(low)
    )


def complexities(changes: Sequence[np.ndarray]) -> np.ndarray:
    """Return what to share a number of nodes out by, float64 [bricks]: 0 for a constant brick.

    `changes` [C] of each brick come from :func:`measure_brick`.
    """
    table = np.array(changes, dtype=np.float64)
    whole = table.sum(axis=0)
    shares: np.ndarray = (table / np.where(whole > 0, whole, 1.0)).sum(axis=1)
    return shares ** (1.0 / (1.0 + POWER))


def _samples(part: slice) -> list[slice]:
    """Return one or two ranges that stand for a range of voxels."""
    size = part.stop - part.start
    if size <= 2 * _SIDE:
        return [part]
    first, second = part.start + (size - 2 * _SIDE) // 4, part.stop - (size - 2 * _SIDE) // 4
    return [slice(first, first + _SIDE), slice(second - _SIDE, second)]


def _changes(block: Block) -> np.ndarray:
    values = block.values.astype(np.float64)
    total = np.zeros(len(values))
    for axis in range(3):
        steps = np.diff(values, axis=axis + 1) ** 2
        if block.valid is not None:
            ahead = [slice(None)] * 3
            behind = [slice(None)] * 3
            ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
            steps *= block.valid[tuple(ahead)] & block.valid[tuple(behind)]
        total += steps.sum(axis=(1, 2, 3))
    return total
