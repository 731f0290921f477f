"""What a PyTorch marcher renders: a field on a device, in the volume's index space."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from amgsrn_core.blended_field import CPU_POINTS, BrickNetwork
from amgsrn_core.ensemble import NeuralVolume
from amgsrn_core.volume.axis import Axis
from amgsrn_core.volume.geometry import GridGeometry

# World coordinates arrive rounded: as far outside, in cells, a point still is on the face.
_FACE_TOLERANCE = 1e-3
_GPU_POINTS = 1 << 20

Select = Callable[[Tensor], Tensor]
"""From values [N, C] to the one [N] that is seen."""


class Field(Protocol):
    """A field of C components over a volume's index space.

    Points are float64 [N, 3], columns x, y, z, on `device`; 0 is the first sample of an axis.
    """

    geometry: GridGeometry
    device: torch.device

    def values(self, points: Tensor) -> Tensor:
        """Return float32 [N, C]; NaN outside the volume and where data are missing."""

    def gradients(self, points: Tensor, select: Select) -> Tensor:
        """Return float32 [N, 3], the gradient of what `select` chooses, per index step."""


class NeuralField:
    """A model evaluated by the torch reference, whatever its backend.

    A point's value is the mean of its bricks', weighted by how far each has faded in there.
    """

    @classmethod
    def of_volume(cls, volume: NeuralVolume) -> NeuralField:
        """Return the model's field, always the same one."""
        if volume not in _known:
            _known[volume] = cls(volume)
        return _known[volume]

    def __init__(self, volume: NeuralVolume) -> None:
        self.geometry = volume.geometry
        self.device = volume.device
        self._components = len(volume.components)
        self._last = _last_index(self.geometry, self.device)
        self._bricks = [_Brick(brick, self.device) for brick in volume.bricks()]

    def values(self, points: Tensor) -> Tensor:
        """Return float32 [N, C]; see :class:`Field`."""
        return in_batches(points, self._blended)

    def gradients(self, points: Tensor, select: Select) -> Tensor:
        """Return float32 [N, 3], 0 where there is no value; see :class:`Field`."""
        if not self._bricks:
            return points.new_zeros(points.shape).float()

        def evaluate(part: Tensor) -> Tensor:
            with torch.enable_grad():
                part = part.clone().requires_grad_()
                return torch.autograd.grad(select(self._blended(part)).sum(), part)[0]

        return torch.nan_to_num(in_batches(points, evaluate).float())

    def _blended(self, points: Tensor) -> Tensor:
        inside = within(points, self._last)
        points = points.clamp(min=0).minimum(self._last)
        total = points.new_zeros((len(points), self._components))
        weights = torch.where(inside, 0.0, torch.nan).double()
        for brick in self._bricks:
            share = torch.where(inside, brick.share(points), 0.0)
            (chosen,) = (share > 0).nonzero(as_tuple=True)
            if len(chosen):
                share, values = share[chosen], brick.values(points[chosen])
                total = total.index_add(0, chosen, share[:, None] * values)
                weights = weights.index_add(0, chosen, share)
        return (total / weights[:, None]).float()


_known: weakref.WeakKeyDictionary[NeuralVolume, NeuralField] = weakref.WeakKeyDictionary()


def within(points: Tensor, last: Tensor) -> Tensor:
    """Return whether points [N, 3] are between sample 0 and `last` [3], or as good as there."""
    return ((points >= -_FACE_TOLERANCE) & (points <= last + _FACE_TOLERANCE)).all(dim=1)


def in_batches(points: Tensor, evaluate: Callable[[Tensor], Tensor]) -> Tensor:
    """Evaluate points in batches that suit the device, and join the results."""
    size = CPU_POINTS if points.device.type == "cpu" else _GPU_POINTS
    return torch.cat([evaluate(part) for part in points.split(size)])


class _Brick:
    """A network and its place in the index space."""

    def __init__(self, brick: BrickNetwork, device: torch.device) -> None:
        self._network = brick.network
        self._first = torch.tensor(brick.first, device=device)
        self._scale = torch.tensor(2.0 / (brick.last - brick.first), device=device)
        self._ends = torch.tensor(brick.ends, device=device)
        self._halves = torch.tensor(brick.halves, device=device)
        self._valid = None if brick.valid is None else torch.from_numpy(brick.valid).to(device)

    def share(self, points: Tensor) -> Tensor:
        """Return how far the brick has faded in, float64 [N], 0 to 1."""
        share = points.new_ones(len(points))
        for end, half, sign in zip(self._ends, self._halves, (1.0, -1.0)):
            distance = sign * (points - end)
            step = (distance >= 0) if sign > 0 else (distance > 0)
            fade = (distance.clamp(-1e9, 1e9) / torch.where(half > 0, 2.0 * half, 1.0) + 0.5).clamp(
                0.0, 1.0
            )
            smooth = fade * fade * (3.0 - 2.0 * fade)
            share = share * torch.where(half > 0, smooth, step.double()).prod(dim=1)
        return share

    def values(self, points: Tensor) -> Tensor:
        """Return float32 [N, C]; NaN where the nearest voxel has no value."""
        values = self._decoded(((points - self._first) * self._scale - 1.0).float())
        if self._valid is None:
            return values
        local = torch.floor(points.detach() - self._first + 0.5).long()
        z, y, x = (
            local[:, column].clamp(0, size - 1)
            for column, size in zip((2, 1, 0), self._valid.shape)
        )
        return torch.where(self._valid[z, y, x][:, None], values, torch.nan)

    def _decoded(self, local: Tensor) -> Tensor:
        network = self._network
        values = network.decoded(network.encode(local, network.transforms))
        return values * (network.maximum - network.minimum) + network.minimum


def _last_index(geometry: GridGeometry, device: torch.device) -> Tensor:
    last = [n - 1 for n in reversed(geometry.dims)]
    return torch.tensor(last, dtype=torch.float64, device=device)


def is_even(axis: Axis) -> bool:
    """Return whether an axis is evenly spaced up to rounding."""
    return bool(np.ptp(np.diff(axis.coordinates)) < 1e-9 * axis.spacing)


class IndexMap:
    """From axis coordinates to index space, on a device; see GridGeometry."""

    def __init__(self, geometry: GridGeometry, device: torch.device) -> None:
        self._axes = [
            torch.tensor(np.asarray(axis.coordinates), dtype=torch.float64, device=device)
            for axis in reversed(geometry.axes)
        ]
        self._even = [is_even(axis) for axis in reversed(geometry.axes)]
        turn = np.linalg.inv(geometry.direction)
        self._turn = torch.tensor(turn, dtype=torch.float32, device=device)

    def index(self, points: Tensor) -> Tensor:
        """Map points float64 [N, 3] in axis coordinates to index space."""
        columns = []
        for axis, even, column in zip(self._axes, self._even, points.unbind(dim=1)):
            if even:
                scale = (len(axis) - 1) / (axis[-1] - axis[0])
                columns.append((column - axis[0]) * scale)
            else:
                cell = _cell(axis, column)
                low, high = axis[cell], axis[cell + 1]
                columns.append(cell + (column - low) / (high - low))
        return torch.stack(columns, dim=1)

    def to_world(self, gradients: Tensor, points: Tensor) -> Tensor:
        """Turn gradients [N, 3] per index step at points [N, 3] in index space into the world's."""
        columns = []
        for axis, column, gradient in zip(self._axes, points.unbind(dim=1), gradients.unbind(1)):
            cell = column.long().clamp(0, len(axis) - 2)
            columns.append(gradient / (axis[cell + 1] - axis[cell]).float())
        return torch.stack(columns, dim=1) @ self._turn


def _cell(axis: Tensor, values: Tensor) -> Tensor:
    found = torch.searchsorted(axis, values.contiguous(), right=True) - 1
    return found.clamp(0, len(axis) - 2)
