"""An array inside a binary file, written extent by extent.

Plain writes rather than a memory map: on a map, a full disk would be a signal that kills the
process (ParaView, say) instead of an exception.
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from amgsrn_core.volume.geometry import Extent


class ArrayFile:
    """Room for an array [z, y, x] or [z, y, x, C] in C order.

    Parameters
    ----------
    file : binary file, open for writing
    offset : int
        Position of the array's first byte.
    dims : tuple of int
        Samples along z, y, x.
    item_bytes : int
        Bytes per sample (of all components together).
    """

    def __init__(
        self, file: BinaryIO, offset: int, dims: tuple[int, int, int], item_bytes: int
    ) -> None:
        self._file = file
        self._offset = offset
        self._dims = dims
        self._item_bytes = item_bytes

    @property
    def end(self) -> int:
        """Position behind the array's last byte."""
        nz, ny, nx = self._dims
        return self._offset + nz * ny * nx * self._item_bytes

    def write(self, extent: Extent, values: np.ndarray) -> None:
        """Write the values of a resolved extent, shape [z, y, x] or [z, y, x, C]."""
        _, ny, nx = self._dims
        z, y, x = extent
        if x.stop - x.start < nx:
            runs = [(k, j, values[k, j]) for k in range(len(values)) for j in range(len(values[k]))]
        elif y.stop - y.start < ny:
            runs = [(k, 0, values[k]) for k in range(len(values))]
        else:
            runs = [(0, 0, values)]
        for k, j, run in runs:
            sample = ((z.start + k) * ny + y.start + j) * nx + x.start
            self._file.seek(self._offset + sample * self._item_bytes)
            self._file.write(np.ascontiguousarray(run).data)
