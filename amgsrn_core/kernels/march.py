"""March rays through a volume with the kernels: one call composites many rays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from amgsrn_core.kernels.arguments import network_argument
from amgsrn_core.kernels.inference import Evaluator
from amgsrn_core.kernels.loader import Axis, Brick, KernelLibrary, Look, Rays, Volume
from amgsrn_core.networks import SceneNetwork

BLENDS = {"composite": 0, "maximum": 1, "isosurface": 2}

# An axis that deviates from even spacing by less than this part of a cell is even: rounding.
_EVEN = 1e-9


@dataclass(frozen=True, eq=False)
class MarchAxis:
    """One axis of a volume.

    Parameters
    ----------
    coordinates : float64 array [n]
        Of the samples, n >= 2, ascending.
    cuts : int array [blocks + 1]
        Where rows of bricks begin, as sample numbers from 0, and n.
    borders : float64 array [cells + 1]
        Where macro-cells begin, as sample numbers in steps of a half from 0, and n - 1.
    """

    coordinates: np.ndarray
    cuts: np.ndarray
    borders: np.ndarray


@dataclass(frozen=True, eq=False)
class MarchBrick:
    """A network on the box from `first` to `last` (x, y, z) of the volume's index space.

    `valid`, bool [z, y, x], tells which samples in the box have a value; None when all have.
    """

    network: SceneNetwork
    first: np.ndarray
    last: np.ndarray
    valid: np.ndarray | None


class VolumeKernel:
    """A volume as the kernels march through it, prepared once.

    Parameters
    ----------
    library : KernelLibrary
    axes : three MarchAxis
        Along x, y, z.
    bricks : sequence of MarchBrick
    owners : int array [z, y, x]
        The brick that answers in each block between the cuts; -1: none.
    minimum, maximum : float32 array [C]
        What outputs 0 and 1 stand for.
    turn : float64 array [3, 3]
        A gradient by axis coordinates times this is one in the world.
    """

    def __init__(
        self,
        library: KernelLibrary,
        axes: Sequence[MarchAxis],
        bricks: Sequence[MarchBrick],
        owners: np.ndarray,
        minimum: np.ndarray,
        maximum: np.ndarray,
        turn: np.ndarray,
    ) -> None:
        self._library = library
        self._kept: list[object] = []  # what the C structs point to
        self.cells = tuple(len(axis.borders) - 1 for axis in reversed(axes))
        _check_owners(axes, bricks, owners)
        self._volume = Volume(
            (Axis * 3)(*map(self._axis, axes)),
            self._keep((Brick * len(bricks))(*map(self._brick, bricks))),
            len(bricks),
            self._address(owners, np.int32),
            len(minimum),
            self._address(minimum, np.float32),
            self._address(maximum - minimum, np.float32),
            (ctypes.c_double * 9)(*np.asarray(turn, dtype=np.float64).ravel()),
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
            torch.get_num_threads(),
        )
        return image

    def _keep(self, thing: ctypes.Array) -> ctypes.Array:
        self._kept.append(thing)
        return thing

    def _address(self, array: np.ndarray, kind: type[np.generic]) -> int:
        kept = np.ascontiguousarray(array, dtype=kind)
        self._kept.append(kept)
        return int(kept.ctypes.data)

    def _axis(self, axis: MarchAxis) -> Axis:
        coordinates = np.asarray(axis.coordinates, dtype=np.float64)
        size = len(coordinates)
        spacing = (coordinates[-1] - coordinates[0]) / (size - 1)
        even = np.abs(coordinates - coordinates[0] - spacing * np.arange(size)).max()
        halves = (np.arange(2 * size) - 1) / 2
        blocks = np.searchsorted(axis.cuts, np.arange(size), side="right") - 1
        cells = np.searchsorted(axis.borders, halves, side="right") - 1
        cells = np.clip(cells, 0, len(axis.borders) - 2)
        borders = np.interp(axis.borders, np.arange(size), coordinates)
        return Axis(
            size,
            coordinates[0],
            1.0 / spacing,
            None if even < _EVEN * spacing else self._address(coordinates, np.float64),
            self._address(blocks, np.int32),
            self._address(cells, np.int32),
            self._address(borders, np.float64),
            len(axis.cuts) - 1,
            len(axis.borders) - 1,
        )

    def _brick(self, brick: MarchBrick) -> Brick:
        network = brick.network
        nodes = (network.evaluator or Evaluator(self._library)).nodes(network.feature_grids)
        argument = network_argument(
            nodes, network.feature_grids.shape, network.transforms, network.weights
        )
        decoder = self._library.packed_decoder(argument)
        size = (brick.last - brick.first).astype(int) + 1
        if brick.valid is not None and brick.valid.shape != tuple(size[::-1]):
            raise ValueError(
                f"valid must have the shape {size[::-1].tolist()}, not {list(brick.valid.shape)}."
            )
        self._kept += [nodes, network.transforms, network.weights, argument, decoder]
        return Brick(
            ctypes.pointer(argument),
            decoder.ctypes.data,
            tuple(brick.first),
            tuple(2.0 / (brick.last - brick.first)),
            None if brick.valid is None else self._address(brick.valid, np.bool_),
            tuple(size.tolist()),
        )


def _check_owners(
    axes: Sequence[MarchAxis], bricks: Sequence[MarchBrick], owners: np.ndarray
) -> None:
    """Refuse bricks that answer for samples that they do not have."""
    blocks = tuple(len(axis.cuts) - 1 for axis in reversed(axes))
    if owners.shape != blocks or owners.max() >= len(bricks):
        raise ValueError(
            f"owners must name {len(bricks)} bricks in the shape {list(blocks)}, "
            f"not {list(owners.shape)}."
        )
    z, y, x = np.nonzero(owners >= 0)
    numbers = owners[z, y, x]
    for column, (axis, block) in enumerate(zip(axes, (x, y, z))):
        first = np.array([brick.first[column] for brick in bricks])[numbers]
        last = np.array([brick.last[column] for brick in bricks])[numbers]
        cuts = np.asarray(axis.cuts)
        if (cuts[block] < first).any() or (cuts[block + 1] - 1 > last).any():
            raise ValueError("A brick cannot answer for samples that are not its own.")
