"""Encoders beside adaptive grids, in PyTorch: positional terms, and a hash grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor

from amgsrn_core.hash_levels import HashLevel

# A node's hash: its coordinates times these primes, joined by exclusive or (Müller et al.).
_PRIMES = (1, 2654435761, 805459861)
_LOW_BITS = 0xFFFFFFFF

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
    unit = (points + 1.0) * 0.5
    features = []
    for level in levels:
        position = unit * level.scale + level.offset
        node = position.floor()
        upper = position - node
        weights = torch.stack([1.0 - upper, upper])
        nodes = torch.stack([node, node + 1.0]).long()
        total = torch.zeros(len(points), tables.shape[1], dtype=tables.dtype, device=tables.device)
        for z, y, x in itertools.product((0, 1), repeat=3):
            corner = (nodes[x, :, 0], nodes[y, :, 1], nodes[z, :, 2])
            weight = weights[x, :, 0] * weights[y, :, 1] * weights[z, :, 2]
            total = total + weight[:, None] * functional.embedding(_entry(corner, level), tables)
        features.append(total)
    joined = torch.cat(features, dim=1)
    return joined if inside is None else joined * inside


def _entry(corner: tuple[Tensor, Tensor, Tensor], level: HashLevel) -> Tensor:
    """Return where the features of nodes are stored among all tables."""
    x, y, z = (node * factor for node, factor in zip(corner, level.strides or _PRIMES))
    place = x + y + z if level.strides else x ^ y ^ z
    return level.first + (place & _LOW_BITS) % level.entries
