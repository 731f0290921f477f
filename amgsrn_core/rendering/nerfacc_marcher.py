"""The block marcher with nerfacc's CUDA operator, which walks through occupied cells only."""

from __future__ import annotations

import numpy as np
import torch
from nerfacc.grid import traverse_grids
from torch import Tensor

from amgsrn_core.rendering.blocks import STEPS, BlockMarcher, Bundle
from amgsrn_core.rendering.field import is_even
from amgsrn_core.volume.axis import Axis
from amgsrn_core.volume.geometry import GridGeometry

# Boxes of an occupancy grid over an uneven axis, per macro-cell of it.
_BOXES_PER_CELL = 4


class NerfaccMarcher(BlockMarcher):
    """A :class:`BlockMarcher` that does not look at the steps in empty cells at all.

    nerfacc computes in float32 and has lengths of its own: it leaves a cell by 1e-6, and nothing is
    farther than 1e10. Therefore it gets lengths in steps, from the middle of the volume on,
    whatever the world's units and origin are.

    It needs :func:`amgsrn_core.rendering.nerfacc_operators.load`.
    """

    backend = "nerfacc"

    def _prepare(self, occupied: np.ndarray, edge: int) -> None:
        boxes, low, high = occupancy_grid(occupied, edge, self._field.geometry)
        self._step = self._settings.step(self._field.geometry)
        self._centre = torch.tensor(0.5 * (low + high), device=self._field.device)
        bounds = np.concatenate([low - high, high - low]) / (2.0 * self._step)
        self._bounds = torch.tensor(bounds[None], dtype=torch.float32, device=self._field.device)
        self._boxes = torch.from_numpy(boxes[None]).to(self._field.device)

    def _used(self, bundle: Bundle, numbers: Tensor, first: int) -> Tensor:
        """Return which steps of a block may show something, bool [n, STEPS]."""
        last = bundle.counts[numbers] - 1
        begin = torch.full_like(last, first, dtype=torch.float32)
        _, samples, _ = traverse_grids(
            ((bundle.starts[numbers] - self._centre) / self._step).float(),
            (bundle.moves[numbers] / self._step).float(),
            self._boxes,
            self._bounds,
            near_planes=begin,
            far_planes=last.clamp(max=first + STEPS).float(),
            step_size=1.0,
        )
        used = torch.zeros((len(numbers), STEPS), dtype=torch.bool, device=numbers.device)
        # nerfacc adds up steps in float32; the whole number is what was meant.
        columns = (samples.vals - 0.5).round().long() - first
        inside = (columns >= 0) & (columns < STEPS)
        used[samples.ray_indices[inside], columns[inside]] = True
        # The first and the last step of a ray may be cut, with their middle outside the grid.
        if first == 0:
            used[:, 0] = True
        (ending,) = (last < first + STEPS).nonzero(as_tuple=True)
        used[ending, last[ending] - first] = True
        return used


def occupancy_grid(
    occupied: np.ndarray, edge: int, geometry: GridGeometry
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return macro-cells as a grid that is even in axis coordinates, as nerfacc has them.

    Parameters
    ----------
    occupied : bool array [z, y, x]
    edge : int
        Voxels along a cell.
    geometry : GridGeometry
        On an uneven axis a box of the grid is occupied where any cell that it touches is.

    Returns
    -------
    boxes : bool array [x, y, z]
    low, high : float64 array [3]
        Corners of the grid, x, y, z in axis coordinates.
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
    return boxes, np.array(low[::-1]), np.array(high[::-1])


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
