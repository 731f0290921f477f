"""The box of a brick in its volume's index space, which is [-1, 1]^3 to its network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from amgsrn_core.model.index import BrickRecord
from amgsrn_core.volume.geometry import Extent

FACE_TOLERANCE = 1e-3
"""A point this fraction of a cell outside a volume counts as on its face: world coordinates arrive
rounded."""


@dataclass(frozen=True, eq=False)
class Box:
    """The samples of a brick, with its ghost layers, or those of each of B bricks.

    Attributes
    ----------
    first, last : float64 array [3] or [B, 3]
        Index of its first and last sample along x, y, z.
    """

    first: np.ndarray
    last: np.ndarray

    @classmethod
    def of_record(cls, record: BrickRecord) -> Box:
        """Return the box of a brick."""
        boxes = cls.of_extents([record.ghosted])
        return cls(boxes.first[0], boxes.last[0])

    @classmethod
    def of_extents(cls, extents: Iterable[Extent]) -> Box:
        """Return the boxes of B extents, one after another."""
        bounds = [(x.start, y.start, z.start, x.stop, y.stop, z.stop) for z, y, x in extents]
        ends = np.array(bounds, dtype=np.float64).reshape(-1, 2, 3)
        return cls(ends[:, 0], ends[:, 1] - 1.0)

    @property
    def scale(self) -> np.ndarray:
        """Local units per index step, float64 [3] or [B, 3]."""
        return 2.0 / (self.last - self.first)

    def local(self, points: np.ndarray) -> np.ndarray:
        """Map points [N, 3] in the volume's index space to [-1, 1]^3, float32."""
        local = points - self.first
        local *= self.scale
        local -= 1.0
        return local.astype(np.float32, order="C")

    def index(self, local: np.ndarray) -> np.ndarray:
        """Map points [..., 3] in [-1, 1]^3 to the volume's index space."""
        return self.first + (local + 1.0) * 0.5 * (self.last - self.first)

    def voxels(self, points: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the nearest sample of each point [N, 3], its numbers along z, y, x in the box."""
        nearest = np.floor(np.clip(points, self.first, self.last) - self.first + 0.5)
        return tuple(nearest.astype(int).T[::-1])
