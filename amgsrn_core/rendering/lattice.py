"""A field interpolated between decoded lattice points, all of them: what blocks are compared with.

With :class:`~amgsrn_core.rendering.reference.TorchMarcher` it makes the pictures of
:class:`~amgsrn_core.rendering.cached.CachedMarcher`, simply and slowly: LatticeField those at the
coarsest level, RefinedField those at any other one.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.kernels.working_set import EDGE, LatticeLevel
from amgsrn_core.rendering.field import NeuralField, Select
from amgsrn_core.rendering.settings import RenderSettings
from amgsrn_core.rendering.transfer import TransferFunction

_CODES = 65535

# Linear interpolation errs by at most so many eighths of the second differences.
_ERROR_FACTOR = 2.0

# Cubics leave the range of a block's points by no more than this part of it to each side.
_OVERSHOOT = 0.4766


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
        self.level = level
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
        spacing = self.level.spacing
        lines = [
            (torch.arange(cells + 1, dtype=torch.float64) * spacing).clamp(max=float(last))
            for cells, last in zip(self.level.cells, self._last)
        ]
        z, y, x = torch.meshgrid(*reversed(lines), indexing="ij")
        points = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
        values = field.values(points).T.reshape(-1, *x.shape)
        for axis, (cells, last) in enumerate(zip(self.level.cells, self._last.tolist())):
            before = (cells - 1) * spacing
            if before + spacing > last:
                end, previous = (values.select(3 - axis, i) for i in (cells, cells - 1))
                end.copy_(previous + (end - previous) * (spacing / (last - before)))
        return values

    def cells(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return in which cells points lie, int64 [N, 3], and where in them, float32."""
        at = points.clamp(min=0).minimum(self._last) / self.level.spacing
        cell = at.detach().long().minimum(torch.tensor(self.level.cells) - 1)
        return cell, (at - cell).float()

    def contents(self, block: tuple[int, ...], component: int | str) -> tuple[float, ...]:
        """Return what is in a region that is a block, x, y, z, of the next finer level.

        Returns
        -------
        tuple of four floats
            The least and the largest value, by how much interpolation may be off, and how far
            values rise from a lattice point to the next.
        """
        corner = [EDGE * (n // 2) for n in block]
        z, y, x = (slice(first, first + EDGE + 1) for first in reversed(corner))
        codes = self.codes[:, z, y, x].numpy().astype(np.int64)
        firsts = [EDGE // 2 * (n % 2) for n in reversed(block)]
        inside = tuple(slice(first, first + EDGE // 2 + 1) for first in firsts)
        bends, rises = np.zeros((2, len(codes)))
        for axis, first in enumerate(firsts):
            last = first + EDGE // 2
            lines = np.moveaxis(codes[(slice(None), *_others(inside, axis))], axis + 1, 1)
            flat = lines.reshape(len(codes), lines.shape[1], -1)
            rise = np.abs(np.diff(flat, axis=1))[:, first : last + 1]
            bend = np.abs(np.diff(flat, 2, axis=1))[:, max(first - 1, 0) : last]
            bends += bend.max(axis=(1, 2)) if bend.size else np.inf
            rises += rise.max(axis=(1, 2))
        is_cubic = self._weights is _cubic_weights
        part = codes if is_cubic else codes[(slice(None), *inside)]
        part = part.reshape(len(codes), -1)
        more = _OVERSHOOT * (part.max(axis=1) - part.min(axis=1)) * is_cubic + 2
        low, unit = self._low.numpy(), self._unit.numpy()
        least, most = low + unit * (part.min(axis=1) - more), low + unit * (part.max(axis=1) + more)
        error, rise = unit * bends * _ERROR_FACTOR / 8, unit * rises
        if component != "magnitude":
            return tuple(float(a[int(component)]) for a in (least, most, error, rise))
        near = np.maximum(np.maximum(least, -most), 0)
        far = np.maximum(most, -least)
        return tuple(float(np.linalg.norm(a)) for a in (near, far, error, rise))

    def _interpolated(self, points: Tensor) -> Tensor:
        cell, part = self.cells(points)
        most = torch.tensor(self.level.cells) - 1
        weights = self._weights(cell, part, torch.tensor(self.level.cells))
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


class RefinedField:
    """A lattice, and the next coarser one where that shows the same; see rendering.field.Field.

    Parameters
    ----------
    fine, coarse : LatticeField
    rough : bool array [z, y, x]
        In which blocks of the finer lattice that one is used.
    """

    def __init__(self, fine: LatticeField, coarse: LatticeField, rough: np.ndarray) -> None:
        self.geometry, self.device = fine.geometry, fine.device
        self._fine, self._coarse, self._rough = fine, coarse, torch.from_numpy(rough)

    def values(self, points: Tensor) -> Tensor:
        """Return float32 [N, C]; NaN where the field has no value."""
        is_fine = self._is_fine(points)[:, None]
        return self._fine.values(points).where(is_fine, self._coarse.values(points))

    def gradients(self, points: Tensor, select: Select) -> Tensor:
        """Return float32 [N, 3]: the gradient of the cell's own function."""
        is_fine = self._is_fine(points)[:, None]
        coarse = self._coarse.gradients(points, select)
        return self._fine.gradients(points, select).where(is_fine, coarse)

    def _is_fine(self, points: Tensor) -> Tensor:
        x, y, z = (self._fine.cells(points)[0] // EDGE).unbind(1)
        return self._rough[z, y, x]


def rough_blocks(
    fine: LatticeLevel,
    coarse: LatticeField,
    transfer: TransferFunction,
    settings: RenderSettings,
    tolerances: np.ndarray,
) -> np.ndarray:
    """Return in which of a level's blocks the next coarser one would not do, bool [z, y, x].

    Parameters
    ----------
    fine : LatticeLevel
    coarse : LatticeField
    transfer : TransferFunction
    settings : RenderSettings
    tolerances : float array [n + 1]
        See rendering.cached.tolerances.
    """
    rough = np.zeros(fine.blocks[::-1], dtype=bool)
    # A surface may lie between a sample here and the next one, which is outside.
    step = max(1.0, 1.0 / (coarse.level.spacing * settings.samples_per_voxel))
    for z, y, x in np.ndindex(*rough.shape):
        least, most, error, rise = coarse.contents((x, y, z), settings.component)
        if settings.blend == "isosurface":
            far = error + rise * step
            rough[z, y, x] = any(least - far <= v <= most + far for v in settings.isovalues)
            continue
        if np.isinf(error):
            rough[z, y, x] = True
            continue
        first, last = transfer.position(np.array([least - error, most + error]))
        entries = slice(int(first) + 1 if first > 0 else 0, int(last) + 2)
        rough[z, y, x] = bool((error > tolerances[entries]).any())
    return rough


def _others(slices: tuple[slice, ...], axis: int) -> tuple[slice, ...]:
    return tuple(slice(None) if number == axis else s for number, s in enumerate(slices))
