"""Importance sampling: more training points where errors are large, each counting for less.

A brick's cells are cut into cubic blocks. Of each batch, a share is divided among the blocks by
their root mean square errors of before, the rest evenly. A point counts in the loss as often as
uniform points would have been there for each of it, so that the loss and its gradient mean the same
(Katharopoulos and Fleuret, "Not All Samples Are Created Equal", ICML 2018, by blocks instead of by
points). What varies less is the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from amgsrn_core.config import TrainingConfig
from amgsrn_core.kernels import KernelLibrary
from amgsrn_core.kernels.training import draw_blocks
from amgsrn_core.networks.interpolation import cubic_targets, linear_targets
from amgsrn_core.training.automatic import MOST_BLOCKS
from amgsrn_core.training.draws import FLOAT_BITS, HashedNumbers
from amgsrn_core.training.sampling import TrainingData

# The share of the points that follows the errors, and how much of what is known of a block's errors
# the next batch replaces.
_SHARE = 0.8
_RECENT = 0.1
_LEAST_ERROR = 1e-12

_STATE = "sampling.squares"


class Blocks:
    """The blocks of a brick's cells.

    Parameters
    ----------
    data : TrainingData

    Attributes
    ----------
    side : int
        Cells of a block along each axis; the last blocks have fewer.
    counts : ndarray [B] of int64
        How many cells to draw from are in each.
    starts : Tensor [B + 1] of int64
        How many are in the blocks before each.
    cells : Tensor [M] or None
        The data's, block by block.
    """

    def __init__(self, data: TrainingData) -> None:
        self.shape = data.cell_shape
        self.side = 1
        while math.prod(self._across()) > MOST_BLOCKS:
            self.side += 1
        self.cells, counts = data.cells, self._sizes()
        if data.cells is not None:
            self.cells, counts = self._in_order(data.cells.numpy())
        self.counts = counts.astype(np.int64)
        starts = np.concatenate([[0], np.cumsum(self.counts)])
        self.starts = torch.from_numpy(starts)

    def corner(self, block: Tensor, inside: Tensor) -> Tensor:
        """Return cells x, y, z [N, 3] from the numbers of their blocks and in these."""
        nx, ny, _ = self.shape
        if self.cells is not None:
            cell = self.cells[self.starts[block] + inside].long()
            return torch.stack([cell % nx, cell // nx % ny, cell // (nx * ny)], 1)
        across, down, _ = self._across()
        x, y = block % across * self.side, block // across % down * self.side
        wide, high = (nx - x).clamp(max=self.side), (ny - y).clamp(max=self.side)
        z = block // (across * down) * self.side
        return torch.stack(
            [x + inside % wide, y + inside // wide % high, z + inside // (wide * high)], 1
        )

    def _across(self) -> list[int]:
        return [-(-cells // self.side) for cells in self.shape]

    def _sizes(self) -> np.ndarray:
        x, y, z = (
            np.minimum(self.side, cells - np.arange(0, cells, self.side)) for cells in self.shape
        )
        return np.asarray(z[:, None, None] * y[:, None] * x).reshape(-1)

    def _in_order(self, cells: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Sort cells by their blocks; layer by layer, because a brick may fill the memory."""
        nx, ny, _ = self.shape
        across, down, deep = self._across()
        ordered, counts = np.empty_like(cells), np.zeros(across * down * deep, np.int64)
        edges = np.searchsorted(cells, np.arange(deep + 1) * (self.side * nx * ny))
        for layer, (first, last) in enumerate(zip(edges, edges[1:])):
            part = cells[first:last]
            x, y = part % nx, part // nx % ny
            block = x // self.side + across * (y // self.side)
            ordered[first:last] = part[np.argsort(block, kind="stable")]
            own = slice(layer * across * down, (layer + 1) * across * down)
            counts[own] = np.bincount(block, minlength=across * down)
        return torch.from_numpy(ordered), counts


class ImportanceSampler:
    """Draws batches of points and targets by what is known of the errors, on a CPU.

    A batch has 2^24 ticks for each point, and each point one of its own, at random; the blocks
    divide them all. So a batch covers the brick as evenly as the blocks' shares allow, and which
    points are drawn follows from whole numbers alone.

    Parameters
    ----------
    data : TrainingData
    config : TrainingConfig
    library : KernelLibrary, optional
        The kernels that draw; default: PyTorch draws the same points.

    Attributes
    ----------
    squares : ndarray of float64 [B]
        Of each block the mean squared error as far as known; -1 where nothing is.
    """

    def __init__(
        self, data: TrainingData, config: TrainingConfig, library: KernelLibrary | None = None
    ) -> None:
        self._data, self._config, self._library = data, config, library
        self.blocks = Blocks(data)
        self._numbers = HashedNumbers(config.seed, config.batch, data.values.device)
        self._even = self.blocks.counts / self.blocks.counts.sum()
        self.squares = np.full(len(self._even), -1.0)
        self._drawn = np.zeros(config.batch, np.int64)

    def shares(self) -> tuple[Tensor, Tensor]:
        """Return the blocks' ticks before each [B + 1] of int64, and their points' weights [B]."""
        known = self.squares >= 0.0
        squares = np.where(known, self.squares, 0.0)
        # Sums that are made one by one are the same on every processor.
        mean = squares.cumsum()[-1] / max(1, np.count_nonzero(known))
        wanted = self._even * (np.sqrt(np.where(known, squares, mean)) + _LEAST_ERROR)
        share = (_SHARE / wanted.cumsum()[-1]) * wanted + (1.0 - _SHARE) * self._even
        total = float(self._config.batch << FLOAT_BITS)
        ends = share.cumsum()
        ticks = np.zeros(len(ends) + 1, np.int64)
        ticks[1:] = np.rint(ends * (total / ends[-1]))
        weights = self._even * total / np.maximum(np.diff(ticks), 1)
        return torch.from_numpy(ticks), torch.from_numpy(weights.astype(np.float32))

    def draw(self, number: int | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return batch ``number``: points [N, 3], targets [N, C] and weights [N]."""
        number, (ticks, weights) = int(number), self.shares()
        cubic, values = self._config.targets == "cubic", self._data.values
        if self._library is not None:
            cells = self.blocks.cells
            *drawn, self._drawn = draw_blocks(
                self._library,
                values.numpy(),
                None if cells is None else cells.numpy(),
                self._numbers.start_of(number),
                self._config.batch,
                side=self.blocks.side,
                starts=self.blocks.starts.numpy(),
                ticks=ticks.numpy(),
                weights=weights.numpy(),
                cubic=cubic,
            )
            points, targets, counts = (torch.from_numpy(array) for array in drawn)
            return points, targets, counts
        index, points, block = self.places(number, ticks)
        targets = cubic_targets(values, index) if cubic else linear_targets(values, points)
        self._drawn = block.numpy()
        return points, targets, weights[block]

    def places(self, number: int, ticks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return voxel indices [N, 3] (x, y, z), local points [N, 3] and blocks [N]."""
        uniform = self._numbers.batch(torch.tensor(number))
        tick = torch.arange(len(uniform)) << FLOAT_BITS
        tick += (uniform[:, 3] * 2.0**FLOAT_BITS).long()
        block = torch.searchsorted(ticks[1:-1].contiguous(), tick, right=True)
        starts = self.blocks.starts
        count = starts[block + 1] - starts[block]
        dense = count.double() / (ticks[block + 1] - ticks[block]).double()
        inside = ((tick - ticks[block]).double() * dense).long()
        corner = self.blocks.corner(block, torch.minimum(inside, count - 1))
        index = corner + uniform[:, :3]
        half = 0.5 * torch.tensor(self.blocks.shape, dtype=torch.float32)
        return index, (index - half) / half, block

    def learn(self, errors: np.ndarray) -> None:
        """Take note of the squared errors [N] at the last batch's points."""
        blocks = len(self.squares)
        counts = np.bincount(self._drawn, minlength=blocks)
        sums = np.bincount(self._drawn, errors, minlength=blocks)
        found = sums / np.maximum(counts, 1)
        before = self.squares
        after = np.where(before < 0.0, found, before + _RECENT * (found - before))
        # A run that diverges says so elsewhere.
        self.squares = np.where((counts > 0) & np.isfinite(after), after, before)

    def state(self) -> dict[str, Tensor]:
        """Return what is known of the errors, by name."""
        return {_STATE: torch.from_numpy(self.squares.copy())}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from :meth:`state`'s result, or from nothing."""
        known = state.get(_STATE)
        if known is not None and known.shape == self.squares.shape:
            self.squares = known.numpy().copy()
