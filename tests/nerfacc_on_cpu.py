"""nerfacc's CUDA operators that marching needs, in PyTorch, so that its own code runs anywhere.

They follow nerfacc/cuda/csrc in what they return, and not in how they find it.
"""

from __future__ import annotations

from types import SimpleNamespace

import nerfacc.cuda
import nerfacc.volrend
import torch
from torch import Tensor


def install(monkeypatch) -> None:
    for function in (ray_aabb_intersect, traverse_grids, exclusive_prod_forward):
        monkeypatch.setattr(nerfacc.cuda, function.__name__, function)
    monkeypatch.setattr(nerfacc.volrend, "pack_info", pack_info)


def ray_aabb_intersect(origins, directions, boxes, near, far, miss) -> list[Tensor]:
    low = (boxes[None, :, :3] - origins[:, None]) / directions[:, None]
    high = (boxes[None, :, 3:] - origins[:, None]) / directions[:, None]
    enter = torch.minimum(low, high).amax(-1)
    leave = torch.maximum(low, high).amin(-1)
    hits = (enter <= leave) & (leave > 0)
    enter, leave = enter.clamp(min=near), leave.clamp(max=far)
    return [torch.where(hits, enter, miss), torch.where(hits, leave, miss), hits]


def traverse_grids(
    origins, directions, mask, binaries, boxes, t_sorted, t_indices, hits, near, far, step, cone,
    *options,
):  # fmt: skip
    """Mark every step whose middle is in an occupied cell, from the near plane on."""
    assert len(boxes) == 1 and cone == 0.0 and mask.all() and step > 0
    count = int(((far - near) / step).ceil().max()) + 1
    starts = near[:, None] + torch.arange(count) * step
    middles = starts + 0.5 * step
    inside = hits & (middles >= t_sorted[:, :1]) & (middles < torch.minimum(t_sorted[:, 1], far)[:, None])  # fmt: skip  # noqa: E501
    points = origins[:, None] + middles[..., None] * directions[:, None]
    size = torch.tensor(binaries.shape[1:])
    cells = (points - boxes[0, :3]) / (boxes[0, 3:] - boxes[0, :3]) * size
    cells = cells.long().clamp(min=0).minimum(size - 1)
    used = inside & binaries[0][tuple(cells.unbind(-1))]
    rays = used.nonzero()[:, 0]
    left = starts[used]
    edges = torch.stack([left, left + step], dim=1).flatten()
    is_left = torch.tensor([True, False]).repeat(len(left))
    counts = used.sum(1)
    first = counts.cumsum(0) - counts
    intervals = SimpleNamespace(
        vals=edges, chunk_starts=2 * first, chunk_cnts=2 * counts,
        ray_indices=rays.repeat_interleave(2), is_left=is_left, is_right=~is_left, is_valid=None,
    )  # fmt: skip
    samples = SimpleNamespace(
        vals=middles[used], chunk_starts=first, chunk_cnts=counts, ray_indices=rays, is_valid=None
    )
    return intervals, samples, far


def exclusive_prod_forward(starts: Tensor, counts: Tensor, inputs: Tensor) -> Tensor:
    products = torch.ones_like(inputs)
    for start, count in zip(starts.tolist(), counts.tolist()):
        if count > 1:
            products[start + 1 : start + count] = inputs[start : start + count - 1].cumprod(0)
    return products


def pack_info(ray_indices: Tensor, n_rays: int) -> Tensor:
    counts = torch.bincount(ray_indices, minlength=n_rays)
    return torch.stack([counts.cumsum(0) - counts, counts], dim=1)
