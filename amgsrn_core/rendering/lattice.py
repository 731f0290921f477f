"""A field interpolated between decoded lattice points, all of them: what blocks are compared with.

With :class:`~amgsrn_core.rendering.reference.TorchMarcher` it makes the pictures of
:class:`~amgsrn_core.rendering.cached.CachedMarcher` at one level, simply and slowly.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.kernels.working_set import EDGE, LatticeLevel
from amgsrn_core.rendering.field import NeuralField, Select

_CODES = 65535


class LatticeField:
    """Interpolation between values of 16 bits; see rendering.field.Field.

    Parameters
    ----------
    volume : NeuralVolume
        Whole, and small: every lattice point is decoded.
    level : LatticeLevel
    low, unit : float32 arrays [C]
        A value is low + code * unit.
    interpolation : {"linear", "cubic"}

    Attributes
    ----------
    codes : float32 Tensor [C, z, y, x]
        Whole numbers from 0 to 65535.
    """

    def __init__(
        self,
        volume: NeuralVolume,
        level: LatticeLevel,
        low: np.ndarray,
        unit: np.ndarray,
        interpolation: str = "linear",
    ) -> None:
        self._weights = _cubic_weights if interpolation == "cubic" else _linear_weights
        self.geometry = volume.geometry
        self.device = torch.device(volume.device)
        self._field = NeuralField.of_volume(volume)
        self._level = level
        self._low, self._unit = (torch.tensor(a, device=self.device) for a in (low, unit))
        self._last = torch.tensor(
            [n - 1.0 for n in reversed(self.geometry.dims)], dtype=torch.float64
        )
        values = self._decoded(NeuralField(volume, masked=False))
        units = (values - self._low[:, None, None, None]) / self._unit[:, None, None, None]
        self.codes = (units + 0.5).floor().clamp(0, _CODES)

    def values(self, points: Tensor) -> Tensor:
        """Return float32 [N, C]; NaN where the field has no value."""
        missing = self._field.values(points)[:, :1].isnan()
        return self._interpolated(points).masked_fill(missing, torch.nan)

    def gradients(self, points: Tensor, select: Select) -> Tensor:
        """Return float32 [N, 3]: the gradient of the cell's own function."""
        with torch.enable_grad():
            at = points.detach().clone().requires_grad_()
            seen = select(self._interpolated(at))
            return torch.autograd.grad(seen.sum(), at)[0].float()

    def _decoded(self, field: NeuralField) -> Tensor:
        """Return the values [C, z, y, x] of the lattice; beyond the last voxel they go on."""
        spacing = self._level.spacing
        lines = [
            (torch.arange(cells + 1, dtype=torch.float64) * spacing).clamp(max=float(last))
            for cells, last in zip(self._level.cells, self._last)
        ]
        z, y, x = torch.meshgrid(*reversed(lines), indexing="ij")
        points = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
        values = field.values(points).T.reshape(-1, *x.shape)
        for axis, (cells, last) in enumerate(zip(self._level.cells, self._last.tolist())):
            before = (cells - 1) * spacing
            if before + spacing > last:
                end, previous = (values.select(3 - axis, i) for i in (cells, cells - 1))
                end.copy_(previous + (end - previous) * (spacing / (last - before)))
        return values

    def _interpolated(self, points: Tensor) -> Tensor:
        at = points.clamp(min=0).minimum(self._last) / self._level.spacing
        most = torch.tensor(self._level.cells) - 1
        cell = at.detach().long().minimum(most)
        part = (at - cell).float()
        weights = self._weights(cell, part, torch.tensor(self._level.cells))
        total = torch.zeros((len(points), len(self._low)))
        common = self._codes_at(cell)
        corners = [
            self._codes_at(cell + torch.tensor(c)) for c in itertools.product((0, 1), repeat=3)
        ]
        is_even = torch.stack([codes == common for codes in corners]).all(dim=0)
        for corner in itertools.product((-1, 0, 1, 2), repeat=3):
            weight = torch.ones(len(points))
            for axis, side in enumerate(corner):
                weight = weight * weights[side + 1][:, axis]
            at_corner = (cell + torch.tensor(corner)).clamp(min=0).minimum(most + 1)
            total = total + weight[:, None] * (self._codes_at(at_corner) - common)
        # A cell with equal corners is even for light.
        return self._low + self._unit * (common + torch.where(is_even, total.detach(), total))

    def _codes_at(self, places: Tensor) -> Tensor:
        x, y, z = places.unbind(1)
        return self.codes[:, z, y, x].T


def _linear_weights(cell: Tensor, part: Tensor, cells: Tensor) -> list[Tensor]:
    """Return what the points -1, 0, 1, 2 of a cell count along each axis, each [N, 3]."""
    nothing = torch.zeros_like(part)
    return [nothing, 1 - part, part, nothing]


def _cubic_weights(cell: Tensor, part: Tensor, cells: Tensor) -> list[Tensor]:
    """Return the same of Catmull-Rom splines within blocks.

    In place of points of other blocks there are those of a parabola through the other three, and
    where there are but two points, these are interpolated linearly.
    """
    t, inner = part, cell % EDGE
    before, here, there, behind = (
        -0.5 * t + t**2 - 0.5 * t**3,
        1 - 2.5 * t**2 + 1.5 * t**3,
        0.5 * t + 2 * t**2 - 1.5 * t**3,
        -0.5 * t**2 + 0.5 * t**3,
    )
    has_before = inner > 0
    has_behind = inner + 2 <= (cells - (cell - inner)).clamp(max=EDGE)
    low, high = before * ~has_before, behind * ~has_behind
    parabola = [
        before * has_before + high,
        here + 3 * low - 3 * high,
        there - 3 * low + 3 * high,
        behind * has_behind + low,
    ]
    is_linear = ~has_before & ~has_behind
    return [
        torch.where(is_linear, straight, curved)
        for straight, curved in zip(_linear_weights(cell, part, cells), parabola)
    ]
