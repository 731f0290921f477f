"""Training points and the data's values there: stratified in index space, masks respected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from amgsrn_core.training.draws import HashedNumbers
from amgsrn_core.volume.normalising import normalised_values
from amgsrn_core.volume.volume import Block

# The mask of a volume needs data around every sampled cell: one ring of voxels for trilinear
# targets, two for cubic ones.
FILL_RINGS = 2


@dataclass
class TrainingData:
    """One block on its device, normalised and ready to be sampled.

    Attributes
    ----------
    values : Tensor [C, D, H, W]
        0 is each component's minimum, 1 its maximum.
    cells : Tensor [M] of int32 or int64, or None
        Flat numbers (x fastest) of the cells that touch a valid voxel; None stands for all.
    valid : ndarray of bool [D, H, W], or None
        The voxels that have a value, on the host; None stands for all.
    """

    values: Tensor
    cells: Tensor | None
    valid: np.ndarray | None = None

    @property
    def cell_shape(self) -> tuple[int, int, int]:
        """Number of cells along x, y, z."""
        depth, height, width = self.values.shape[1:]
        return width - 1, height - 1, depth - 1


def prepare(
    block: Block, minimum: np.ndarray, maximum: np.ndarray, device: torch.device
) -> TrainingData:
    """Normalise a block, extend it into its masked parts and move it to the device.

    Parameters
    ----------
    block : Block
        Its values are overwritten: a second copy of a large brick may not fit. Those of float64 are
        replaced by float32, for which both are in memory for a while.
    minimum, maximum : ndarray [C]
        Range of each component; a constant component becomes 0.
    """
    values = block.values = normalised_values(block, minimum, maximum)
    cells = None
    if block.valid is not None:
        cells = torch.from_numpy(_cells_with_data(block.valid)).to(device)
        _extend(values, block.valid)
    return TrainingData(torch.from_numpy(values).to(device), cells, block.valid)


class PointSampler:
    """Draws batches of random points, stratified over the cells of a block.

    Cells are numbered in memory order and cut into as many strata as there are points; each
    stratum contributes one random cell, and each cell one random position. So a batch covers the
    block evenly, a mask costs nothing, and the data are read in memory order.

    Parameters
    ----------
    data : TrainingData
    batch : int
        Points per draw.
    seed : int
        Draw number i depends on the seed and i only, so an interrupted run continues unchanged.
    """

    def __init__(self, data: TrainingData, batch: int, seed: int) -> None:
        device = data.values.device
        self._data, self._seed = data, seed
        self._random: torch.Generator | None = None
        nx, ny, nz = data.cell_shape
        total = nx * ny * nz if data.cells is None else len(data.cells)
        edges = torch.arange(batch + 1, device=device) * total // batch
        self._first = edges[:-1]
        self._length = (edges[1:] - edges[:-1]).clamp(min=1)
        self._last_index = torch.tensor([nx, ny, nz], dtype=torch.float32, device=device)

    def draw(self, number: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return batch ``number``: voxel indices [N, 3] (x, y, z) and local points [N, 3]."""
        uniform = self.uniform(number)
        nx, ny, _ = self._data.cell_shape
        inside = torch.minimum((uniform[:, 3] * self._length).long(), self._length - 1)
        cell = self._first + inside
        if self._data.cells is not None:
            cell = self._data.cells[cell].long()
        corner = torch.stack([cell % nx, cell // nx % ny, cell // (nx * ny)], 1)
        index = corner + uniform[:, :3]
        return index, index * (2.0 / self._last_index) - 1.0

    def uniform(self, number: int | Tensor) -> Tensor:
        """Return the random numbers of batch ``number``, [N, 4] in [0, 1).

        The first three are the place inside a cell (x, y, z), the last chooses the cell.
        """
        # Made where it is asked for: not every device has one.
        if self._random is None:
            self._random = torch.Generator(device=self._first.device)
        self._random.manual_seed((self._seed * 1_000_003 + int(number)) % 2**63)
        return torch.rand((len(self._first), 4), generator=self._random, device=self._first.device)


class HashedSampler(PointSampler):
    """Draws the batch whose number stands on the device, int64 []; see :mod:`.draws`.

    The host does not have to know the number, and a CUDA graph can count on.
    """

    def __init__(self, data: TrainingData, batch: int, seed: int) -> None:
        super().__init__(data, batch, seed)
        self._numbers = HashedNumbers(seed, batch, data.values.device)

    def uniform(self, number: int | Tensor) -> Tensor:
        """Return the random numbers of a batch, [N, 4] in [0, 1)."""
        return self._numbers.batch(torch.as_tensor(number, device=self._first.device))


def _cells_with_data(valid: np.ndarray) -> np.ndarray:
    """Return the flat numbers of the cells that have at least one valid corner.

    Layer by layer and in the smallest type, because a brick may fill the memory.
    """
    depth, height, width = (n - 1 for n in valid.shape)
    layer = height * width
    kind = np.int32 if depth * layer < 2**31 else np.int64
    found = []
    for z in range(depth):
        touched = valid[z] | valid[z + 1]
        touched = touched[:-1] | touched[1:]
        touched = touched[:, :-1] | touched[:, 1:]
        found.append((np.flatnonzero(touched) + z * layer).astype(kind))
    return np.concatenate(found)


def _extend(values: np.ndarray, valid: np.ndarray) -> None:
    """Fill the invalid voxels near valid ones, in place, with the mean of their neighbours."""
    known = valid
    for _ in range(FILL_RINGS):
        ring = _dilated(known) & ~known
        z, y, x = np.nonzero(ring)
        total = np.zeros((len(values), len(z)), dtype=np.float32)
        count = np.zeros(len(z), dtype=np.float32)
        depth, height, width = valid.shape
        for offset in np.ndindex(3, 3, 3):
            i, j, k = z + offset[0] - 1, y + offset[1] - 1, x + offset[2] - 1
            inside = (i >= 0) & (i < depth) & (j >= 0) & (j < height) & (k >= 0) & (k < width)
            i, j, k = i.clip(0, depth - 1), j.clip(0, height - 1), k.clip(0, width - 1)
            use = inside & known[i, j, k]
            total += np.where(use, values[:, i, j, k], 0.0)
            count += use
        values[:, z, y, x] = total / count
        known = known | ring


def _dilated(known: np.ndarray) -> np.ndarray:
    """Return the voxels within one step (26 neighbours) of a known one."""
    grown = known.copy()
    for axis in range(3):
        source = grown.copy()
        head: list[slice] = [slice(None)] * 3
        tail: list[slice] = [slice(None)] * 3
        head[axis], tail[axis] = slice(None, -1), slice(1, None)
        grown[tuple(head)] |= source[tuple(tail)]
        grown[tuple(tail)] |= source[tuple(head)]
    return grown
