"""The bricks of a volume as one function of index coordinates: routed, evaluated and blended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Union

import numpy as np

from amgsrn_core.field.blending import Blend
from amgsrn_core.field.brick import FieldBrick
from amgsrn_core.field.brick_cache import BrickCache, CachePart
from amgsrn_core.field.point_batches import ROUTED_POINTS, PointBatches, network_points
from amgsrn_core.kernels import KernelLibrary
from amgsrn_core.kernels.inference import evaluate_many
from amgsrn_core.model import ModelIndex
from amgsrn_core.model.box import FACE_TOLERANCE, Box
from amgsrn_core.model.records import VALUED_STATES
from amgsrn_core.system.devices import Device

if TYPE_CHECKING:
    from torch import Tensor

    from amgsrn_core.field.device_field import DeviceField
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

    def __getitem__(self, number: int) -> FieldBrick:
        low, high = self._index.value_range(self._index.bricks[number])
        return self._bricks[number].rescaled(np.array(low), np.array(high))


Bricks = Union[BrickCache[FieldBrick], CachePart[FieldBrick], RescaledBricks]


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
    device : Device
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
    blend : Blend
        The weights of these bricks.
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
        device: Device,
        kernels: KernelLibrary | None,
        numbers: Sequence[int] | np.ndarray | None = None,
        in_double: bool | None = None,
    ) -> None:
        if in_double is None:
            in_double = index.is_scaled_in_double
        self._in_double = in_double
        self.dtype: np.dtype = np.dtype(np.float64 if in_double else np.float32)
        if numbers is None:
            numbers = [i for i, brick in enumerate(index.bricks) if brick.state in VALUED_STATES]
        self._index, self._bricks, self._device, self._kernels = index, bricks, device, kernels
        self.numbers = np.array(numbers, dtype=np.intp)
        self.blend = Blend.of_bricks([index.bricks[i] for i in self.numbers], index.dims)
        self._boxes = Box.of_extents(index.bricks[i].ghosted for i in self.numbers)
        self._scales = self._boxes.scale
        ranges = [index.value_range(index.bricks[i]) for i in self.numbers]
        self._lows = np.array([low for low, _ in ranges], dtype=self.dtype)
        self._spans = np.array([high for _, high in ranges], dtype=self.dtype) - self._lows
        self._network_batch = network_points(index.network, device, by_kernels=kernels is not None)
        self._gradient_batches = PointBatches(self._network_batch, device)
        self.on_device: DeviceField | None = None
        # Corrections are added on the host.
        if device.type in DEVICES and not in_double and not index.storage.is_bounded:
            from amgsrn_core.field.device_field import DeviceField

            chosen = self.numbers  # without a way back to this object, which would outlive its use
            self.on_device = DeviceField(
                dims=index.dims,
                blend=self.blend,
                boxes=self._boxes,
                brick=lambda place: bricks[chosen[place]],
                sizes=[index.network],
                device=device,
            )

    def near(self, low: np.ndarray, high: np.ndarray) -> BlendedField:
        """Return the field of the bricks that reach into a box [3], [3]; itself if all do."""
        begin, end = self.blend.reach[:, 0], self.blend.reach[:, 1]
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

    def tensor(self, points: Tensor, columns: int, *, density: bool = False) -> Tensor:
        """Return values, or the density, [N, columns] at points on the device; see `on_device`."""
        import torch

        from amgsrn_core.networks import SceneNetwork

        assert self.on_device is not None
        # In inference mode a brick that is loaded could not be differentiated.
        with torch.no_grad():
            evaluate = _density if density else SceneNetwork.forward
            return self.on_device.evaluated(points, evaluate, columns)

    def values(self, points: np.ndarray, *, corrected: bool = True) -> np.ndarray:
        """Return the values [N, C] at one batch of points, with what corrects them."""
        return self._blended(points, len(self._index.components), corrected=corrected)

    def errors(self, points: np.ndarray, *, rms: bool = False) -> np.ndarray:
        """Return the errors float64 [N, C] of the cells that the points' nearest voxels are in."""
        errors = np.full((len(points), len(self._index.components)), np.nan)
        chosen, inside = self._inside(points)
        if not len(chosen) or not len(self.numbers):
            return errors
        voxels = np.floor(inside + 0.5)
        parts = self.blend.parts(voxels)
        # A voxel is in the brick that weighs most.
        order = np.lexsort((parts.weights, parts.points))
        last = order[np.flatnonzero(np.diff(parts.points[order], append=-1))]
        for number in np.unique(parts.bricks[last]):
            at = parts.points[last[parts.bricks[last] == number]]
            errors[chosen[at]] = self._bricks[self.numbers[number]].errors_at(voxels[at], rms)
        return errors

    def density(self, points: np.ndarray) -> np.ndarray:
        """Return the feature density, float32 [N, 1], at one batch of points."""
        return self._blended(points, 1, density=True)

    def with_gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values [N, C] and gradients [N, C, 3] by index at one batch of points."""
        shape = (len(points), len(self._index.components))
        values = np.full(shape, np.nan, dtype=self.dtype)
        gradients = np.full((*shape, 3), np.nan, dtype=self.dtype)
        chosen, inside = self._inside(points)
        values[chosen], gradients[chosen] = self._differentiated(inside)
        return values, gradients

    def bricks(self) -> Iterator[FieldBrick]:
        """Yield the bricks in the order of `blend`; one stays in memory while it is referred to.

        A renderer, which needs all of them, holds the whole model.
        """
        for number in self.numbers:
            yield self._bricks[number]

    def _blended(
        self, index: np.ndarray, columns: int, *, density: bool = False, corrected: bool = False
    ) -> np.ndarray:
        """Return values, or the density, [N, columns], blended, NaN where there is none."""
        if self.on_device is not None:
            return self._blended_on_device(index, columns, density)
        dtype = np.float32 if density else self.dtype
        values = np.full((len(index), columns), np.nan, dtype=dtype)
        chosen, points = self._inside(index)
        if not len(chosen) or not len(self.numbers):
            return values
        if len(self._bricks) == 1:
            brick = self._bricks[0]
            evaluate = brick.density if density else brick.values
            found = evaluate(points, brick.box.local(points))
            if corrected:
                brick.correct(found, points)
            values[chosen] = found
            return values
        parts = self.blend.parts(points)
        repeated = points[parts.points]  # once for each of its bricks
        bricks, starts = parts.starts()
        repeats = np.diff(starts)
        local = repeated - np.repeat(self._boxes.first[bricks], repeats, axis=0)
        local *= np.repeat(self._scales[bricks], repeats, axis=0)
        local -= 1.0
        result = np.empty((len(repeated), columns), dtype=dtype)
        self._fill(result, repeated, local.astype(np.float32), (bricks, starts), density=density)
        if corrected and self._index.storage.is_bounded:
            for number, first, last in zip(self.numbers[bricks], starts, starts[1:]):
                self._bricks[number].correct(result[first:last], repeated[first:last])
        for column in range(columns):
            weighted = parts.weights * result[:, column]
            values[chosen, column] = np.bincount(parts.points, weighted, len(points))
        if len(self.numbers) < len(self._bricks):
            covered = np.bincount(parts.points, minlength=len(points)) > 0
            values[chosen[~covered]] = np.nan
        return values

    def _blended_on_device(self, index: np.ndarray, columns: int, density: bool) -> np.ndarray:
        import torch

        points = torch.from_numpy(np.ascontiguousarray(index, dtype=np.float64))
        result = self.tensor(points.to(self._device), columns, density=density)
        return np.asarray(result.cpu().numpy())

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
        if len(self._bricks) == 1:
            brick = self._bricks[0]
            values, gradients = self._of_brick_with_gradient(brick, points)
            brick.correct(values, points)
            return values, gradients
        parts = self.blend.parts(points, gradients=True)
        assert parts.gradients is not None
        covered = np.bincount(parts.points, minlength=len(points)) > 0
        values[covered], gradients[covered] = 0.0, 0.0
        bricks, starts = parts.starts()
        for number, first, last in zip(self.numbers[bricks], starts, starts[1:]):
            brick = self._bricks[number]
            at = parts.points[first:last]
            some, slopes = self._of_brick_with_gradient(brick, points[at])
            weights = parts.weights[first:last, None]
            brick.correct(some, points[at])
            # A point occurs once for each of its bricks.
            values[at] += weights * some
            gradients[at] += weights[..., None] * slopes
            if self._in_double:  # the gradients of all weights together are 0
                some = some - self._lows[0]
            gradients[at] += some[..., None] * parts.gradients[first:last, None, :]
        return values, gradients

    def _of_brick_with_gradient(
        self, brick: FieldBrick, points: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        results = self._gradient_batches.run(
            len(points), lambda part: brick.with_gradient(points[part])
        )
        values, gradients = (np.concatenate(arrays) for arrays in zip(*results))
        return values, gradients

    def _fill(
        self,
        result: np.ndarray,
        points: np.ndarray,
        local: np.ndarray,
        order: tuple[np.ndarray, np.ndarray],
        *,
        density: bool,
    ) -> None:
        """Write values, or the density, [M, columns] at points that are ordered by brick.

        `order` has the positions of those bricks that occur among the present ones, and where the
        points of each begin, and where those of the last end.
        """
        bricks, starts = order
        most, few = self._network_batch, len(points) < _FEW_POINTS * len(bricks)
        for group in ranges(len(bricks), _GROUP_BRICKS if few else 1):
            rows = slice(starts[group.start], starts[group.stop])
            held = [self._bricks[number] for number in self.numbers[bricks[group]]]
            if few and not density and self._kernels is not None:
                begin = starts[group.start : group.stop + 1] - rows.start
                result[rows] = self._by_kernels(held, bricks[group], begin, local[rows])
                for brick, first, last in zip(held, begin, begin[1:]):
                    known = brick.is_valid(points[rows][first:last])
                    if known is not None:
                        result[rows][first:last][~known] = np.nan
                continue
            for brick, first, last in zip(held, starts[group], starts[group.start + 1 :]):
                evaluate = brick.density if density else brick.values
                for start in range(first, last, most):
                    part = slice(start, min(start + most, last))
                    result[part] = evaluate(points[part], local[part])

    def _by_kernels(
        self, bricks: list[FieldBrick], numbers: np.ndarray, starts: np.ndarray, local: np.ndarray
    ) -> np.ndarray:
        """Return values [M, C] of several bricks in one call."""
        assert self._kernels is not None
        values = evaluate_many(
            self._kernels,
            [brick.kernel_network(self._kernels).argument for brick in bricks],
            starts.astype(np.int64),
            local,
        ).astype(self.dtype, copy=False)
        repeats = np.diff(starts)
        values *= np.repeat(self._spans[numbers], repeats, axis=0)
        values += np.repeat(self._lows[numbers], repeats, axis=0)
        return values

    def _inside(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which points [N, 3] lie inside the volume, and those points."""
        last = np.array(self._index.dims[::-1], dtype=np.float64) - 1
        inside = np.ones(len(index), dtype=bool)
        for column, end in zip(index.T, last):  # faster than a reduction over three columns
            inside &= (column >= -FACE_TOLERANCE) & (column <= end + FACE_TOLERANCE)
        chosen = np.flatnonzero(inside)
        kept = index if len(chosen) == len(index) else index[chosen]
        return chosen, np.clip(kept, 0, last)


def _density(network: SceneNetwork, local: Tensor) -> Tensor:
    return network.density(local)[:, None]


def ranges(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` that together are the first `count`."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
