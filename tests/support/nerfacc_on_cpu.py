"""nerfacc's CUDA operators that marching needs, in PyTorch, so that its own code runs anywhere.

They compute as nerfacc/cuda/csrc/grid.cu and utils_grid.cuh do: in float32, from cell to cell, and
with lengths of their own, which do not follow the volume's.
"""

from __future__ import annotations

from types import SimpleNamespace

import nerfacc.cuda
import torch
from torch import Tensor

EPS, LARGEST_STEP = 1e-6, 1e10
# A walk that takes more than this has left the grid, or has steps too small to move on.
MOST_STEPS = 20_000


def install(monkeypatch) -> None:
    for function in (ray_aabb_intersect, traverse_grids):
        monkeypatch.setattr(nerfacc.cuda, function.__name__, function)


def ray_aabb_intersect(origins, directions, boxes, near, far, miss) -> list[Tensor]:
    assert len(boxes) == 1 and origins.dtype == directions.dtype == boxes.dtype == torch.float32
    inverse = 1.0 / directions
    low, high = ((side - origins) * inverse for side in (boxes[0, :3], boxes[0, 3:]))
    forward = inverse >= 0
    enters, leaves = torch.where(forward, low, high), torch.where(forward, high, low)
    enter, leave = enters[:, 0], leaves[:, 0]
    hits = torch.ones_like(enter, dtype=torch.bool)
    for axis in (1, 2):
        hits &= ~((enter > leaves[:, axis]) | (enters[:, axis] > leave))
        enter = torch.where(enters[:, axis] > enter, enters[:, axis], enter)
        leave = torch.where(leaves[:, axis] < leave, leaves[:, axis], leave)
    hits &= ~(leave <= 0)
    enter, leave = enter.fmax(torch.tensor(near)), leave.fmin(torch.tensor(far))
    results = torch.where(hits, enter, miss), torch.where(hits, leave, miss), hits
    return [result[:, None] for result in results]


def traverse_grids(
    origins, directions, mask, binaries, boxes, t_sorted, t_indices, hits, near, far, step, cone,
    *options,
):  # fmt: skip
    """Walk through one grid and mark the steps whose middles are in occupied cells."""
    floats = (origins, directions, boxes, t_sorted, near, far)
    assert all(t.dtype == torch.float32 for t in floats) and binaries.dtype == torch.bool
    assert len(boxes) == 1 and mask.all() and step > 0 and cone == 0.0
    step = torch.tensor(min(step, LARGEST_STEP), dtype=torch.float32)
    begin, end = t_sorted[:, 0].fmax(near), t_sorted[:, 1].fmin(far)
    going = hits[:, 0] & (begin < end)
    last, _ = _advanced(near.clone(), begin, going, step)
    current, overflow, moves, distance, delta = _set_up(
        origins, directions, begin, end, boxes[0], binaries.shape[1:]
    )
    found: list[tuple[Tensor, Tensor]] = []
    for _ in range(MOST_STEPS):
        if not going.any():
            return _results(found, len(origins), float(step), far)
        here = current[going]
        if ((here < 0) | (here >= torch.tensor(binaries.shape[1:]))).any():
            raise IndexError("nerfacc reads outside the grid")
        until = distance.amin(1).fmin(end)
        used = going.clone()
        used[going] = binaries[0][tuple(here.unbind(1))]
        last, middles = _advanced(last, until, going, step)
        found += [(t[chosen & used], rays) for t, chosen in middles
                  for rays in [(chosen & used).nonzero()[:, 0]]]  # fmt: skip
        x, y, z = distance.unbind(1)
        axis = torch.where((x < y) & (x < z), 0, torch.where(y < z, 1, 2))[:, None]
        current = current.scatter_add(1, axis, moves.gather(1, axis))
        distance = distance.scatter_add(1, axis, delta.gather(1, axis))
        going &= (current.gather(1, axis) != overflow.gather(1, axis))[:, 0]
    raise IndexError("nerfacc walks on for ever")


def _advanced(last, until, going, step) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Go on in steps until the middle of the next one is not before `until`.

    Returns where that is, and of each step its middles, and which rays took it.
    """
    taken = []
    for _ in range(MOST_STEPS):
        moving = going & (last + step * 0.5 < until)
        if not moving.any():
            return last, taken
        following = last + step
        taken.append(((following + last) * 0.5, moving))
        last = torch.where(moving, following, last)
    raise IndexError("nerfacc's steps are lost in rounding")


def _set_up(origins, directions, begin, end, box, shape):
    size = torch.tensor(shape)
    low, high = box[:3], box[3:]
    edge = (high - low) / size.float()
    start, stop = (origins + directions * t[:, None] for t in (begin + EPS, end - EPS))

    def cell(points: Tensor) -> Tensor:
        place = (points - low) / (high - low) * size.float()
        # CUDA's conversion saturates.
        return place.nan_to_num(0.0).clamp(-2e9, 2e9).long().clamp(min=0).minimum(size - 1)

    current, final = cell(start), cell(stop)
    inverse, moves = 1.0 / directions, directions.sign()
    still = directions == 0
    corner = (current + (directions > 0)).float() * edge
    distance = (low + (corner - start)) * inverse + begin[:, None]
    distance = torch.where(still, end[:, None], distance)
    delta = torch.where(still, end[:, None], edge * inverse * moves)
    return current, final + moves.long(), moves.long(), distance, delta


def _results(found, count: int, step: float, far: Tensor):
    middles, rays = (
        torch.cat([pair[k] for pair in found]) if found else torch.zeros(0, dtype=kind)
        for k, kind in enumerate((torch.float32, torch.int64))
    )
    rays, order = rays.sort(stable=True)
    middles = middles[order]
    counts = torch.bincount(rays, minlength=count)
    first = counts.cumsum(0) - counts
    edges = torch.stack([middles - 0.5 * step, middles + 0.5 * step], dim=1).flatten()
    is_left = torch.tensor([True, False]).repeat(len(middles))
    intervals = SimpleNamespace(
        vals=edges, chunk_starts=2 * first, chunk_cnts=2 * counts,
        ray_indices=rays.repeat_interleave(2), is_left=is_left, is_right=~is_left, is_valid=None,
    )  # fmt: skip
    samples = SimpleNamespace(
        vals=middles, chunk_starts=first, chunk_cnts=counts, ray_indices=rays, is_valid=None
    )
    return intervals, samples, far
