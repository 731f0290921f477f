"""Voxels interpolated at points by PyTorch, on any device: what networks are trained on."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as functional
from torch import Tensor

from amgsrn_core.networks.products import products

# Points interpolated at a time: their 64 neighbours each then stay in a processor's cache.
_CUBIC_CHUNK = 8192


def linear_targets(values: Tensor, local: Tensor) -> Tensor:
    """Interpolate trilinearly: values [C, D, H, W] at local points [N, 3] give [N, C]."""
    sampled = functional.grid_sample(values[None], local[None, None, None], align_corners=True)
    return sampled.reshape(len(values), len(local)).t()


def cubic_targets(values: Tensor, index: Tensor) -> Tensor:
    """Interpolate with Catmull-Rom splines (Keys, IEEE TASSP 29(6), 1981, with a = -1/2).

    They pass through the voxels like trilinear interpolation, but without its kinks there, which
    a smooth network cannot follow; beyond the faces the data are continued linearly.

    Parameters
    ----------
    values : Tensor [C, D, H, W]
    index : Tensor [N, 3]
        Voxel coordinates x, y, z inside the block.

    Returns
    -------
    Tensor [N, C]
    """
    if index.device.type == "cpu" and len(index) > _CUBIC_CHUNK:
        return torch.cat([_cubic(values, part) for part in index.split(_CUBIC_CHUNK)])
    return _cubic(values, index)


def _cubic(values: Tensor, index: Tensor) -> Tensor:
    sizes = tuple(reversed(values.shape[1:]))
    neighbours, axis_weights = _cubic_axes(index, sizes)
    (x, y, z), (wx, wy, wz) = neighbours.unbind(1), axis_weights.unbind(1)
    width, height = sizes[:2]
    rows = (z[:, :, None] * height + y[:, None, :]) * width
    weights = (wz[:, :, None] * wy[:, None, :]).flatten(1)
    flat = (rows[:, :, :, None] + x[:, None, None, :]).reshape(-1)
    count = len(index)
    columns = []
    for component in values:
        gathered = component.reshape(-1).take(flat).view(count, 16, 4)
        if index.device.type == "cpu":
            with products():
                along_x = torch.bmm(gathered, wx[:, :, None])
                columns.append(torch.bmm(weights[:, None], along_x).view(count))
        else:  # where products of such small matrices are slow
            along_x = (gathered * wx[:, None]).sum(2)
            columns.append((along_x * weights).sum(1))
    return torch.stack(columns, 1)


def _cubic_axes(position: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return four neighbours' indices and weights, both [N, 3, 4], along each of three axes."""
    last_cell = _last_cells(sizes, position.device, position.dtype)
    base = position.floor().clamp(min=0).minimum(last_cell)
    t = position - base
    t2, t3 = t * t, t * t * t
    before = -0.5 * t + t2 - 0.5 * t3
    first = 1.0 - 2.5 * t2 + 1.5 * t3
    second = 0.5 * t + 2.0 * t2 - 1.5 * t3
    after = 0.5 * (t3 - t2)
    # A neighbour beyond a face is 2 * face - inner; its weight goes to those two.
    low, high = base < 0.5, base > last_cell - 0.5
    lost = torch.where(low, before, torch.zeros_like(before))
    before, first, second = before - lost, first + 2.0 * lost, second - lost
    lost = torch.where(high, after, torch.zeros_like(after))
    after, second, first = after - lost, second + 2.0 * lost, first - lost
    offsets = torch.arange(-1, 3, device=position.device)
    neighbours = (base.long()[..., None] + offsets).clamp(min=0)
    neighbours = neighbours.minimum(last_cell.long()[:, None] + 1)
    return neighbours, torch.stack([before, first, second, after], 2)


@functools.lru_cache(maxsize=16)
def _last_cells(sizes: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the number of each axis's last cell, kept on the device: bringing it there waits."""
    with torch.inference_mode(False):
        return torch.tensor(sizes, dtype=dtype, device=device) - 2
