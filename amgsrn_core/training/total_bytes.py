"""What a network and the corrections of its errors take together, as far as a sample tells."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from amgsrn_core.config import NetworkConfig, StorageConfig
from amgsrn_core.training.bound import Bound
from amgsrn_core.training.stored_size import network_nbytes

# Bits that a compressed number takes that is fine-tuned to a loss: 4 to 8 on small grids.
_BITS = 6.0


@dataclass(frozen=True)
class TotalBytes:
    """About the bytes of a brick whose errors are bounded.

    Attributes
    ----------
    storage : StorageConfig
    steps : tuple of float
        What a correction of 1 stands for, relative to each component's range.
    voxels : int
        That are corrected.
    """

    storage: StorageConfig
    steps: tuple[float, ...]
    voxels: int

    @classmethod
    def of(
        cls, bound: Bound | None, storage: StorageConfig, span: np.ndarray, voxels: int
    ) -> TotalBytes | None:
        """Return them for a brick with this range [C]; None where errors are not bounded."""
        if bound is None:
            return None
        steps = 2.0 * np.asarray(bound.limits) / np.where(span > 0, span, math.inf)
        return cls(storage, tuple(steps.tolist()), voxels)

    def of_network(self, network: NetworkConfig, errors: np.ndarray) -> float:
        """Return the bytes with a network whose errors float64 [N, C] at some voxels are these.

        Corrections take what the entropy of their whole numbers is: their coder knows where they
        are small and takes less.
        """
        bits = 0.0
        for column, step in zip(errors.T, self.steps):
            if math.isfinite(step) and step > 0:
                _, counts = np.unique(np.rint(column / step), return_counts=True)
                shares = counts / counts.sum()
                bits -= float((shares * np.log2(shares)).sum())
        own = network_nbytes(network, len(self.steps), self.storage, _BITS)
        return own + self.voxels * bits / 8
