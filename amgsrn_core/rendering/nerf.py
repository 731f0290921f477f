"""The CUDA marcher: nerfacc skips empty macro-cells, packs the samples and composites them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from nerfacc import OccGridEstimator, accumulate_along_rays, render_weight_from_alpha
from torch import Tensor

from amgsrn_core.rendering.camera import Rays
from amgsrn_core.rendering.field import Field, is_even
from amgsrn_core.rendering.macro_cells import MacroCells
from amgsrn_core.rendering.reference import Look, cut_steps
from amgsrn_core.rendering.samples import Samples, axis_rays
from amgsrn_core.rendering.settings import RenderSettings
from amgsrn_core.rendering.transfer import TransferFunction
from amgsrn_core.volume.axis import Axis
from amgsrn_core.volume.geometry import GridGeometry

# Rays are marched so many samples at a time, and those that have become opaque are left behind.
_SAMPLES = 64

# Rays that are marched together, for their samples to fit into about 1 GiB.
_RAYS = 1 << 17

# Boxes of an occupancy grid over an uneven axis, per macro-cell of it.
_BOXES_PER_CELL = 4

_Sampler = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From numbers of rays to samples: which of these rays, ascending, and which step."""


def is_available() -> bool:
    """Return whether nerfacc's CUDA operators are here; they are compiled on their first use."""
    if not torch.cuda.is_available():
        return False
    from nerfacc.cuda import _backend

    return _backend._C is not None


class NerfaccMarcher:
    """Composites a field along rays; the twin of rendering.reference.TorchMarcher.

    Parameters
    ----------
    field : Field
    cells : MacroCells
    transfer : TransferFunction
    settings : RenderSettings
        With the blend mode "composite".
    """

    backend = "nerfacc"

    def __init__(
        self,
        field: Field,
        cells: MacroCells,
        transfer: TransferFunction,
        settings: RenderSettings,
    ) -> None:
        self._field, self._settings = field, settings
        self._look = Look(field, transfer, settings)
        occupied = cells.occupied(transfer, settings.component)
        self._is_empty = self._look.is_empty or not occupied.any()
        self._estimator = occupancy_grid(occupied, cells.edge, field.geometry).to(field.device)
        self._estimator.eval()

    def march(self, rays: Rays) -> np.ndarray:
        """Return colours float32 [N, 4], multiplied with the opacity; see Marcher."""
        image = np.zeros((len(rays), 4), dtype=np.float32)
        if not self._is_empty:
            samples = Samples.on_rays(rays, self._field.geometry, self._settings)
            chosen = np.flatnonzero(samples.count)
            with torch.no_grad():
                for start in range(0, len(chosen), _RAYS):
                    part = chosen[start : start + _RAYS]
                    image[part] = self._march(_Bundle(rays, samples, part, self._field))
        return image

    def _march(self, bundle: _Bundle) -> np.ndarray:
        count = len(bundle.counts)
        rgba = torch.zeros((count, 4), device=self._field.device)
        last = bundle.counts - 1
        # The first and the last step of a ray may be cut, with their middle outside the grid.
        self._add(bundle, rgba, last >= 0, lambda numbers: (_each(numbers), 0 * last[numbers]))
        for first in range(1, int(last.max()), _SAMPLES):
            alive = last > first
            if not (alive & (rgba[:, 3] <= self._settings.opacity_limit)).any():
                break
            self._add(bundle, rgba, alive, functools.partial(self._samples, bundle, first))
        self._add(bundle, rgba, last > 0, lambda numbers: (_each(numbers), last[numbers]))
        return rgba.clamp(max=1.0).cpu().numpy()

    def _add(self, bundle: _Bundle, rgba: Tensor, alive: Tensor, samples: _Sampler) -> None:
        """Composite samples of those rays behind what is there, unless that hides them."""
        alive = alive & (rgba[:, 3] <= self._settings.opacity_limit)
        (numbers,) = alive.nonzero(as_tuple=True)
        if not len(numbers):
            return
        rays, steps = samples(numbers)
        weights, colours = self._weights(bundle, numbers, rays, steps, rgba[:, 3])
        n = len(numbers)
        rgba[numbers, :3] += accumulate_along_rays(weights, colours, rays, n)
        rgba[numbers, 3] += accumulate_along_rays(weights, None, rays, n)[:, 0]

    def _samples(self, bundle: _Bundle, first: int, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return the samples in occupied cells: which of the rays `numbers`, and which step."""
        step, counts = bundle.step, bundle.counts[numbers] - 1
        begin = torch.full_like(counts, first, dtype=torch.float32) * step
        end = counts.clamp(max=first + _SAMPLES).float() * step
        rays, starts, ends = self._estimator.sampling(
            bundle.origins[numbers],
            bundle.directions[numbers],
            t_min=begin,
            t_max=end,
            render_step_size=step,
        )
        # nerfacc adds up steps in float32; the whole number is what was meant.
        steps = ((starts + ends) * (0.5 / step) - 0.5).round().long()
        return rays, steps

    def _weights(
        self, bundle: _Bundle, numbers: Tensor, rays: Tensor, steps: Tensor, opacity: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return how much each sample adds to its ray, and its colour."""
        points, share = bundle.points(numbers[rays], steps)
        colours, alphas = self._look.colours(self._look.values(points))
        alphas = 1.0 - (1.0 - alphas) ** share
        if self._settings.shade:
            (seen,) = (alphas > 0).nonzero(as_tuple=True)
            directions = bundle.world_directions[numbers[rays[seen]]]
            colours[seen] = self._look.lit(colours[seen], points[seen], directions)
        before = 1.0 - opacity[numbers][rays]
        weights, transmittance = render_weight_from_alpha(
            alphas, ray_indices=rays, n_rays=len(numbers), prefix_trans=before
        )
        visible = transmittance > 1.0 - self._settings.opacity_limit
        return weights.where(visible, weights.new_zeros(())), colours


def _each(numbers: Tensor) -> Tensor:
    return torch.arange(len(numbers), device=numbers.device)


def occupancy_grid(occupied: np.ndarray, edge: int, geometry: GridGeometry) -> OccGridEstimator:
    """Return macro-cells as nerfacc's grid, which is even in axis coordinates.

    Parameters
    ----------
    occupied : bool array [z, y, x]
    edge : int
        Voxels along a cell.
    geometry : GridGeometry
        On an uneven axis a box of the grid is occupied where any cell that it touches is.
    """
    boxes, low, high = occupied, [], []
    for dimension, axis in enumerate(geometry.axes):
        count = occupied.shape[dimension]
        if is_even(axis):
            ends = axis.coordinates[0] + np.array([0.0, count * edge]) * axis.spacing
        else:
            ends = axis.coordinates[[0, -1]]
            boxes = _on_even_boxes(boxes, dimension, axis, edge)
        low.append(float(ends[0]))
        high.append(float(ends[1]))
    boxes = np.ascontiguousarray(boxes.transpose(2, 1, 0))
    grid = OccGridEstimator([*reversed(low), *reversed(high)], list(boxes.shape))
    grid.binaries = torch.from_numpy(boxes)[None]
    return grid


def _on_even_boxes(occupied: np.ndarray, dimension: int, axis: Axis, edge: int) -> np.ndarray:
    cells = occupied.shape[dimension]
    ends = np.linspace(axis.coordinates[0], axis.coordinates[-1], cells * _BOXES_PER_CELL + 1)
    index = axis.to_index(ends) / edge
    first = np.floor(index[:-1] - 1e-6).astype(int).clip(0, cells - 1)
    last = np.floor(index[1:] + 1e-6).astype(int).clip(0, cells - 1)
    before = np.insert(np.cumsum(occupied, axis=dimension), 0, 0, axis=dimension)
    found = np.take(before, last + 1, dimension) - np.take(before, first, dimension)
    result: np.ndarray = found > 0
    return result


class _Bundle:
    """Some rays on a device, in axis coordinates, moved to where their samples begin."""

    def __init__(self, rays: Rays, samples: Samples, chosen: np.ndarray, field: Field) -> None:
        def on_device(array: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.tensor(array, dtype=dtype, device=field.device)

        origins, directions = axis_rays(rays[chosen], field.geometry)
        begin = (samples.first[chosen] + samples.offset[chosen] - 0.5) * samples.step
        starts = origins + begin[:, None] * directions
        self.step = samples.step
        self.counts = on_device(samples.count[chosen], torch.int64)
        self.origins, self.directions = on_device(starts), on_device(directions)
        self.world_directions = on_device(rays.directions[chosen])
        self._near, self._far = (
            on_device(limit[chosen] - begin, torch.float64) for limit in (samples.near, samples.far)
        )
        self._starts = on_device(starts, torch.float64)
        self._directions = on_device(directions, torch.float64)

    def points(self, rays: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Return samples, float64 [N, 3] in axis coordinates, and what of their steps is seen."""
        distance = (steps + 0.5).double() * self.step
        distance, share = cut_steps(distance, self.step, self._near[rays], self._far[rays])
        return self._starts[rays] + distance[:, None] * self._directions[rays], share
