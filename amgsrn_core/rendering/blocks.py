"""Marching in blocks of steps with plain PyTorch: empty macro-cells are skipped on any device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from amgsrn_core.field.point_batches import PointBatches
from amgsrn_core.rendering.camera import Rays
from amgsrn_core.rendering.field import Field, is_even
from amgsrn_core.rendering.occupancy import MacroCells
from amgsrn_core.rendering.reference import Appearance, cut_steps
from amgsrn_core.rendering.samples import Samples, axis_rays
from amgsrn_core.rendering.settings import RenderSettings
from amgsrn_core.rendering.transfer import TransferFunction

# Steps of a block. After each one, the rays that have become opaque are left behind.
STEPS = 64

# Rays that are marched together, for their temporaries to fit into a cache, or about 1 GiB.
_CPU_RAYS, _GPU_RAYS = 1 << 13, 1 << 16


class BlockMarcher:
    """Composites a field along rays; the twin of rendering.reference.TorchMarcher.

    Of each block of steps, only the samples in macro-cells that may show something are evaluated.

    Parameters
    ----------
    field : Field
    cells : MacroCells
    transfer : TransferFunction
    settings : RenderSettings
        With the blend mode "composite".
    """

    backend = "blocks"
    sampling = "exact"
    remark = ""

    def __init__(
        self,
        field: Field,
        cells: MacroCells,
        transfer: TransferFunction,
        settings: RenderSettings,
    ) -> None:
        self.device = str(field.device)
        self._field, self._settings = field, settings
        self._appearance = Appearance(field, transfer, settings)
        occupied = cells.occupied(transfer, settings.component)
        self._is_empty = self._appearance.is_empty or not occupied.any()
        most = _CPU_RAYS if field.device.type == "cpu" else _GPU_RAYS
        self._batches = PointBatches(most, field.device)
        self._prepare(occupied, cells.edge)

    def march(self, rays: Rays) -> np.ndarray:
        """Return colours float32 [N, 4], multiplied with the opacity; see Marcher."""
        image = np.zeros((len(rays), 4), dtype=np.float32)
        if self._is_empty:
            return image
        samples = Samples.on_rays(rays, self._field.geometry, self._settings)
        chosen = np.flatnonzero(samples.count)
        # Rays of like length together: a block is as long as its longest ray.
        chosen = chosen[np.argsort(-samples.count[chosen], kind="stable")]

        def march(part: slice) -> None:
            numbers = chosen[part]
            image[numbers] = self._march(Bundle(rays, samples, numbers, self._field))

        with torch.no_grad():
            self._batches.run(len(chosen), march)
        return image

    def _prepare(self, occupied: np.ndarray, edge: int) -> None:
        """Keep which macro-cells, bool [z, y, x] of `edge` voxels, may show something."""
        self._occupied = torch.from_numpy(occupied).to(self._field.device)
        self._edge = edge
        self._is_even = all(is_even(axis) for axis in self._field.geometry.axes)

    def _used(self, bundle: Bundle, numbers: Tensor, first: int) -> Tensor:
        """Return which steps of a block may show something, bool [n, STEPS].

        Parameters
        ----------
        bundle : Bundle
        numbers : Tensor of int64 [n]
            Rays of the bundle, all of which have a step `first`.
        first : int
            First step of the block.
        """
        steps = torch.arange(first, first + STEPS, device=numbers.device)
        starts, moves = bundle.starts[numbers], bundle.moves[numbers]
        if self._is_even:
            # The index is a straight line along the ray, too.
            begin = self._appearance.index(starts)
            slope = self._appearance.index(starts + moves) - begin
            index = [
                torch.addcmul(c[:, None], steps + 0.5, m[:, None])
                for c, m in zip(begin.unbind(1), slope.unbind(1))
            ]
        else:
            middles = starts[:, None] + (steps[:, None] + 0.5) * moves[:, None]
            flat = self._appearance.index(middles.flatten(0, 1))
            index = [column.view(len(numbers), STEPS) for column in flat.unbind(1)]
        x, y, z = (
            (column * (1.0 / self._edge)).long().clamp_(0, size - 1)
            for column, size in zip(index, reversed(self._occupied.shape))
        )
        used = self._occupied[z, y, x]
        last = bundle.counts[numbers] - 1
        # A step that is cut has its sample elsewhere, perhaps in another cell.
        if first == 0:
            used[:, 0] = True
        used |= steps == last[:, None]
        return used & (steps <= last[:, None])

    def _march(self, bundle: Bundle) -> np.ndarray:
        rgba = torch.zeros((len(bundle.counts), 4), device=self._field.device)
        for first in range(0, int(bundle.counts.max()), STEPS):
            going = (bundle.counts > first) & (rgba[:, 3] <= self._settings.opacity_limit)
            (numbers,) = going.nonzero(as_tuple=True)
            if not len(numbers):
                break
            rgba[numbers] += self._composited(bundle, numbers, first, rgba[numbers, 3])
        return rgba.clamp(max=1.0).cpu().numpy()

    def _composited(self, bundle: Bundle, numbers: Tensor, first: int, opacity: Tensor) -> Tensor:
        """Return what a block adds to rays [n, 4] that have an opacity [n] already."""
        rays, columns = self._used(bundle, numbers, first).nonzero(as_tuple=True)
        shape = len(numbers), STEPS
        if not len(rays):
            return opacity.new_zeros((len(numbers), 4))
        points, share = bundle.points(numbers[rays], first + columns)
        colours, alphas = self._appearance.colours(self._appearance.values(points))
        alphas = 1.0 - (1.0 - alphas) ** share
        if self._settings.shade:
            (seen,) = (alphas > 0).nonzero(as_tuple=True)
            directions = bundle.world_directions[numbers[rays[seen]]]
            colours[seen] = self._appearance.lit(colours[seen], points[seen], directions)
        # Dense, because a sum per ray by index would add in another order at every call on a GPU.
        dense = opacity.new_zeros((*shape, 4))
        dense[rays, columns] = torch.cat([colours, torch.ones_like(alphas)[:, None]], dim=1)
        weights = opacity.new_zeros(shape)
        weights[rays, columns] = alphas
        after = (1.0 - weights).cumprod(dim=1) * (1.0 - opacity)[:, None]
        before = torch.cat([(1.0 - opacity)[:, None], after[:, :-1]], dim=1)
        visible = before > 1.0 - self._settings.opacity_limit
        weights = (weights * before).where(visible, weights.new_zeros(()))
        return (weights[..., None] * dense).sum(dim=1)


class Bundle:
    """Some rays on a device, in axis coordinates, moved to where their samples begin.

    Attributes
    ----------
    counts : Tensor of int64 [n]
        Samples of each ray.
    starts, moves : Tensor of float64 [n, 3]
        Where half a step before the first sample is, and how far the ray goes in a step.
    exponent : Tensor of float32 [n]
        See :class:`~amgsrn_core.rendering.samples.Samples`.
    world_directions : Tensor of float32 [n, 3]
    """

    def __init__(self, rays: Rays, samples: Samples, chosen: np.ndarray, field: Field) -> None:
        def on_device(array: np.ndarray, dtype: torch.dtype) -> Tensor:
            return torch.from_numpy(array).to(field.device, dtype)

        origins, directions = axis_rays(rays[chosen], field.geometry)
        step = samples.step[chosen]
        begin = (samples.first[chosen] + samples.offset[chosen] - 0.5) * step
        self._step = on_device(step, torch.float64)
        self.exponent = on_device(samples.exponent[chosen], torch.float32)
        self.counts = on_device(samples.count[chosen], torch.int64)
        self.starts = on_device(origins + begin[:, None] * directions, torch.float64)
        self._directions = on_device(directions, torch.float64)
        self.moves = self._step[:, None] * self._directions
        self.world_directions = on_device(rays.directions[chosen], torch.float32)
        self._near, self._far = (
            on_device(limit[chosen] - begin, torch.float64) for limit in (samples.near, samples.far)
        )

    def points(self, rays: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Return samples, float64 [N, 3] in axis coordinates, and how much of each is seen.

        That is in the table's steps, float32 [N].
        """
        step = self._step[rays]
        distance = (steps + 0.5).double() * step
        distance, share = cut_steps(distance, step, self._near[rays], self._far[rays])
        points = self.starts[rays] + distance[:, None] * self._directions[rays]
        return points, share * self.exponent[rays]
