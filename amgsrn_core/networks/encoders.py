"""Encoders beside adaptive grids, in PyTorch: positional terms, and a hash grid."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from amgsrn_core.model.hash_levels import HashLevel

# A node's hash: its coordinates times these primes, joined by exclusive or (Müller et al.).
_PRIMES = (1, 2654435761, 805459861)
_LOW_BITS = 0xFFFFFFFF
# Points looked up at a time, with some 128 corners each: each part has a gradient of all tables.
# Without gradients, so few that a processor's cache keeps them.
_POINTS, _CACHED_POINTS = 1 << 16, 1 << 13

# Local coordinates of a point on a face may be rounded beyond it.
_ROUNDING = 1e-5


def positional_terms(points: Tensor, count: int) -> Tensor:
    """Return sines and cosines of the coordinates in octaves.

    Those of Weiss et al., "Fast Neural Representations for Direct Volume Rendering", CGF 2022
    (fV-SRN).

    Parameters
    ----------
    points : Tensor [N, 3]
    count : int
        Octaves l = 0, 1, ...: the frequencies are 2^l pi.

    Returns
    -------
    Tensor [N, 6 * count]
        For each octave the sines of x, y, z, then their cosines.
    """
    octaves = math.pi * 2.0 ** torch.arange(count, dtype=points.dtype, device=points.device)
    angles = points[:, None] * octaves[:, None]
    return torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)


def hash_encode(
    points: Tensor, tables: Tensor, levels: Sequence[HashLevel], scheme: str = "tiny-cuda-nn"
) -> Tensor:
    """Sample every level of a hash grid trilinearly at the points.

    All corners of all levels are looked up at once, so that there is one gradient of the tables;
    of very many points, part by part.

    Parameters
    ----------
    points : Tensor [N, 3]
        Brick-local coordinates x, y, z; the brick is [-1, 1]^3.
    tables : Tensor [entries, F]
        The tables of all levels, one after the other.
    levels : sequence of HashLevel
    scheme : {"tiny-cuda-nn", "original"}
        In the original's, features outside the brick are 0.

    Returns
    -------
    Tensor [N, levels * F]
        Level-major.
    """
    inside = None
    if scheme == "original":
        inside = (points.abs() <= 1.0 + _ROUNDING).all(dim=1, keepdim=True)
        points = points.clamp(-1.0, 1.0)
    cached = points.device.type == "cpu" and not torch.is_grad_enabled()
    size = _CACHED_POINTS if cached else _POINTS
    parts = [_hash_encode(part, tables, tuple(levels)) for part in points.split(size)]
    joined = parts[0] if len(parts) == 1 else torch.cat(parts)
    return joined if inside is None else joined * inside


def _hash_encode(points: Tensor, tables: Tensor, levels: tuple[HashLevel, ...]) -> Tensor:
    scales, offsets, first, entries, factors, dense = _constants(
        levels, points.device, points.dtype
    )
    position = (points + 1.0)[:, None] * 0.5 * scales + offsets
    node = position.floor()
    upper = position - node
    nodes = torch.stack([node, node + 1.0], 3).long() * factors
    # Tables that hold every node are those of the coarsest levels.
    place = torch.cat([_joined(nodes[:, :dense], torch.add), _joined(nodes[:, dense:], _xor)], 1)
    entry = first + (place & _LOW_BITS) % entries
    weight = _joined(torch.stack([1.0 - upper, upper], 3), torch.mul)
    found = tables.index_select(0, entry.reshape(-1)).view(*entry.shape, tables.shape[1])
    return (weight[..., None] * found).sum(2).flatten(1)


def _joined(ends: Tensor, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Join a cell's two numbers along x, y, z, [N, levels, 3, 2], to those of its corners.

    These are [N, levels, 8], x fastest.
    """
    x, y, z = ends.unbind(2)
    both = join(y[..., None], x[..., None, :]).flatten(2)
    return join(z[..., None], both[..., None, :]).flatten(2)


def _xor(one: Tensor, other: Tensor) -> Tensor:
    return one ^ other


@functools.lru_cache(maxsize=16)
def _constants(
    levels: tuple[HashLevel, ...], device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, int]:
    """Return scales, offsets, tables' beginnings and sizes, nodes' factors, and how many are dense.

    They are kept on the device: to bring them there would wait for it each time.
    """
    with torch.inference_mode(False):
        scales = torch.tensor([[level.scale] for level in levels], dtype=dtype, device=device)
        offsets = torch.tensor([[level.offset] for level in levels], dtype=dtype, device=device)
        first = torch.tensor([[level.first] for level in levels], device=device)
        entries = torch.tensor([[level.entries] for level in levels], device=device)
        strides = [level.strides or _PRIMES for level in levels]
        factors = torch.tensor(strides, device=device)[:, :, None]
    dense = sum(bool(level.strides) for level in levels)
    return scales, offsets, first, entries, factors, dense
