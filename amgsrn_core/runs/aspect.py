"""Feature grids with the proportions of the bricks that they describe."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

from amgsrn_core.config import NetworkConfig, Triple
from amgsrn_core.volume.partition import Brick

_FEWEST = 2  # nodes along an axis


def matched_network(network: NetworkConfig, bricks: Sequence[Brick]) -> NetworkConfig:
    """Return a network whose feature grids have the proportions of the largest brick's voxels.

    All bricks of a volume have networks of one size, and differ by few voxels themselves.
    """
    sizes = [tuple(s.stop - s.start for s in brick.ghosted) for brick in bricks]
    depth, height, width = (max(size[axis] for size in sizes) for axis in range(3))
    shape = matched_shape(network.grid_shape, (depth, height, width))
    return dataclasses.replace(network, grid_shape=shape)


def matched_shape(shape: Triple, dims: Triple) -> Triple:
    """Return the shape of a grid with about as many nodes and the proportions of `dims`.

    Parameters
    ----------
    shape : tuple of int
        Its nodes are as many as there may be; along z, y, x.
    dims : tuple of int
        Voxels along z, y, x.

    Examples
    --------
    >>> matched_shape((16, 16, 16), (50, 100, 200))
    (8, 16, 32)
    """
    nodes = math.prod(shape)
    exact = [float(size) for size in dims]
    thin: set[int] = set()
    while True:  # an axis with as few nodes as can be leaves more to the others
        wide = [axis for axis in range(3) if axis not in thin]
        free = nodes / _FEWEST ** len(thin)
        scale = (free / math.prod(dims[axis] for axis in wide)) ** (1.0 / len(wide))
        exact = [_FEWEST if axis in thin else dims[axis] * scale for axis in range(3)]
        thinner = {axis for axis in wide if exact[axis] < _FEWEST}
        if not thinner or len(thin | thinner) == 3:
            break
        thin |= thinner
    ways = [sorted({max(_FEWEST, math.floor(n)), max(_FEWEST, math.ceil(n))}) for n in exact]
    depth, height, width = min(
        itertools.product(*ways), key=lambda way: abs(math.log(math.prod(way) / nodes))
    )
    return depth, height, width
