"""Where the samples of a curvilinear grid lie, for volumes that are learned in index space."""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from amgsrn_core.errors import ArchiveError
from amgsrn_core.system.json_fields import Fields

_NAMES = ("x", "y", "z")
_TYPES = ("<f4", "<f8")


@dataclass(frozen=True, eq=False)
class Coordinates:
    """World coordinates of a grid's samples.

    Parameters
    ----------
    arrays : tuple of three arrays (x, y, z)
        float32 or float64 [z, y, x], of length 1 along an axis that makes no difference: longitudes
        [1, y, x], latitudes [1, y, x] and heights [z, 1, 1] are kept as that.
    dims : tuple of int (z, y, x)
        Samples of the grid.
    """

    arrays: tuple[np.ndarray, np.ndarray, np.ndarray]
    dims: tuple[int, int, int]

    @classmethod
    def of_points(cls, points: np.ndarray) -> Coordinates:
        """Take up the points [z, y, x, 3] of a grid."""
        nz, ny, nx, _ = points.shape
        x, y, z = (_thin(points[..., number]) for number in range(3))
        return cls((x, y, z), (nz, ny, nx))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Coordinates) and all(
            a.dtype == b.dtype and np.array_equal(np.broadcast_to(a, self.dims), b)
            for a, b in zip(self.arrays, (np.broadcast_to(b, other.dims) for b in other.arrays))
        )

    def __hash__(self) -> int:
        return hash(self.dims)

    @property
    def bounds(self) -> tuple[float, float, float, float, float, float]:
        """World box (x0, x1, y0, y1, z0, z1) of the samples."""
        x, y, z = ((float(a.min()), float(a.max())) for a in self.arrays)
        return *x, *y, *z

    def checksum(self, before: int = 0) -> int:
        """Return a checksum of the coordinates and of what has one already."""
        for values in self.arrays:
            before = zlib.crc32(f"{values.dtype.str} {values.shape}".encode(), before)
            before = zlib.crc32(values.data, before)
        return before

    def at(self, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the places of a lattice of index coordinates along each axis.

        Between samples they are interpolated linearly.

        Returns
        -------
        ndarray [z, y, x, 3]
            float32 or float64, as the coordinates are; columns x, y, z.
        """
        shape = len(z), len(y), len(x)
        found = np.empty((*shape, 3), dtype=np.result_type(*self.arrays))
        for number, values in enumerate(self.arrays):
            for axis, line in enumerate((z, y, x)):
                if values.shape[axis] > 1:
                    values = _between(values, axis, line)
            found[..., number] = values
        return found

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types; the numbers are kept exactly."""
        return {"dims": list(self.dims), **dict(zip(_NAMES, map(_packed, self.arrays)))}

    @classmethod
    def from_json(cls, fields: Fields, dims: tuple[int, int, int]) -> Coordinates:
        """Read :meth:`to_json`'s result for a grid of `dims`; ArchiveError says what is damaged."""
        if fields.integers("dims") != dims:
            raise ArchiveError("'coordinates' are those of another grid")
        x, y, z = (_unpacked(fields.child(name), dims) for name in _NAMES)
        return cls((x, y, z), dims)


def _thin(values: np.ndarray) -> np.ndarray:
    for axis in range(3):
        first = values.take([0], axis)
        if (values == first).all():
            values = first
    return np.ascontiguousarray(values)


def _between(values: np.ndarray, axis: int, at: np.ndarray) -> np.ndarray:
    at = np.clip(np.asarray(at, dtype=np.float64), 0, values.shape[axis] - 1)
    low = np.minimum(at.astype(np.int64), values.shape[axis] - 2)
    part = (at - low).reshape([-1 if k == axis else 1 for k in range(3)])
    below, above = values.take(low, axis), values.take(low + 1, axis)
    mixed = (1.0 - part) * below + part * above
    # A sample's own place is as it was, to the last bit.
    return np.where(part == 0, below, np.where(part == 1, above, mixed)).astype(values.dtype)


def _packed(values: np.ndarray) -> dict[str, Any]:
    """Return an array as text; its numbers' first bytes, then all second ones, deflate better."""
    kind = values.dtype.newbyteorder("<").str
    flat = np.ascontiguousarray(values.astype(kind)).view(np.uint8).reshape(-1, values.itemsize)
    data = base64.b64encode(zlib.compress(flat.T.tobytes(), 9)).decode()
    return {"type": kind, "shape": list(values.shape), "data": data}


def _unpacked(fields: Fields, dims: tuple[int, int, int]) -> np.ndarray:
    kind, shape = fields.text("type"), fields.integers("shape")
    if kind not in _TYPES or len(shape) != 3 or any(n not in (1, d) for n, d in zip(shape, dims)):
        raise ArchiveError("'coordinates' have another type or shape than the grid")
    count, size = math.prod(shape), np.dtype(kind).itemsize
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(base64.b64decode(fields.text("data"), validate=True), count * size)
    except (zlib.error, binascii.Error, ValueError) as error:
        raise ArchiveError(f"'coordinates' cannot be unpacked ({error})") from error
    if len(data) != count * size or stream.unconsumed_tail:
        raise ArchiveError("'coordinates' have another number of values than the grid")
    flat = np.frombuffer(data, dtype=np.uint8).reshape(size, count).T
    values = np.ascontiguousarray(flat).view(kind).reshape(shape)
    if not np.isfinite(values).all():
        raise ArchiveError("'coordinates' are not all finite")
    return values.astype(values.dtype.newbyteorder("="))
