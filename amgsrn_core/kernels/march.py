"""March rays through a volume with the kernels: one call composites many rays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from amgsrn_core.kernels.inference import KernelNetwork
from amgsrn_core.kernels.loader import Axis, Brick, KernelLibrary, Look, Rays, Volume
from amgsrn_core.kernels.threads import thread_count

BLENDS = {"composite": 0, "maximum": 1, "isosurface": 2}

# An axis that deviates from even spacing by less than this part of a cell is even: rounding.
_EVEN = 1e-9

# Bricks that may overlap at one point.
_MOST_MEMBERS = 1024


class MarchBrick(Protocol):
    """A brick in the volume's index space; see `field.brick.FieldBrick`."""

    @property
    def first(self) -> np.ndarray:
        """First sample along x, y, z, float64 [3]."""

    @property
    def last(self) -> np.ndarray:
        """Last sample along x, y, z, float64 [3]."""

    @property
    def minimum(self) -> np.ndarray:
        """What the network's 0 stands for, float32 [C]."""

    @property
    def maximum(self) -> np.ndarray:
        """What the network's 1 stands for, float32 [C]."""

    @property
    def valid(self) -> np.ndarray | None:
        """Which samples have a value, bool [z, y, x]; None when all have."""

    @property
    def ends(self) -> np.ndarray:
        """Where it has half its weight, float64 [2, 3], low and high; infinite where always."""

    @property
    def halves(self) -> np.ndarray:
        """Half of the length over which it fades there, float64 [2, 3]; 0 for a step."""

    def kernel_network(self, library: KernelLibrary) -> KernelNetwork:
        """Return the network, which lives on [-1, 1]^3, as the kernels take it."""


class VolumeKernel:
    """A volume as the kernels march through it, prepared once.

    Parameters
    ----------
    library : KernelLibrary
    coordinates : three float64 arrays [n]
        Of the samples along x, y, z; n >= 2, ascending.
    borders : three float64 arrays [cells + 1]
        Where macro-cells begin and end along x, y, z in index space, from 0 to n - 1, in steps of
        a half.
    bricks : sequence of MarchBrick
        At least one. A point that none reaches is empty.
    turn : float64 array [3, 3]
        A gradient by axis coordinates times this is one in the world.
    """

    def __init__(
        self,
        library: KernelLibrary,
        coordinates: Sequence[np.ndarray],
        borders: Sequence[np.ndarray],
        bricks: Sequence[MarchBrick],
        turn: np.ndarray,
    ) -> None:
        self._library = library
        self._kept: list[object] = []  # what the C structs point to
        cuts, starts, members = _blocks(bricks, [len(c) - 1 for c in coordinates])
        most = int(np.diff(starts).max())
        if most > _MOST_MEMBERS:
            raise ValueError(f"More than {_MOST_MEMBERS} bricks overlap at one point.")
        axes = [self._axis(*axis) for axis in zip(coordinates, borders, cuts)]
        self._volume = Volume(
            axes=(Axis * 3)(*axes),
            bricks=self._keep((Brick * len(bricks))(*map(self._brick, bricks))),
            brick_count=len(bricks),
            starts=self._address(starts, np.int64),
            members=self._address(members, np.int32),
            most_members=most,
            components=len(bricks[0].minimum),
            turn=(ctypes.c_double * 9)(*np.asarray(turn, dtype=np.float64).ravel()),
        )

    def march(self, look: Look, rays: Rays) -> np.ndarray:
        """Return the colours of rays, float32 [N, 4], multiplied with the opacity."""
        image = np.zeros((rays.count, 4), dtype=np.float32)
        self._library.call(
            "amgsrn_march",
            ctypes.byref(self._volume),
            ctypes.byref(look),
            ctypes.byref(rays),
            image.ctypes.data,
            thread_count(),
        )
        return image

    def _keep(self, thing: ctypes.Array) -> ctypes.Array:
        self._kept.append(thing)
        return thing

    def _address(self, array: np.ndarray, kind: type[np.generic]) -> int:
        kept = np.ascontiguousarray(array, dtype=kind)
        self._kept.append(kept)
        return int(kept.ctypes.data)

    def _axis(self, coordinates: np.ndarray, borders: np.ndarray, cuts: np.ndarray) -> Axis:
        size = len(coordinates)
        spacing = (coordinates[-1] - coordinates[0]) / (size - 1)
        uneven = np.abs(coordinates - coordinates[0] - spacing * np.arange(size)).max()
        is_even = uneven < _EVEN * spacing
        places = np.interp(borders, np.arange(size), coordinates)
        return Axis(
            size=size,
            origin=coordinates[0],
            scale=1.0 / spacing,
            coordinates=None if is_even else self._address(coordinates, np.float64),
            blocks=self._address(_table(cuts, size), np.int32),
            cells=self._address(_table(borders, size), np.int32),
            borders=self._address(places, np.float64),
            block_count=len(cuts) - 1,
            cell_count=len(borders) - 1,
        )

    def _brick(self, brick: MarchBrick) -> Brick:
        network = brick.kernel_network(self._library)
        decoder = self._library.packed_decoder(network.argument)
        size = (brick.last - brick.first).astype(int) + 1
        if brick.valid is not None and brick.valid.shape != tuple(size[::-1]):
            raise ValueError(
                f"valid must have the shape {size[::-1].tolist()}, not {list(brick.valid.shape)}."
            )
        fades = brick.halves > 0
        slopes = np.where(fades, 0.5 / np.where(fades, brick.halves, 1.0), 0.0)
        self._kept += [network, decoder]
        return Brick(
            network=ctypes.pointer(network.argument),
            decoder=decoder.ctypes.data,
            minimum=self._address(brick.minimum, np.float32),
            range=self._address(brick.maximum - brick.minimum, np.float32),
            first=tuple(brick.first),
            scale=tuple(2.0 / (brick.last - brick.first)),
            size=tuple(size.tolist()),
            valid=None if brick.valid is None else self._address(brick.valid, np.bool_),
            ends=tuple(brick.ends.ravel()),
            slopes=tuple(slopes.ravel()),
        )


def _table(cuts: np.ndarray, size: int) -> np.ndarray:
    """Return in which interval between cuts each half voxel [2 * size - 1] begins."""
    places = np.searchsorted(cuts, np.arange(2 * size - 1) / 2, side="right") - 1
    return np.clip(places, 0, len(cuts) - 2)


def _blocks(
    bricks: Sequence[MarchBrick], last: Sequence[int]
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Cut the volume where the reach of bricks begins and ends.

    Returns the cuts along x, y, z, multiples of 1/2, and which bricks reach into each block between
    them: those of block i, in the order [z, y, x], are members[starts[i] : starts[i + 1]].
    """
    ends = np.array([brick.ends for brick in bricks])
    halves = np.array([brick.halves for brick in bricks])
    # Outwards, because blocks are found by half voxels.
    begin = np.maximum(np.floor(2.0 * (ends[:, 0] - halves[:, 0])) / 2.0, 0)
    end = np.minimum(np.ceil(2.0 * (ends[:, 1] + halves[:, 1])) / 2.0, last)
    cuts = [np.unique([0, n, *begin[:, a], *end[:, a]]) for a, n in enumerate(last)]
    low, high = (
        np.stack([np.searchsorted(cut, side[:, a]) for a, cut in enumerate(cuts)], axis=1)
        for side in (begin, end)
    )
    x, y, z = (high - low).T
    counts = x * y * z
    members = np.repeat(np.arange(len(bricks)), counts)
    place = np.arange(len(members)) - np.repeat(np.cumsum(counts) - counts, counts)
    x, y = x[members], y[members]
    size = [len(cut) - 1 for cut in cuts]
    blocks = (low[members, 2] + place // (x * y)) * size[1] + low[members, 1] + place // x % y
    blocks = blocks * size[0] + low[members, 0] + place % x
    starts = np.append(0, np.cumsum(np.bincount(blocks, minlength=size[0] * size[1] * size[2])))
    return cuts, starts, members[np.argsort(blocks, kind="stable")]
