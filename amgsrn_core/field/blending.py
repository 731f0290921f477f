r"""Which bricks a point of the field is made of, and with which weights.

Along each axis a brick with voxels start ... stop - 1 of its own, trained on g0 ... g1 - 1 with its
ghost cells, ends where its nearest-voxel region does, at start - 1/2 and stop - 1/2. It fades in
over [g0, 2 start - 1 - g0] and out over [2 stop - 1 - (g1 - 1), g1 - 1], symmetric about those
ends, by the smoothstep s(t) = t^2 (3 - 2 t), t from 0 to 1: beyond its ghost cells its weight is 0,
with a slope of 0. At the volume's own faces nothing fades; without ghost cells s is a step. With r
the product of the six factors, brick i has the weight w_i(p) = r_i(p) / sum_j r_j(p). The weights
are a partition of unity, and they and their gradients are continuous wherever there are ghost
cells, for any partition of the volume into boxes.

A brick with a domain begins and ends at once, at its ends, wherever those are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from amgsrn_core.kernels.march import half_voxel_table
from amgsrn_core.model import BrickRecord
from amgsrn_core.model.box import Box

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", np.ndarray, "Tensor")

# Farther than this from a brick's end, in cells, nothing of a fade is left; ends may be infinite.
_FAR = 1e6


@dataclass(frozen=True)
class Parts:
    """Which bricks make up which points, ordered by brick.

    Attributes
    ----------
    points : ndarray of int64 [M]
        Numbers of the points.
    bricks : ndarray of int [M]
        Numbers of the bricks, ascending.
    weights : ndarray of float64 [M]
        They sum to 1 for each point.
    gradients : ndarray of float64 [M, 3] or None
        Of the weights along x, y, z in index space.
    """

    points: np.ndarray
    bricks: np.ndarray
    weights: np.ndarray
    gradients: np.ndarray | None = None

    def starts(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the bricks that occur, and where each begins, with the end."""
        first = np.flatnonzero(np.diff(self.bricks, prepend=-1))
        return self.bricks[first], np.append(first, len(self.bricks))


class Blend:
    """Weights of the bricks of one volume, for evaluation on every device and for the marchers.

    Parameters
    ----------
    ends : ndarray of float64 [B, 2, 3]
        Where each brick's fading is at one half, low and high, along x, y, z; infinite at the
        volume's faces.
    halves : ndarray of float64 [B, 2, 3]
        Half of the length over which it fades; 0 for a step.
    dims : tuple of int
        Voxels of the volume along z, y, x.

    Attributes
    ----------
    ends : ndarray
    reach : ndarray of float64 [B, 2, 3]
        Where each brick's weight begins and ends, low and high, along x, y, z.
    slopes : ndarray of float64 [B, 2, 3]
        1 over the length of the fade; 0 for a step.
    cells : Cells
        Which bricks reach where.
    """

    def __init__(self, ends: np.ndarray, halves: np.ndarray, dims: tuple[int, int, int]) -> None:
        self.ends, last = ends, np.array(dims[::-1])
        low, high = ends[:, 0] - halves[:, 0], ends[:, 1] + halves[:, 1]
        self.reach = np.stack(
            [np.where(np.isinf(low), 0, low), np.where(np.isinf(high), last, high)], axis=1
        )
        self.cells = Cells(self.reach, last)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.slopes = np.where(halves > 0, 0.5 / halves, 0.0)

    @classmethod
    def of_bricks(cls, bricks: Sequence[BrickRecord], dims: tuple[int, int, int]) -> Blend:
        """Return the weights that the bricks' extents, ghost cells and domains say."""
        own = Box.of_extents(brick.extent for brick in bricks)
        ghosted = Box.of_extents(brick.ghosted for brick in bricks)
        low_face, high_face = own.first == 0, own.last == np.array(dims[::-1]) - 1
        low, high = own.first - 0.5, own.last + 0.5
        reach_low = np.maximum(own.first - ghosted.first - 0.5, 0)
        reach_high = np.maximum(ghosted.last - own.last - 0.5, 0)
        for number, brick in enumerate(bricks):
            if brick.domain is not None:
                low[number], high[number] = np.array(brick.domain[::-1]).T
                reach_low[number], reach_high[number] = 0, 0
        ends = [np.where(low_face, -np.inf, low), np.where(high_face, np.inf, high)]
        halves = [np.where(low_face, 0, reach_low), np.where(high_face, 0, reach_high)]
        return cls(np.stack(ends, axis=1), np.stack(halves, axis=1), dims)

    def parts(self, points: np.ndarray, gradients: bool = False) -> Parts:
        """Return the bricks at points inside the volume.

        Parameters
        ----------
        points : array [N, 3]
            In index space, columns x, y, z, from 0 to the last sample.
        gradients : bool, default: False
            Also return the gradients of the weights.
        """
        counts, bricks = self.cells.at(points)
        numbers = np.repeat(np.arange(len(points)), counts)
        weights = np.ones(len(bricks))
        slopes = np.zeros((len(bricks), 3)) if gradients else None
        # Most points lie where nothing fades.
        shared = np.flatnonzero(np.repeat(counts > 1, counts))
        if len(shared):
            of = numbers[shared]
            factors, their_slopes = self._factors(points[of], bricks[shared], gradients)
            first = np.flatnonzero(np.diff(of, prepend=-1))
            repeats = np.diff(first, append=len(of))
            total = np.repeat(np.add.reduceat(factors, first), repeats)
            # All are 0 where a brick without values would be the only one.
            total[total == 0] = 1.0
            weights[shared] = factors / total
            if slopes is not None and their_slopes is not None:
                sums = np.repeat(np.add.reduceat(their_slopes, first), repeats, axis=0)
                own = weights[shared, None]
                slopes[shared] = (their_slopes - own * sums) / total[:, None]
        order = np.flatnonzero(weights > 0)
        # numpy sorts 16-bit numbers much faster than longer ones.
        keys = bricks[order]
        keys = keys.astype(np.uint16) if len(self.ends) <= 1 << 16 else keys
        order = order[np.argsort(keys, kind="stable")]
        return Parts(
            numbers[order],
            bricks[order],
            weights[order],
            None if slopes is None else slopes[order],
        )

    def _factors(
        self, points: np.ndarray, bricks: np.ndarray, gradients: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return r [M] of the module's text for pairs of a point and a brick, and its gradient."""
        product = np.ones(len(points))
        steps: list[tuple[np.ndarray, np.ndarray]] = []
        for axis in range(3):
            along = np.ones(len(points))
            slope = np.zeros(len(points))
            for side, sign in ((0, 1.0), (1, -1.0)):
                ends = self.ends[:, side, axis][bricks]
                slopes = self.slopes[:, side, axis][bricks]
                t = faded(points[:, axis], ends, slopes, side)
                smooth = smoothstep(t)
                if gradients:
                    slope = slope * smooth + along * sign * slopes * 6.0 * t * (1.0 - t)
                along *= smooth
            if gradients:
                steps.append((along, slope))
            product *= along
        if not gradients:
            return product, None
        (x, dx), (y, dy), (z, dz) = steps
        return product, np.stack([dx * y * z, x * dy * z, x * y * dz], axis=1)


def faded(coordinates: Array, ends: Array, slopes: Array, side: int) -> Array:
    """Return how far bricks have faded in along one axis at one side, t from 0 to 1.

    `ends` and `slopes` are those of :class:`Blend`; `side` is 0 for the low one.
    """
    distance = coordinates - ends if side == 0 else ends - coordinates
    fades = slopes > 0
    # Without a fade: a step, closed below as the nearest voxel's region is.
    inside = distance >= 0 if side == 0 else distance > 0
    t = (distance.clip(-_FAR, _FAR) * slopes + 0.5) * fades + (inside & ~fades)
    return t.clip(0.0, 1.0)


def smoothstep(t: Array) -> Array:
    """Return t^2 (3 - 2 t)."""
    return t * t * (3.0 - 2.0 * t)


class Cells:
    """The volume cut at the ends of all bricks' regions: which bricks reach into each cell.

    A table of half voxels gives the cell of a coordinate, so a region that ends elsewhere counts
    up to the next multiple of 1/2.

    Attributes
    ----------
    tables : list of ndarray of int32 [2 n + 1]
        Along x, y, z: the cell of each half voxel.
    sizes : list of int
        Cells along x, y, z.
    starts : ndarray of int [cells + 1]
        Where the bricks of each cell, in the order [z, y, x], begin in `bricks`.
    bricks : ndarray of int32
    """

    def __init__(self, reach: np.ndarray, last: np.ndarray) -> None:
        begin, end = np.floor(reach[:, 0] * 2.0) / 2.0, np.ceil(reach[:, 1] * 2.0) / 2.0
        self.tables, sizes, low, high = [], [], [], []
        for axis in range(3):
            # To the volume's faces, which the bricks that have values need not reach.
            cuts = np.unique(np.concatenate([[0.0, last[axis]], begin[:, axis], end[:, axis]]))
            self.tables.append(half_voxel_table(cuts, last[axis] + 1).astype(np.int32))
            sizes.append(len(cuts) - 1)
            low.append(np.searchsorted(cuts, begin[:, axis]))
            high.append(np.searchsorted(cuts, end[:, axis]))
        self.sizes = sizes
        spans = [b - a for a, b in zip(low, high)]
        covered = spans[0] * spans[1] * spans[2]
        bricks = np.repeat(np.arange(len(begin)), covered)
        place = np.arange(len(bricks)) - np.repeat(np.cumsum(covered) - covered, covered)
        x = low[0][bricks] + place % spans[0][bricks]
        y = low[1][bricks] + place // spans[0][bricks] % spans[1][bricks]
        z = low[2][bricks] + place // (spans[0] * spans[1])[bricks]
        cells = (z * sizes[1] + y) * sizes[0] + x
        self.bricks = bricks[np.argsort(cells, kind="stable")].astype(np.int32)
        ends = np.cumsum(np.bincount(cells, minlength=int(np.prod(sizes))))
        self.starts = np.concatenate([[0], ends])

    def at(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how many bricks reach to each point [N], and their numbers one after the other."""
        x, y, z = (
            table[(points[:, axis] * 2.0).astype(np.int32)]
            for axis, table in enumerate(self.tables)
        )
        cells = (z.astype(np.int64) * self.sizes[1] + y) * self.sizes[0] + x
        starts = self.starts[cells]
        counts = self.starts[cells + 1] - starts
        if (counts == 1).all():
            return counts, self.bricks[starts]
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return counts, self.bricks[np.repeat(starts, counts) + place]
