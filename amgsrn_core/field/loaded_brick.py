"""A brick in memory: its network, where it lies in the volume, and which voxels have a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from amgsrn_core.kernels.loader import Network
from amgsrn_core.model import BrickRecord, ModelIndex
from amgsrn_core.model.feature_grids import box_corners
from amgsrn_core.networks import SceneNetwork, constant_network, network_from_state

Property = Callable[[SceneNetwork, torch.Tensor], torch.Tensor]
"""From a network and brick-local points [N, 3] to [N, columns]."""


@dataclass(frozen=True)
class LoadedBrick:
    """One network and its place. Points are in the volume's index space, unless they are local.

    Attributes
    ----------
    network : SceneNetwork
        Lives on [-1, 1]^3, which is the box from `first` to `last`.
    first, last : float64 array [3]
        Voxels of the brick with its ghost cells, x, y, z.
    valid : bool array [z, y, x] or None
        Which voxels from `first` to `last` have a value; None when all have.
    cells : uint8 array [2, C, z, y, x] or None
        Codes of the macro-cells, where the file has them; see :mod:`amgsrn_core.model.cell_codes`.
    argument : Network or None
        The network for the CPU kernels, if they evaluate it.
    scale : pair of float64 arrays [C] or None
        The lowest values and the ranges that the network's outputs, then 0 to 1, are scaled by in
        double precision; None where the network does that itself.
    """

    network: SceneNetwork
    first: np.ndarray
    last: np.ndarray
    valid: np.ndarray | None
    cells: np.ndarray | None
    argument: Network | None = None
    scale: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def of_state(
        cls,
        index: ModelIndex,
        record: BrickRecord,
        state: dict[str, np.ndarray],
        device: torch.device,
        backend: str,
        in_double: bool | None = None,
    ) -> LoadedBrick:
        """Make a brick of its record and the tensors that its file has.

        `in_double` is `index.is_scaled_in_double` unless another is given.
        """
        bounds = np.array(index.value_range(record), dtype=np.float64)
        scale = None
        if index.is_scaled_in_double if in_double is None else in_double:
            scale = bounds[0], bounds[1] - bounds[0]
            bounds = np.stack([np.zeros_like(scale[1]), np.where(scale[1] > 0, 1.0, 0.0)])
        low, high = (torch.tensor(v, dtype=torch.float32) for v in bounds)
        if record.state == "constant":
            network = constant_network(low)
            backend = "torch" if backend == "tcnn" else backend  # for which it is too narrow
        else:
            network = network_from_state(index.network_of(record), state, low, high)
        network.eval().requires_grad_(False).to(device)
        network.use_backend(backend)
        z, y, x = record.ghosted
        return cls(
            network=network,
            first=np.array([x.start, y.start, z.start], dtype=np.float64),
            last=np.array([x.stop - 1, y.stop - 1, z.stop - 1], dtype=np.float64),
            valid=_without_holes(state.get("mask"), index, record),
            cells=state.get("macro_cells"),
            argument=network.kernel_argument(),
            scale=scale,
        )

    def rescaled(self, low: np.ndarray, high: np.ndarray) -> LoadedBrick:
        """Return the brick with outputs in another range, [C] to [C], that float32 holds."""
        return replace(self, network=self.network.with_range(low, high), scale=None)

    def is_valid(self, points: np.ndarray) -> np.ndarray | None:
        """Return whether the nearest voxel of each point has a value; None when all have."""
        if self.valid is None:
            return None
        x, y, z = np.floor(np.clip(points, self.first, self.last) - self.first + 0.5).astype(int).T
        return self.valid[z, y, x]

    def size(self) -> int:
        """Return the bytes that the brick takes, the kernels' copy of its features included."""
        numbers = sum(p.numel() for p in self.network.parameters())
        return 8 * numbers + (0 if self.valid is None else self.valid.nbytes)

    def where_valid(
        self, points: np.ndarray, local: np.ndarray, columns: int, of: Property | None
    ) -> np.ndarray:
        """Return a property [N, columns], NaN where the nearest voxel of a point has no value.

        `points` are in the volume's index space, `local` the same ones in the brick's.
        """
        known = self.is_valid(points)
        if known is None or known.all():
            return self._evaluate(local, of)
        scaled = of is None and self.scale is not None
        dtype = np.float64 if scaled else np.float32
        values = np.full((len(points), columns), np.nan, dtype=dtype)
        if known.any():
            values[known] = self._evaluate(local[known], of)
        return values

    def with_gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values [N, C] and gradients [N, C, 3] by the volume's index; NaN where invalid."""
        local = torch.from_numpy(self.local(points)).to(self.network.minimum.device)
        values, gradients = (result.cpu().numpy() for result in self.network.with_gradient(local))
        gradients = gradients * (2.0 / (self.last - self.first)).astype(np.float32)
        if self.scale is not None:
            low, span = self.scale
            values, gradients = values * span + low, gradients * span[:, None]
        known = self.is_valid(points)
        if known is not None:
            values[~known], gradients[~known] = np.nan, np.nan
        return values, gradients

    def local(self, points: np.ndarray) -> np.ndarray:
        """Map points [N, 3] in the volume's index space to the brick, where it is [-1, 1]^3."""
        local = (points - self.first) * (2.0 / (self.last - self.first)) - 1.0
        return local.astype(np.float32)

    def _evaluate(self, local: np.ndarray, of: Property | None) -> np.ndarray:
        with torch.inference_mode():
            points = torch.from_numpy(local).to(self.network.minimum.device)
            values = self.network(points) if of is None else of(self.network, points)
            values = values.cpu().numpy()
        if of is not None or self.scale is None:
            return values
        low, span = self.scale
        return values * span + low

    def feature_corners(self) -> np.ndarray:
        """Return the corners of the feature grids [G, 8, 3] in the volume's index space."""
        corners = box_corners(self.network.transforms.cpu().numpy())
        return self.first + (corners + 1.0) * 0.5 * (self.last - self.first)


def _without_holes(
    valid: np.ndarray | None, index: ModelIndex, record: BrickRecord
) -> np.ndarray | None:
    """Return the mask of a brick's voxels, False in bricks that were not trained."""
    for number in index.holes:
        hole = tuple(
            slice(max(h.start - g.start, 0), max(h.stop - g.start, 0))
            for h, g in zip(index.bricks[number].extent, record.ghosted)
        )
        if all(h.start < g.stop - g.start and h.stop for h, g in zip(hole, record.ghosted)):
            valid = np.ones(record.ghosted_dims, dtype=bool) if valid is None else valid.copy()
            valid[hole] = False
    return valid
