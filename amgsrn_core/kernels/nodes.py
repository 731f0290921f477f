"""Feature grids as the kernels store them: channel-last, with a layer of zeros around each grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# The kernels read and write four floats at a time, so up to three beyond the last.
_TAIL = 16


def node_count(grids: int, features: int, shape: tuple[int, ...]) -> int:
    """Return how many floats the nodes of all grids take, what may be read past them included."""
    depth, height, width = shape
    return grids * (depth + 2) * (height + 2) * (width + 2) * features + _TAIL


def nodes_from_grids(feature_grids: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return feature grids [G, F, D, H, W] as a flat array of nodes, float32.

    Parameters
    ----------
    feature_grids : ndarray [G, F, D, H, W]
    out : ndarray, optional
        An earlier result for grids of this size, to be overwritten.
    """
    grids, features, *shape = feature_grids.shape
    if out is None:
        out = np.zeros(node_count(grids, features, tuple(shape)), dtype=np.float32)
    inside(out, feature_grids.shape)[...] = feature_grids
    return out


def inside(nodes: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return the nodes without their layers of zeros, as a view [G, F, D, H, W]."""
    grids, features, depth, height, width = shape
    padded = nodes[:-_TAIL].reshape(grids, depth + 2, height + 2, width + 2, features)
    return padded[:, 1:-1, 1:-1, 1:-1].transpose(0, 4, 1, 2, 3)
