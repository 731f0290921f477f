"""Corrections of a brick in memory: decoded where they are needed, interpolated linearly."""

from __future__ import annotations

import threading

import numpy as np

from amgsrn_core.model.correction_codes import PackedCorrections, block_count, blocks_of
from amgsrn_core.volume.geometry import Extent


class Corrections:
    """What is added to a brick's values so that they are as near to the data as was promised.

    Several threads may use one object.

    Parameters
    ----------
    packed : PackedCorrections
    ghosted : tuple of three slices
        The brick's voxels z, y, x in the volume, with its ghost cells.
    """

    def __init__(self, packed: PackedCorrections, ghosted: Extent) -> None:
        self._packed = packed
        self._first = np.array([g.start + r.start for g, r in zip(ghosted, packed.region)])
        self._last = np.array(packed.shape) - 1
        blocks = blocks_of(packed.shape)
        # The number of each voxel's block, by axis: their sum, because blocks count along x first.
        self._numbers = [np.zeros(n, dtype=np.int64) for n in packed.shape]
        starts = [sorted({part[axis].start for part in blocks}) for axis in range(3)]
        stride = 1
        for axis in (2, 1, 0):
            voxels = np.arange(packed.shape[axis])
            place = np.searchsorted(starts[axis], voxels, side="right") - 1
            self._numbers[axis] = place * stride
            stride *= len(starts[axis])
        # Zeros take no memory until they are written to.
        self._values = np.zeros((len(packed.steps), *packed.shape), dtype=packed.dtype)
        self._is_known = np.zeros(block_count(packed.shape), dtype=bool)
        self._lock = threading.Lock()

    @property
    def limits(self) -> np.ndarray:
        """How large an error may be at a voxel, float64 [C]."""
        return self._packed.limits

    @property
    def nbytes(self) -> int:
        """What it takes in memory when all of it is decoded."""
        return self._values.nbytes

    def at(self, points: np.ndarray) -> np.ndarray:
        """Return the corrections float64 [N, C] at points [N, 3] (x, y, z) in index space.

        At voxels they are exact, between them interpolated linearly, and beyond the outermost
        corrected voxels constant.
        """
        places = np.clip(points[:, ::-1] - self._first, 0, self._last)
        low = np.floor(places).astype(np.int64)
        shares = places - low
        total = np.zeros((len(points), len(self._values)))
        for corner in range(8):
            weights = np.ones(len(points))
            voxels = low.copy()
            for axis in range(3):
                upper = corner >> axis & 1
                weights *= shares[:, axis] if upper else 1.0 - shares[:, axis]
                voxels[:, axis] += upper
            used = np.flatnonzero(weights)
            if len(used):
                total[used] += weights[used, None] * self._of_voxels(voxels[used])
        return total * self._packed.steps

    def _of_voxels(self, voxels: np.ndarray) -> np.ndarray:
        """Return whole numbers [N, C] of voxels [N, 3] (z, y, x) of the region."""
        z, y, x = voxels.T
        numbers = self._numbers[0][z] + self._numbers[1][y] + self._numbers[2][x]
        wanted = np.zeros_like(self._is_known)
        wanted[numbers] = True
        if (wanted & ~self._is_known).any():
            self._decode(wanted)
        return self._values[:, z, y, x].T

    def _decode(self, wanted: np.ndarray) -> None:
        count, parts = len(self._is_known), blocks_of(self._packed.shape)
        with self._lock:
            for number in np.flatnonzero(wanted & ~self._is_known).tolist():
                for component, values in enumerate(self._values):
                    block = self._packed.block(component * count + number)
                    values[parts[number]] = block
                self._is_known[number] = True
