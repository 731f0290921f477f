"""Where feature grids start: a cheap look at where in the block something happens.

A network whose grids all span the block spends them evenly. Where most of a volume is quiet, half
of the grids are worth more on the regions that are not: those are found by splitting the block's
activity (its squared gradient) like a k-d tree, with equal activity on both sides of each cut.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from amgsrn_core.training.sampling import TrainingData

# Measured over eighteen volumes (docs/quality.md): below this share of active blocks, placing
# half of the grids gains up to 6 dB; above it, it costs up to 0.4 dB.
ACTIVE_SHARE = 0.35
_SHARE_BLOCKS = 8
# Quiet margins of a region that are cut off, as a share of its activity, and the widening after.
_TRIM = 0.003
_MARGIN = 0.1
# Activity is summed over coarse blocks of at most this many per axis, which bounds the memory.
_COARSE = 128


def place_grids(transforms: Tensor, data: TrainingData, placement: str) -> int:
    """Move the first half of the grids onto the block's active regions, in place.

    Parameters
    ----------
    transforms : Tensor [G, 3, 4]
    data : TrainingData
    placement : {"auto", "active", "global"}

    Returns
    -------
    int
        How many grids were placed.
    """
    count = len(transforms) // 2
    if placement == "global" or count == 0:
        return 0
    activity = _activity(data)
    if activity.sum() <= 0 or (placement == "auto" and active_share(activity) >= ACTIVE_SHARE):
        return 0
    regions = _split(activity, count)
    with torch.no_grad():
        for transform, (low, high) in zip(transforms, regions):
            transform.zero_()
            for axis in range(3):  # x, y, z; the activity's axes run z, y, x
                size = activity.shape[2 - axis]
                start = -1.0 + 2.0 * low[2 - axis] / size
                end = -1.0 + 2.0 * high[2 - axis] / size
                margin = _MARGIN * (end - start)
                start, end = start - margin, end + margin
                transform[axis, axis] = 2.0 / (end - start)
                transform[axis, 3] = -(end + start) / (end - start)
    return len(regions)


def active_share(activity: np.ndarray) -> float:
    """Return the participation ratio of activity over 8^3 blocks: 1 even, near 0 concentrated."""
    starts = [np.unique(np.arange(_SHARE_BLOCKS) * n // _SHARE_BLOCKS) for n in activity.shape]
    blocks = activity
    for axis, first in enumerate(starts):
        blocks = np.add.reduceat(blocks, first, axis=axis)
    return float(blocks.sum() ** 2 / (blocks.size * (blocks**2).sum()))


def _activity(data: TrainingData) -> np.ndarray:
    """Return the squared gradient, summed over components and coarse blocks of cells [z, y, x]."""
    values = data.values
    depth, height, width = (n - 1 for n in values.shape[1:])
    shape = tuple(min(n, _COARSE) for n in (depth, height, width))
    used = None
    if data.cells is not None:
        used = torch.zeros(depth * height * width, dtype=torch.bool, device=values.device)
        used[data.cells.long()] = True
        used = used.view(depth, height, width)
    total = np.zeros(shape)
    firsts = [np.arange(m) * n // m for n, m in zip((depth, height, width), shape)]
    for slab, start in enumerate(firsts[0]):
        stop = firsts[0][slab + 1] if slab + 1 < shape[0] else depth
        part = values[:, start : stop + 1]
        square = (part[:, 1:, :-1, :-1] - part[:, :-1, :-1, :-1]) ** 2
        square = square + (part[:, :-1, 1:, :-1] - part[:, :-1, :-1, :-1]) ** 2
        square = square + (part[:, :-1, :-1, 1:] - part[:, :-1, :-1, :-1]) ** 2
        square = square.sum(0)
        if used is not None:
            square = square * used[start:stop]
        plane = square.sum(0, dtype=torch.float32).cpu().numpy().astype(np.float64)
        total[slab] = np.add.reduceat(np.add.reduceat(plane, firsts[1], 0), firsts[2], 1)
    return total


_Region = tuple[list[int], list[int]]


def _split(activity: np.ndarray, count: int) -> list[_Region]:
    """Cut the block into ``count`` regions of equal activity and trim their quiet margins."""
    regions: list[_Region] = [([0, 0, 0], list(activity.shape))]
    while len(regions) < count:
        regions.sort(key=lambda r: _part(activity, r).sum() if _divisible(r) else -1.0)
        low, high = regions.pop()
        if not _divisible((low, high)):
            regions.append((low, high))
            break
        axis = int(np.argmax(np.subtract(high, low)))
        along = np.cumsum(_profile(_part(activity, (low, high)), axis))
        cut = low[axis] + 1 + int(np.searchsorted(along, along[-1] / 2.0))
        cut = min(max(cut, low[axis] + 1), high[axis] - 1)
        upper_low, lower_high = list(low), list(high)
        upper_low[axis] = lower_high[axis] = cut
        regions += [(low, lower_high), (upper_low, high)]
    return [_trimmed(activity, region) for region in regions]


def _part(activity: np.ndarray, region: _Region) -> np.ndarray:
    (z0, y0, x0), (z1, y1, x1) = region
    return activity[z0:z1, y0:y1, x0:x1]


def _profile(part: np.ndarray, axis: int) -> np.ndarray:
    return part.sum(axis=tuple(k for k in range(3) if k != axis))


def _divisible(region: _Region) -> bool:
    return max(np.subtract(region[1], region[0])) >= 2


def _trimmed(activity: np.ndarray, region: _Region) -> _Region:
    part = _part(activity, region)
    low, high = [], []
    for axis in range(3):
        along = np.cumsum(_profile(part, axis))
        edges = np.searchsorted(along, np.array([_TRIM, 1.0 - _TRIM]) * along[-1])
        edges = np.minimum(edges, part.shape[axis] - 1)
        low.append(region[0][axis] + int(edges[0]))
        high.append(region[0][axis] + int(edges[1]) + 1)
    return low, high
