"""Values of a part of a volume, and what one pass over them finds."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from amgsrn_core.volume.checksum import joined
from amgsrn_core.volume.fill_values import Extremes, FillSearch, extremes
from amgsrn_core.volume.precision import flattened

# Values of one component that are walked several times: they stay in a core's cache.
CACHE_BYTES = 1 << 20


@dataclass
class Block:
    """Values of one extent.

    Attributes
    ----------
    values : ndarray of float32 or float64, shape [C, z, y, x], C-contiguous
        Where invalid 0 if they were read of data, and NaN if they are a model's.
    valid : ndarray of bool, shape [z, y, x], or None
        None when every voxel is valid. A voxel is valid only if all its components are.
    """

    values: np.ndarray
    valid: np.ndarray | None = None
    _scanned: Scan | None = field(default=None, repr=False, compare=False)

    @classmethod
    def scanned(cls, values: np.ndarray, valid: np.ndarray | None, scan: Scan) -> Block:
        """Return a block whose values were looked at while they were read."""
        return cls(values, valid, scan)

    @classmethod
    def of_field(cls, values: np.ndarray) -> Block:
        """Return a model's values, which are NaN in all components where there are none."""
        missing = np.isnan(values[0])
        return cls(values, ~missing if missing.any() else None)

    def with_nan(self) -> np.ndarray:
        """Return the values, NaN where they are invalid, as files and data sets have them."""
        if self.valid is None:
            return self.values
        return np.where(self.valid, self.values, self.values.dtype.type(np.nan))

    def summary(self) -> FieldSummary:
        """Return what there is to know of the values: without a pass where their reader knows."""
        return (self._scanned or Scan.of(self)).summary()

    def checksum(self, before: int = 0) -> int:
        """Return a checksum of the values, and of what a checksum says came before them."""
        scan = self._scanned
        if scan is None or not scan.has_checksum:
            scan = Scan.of(self, checksum=True)
        size = self.values.nbytes + (0 if self.valid is None else self.valid.nbytes)
        return joined(before, scan.checksum(), size)

    def replace_values(self, values: np.ndarray) -> None:
        """Have other values, of which nothing is known."""
        self.values, self._scanned = values, None


@dataclass(frozen=True)
class FieldSummary:
    """What a pass over values has found.

    Attributes
    ----------
    minimum, maximum : ndarray of float64, shape [C]
        Over the valid voxels; infinite while there is none.
    valid_count : int
        Number of valid voxels.
    n_points : int
        Number of voxels.
    fills : FillSearch
        Which of the values may be fill values.
    """

    minimum: np.ndarray
    maximum: np.ndarray
    valid_count: int
    n_points: int
    fills: FillSearch

    @classmethod
    def of_nothing(cls, components: int) -> FieldSummary:
        """Return what is known before the first block."""
        none = np.full(components, math.inf)
        return cls(none, -none, 0, 0, FillSearch.of_nothing(components))

    def merged(self, other: FieldSummary) -> FieldSummary:
        """Return what both passes have found together."""
        return FieldSummary(
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
            self.valid_count + other.valid_count,
            self.n_points + other.n_points,
            FillSearch.merged([self.fills, other.fills]),
        )

    def without(self, values: Sequence[float]) -> FieldSummary:
        """Return the summary, the valid voxels at least, if some known fill values are missing."""
        if not values:
            return self
        low, high = self.fills.range_without(values)
        return dataclasses.replace(self, minimum=low, maximum=high)

    def learned_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Return lowest and highest values, float64 [C], without what varies too little to learn.

        They are 0 where no voxel is valid.
        """
        if not self.valid_count:
            zeros = np.zeros(len(self.minimum))
            return zeros, zeros
        return self.minimum, flattened(self.minimum, self.maximum)


class Scan:
    """A pass over values, slab by slab, each while it is in the cache.

    Parameters
    ----------
    components : int
    checksum : bool, default: False
        Whether a checksum is computed as well.
    """

    def __init__(self, components: int, *, checksum: bool = False) -> None:
        self.has_checksum = checksum
        self._components = components
        self._slabs: list[list[Extremes]] = []
        self._valid_count = self._n_points = 0
        # Of each component, since a volume has one after the other, and of the mask.
        self._crcs, self._lengths = [0] * components, [0] * components
        self._mask_crc: int | None = None

    @classmethod
    def of(cls, block: Block, *, checksum: bool = False) -> Scan:
        """Pass over a whole block."""
        scan = cls(len(block.values), checksum=checksum)
        scan.add(block.values, block.valid)
        return scan

    def add(self, values: np.ndarray, valid: np.ndarray | None) -> None:
        """Look at the next values [C, z, y, x], which count where `valid`."""
        for part in cache_slabs(values):
            where = None if valid is None else valid[part]
            size = values[0, part].size
            count = size if where is None else int(np.count_nonzero(where))
            known = None if count == size else where
            self._slabs.append([extremes(component[part], known) for component in values])
            if self.has_checksum:
                for number, component in enumerate(values):
                    data = np.ascontiguousarray(component[part])
                    self._crcs[number] = zlib.crc32(data.data, self._crcs[number])
                    self._lengths[number] += data.nbytes
                self._add_mask(where, size)
            self._valid_count += count
            self._n_points += size

    def summary(self) -> FieldSummary:
        """Return what was found of the values."""
        if not self._slabs:
            return FieldSummary.of_nothing(self._components)
        components = list(zip(*self._slabs))
        return FieldSummary(
            np.array([min(each.low for each in slabs) for slabs in components]),
            np.array([max(each.high for each in slabs) for slabs in components]),
            self._valid_count,
            self._n_points,
            FillSearch.of_slabs(self._slabs),
        )

    def checksum(self) -> int:
        """Return the checksum of all values, component after component, and then of the mask."""
        crc = 0
        for each, length in zip(self._crcs, self._lengths):
            crc = joined(crc, each, length)
        return crc if self._mask_crc is None else joined(crc, self._mask_crc, self._n_points)

    def _add_mask(self, valid: np.ndarray | None, size: int) -> None:
        """Include a part of the mask, which is one of the whole as soon as any voxel is missing."""
        if valid is None and self._mask_crc is None:
            return
        if self._mask_crc is None:
            self._mask_crc = _crc_of_ones(self._n_points, 0)
        if valid is None:
            self._mask_crc = _crc_of_ones(size, self._mask_crc)
        else:
            self._mask_crc = zlib.crc32(np.ascontiguousarray(valid).data, self._mask_crc)


def cache_slabs(values: np.ndarray) -> Iterator[slice]:
    """Yield ranges of z that cut [C, z, y, x] so that a component's part stays in the cache."""
    depth = max(1, CACHE_BYTES // max(1, values[0, 0].nbytes))
    for start in range(0, values.shape[1], depth):
        yield slice(start, min(start + depth, values.shape[1]))


def _crc_of_ones(count: int, crc: int) -> int:
    ones = b"\1" * min(count, CACHE_BYTES)
    for start in range(0, count, CACHE_BYTES):
        crc = zlib.crc32(memoryview(ones)[: count - start], crc)
    return crc
