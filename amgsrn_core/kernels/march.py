"""March rays through a volume with the kernels: one call composites many rays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from amgsrn_core.kernels.arguments import pointer
from amgsrn_core.kernels.inference import KernelNetwork
from amgsrn_core.kernels.loader import (
    Appearance,
    Axis,
    Brick,
    KernelLibrary,
    Struct,
    View,
    Volume,
    WorkingSet,
)
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

    def kernel_network(self, library: KernelLibrary) -> KernelNetwork:
        """Return the network, which lives on [-1, 1]^3, as the kernels take it."""


class MarchCells(Protocol):
    """Which bricks reach where; see `field.blending.Cells`."""

    tables: list[np.ndarray]
    sizes: list[int]
    starts: np.ndarray
    bricks: np.ndarray


class MarchBlend(Protocol):
    """The weights of bricks; see `field.blending.Blend`."""

    ends: np.ndarray
    slopes: np.ndarray

    @property
    def cells(self) -> MarchCells:
        """Which bricks reach where."""


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
    blend : MarchBlend
        Of these bricks.
    to_world : float64 array [3, 3]
        A gradient by axis coordinates times this is one in the world.
    """

    def __init__(
        self,
        library: KernelLibrary,
        coordinates: Sequence[np.ndarray],
        borders: Sequence[np.ndarray],
        bricks: Sequence[MarchBrick],
        blend: MarchBlend,
        to_world: np.ndarray,
    ) -> None:
        self._library = library
        self._kept: list[object] = []  # what the C structs point to
        cells = blend.cells
        most = int(np.diff(cells.starts).max())
        if most > _MOST_MEMBERS:
            raise ValueError(f"More than {_MOST_MEMBERS} bricks overlap at one point.")
        axes = map(self._axis, coordinates, borders, cells.tables, cells.sizes)
        structs = map(self._brick, bricks, blend.ends, blend.slopes)
        self._volume = Volume(
            axes=(Axis * 3)(*axes),
            bricks=self._keep((Brick * len(bricks))(*structs)),
            brick_count=len(bricks),
            starts=self._address(cells.starts, np.int64),
            members=self._address(cells.bricks, np.int32),
            most_members=most,
            components=len(bricks[0].minimum),
            to_world=(ctypes.c_double * 9)(*np.asarray(to_world, dtype=np.float64).ravel()),
        )

    def march(
        self, appearance: Appearance, view: View, pixels: np.ndarray | None, rgba: np.ndarray
    ) -> int:
        """March through the networks.

        Parameters
        ----------
        appearance : Appearance
        view : View
        pixels : int64 array [N] or None
            None: all of the view's rows.
        rgba : float32 array [N, 4] or [height, width, 4]
            Zeros, where the pixels' colours, multiplied with the opacity, and their opacities go:
            one after the other, or to their places in the picture.

        Returns
        -------
        samples : int
            That were evaluated.
        """
        samples = ctypes.c_int64()
        self._march("amgsrn_march", (appearance, view), pixels, rgba, ctypes.byref(samples))
        return samples.value

    def march_blocks(
        self,
        appearance: Appearance,
        view: View,
        blocks: WorkingSet,
        pixels: np.ndarray | None,
        rgba: np.ndarray,
    ) -> None:
        """March through decoded blocks, and decode what is missing.

        Raises
        ------
        FullError
            The frame needs more blocks than there is room for.
        """
        self._march("amgsrn_march_blocks", (appearance, view, blocks), pixels, rgba)

    def _march(
        self,
        function: str,
        arguments: tuple[Struct, ...],
        pixels: np.ndarray | None,
        rgba: np.ndarray,
        *more: object,
    ) -> None:
        self._library.call(
            function,
            *map(ctypes.byref, (self._volume, *arguments)),
            None if pixels is None else pointer(pixels, "pixels", (len(pixels),), np.int64),
            rgba.size // 4 if pixels is None else len(pixels),
            pointer(rgba, "rgba", rgba.shape, np.float32),
            rgba.ndim == 3,
            *more,
            thread_count(),
        )

    def _keep(self, thing: ctypes.Array) -> ctypes.Array:
        self._kept.append(thing)
        return thing

    def _address(self, array: np.ndarray, kind: type[np.generic]) -> int:
        kept = np.ascontiguousarray(array, dtype=kind)
        self._kept.append(kept)
        return int(kept.ctypes.data)

    def _axis(
        self, coordinates: np.ndarray, borders: np.ndarray, blocks: np.ndarray, block_count: int
    ) -> Axis:
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
            blocks=self._address(blocks, np.int32),
            cells=self._address(half_voxel_table(borders, size), np.int32),
            borders=self._address(places, np.float64),
            block_count=block_count,
            cell_count=len(borders) - 1,
        )

    def _brick(self, brick: MarchBrick, ends: np.ndarray, slopes: np.ndarray) -> Brick:
        network = brick.kernel_network(self._library)
        decoder = self._library.packed_decoder(network.argument)
        size = (brick.last - brick.first).astype(int) + 1
        if brick.valid is not None and brick.valid.shape != tuple(size[::-1]):
            raise ValueError(
                f"valid must have the shape {size[::-1].tolist()}, not {list(brick.valid.shape)}."
            )
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
            ends=tuple(ends.ravel()),
            slopes=tuple(slopes.ravel()),
        )


def half_voxel_table(cuts: np.ndarray, size: int) -> np.ndarray:
    """Return in which interval between cuts each half voxel [2 * size - 1] begins."""
    places = np.searchsorted(cuts, np.arange(2 * size - 1) / 2, side="right") - 1
    return np.clip(places, 0, len(cuts) - 2)
