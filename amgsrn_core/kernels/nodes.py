"""Feature grids as the kernels store them: channel-last, with a layer of zeros around each grid."""

from __future__ import annotations

import torch
from torch import Tensor

# The kernels read and write four floats at a time, so up to three beyond the last.
_TAIL = 16


def node_count(grids: int, features: int, shape: tuple[int, ...]) -> int:
    """Return how many floats the nodes of all grids take, what may be read past them included."""
    depth, height, width = shape
    return grids * (depth + 2) * (height + 2) * (width + 2) * features + _TAIL


def nodes_from_grids(feature_grids: Tensor, out: Tensor | None = None) -> Tensor:
    """Return feature grids [G, F, D, H, W] as a flat tensor of nodes.

    Parameters
    ----------
    feature_grids : Tensor [G, F, D, H, W]
    out : Tensor, optional
        An earlier result for grids of this size, to be overwritten.
    """
    grids, features, *shape = feature_grids.shape
    if out is None:
        out = torch.zeros(node_count(grids, features, tuple(shape)))
    inside(out, feature_grids.shape).copy_(feature_grids.detach())
    return out


def inside(nodes: Tensor, shape: torch.Size) -> Tensor:
    """Return the nodes without their layers of zeros, as a view [G, F, D, H, W]."""
    grids, features, depth, height, width = shape
    padded = nodes[: nodes.numel() - _TAIL].view(grids, depth + 2, height + 2, width + 2, features)
    return padded[:, 1:-1, 1:-1, 1:-1].permute(0, 4, 1, 2, 3)
