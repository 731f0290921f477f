"""The bricks of a volume as one function of index coordinates: routed, evaluated and blended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Union

import numpy as np
import torch
from torch import Tensor

from amgsrn_core.field.blending import Blend
from amgsrn_core.field.brick_cache import BrickCache, CachePart
from amgsrn_core.field.device_field import FACE_TOLERANCE, DeviceField
from amgsrn_core.field.loaded_brick import LoadedBrick, Property
from amgsrn_core.field.point_batches import ROUTED_POINTS, PointBatches, network_points
from amgsrn_core.kernels import KernelLibrary
from amgsrn_core.kernels.inference import evaluate_many
from amgsrn_core.model import BrickRecord, ModelIndex
from amgsrn_core.networks import SceneNetwork

# Kinds of devices on which points are routed and blended, too. Others take only the networks'.
DEVICES = ("cuda",)

# Bricks with fewer points than this on average are evaluated several at a time.
_FEW_POINTS, _GROUP_BRICKS = 1 << 12, 64


class RescaledBricks:
    """The bricks of a model in the ranges that another index gives them."""

    def __init__(self, bricks: Bricks, index: ModelIndex) -> None:
        self._bricks, self._index = bricks, index

    def __len__(self) -> int:
        return len(self._bricks)

    def __getitem__(self, number: int) -> LoadedBrick:
        low, high = self._index.value_range(self._index.bricks[number])
        return self._bricks[number].rescaled(np.array(low), np.array(high))


Bricks = Union[BrickCache[LoadedBrick], CachePart[LoadedBrick], RescaledBricks]


class BlendedField:
    """The field of some bricks of a volume, in its index space.

    Points are float64 [N, 3], columns x, y, z; there is no value, which is NaN, outside the volume,
    where the nearest voxel has none, and where there is no brick.

    Parameters
    ----------
    index : ModelIndex
        Of one time step.
    bricks : BrickCache, CachePart or RescaledBricks
        The bricks that `index` lists.
    device : torch.device
        Where they are.
    kernels : KernelLibrary or None
        The CPU kernels, if they evaluate the bricks.
    numbers : sequence of int, optional
        Which bricks take part; default: all that have values.
    in_double : bool, optional
        Whether the bricks' values are float64; default: what `index` says.

    Attributes
    ----------
    numbers : ndarray of int
    dtype : numpy.dtype
        Of the values: float32 or float64.
    on_device : DeviceField or None
        The same field of tensors on the device, where that has double precision and is not the CPU,
        and where the values are float32.
    """

    def __init__(
        self,
        index: ModelIndex,
        bricks: Bricks,
        device: torch.device,
        kernels: KernelLibrary | None,
        numbers: Sequence[int] | np.ndarray | None = None,
        in_double: bool | None = None,
    ) -> None:
        if in_double is None:
            in_double = index.is_scaled_in_double
        self._in_double = in_double
        self.dtype: np.dtype = np.dtype(np.float64 if in_double else np.float32)
        if numbers is None:
            present = ("network", "constant")
            numbers = [i for i, brick in enumerate(index.bricks) if brick.state in present]
        self._index, self._bricks, self._device, self._kernels = index, bricks, device, kernels
        self.numbers = np.array(numbers, dtype=np.intp)
        self._blend = Blend([index.bricks[i] for i in self.numbers], index.dims)
        boxes = [index.bricks[i].ghosted for i in self.numbers]
        self._firsts = np.array([[s.start for s in reversed(box)] for box in boxes], dtype=float)
        lasts = np.array([[s.stop - 1 for s in reversed(box)] for box in boxes], dtype=float)
        self._scales = 2.0 / (lasts - self._firsts)
        ranges = [index.value_range(index.bricks[i]) for i in self.numbers]
        self._lows = np.array([low for low, _ in ranges], dtype=self.dtype)
        self._spans = np.array([high for _, high in ranges], dtype=self.dtype) - self._lows
        self._network_batch = network_points(index.network, device, by_kernels=kernels is not None)
        self._gradient_batches = PointBatches(self._network_batch, device)
        self.on_device: DeviceField | None = None
        if device.type in DEVICES and not in_double:
            chosen = self.numbers  # without a way back to this object, which would outlive its use
            self.on_device = DeviceField(
                index.dims,
                self._blend,
                self._firsts,
                lasts,
                lambda place: bricks[chosen[place]],
                [index.network],
                device,
            )

    def near(self, low: np.ndarray, high: np.ndarray) -> BlendedField:
        """Return the field of the bricks that reach into a box [3], [3]; itself if all do."""
        begin, end = self._blend.reach[:, 0], self._blend.reach[:, 1]
        reached = (begin <= high + FACE_TOLERANCE) & (end >= low - FACE_TOLERANCE)
        chosen = reached.all(axis=1)
        if chosen.all() or not chosen.any():
            return self
        return BlendedField(
            self._index,
            self._bricks,
            self._device,
            self._kernels,
            self.numbers[chosen],
            self._in_double,
        )

    @property
    def batch(self) -> int:
        """How many points to evaluate together."""
        if self.on_device is not None:
            return ROUTED_POINTS
        return ROUTED_POINTS if len(self._bricks) > 1 else self._network_batch

    def tensor(self, points: Tensor, columns: int, of: Property | None) -> Tensor:
        """Return a property of the networks [N, columns] at points on the device.

        The property None is the value. See `on_device`.
        """
        assert self.on_device is not None
        # In inference mode a brick that is loaded could not be differentiated.
        with torch.no_grad():
            return self.on_device.evaluated(points, of or SceneNetwork.forward, columns)

    def values(self, points: np.ndarray) -> np.ndarray:
        """Return the values [N, C] at one batch of points."""
        return self._blended(points, len(self._index.components), None)

    def density(self, points: np.ndarray) -> np.ndarray:
        """Return the feature density, float32 [N, 1], at one batch of points."""
        return self._blended(points, 1, density)

    def with_gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values [N, C] and gradients [N, C, 3] by index at one batch of points."""
        shape = (len(points), len(self._index.components))
        values = np.full(shape, np.nan, dtype=self.dtype)
        gradients = np.full((*shape, 3), np.nan, dtype=self.dtype)
        chosen, inside = self._inside(points)
        values[chosen], gradients[chosen] = self._differentiated(inside)
        return values, gradients

    def networks(self) -> Iterator[BrickNetwork]:
        """Yield the bricks for renderers; who keeps them keeps them in memory."""
        for place, number in enumerate(self.numbers):
            brick = self._bricks[number]
            yield BrickNetwork(
                self._index.bricks[number],
                brick.network,
                brick.first,
                brick.last,
                brick.valid,
                brick.cells,
                self._blend.ends[place],
                self._blend.halves[place],
            )

    def _blended(self, index: np.ndarray, columns: int, of: Property | None) -> np.ndarray:
        """Return a property of the networks [N, columns], blended, NaN where there is none.

        The property None is the value.
        """
        if self.on_device is not None:
            there = torch.from_numpy(np.ascontiguousarray(index, dtype=np.float64))
            return self.tensor(there.to(self._device), columns, of).cpu().numpy()
        dtype = self.dtype if of is None else np.float32
        values = np.full((len(index), columns), np.nan, dtype=dtype)
        chosen, points = self._inside(index)
        if not len(chosen) or not len(self.numbers):
            return values
        if len(self._bricks) == 1:
            brick = self._bricks[0]
            values[chosen] = brick.where_valid(points, brick.local(points), columns, of)
            return values
        parts = self._blend.parts(points)
        there = points[parts.points]
        bricks, starts = parts.starts()
        repeats = np.diff(starts)
        local = there - np.repeat(self._firsts[bricks], repeats, axis=0)
        local *= np.repeat(self._scales[bricks], repeats, axis=0)
        local -= 1.0
        result = self._of_parts(there, local.astype(np.float32), bricks, starts, columns, of)
        for column in range(columns):
            weighted = parts.weights * result[:, column]
            values[chosen, column] = np.bincount(parts.points, weighted, len(points))
        if len(self.numbers) < len(self._bricks):
            covered = np.bincount(parts.points, minlength=len(points)) > 0
            values[chosen[~covered]] = np.nan
        return values

    def _differentiated(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values [N, C] and gradients [N, C, 3] by index at points inside the volume.

        NaN where there is no value. The gradient of the sum of all w f is that of w grad f + f
        grad w.
        """
        components = len(self._index.components)
        shape = (len(points), components)
        values = np.full(shape, np.nan, dtype=self.dtype)
        gradients = np.full((*shape, 3), np.nan, dtype=self.dtype)
        if not len(points) or not len(self.numbers):
            return values, gradients
        parts = self._blend.parts(points, gradients=True)
        assert parts.gradients is not None
        covered = np.bincount(parts.points, minlength=len(points)) > 0
        values[covered], gradients[covered] = 0.0, 0.0
        bricks, starts = parts.starts()
        for number, first, last in zip(self.numbers[bricks], starts, starts[1:]):
            brick = self._bricks[number]
            at = parts.points[first:last]
            some, slopes = self._of_brick_with_gradient(brick, points[at])
            weights = parts.weights[first:last, None]
            # A point occurs once for each of its bricks.
            values[at] += weights * some
            gradients[at] += weights[..., None] * slopes
            if self._in_double:  # the gradients of all weights together are 0
                some = some - self._lows[0]
            gradients[at] += some[..., None] * parts.gradients[first:last, None, :]
        return values, gradients

    def _of_brick_with_gradient(
        self, brick: LoadedBrick, points: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        results = self._gradient_batches.run(
            len(points), lambda part: brick.with_gradient(points[part])
        )
        values, gradients = (np.concatenate(arrays) for arrays in zip(*results))
        return values, gradients

    def _of_parts(
        self,
        points: np.ndarray,
        local: np.ndarray,
        bricks: np.ndarray,
        starts: np.ndarray,
        columns: int,
        of: Property | None,
    ) -> np.ndarray:
        """Return a property [M, columns] at points that are ordered by brick.

        `bricks` are the positions of those that occur among the present ones, `starts` where the
        points of each begin, and where those of the last end.
        """
        result = np.empty((len(points), columns), dtype=self.dtype if of is None else np.float32)
        most, few = self._network_batch, len(points) < _FEW_POINTS * len(bricks)
        for group in ranges(len(bricks), _GROUP_BRICKS if few else 1):
            rows = slice(starts[group.start], starts[group.stop])
            held = [self._bricks[number] for number in self.numbers[bricks[group]]]
            if few and of is None and self._kernels is not None:
                begin = starts[group.start : group.stop + 1] - rows.start
                result[rows] = self._by_kernels(held, bricks[group], begin, local[rows])
                for brick, first, last in zip(held, begin, begin[1:]):
                    known = brick.is_valid(points[rows][first:last])
                    if known is not None:
                        result[rows][first:last][~known] = np.nan
                continue
            for brick, first, last in zip(held, starts[group], starts[group.start + 1 :]):
                for start in range(first, last, most):
                    part = slice(start, min(start + most, last))
                    result[part] = brick.where_valid(points[part], local[part], columns, of)
        return result

    def _by_kernels(
        self, bricks: list[LoadedBrick], numbers: np.ndarray, starts: np.ndarray, local: np.ndarray
    ) -> np.ndarray:
        """Return values [M, C] of several bricks in one call."""
        assert self._kernels is not None
        values = (
            evaluate_many(
                self._kernels,
                [brick.argument for brick in bricks if brick.argument is not None],
                torch.from_numpy(starts.astype(np.int64)),
                torch.from_numpy(local),
            )
            .numpy()
            .astype(self.dtype, copy=False)
        )
        repeats = np.diff(starts)
        values *= np.repeat(self._spans[numbers], repeats, axis=0)
        values += np.repeat(self._lows[numbers], repeats, axis=0)
        return values

    def _inside(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which points [N, 3] lie inside the volume, and those points."""
        last = np.array(self._index.dims[::-1], dtype=np.float64) - 1
        inside = np.all((index >= -FACE_TOLERANCE) & (index <= last + FACE_TOLERANCE), axis=1)
        chosen = np.flatnonzero(inside)
        points = np.clip(index[chosen], 0, last)
        return chosen, points


def density(network: SceneNetwork, local: Tensor) -> Tensor:
    """Return the feature density [N, 1], a :data:`Property`."""
    return network.density(local)[:, None]


class BrickNetwork(NamedTuple):
    """A brick's network, its place in the volume's index space, and its weight there.

    Attributes
    ----------
    record : BrickRecord
    network : SceneNetwork
        Lives on [-1, 1]^3, which is the box from `first` to `last`.
    first, last : float64 array [3]
        Voxels of the brick with its ghost cells, x, y, z.
    valid : bool array [z, y, x] or None
        Which voxels from `first` to `last` have a value; None when all have.
    cells : uint8 array [2, C, z, y, x] or None
        Codes of the macro-cells, where the file has them; see :mod:`amgsrn_core.model.cell_codes`.
    ends, halves : float64 array [2, 3]
        Along x, y, z the brick fades in and out, by a smoothstep that is at one half at `ends`
        (low, then high; infinite at the volume's faces) and that is twice `halves` long. Where it
        is 0 long the brick just begins at the low end, and ends before the high one.
    """

    record: BrickRecord
    network: SceneNetwork
    first: np.ndarray
    last: np.ndarray
    valid: np.ndarray | None
    cells: np.ndarray | None
    ends: np.ndarray
    halves: np.ndarray


def ranges(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` that together are the first `count`."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
