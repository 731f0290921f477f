"""The bricks of a volume as one function of tensors: routed, evaluated and blended on a device.

The twin of :mod:`amgsrn_core.field.blended_field`, whose points are in the computer's memory. What
it reads from the device, which makes the host wait, is per batch of points and not per brick.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from amgsrn_core.config import NetworkConfig
from amgsrn_core.field.blending import Blend, faded, smoothstep
from amgsrn_core.field.point_batches import (
    LEAST_POINTS,
    ROUTED_POINTS,
    PointBatches,
    network_points,
)
from amgsrn_core.model.box import FACE_TOLERANCE, Box
from amgsrn_core.networks import SceneNetwork
from amgsrn_core.volume.grid_points import GridPoints

Evaluate = Callable[[SceneNetwork, Tensor], Tensor]
"""From a network and brick-local points [N, 3] to [N, columns]."""


class PlacedNetwork(Protocol):
    """What is evaluated of a brick; see FieldBrick."""

    @property
    def network(self) -> SceneNetwork:
        """Lives on [-1, 1]^3."""

    @property
    def valid(self) -> np.ndarray | None:
        """Which voxels have a value, bool [z, y, x]; None when all have."""


class DeviceField:
    """The field of some bricks of a volume, in its index space.

    Points are float64 [N, 3], columns x, y, z; there is no value, which is NaN, outside the volume,
    where the nearest voxel has none, and where there is no brick.

    Parameters
    ----------
    dims : tuple of int
        Voxels of the volume along z, y, x.
    blend : Blend
        Weights of the bricks.
    boxes : Box
        Those of all the bricks, with their ghost layers.
    brick : callable
        Returns a brick from its place among these; it is on `device`.
    sizes : sequence of NetworkConfig
        Of the bricks' networks, the same one once.
    device : torch.device
        With double precision.
    """

    def __init__(
        self,
        *,
        dims: tuple[int, int, int],
        blend: Blend,
        boxes: Box,
        brick: Callable[[int], PlacedNetwork],
        sizes: Sequence[NetworkConfig],
        device: torch.device | str,
    ) -> None:
        device = torch.device(device)
        self._last = torch.tensor(dims[::-1], dtype=torch.float64, device=device) - 1.0
        self._count = len(boxes.first)
        self._brick, self._device = brick, device
        self._firsts = torch.tensor(boxes.first, device=device)
        self._scales = torch.tensor(boxes.scale, device=device)
        reach, end = blend.reach, np.array(dims[::-1])
        self._is_one = self._count == 1 and bool(((reach[0] == 0) | (reach[0] >= end)).all())
        self._router = None if self._is_one or not self._count else _Router(blend, device)
        self._of_network = [
            min((network_points(size, device, gradients=g) for size in sizes), default=1)
            for g in (False, True)
        ]
        most = max(ROUTED_POINTS, self._of_network[0])
        self._values_in = PointBatches(self._of_network[0] if self._is_one else most, device)
        self._gradients_in = PointBatches(self._of_network[1], device)
        self._masks: weakref.WeakKeyDictionary[SceneNetwork, Tensor] = weakref.WeakKeyDictionary()

    def evaluated(self, points: Tensor, evaluate: Evaluate, columns: int) -> Tensor:
        """Return a property of the networks, float32 [N, columns], blended."""
        if not len(points):
            return torch.empty((0, columns), device=self._device)

        def of(part: slice) -> Tensor:
            return self._blended(points[part], evaluate, columns, self._values_in)

        return torch.cat(self._values_in.run(len(points), of))

    def gradients(
        self, points: Tensor, evaluate: Evaluate, columns: int, select: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Return float32 [N, 3], the gradient by index of what `select` makes [N] of the property.

        NaN or 0 where there is no value.
        """
        if not len(points):
            return torch.empty((0, 3), device=self._device)

        def of(part: slice) -> Tensor:
            with torch.enable_grad():
                at = points[part].clone().requires_grad_()
                seen = select(self._blended(at, evaluate, columns, self._gradients_in))
                if not seen.requires_grad:  # there is no brick
                    return torch.zeros_like(at, dtype=torch.float32)
                return torch.autograd.grad(seen.sum(), at)[0].float()

        return torch.cat(self._gradients_in.run(len(points), of))

    def _blended(
        self, points: Tensor, evaluate: Evaluate, columns: int, batches: PointBatches
    ) -> Tensor:
        inside = within(points, self._last)
        points = points.double().clamp(min=0).minimum(self._last)
        missing = torch.where(inside, 0.0, torch.nan)[:, None]
        if self._router is None:
            if not self._count:
                return missing.expand(-1, columns) + torch.nan
            values = self._of_brick(0, points, self._local(points, 0), evaluate, batches)
            return values + missing
        parts = self._router.parts(points)
        repeated = points[parts.points]
        local = self._local(repeated, parts.bricks)
        results, start = [], 0
        for place, count in enumerate(parts.counts):
            if count:
                rows = slice(start, start + count)
                results.append(
                    self._of_brick(place, repeated[rows], local[rows], evaluate, batches)
                )
                start += count
        total = points.new_zeros((len(points), columns))
        if results:
            weighted = parts.weights[:, None] * torch.cat(results)
            total = total.index_add(0, parts.points, weighted)
        return (total + torch.where(parts.covered, missing[:, 0], torch.nan)[:, None]).float()

    def _local(self, points: Tensor, bricks: int | Tensor) -> Tensor:
        return ((points - self._firsts[bricks]) * self._scales[bricks] - 1.0).float()

    def _of_brick(
        self,
        place: int,
        points: Tensor,
        local: Tensor,
        evaluate: Evaluate,
        batches: PointBatches,
    ) -> Tensor:
        """Return a property [N, columns] of one brick, NaN where the nearest voxel has no value."""
        brick = self._brick(place)
        size = int(batches.share * self._of_network[torch.is_grad_enabled()])
        size = max(LEAST_POINTS, size)
        results = [evaluate(brick.network, part) for part in local.split(size)]
        values = results[0] if len(results) == 1 else torch.cat(results)
        if brick.valid is None:
            return values
        valid = self._masks.get(brick.network)
        if valid is None:
            valid = torch.from_numpy(brick.valid).to(self._device)
            self._masks[brick.network] = valid
        index = torch.floor(points.detach() - self._firsts[place] + 0.5).long()
        z, y, x = (
            index[:, column].clamp(0, size - 1) for column, size in zip((2, 1, 0), valid.shape)
        )
        return torch.where(valid[z, y, x][:, None], values, torch.nan)


class DeviceGridPoints:
    """The points of a grid on a device, made there where no map has to be applied to each."""

    def __init__(self, points: GridPoints, device: torch.device | str) -> None:
        self._points, self._device = points, device
        self._lines: list[Tensor] | None = None
        if points.lines is not None:
            self._lines = [torch.from_numpy(line).to(device) for line in points.lines]

    def index(self, part: slice) -> Tensor:
        """Return points, float64 [n, 3] (x, y, z), of a range of the part's flattened voxels."""
        if self._lines is None:
            return torch.from_numpy(self._points.index(part)).to(self._device)
        _, ny, nx = self._points.shape
        voxels = torch.arange(part.start, part.stop, device=self._device)
        z, y, x = voxels // (ny * nx), voxels // nx % ny, voxels % nx
        columns = [line[at] for line, at in zip(self._lines, (z, y, x))]
        return torch.stack(columns[::-1], dim=1)


def within(points: Tensor, last: Tensor) -> Tensor:
    """Return whether points [N, 3] are between sample 0 and `last` [3], or as good as there."""
    return ((points >= -FACE_TOLERANCE) & (points <= last + FACE_TOLERANCE)).all(dim=1)


class _Parts(NamedTuple):
    """Which bricks make up which points, ordered by brick; see blending.Parts.

    Attributes
    ----------
    points : Tensor of int64 [M]
    bricks : Tensor of int64 [M]
    weights : Tensor of float64 [M]
    counts : list of int [B]
        How many points each brick has.
    covered : Tensor of bool [N]
        Which points have any.
    """

    points: Tensor
    bricks: Tensor
    weights: Tensor
    counts: list[int]
    covered: Tensor


class _Router:
    """The table of a Blend on a device."""

    def __init__(self, blend: Blend, device: torch.device) -> None:
        cells = blend.cells
        self._tables = [torch.from_numpy(table).to(device) for table in cells.tables]
        self._sizes = cells.sizes
        self._starts = torch.from_numpy(cells.starts).to(device)
        self._bricks = torch.from_numpy(cells.bricks).to(device)
        self._ends = torch.from_numpy(blend.ends).to(device)
        self._slopes = torch.from_numpy(blend.slopes).to(device)

    def parts(self, points: Tensor) -> _Parts:
        """Return the bricks at points [N, 3] inside the volume; as Blend.parts does it."""
        at = (points.detach() * 2.0).long()
        x, y, z = (table[column].long() for table, column in zip(self._tables, at.unbind(1)))
        cells = (z * self._sizes[1] + y) * self._sizes[0] + x
        starts = self._starts[cells]
        counts = self._starts[cells + 1] - starts
        total = int(counts.sum())
        numbers = torch.arange(len(points), device=points.device)
        numbers = numbers.repeat_interleave(counts, output_size=total)
        place = torch.arange(total, device=points.device) - (counts.cumsum(0) - counts)[numbers]
        bricks = self._bricks[starts[numbers] + place]
        weights = points.new_ones(total)
        # Most points lie where nothing fades.
        (shared,) = (counts[numbers] > 1).nonzero(as_tuple=True)
        of = numbers[shared]
        factors = self._factors(points[of], bricks[shared].long())
        sums = factors.new_zeros(len(points)).index_add(0, of, factors)
        # All are 0 where a brick without values would be the only one.
        weights[shared] = factors / torch.where(sums == 0, 1.0, sums)[of]
        (kept,) = (weights > 0).nonzero(as_tuple=True)
        # Short numbers are sorted faster.
        short = torch.int16 if len(self._ends) < 1 << 15 else torch.int32
        keys, order = bricks[kept].to(short).sort(stable=True)
        kept = kept[order]
        numbered = torch.arange(len(self._ends) + 1, device=points.device)
        each = torch.searchsorted(keys.long(), numbered).diff()
        covered = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        covered[numbers[kept]] = True
        return _Parts(numbers[kept], keys.long(), weights[kept], each.tolist(), covered)

    def _factors(self, points: Tensor, bricks: Tensor) -> Tensor:
        """Return r [M] of blending's text for pairs of a point and a brick."""
        product = points.new_ones(len(points))
        for axis, column in enumerate(points.unbind(1)):
            for side in (0, 1):
                ends, slopes = (t[:, side, axis][bricks] for t in (self._ends, self._slopes))
                product = product * smoothstep(faded(column, ends, slopes, side))
        return product
