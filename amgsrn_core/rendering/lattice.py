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
from amgsrn_core.kernels.working_set import LatticeLevel
from amgsrn_core.rendering.field import NeuralField, Select

_CODES = 65535


class LatticeField:
    """Trilinear interpolation between values of 16 bits; see rendering.field.Field.

    Parameters
    ----------
    volume : NeuralVolume
        Whole, and small: every lattice point is decoded.
    level : LatticeLevel
    low, unit : float32 arrays [C]
        A value is low + code * unit.

    Attributes
    ----------
    codes : float32 Tensor [C, z, y, x]
        Whole numbers from 0 to 65535.
    """

    def __init__(
        self, volume: NeuralVolume, level: LatticeLevel, low: np.ndarray, unit: np.ndarray
    ) -> None:
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
        total = torch.zeros((len(points), len(self._low)))
        for corner in itertools.product((0, 1), repeat=3):
            weight = torch.ones(len(points))
            for axis, side in enumerate(corner):
                weight = weight * (part[:, axis] if side else 1 - part[:, axis])
            x, y, z = (cell + torch.tensor(corner)).unbind(1)
            total = total + weight[:, None] * self.codes[:, z, y, x].T
        return self._low + self._unit * total
