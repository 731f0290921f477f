"""NeuralVolume: a trained model as one continuous field in world coordinates."""

from __future__ import annotations

import copy
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from amgsrn_core.archive import Archive, BrickRecord, ModelIndex
from amgsrn_core.backends import backend_name, native_library
from amgsrn_core.blending import Blend
from amgsrn_core.brick_cache import BrickCache, CachePart
from amgsrn_core.devices import select_device
from amgsrn_core.errors import VolumeError
from amgsrn_core.feature_grids import box_corners
from amgsrn_core.kernels.inference import evaluate_many
from amgsrn_core.kernels.loader import Network
from amgsrn_core.networks import SceneNetwork, constant_network, network_from_state
from amgsrn_core.volume import Block, Extent, GridGeometry
from amgsrn_core.volume.preview import preview_geometry

# Points of one evaluation. On a CPU larger batches fall out of the cache and are slower; a GPU
# needs many to be busy. Both shrink for wide networks, to about 256 MiB (CPU) of temporaries.
# The CPU kernels need no temporaries, and order scattered points the better the more there are.
CPU_POINTS, KERNEL_POINTS, _GPU_POINTS = 1 << 14, 1 << 17, 1 << 18
_BATCH_BYTES = 256 << 20

# A point this fraction of a cell outside the volume still counts as on its face: world coordinates
# arrive rounded.
_FACE_TOLERANCE = 1e-3

_SLAB_BYTES = 64 << 20

# Points whose bricks are looked up together: many, so that each of many bricks gets some.
_ROUTED_POINTS = 1 << 20
# Bricks with fewer points than this on average are evaluated several at a time.
_FEW_POINTS, _GROUP_BRICKS = 1 << 12, 64

MEMORY_LIMIT = 2 << 30
"""Bytes that the bricks of one open model take at most, unless said otherwise."""


_Property = Callable[[SceneNetwork, torch.Tensor], torch.Tensor]
# From a network and brick-local points [N, 3] to [N, columns].


class NeuralVolume:
    """One continuous field over all bricks of a model.

    Use :meth:`open`. Everything public takes and returns world coordinates unless its name says
    otherwise; a value is NaN, or invalid, outside the volume, where its nearest voxel was missing
    in the data, and in bricks that were not trained (`index.holes`). Where bricks overlap they are
    blended, unless they are the original's, see :mod:`amgsrn_core.blending`. Several threads may
    use one object.

    Attributes
    ----------
    path : str
        The file that the model was read from; it is not needed any more.
    index : ModelIndex
        Everything that the file says about the model; of a series, about this time step.
    series : ModelIndex
        The same of all time steps; see :meth:`at`.
    step : int
        Which of the series' steps this field is, from 0.
    checksum : str
        Identity of the model's content (SHA-256, hexadecimal).
    device : torch.device
        Where the networks are evaluated.
    backend : str
        What evaluates them: "torch", or "native" for the CPU kernels.

    Examples
    --------
    >>> model = NeuralVolume.open("model.amgsrn")  # doctest: +SKIP
    >>> model.sample(np.array([[0.5, 12.0, -300.0]]))  # doctest: +SKIP
    array([[17.25]], dtype=float32)
    """

    def __init__(
        self,
        index: ModelIndex,
        bricks: Sequence[dict[str, np.ndarray]] | Callable[[int], dict[str, np.ndarray]],
        *,
        path: str = "memory",
        checksum: str = "",
        device: str | torch.device = "cpu",
        backend: str = "auto",
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        self.series = index
        self.path = path
        self.checksum = checksum
        self.device = select_device(device)
        self.backend = backend_name(self.device, backend, index.network.encoder)
        states = bricks if callable(bricks) else bricks.__getitem__

        of_step = functools.lru_cache(maxsize=2)(index.at)
        each = len(index.bricks) // index.steps

        def load(number: int) -> _Brick:
            step, record = of_step(number // each), index.bricks[number]
            return _Brick.of_state(step, record, states(number), self.device, self.backend)

        self._all = BrickCache(len(index.bricks), load, _Brick.size, memory_limit)
        self._go_to(0)
        self._kernels = native_library(backend, self.device, index.network.encoder)
        if len(index.bricks) == 1 and len(self._present):
            self._bricks[0]  # a damaged model is found out now

    def _go_to(self, step: int) -> None:
        """Make the field of a time step."""
        self.step = step
        self.index = self.series.at(step)
        self._bricks: BrickCache[_Brick] | CachePart[_Brick] = self._all
        if self.series.steps > 1:
            self._bricks = self._all.part(self.series.bricks_of(step))
        # Bricks without any value take no part; their numbers stay.
        present = ("network", "constant")
        self._use([i for i, brick in enumerate(self.index.bricks) if brick.state in present])

    def at(self, step: int) -> NeuralVolume:
        """Return the field of another time step of a series.

        Both share the bricks in memory. Which time a step has stands in `series.times`, and
        `series.step_near` finds the step of a time.

        Parameters
        ----------
        step : int
            0 to `series.steps` - 1.

        Raises
        ------
        ConfigurationError
            There is no such step.
        """
        other = copy.copy(self)
        other._go_to(step)
        return other

    def _use(self, numbers: Sequence[int]) -> None:
        """Make the field of these bricks."""
        index = self.index
        self._present = np.array(numbers, dtype=np.intp)
        self._blend = Blend([index.bricks[i] for i in self._present], index.dims)
        boxes = [index.bricks[i].ghosted for i in self._present]
        self._firsts = np.array([[s.start for s in reversed(box)] for box in boxes], dtype=float)
        lasts = np.array([[s.stop - 1 for s in reversed(box)] for box in boxes], dtype=float)
        self._scales = 2.0 / (lasts - self._firsts)
        ranges = [index.value_range(index.bricks[i]) for i in self._present]
        self._lows = np.array([low for low, _ in ranges], dtype=np.float32)
        self._spans = np.array([high for _, high in ranges], dtype=np.float32) - self._lows

    def near(self, bounds: Sequence[float]) -> NeuralVolume:
        """Return the field of the bricks that reach into a box, for who looks at no more.

        Inside the box it is the same field. Both share the bricks in memory.

        Parameters
        ----------
        bounds : six numbers
            World box x0, x1, y0, y1, z0, z1.
        """
        corners = np.array(list(itertools.product(*np.reshape(bounds, (3, 2)))))
        index = self.geometry.world_to_index(corners)
        low, high = index.min(axis=0) - _FACE_TOLERANCE, index.max(axis=0) + _FACE_TOLERANCE
        begin, end = self._blend.reach[:, 0], self._blend.reach[:, 1]
        reached = ((begin <= high) & (end >= low)).all(axis=1)
        if reached.all() or not reached.any():
            return self
        part = copy.copy(self)
        part._use(self._present[reached])
        return part

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        device: str | torch.device = "auto",
        *,
        backend: str = "auto",
        verify: bool = False,
        memory_limit: int = MEMORY_LIMIT,
    ) -> NeuralVolume:
        """Open a model file; bricks are read when they are needed.

        The file is held open, so it may be moved or removed meanwhile.

        Parameters
        ----------
        path : path
            A model file, `NAME.amgsrn`.
        device : str, default: "auto"
            "cpu", "cuda", "cuda:N", "mps", or "auto" for the first of cuda, mps, cpu that works.
        backend : {"auto", "torch", "native"}, default: "auto"
            The CPU kernels (native), PyTorch (torch), or the fastest that works on the device.
        verify : bool, default: False
            Compare every tensor with its checksum, now.
        memory_limit : int, default: 2 GiB
            Bytes that the bricks in memory take together; the least recently used are let go of.

        Raises
        ------
        ArchiveNotFoundError
            When there is no such file (also a FileNotFoundError).
        ArchiveError
            When the file is damaged, foreign, or of a newer major version.
        ConfigurationError
            When there is no such device here, or the backend does not work on it.
        """
        archive = Archive(path)
        try:
            for number in range(len(archive.index.bricks)) if verify else ():
                archive.load_brick(number, verify=True)
            model = cls(
                archive.index,
                archive.load_brick,
                path=archive.path,
                checksum=archive.checksum,
                device=device,
                backend=backend,
                memory_limit=memory_limit,
            )
        except BaseException:
            archive.close()
            raise
        if len(archive.index.bricks) == 1:
            archive.close()
        return model

    @property
    def name(self) -> str:
        """Name of the array."""
        return self.index.name

    @property
    def components(self) -> tuple[str, ...]:
        """Name of each component."""
        return self.index.components

    @property
    def units(self) -> tuple[str, ...]:
        """Unit of each component."""
        return self.index.units

    @property
    def geometry(self) -> GridGeometry:
        """The grid of the data that the model replaces."""
        return self.index.geometry

    @property
    def n_parameters(self) -> int:
        """Trained numbers in all bricks."""
        return self.index.n_parameters

    def sample(self, points: np.ndarray) -> np.ndarray:
        """Evaluate the field at world points.

        Parameters
        ----------
        points : array [N, 3]
            Columns x, y, z.

        Returns
        -------
        float32 array [N, C]
            NaN where the point is outside the volume or its nearest voxel is missing.
        """
        points = _checked_points(points)
        values = np.empty((len(points), len(self.components)), dtype=np.float32)
        for part in _ranges(len(points), self._batch):
            index = self.geometry.world_to_index(points[part])
            values[part] = self._evaluate(index)
        return values

    def sample_index(self, points: np.ndarray) -> np.ndarray:
        """Evaluate the field at points in index space; otherwise like :meth:`sample`.

        Parameters
        ----------
        points : array [N, 3]
            Columns x, y, z; 0 is the first sample of an axis, n - 1 the last.
        """
        points = _checked_points(points)
        values = np.empty((len(points), len(self.components)), dtype=np.float32)
        for part in _ranges(len(points), self._batch):
            values[part] = self._evaluate(points[part])
        return values

    def sample_with_gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate the field and its analytic gradient at world points.

        Parameters
        ----------
        points : array [N, 3]
            Columns x, y, z.

        Returns
        -------
        values : float32 array [N, C]
            As :meth:`sample` returns them.
        gradients : float32 array [N, C, 3]
            Change of each component per world unit along x, y, z; NaN where the value is.
        """
        points = _checked_points(points)
        count, components = len(points), len(self.components)
        values = np.full((count, components), np.nan, dtype=np.float32)
        gradients = np.full((count, components, 3), np.nan, dtype=np.float32)
        for part in _ranges(count, self._batch):
            index = self.geometry.world_to_index(points[part])
            chosen, inside = self._inside(index)
            some, slopes = self._with_gradient(inside)
            values[part][chosen] = some
            gradients[part][chosen] = self.geometry.index_gradient_to_world(inside, slopes)
        return values, gradients

    def reconstruct(
        self, geometry: GridGeometry | None = None, max_bytes: int = _SLAB_BYTES
    ) -> Iterator[tuple[Extent, Block]]:
        """Yield the field on a grid slab by slab (ranges of z, full y and x).

        Parameters
        ----------
        geometry : GridGeometry, optional
            Any grid in the world; default: the grid of the data.
        max_bytes : int
            Upper bound of a slab's values, unless one layer is larger.

        Yields
        ------
        extent : tuple of slices (z, y, x)
        block : Block
            Values float32 [C, z, y, x], 0 where invalid, and which are valid.
        """
        geometry = geometry or self.geometry
        nz, ny, nx = geometry.dims
        layers = max(1, max_bytes // (4 * len(self.components) * ny * nx))
        for start in range(0, nz, layers):
            extent = (slice(start, min(start + layers, nz)), slice(0, ny), slice(0, nx))
            yield extent, self.reconstruct_block(geometry, extent)

    def reconstruct_block(
        self, geometry: GridGeometry | None = None, extent: Extent | None = None
    ) -> Block:
        """Return the field on a part of a grid; see :meth:`reconstruct`."""
        return self._on_grid(geometry or self.geometry, extent, self._evaluate)

    def density_block(
        self, geometry: GridGeometry | None = None, extent: Extent | None = None
    ) -> Block:
        """Return the feature density, values [1, z, y, x], on a part of a grid.

        It tells how much grid resolution the network has placed there, and is known inside the
        whole volume.
        """
        return self._on_grid(geometry or self.geometry, extent, self._density)

    def feature_corners(self) -> np.ndarray:
        """Return the corners of all feature grids in the world, float64 [bricks, G, 8, 3].

        See :func:`amgsrn_core.feature_grids.box_corners`; a grid may reach beyond the volume. A
        brick without a network has none: its corners are NaN.
        """
        corners = np.full((len(self._bricks), self.index.network.grids, 8, 3), np.nan)
        for number, record in enumerate(self.index.bricks):
            if record.state == "network":
                points = self._bricks[number].feature_corners()
                world = self.geometry.index_to_world(points.reshape(-1, 3))
                corners[number] = world.reshape(-1, 8, 3)
        return corners

    def decoded_preview(self, max_points: int = 64**3) -> tuple[GridGeometry, Block]:
        """Return the field on a coarse grid that is even in the world.

        Parameters
        ----------
        max_points : int
            Upper bound of the grid's points; no axis gets more points than the data has.

        Returns
        -------
        geometry : GridGeometry
            Spans the volume; evenly spaced also where the volume's axes are not.
        block : Block
            The values on it.
        """
        geometry = preview_geometry(self.geometry, max_points)
        return geometry, self.reconstruct_block(geometry)

    def bricks(self) -> Iterator[BrickNetwork]:
        """Yield the bricks that have values, for renderers; who keeps them keeps them in memory."""
        for place, number in enumerate(self._present):
            brick = self._bricks[number]
            yield BrickNetwork(
                self.index.bricks[number],
                brick.network,
                brick.first,
                brick.last,
                brick.valid,
                brick.cells,
                self._blend.ends[place],
                self._blend.halves[place],
            )

    @property
    def _batch(self) -> int:
        if len(self._bricks) > 1:
            return _ROUTED_POINTS
        return self._network_batch

    @property
    def _network_batch(self) -> int:
        network = self.index.network
        per_point = 4 * (network.grids * (3 + 2 * network.features) + 3 * network.width)
        most = CPU_POINTS if self.device.type == "cpu" else _GPU_POINTS
        if self._kernels is not None:
            most = KERNEL_POINTS
        return max(256, min(most, _BATCH_BYTES // per_point))

    def _on_grid(
        self,
        geometry: GridGeometry,
        extent: Extent | None,
        evaluate: Callable[[np.ndarray], np.ndarray],
    ) -> Block:
        grid = _GridPoints(self.geometry, geometry, geometry.resolve(extent))
        values: np.ndarray | None = None
        for part in _ranges(grid.count, self._batch):
            batch = evaluate(grid.index(part))
            if values is None:
                values = np.empty((batch.shape[1], grid.count), dtype=np.float32)
            values[:, part] = batch.T
        assert values is not None  # an extent is never empty
        values = values.reshape(-1, *grid.shape)
        missing = np.isnan(values[0])
        if not missing.any():
            return Block(values, None)
        values[:, missing] = 0
        return Block(values, ~missing)

    def _evaluate(self, index: np.ndarray) -> np.ndarray:
        """Return values [N, C] at one batch of points [N, 3] in index space."""
        return self._blended(index, len(self.components), None)

    def _density(self, index: np.ndarray) -> np.ndarray:
        """Return the feature density [N, 1] at one batch of points in index space."""
        return self._blended(index, 1, lambda network, local: network.density(local)[:, None])

    def _blended(self, index: np.ndarray, columns: int, of: _Property | None) -> np.ndarray:
        """Return a property of the networks [N, columns], blended, NaN where there is none.

        The property None is the value.
        """
        values = np.full((len(index), columns), np.nan, dtype=np.float32)
        chosen, points = self._inside(index)
        if not len(chosen) or not len(self._present):
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
        if len(self._present) < len(self._bricks):
            covered = np.bincount(parts.points, minlength=len(points)) > 0
            values[chosen[~covered]] = np.nan
        return values

    def _with_gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values [N, C] and gradients [N, C, 3] by index at points inside the volume.

        NaN where there is no value. The gradient of the sum of all w f is that of w grad f + f
        grad w.
        """
        components = len(self.components)
        shape = (len(points), components)
        values = np.full(shape, np.nan, dtype=np.float32)
        gradients = np.full((*shape, 3), np.nan, dtype=np.float32)
        if not len(points) or not len(self._present):
            return values, gradients
        parts = self._blend.parts(points, gradients=True)
        assert parts.gradients is not None
        covered = np.bincount(parts.points, minlength=len(points)) > 0
        values[covered], gradients[covered] = 0.0, 0.0
        bricks, starts = parts.starts()
        for number, first, last in zip(self._present[bricks], starts, starts[1:]):
            brick = self._bricks[number]
            for start in range(first, last, self._network_batch):
                part = slice(start, min(start + self._network_batch, last))
                at = parts.points[part]
                some, slopes = brick.with_gradient(points[at])
                weights = parts.weights[part, None]
                # A point occurs once for each of its bricks.
                values[at] += weights * some
                gradients[at] += weights[..., None] * slopes
                gradients[at] += some[..., None] * parts.gradients[part, None, :]
        return values, gradients

    def _of_parts(
        self,
        points: np.ndarray,
        local: np.ndarray,
        bricks: np.ndarray,
        starts: np.ndarray,
        columns: int,
        of: _Property | None,
    ) -> np.ndarray:
        """Return a property [M, columns] at points that are ordered by brick.

        `bricks` are the positions of those that occur among the present ones, `starts` where the
        points of each begin, and where those of the last end.
        """
        result = np.empty((len(points), columns), dtype=np.float32)
        most, few = self._network_batch, len(points) < _FEW_POINTS * len(bricks)
        for group in _ranges(len(bricks), _GROUP_BRICKS if few else 1):
            rows = slice(starts[group.start], starts[group.stop])
            held = [self._bricks[number] for number in self._present[bricks[group]]]
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
        self, bricks: list[_Brick], numbers: np.ndarray, starts: np.ndarray, local: np.ndarray
    ) -> np.ndarray:
        """Return values [M, C] of several bricks in one call."""
        assert self._kernels is not None
        values = evaluate_many(
            self._kernels,
            [brick.argument for brick in bricks if brick.argument is not None],
            torch.from_numpy(starts.astype(np.int64)),
            torch.from_numpy(local),
        ).numpy()
        repeats = np.diff(starts)
        values *= np.repeat(self._spans[numbers], repeats, axis=0)
        values += np.repeat(self._lows[numbers], repeats, axis=0)
        return values

    def _inside(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which points [N, 3] lie inside the volume, and those points."""
        last = np.array(self.geometry.dims[::-1], dtype=np.float64) - 1
        inside = np.all((index >= -_FACE_TOLERANCE) & (index <= last + _FACE_TOLERANCE), axis=1)
        chosen = np.flatnonzero(inside)
        points = np.clip(index[chosen], 0, last)
        return chosen, points


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
        Codes of the macro-cells, where the file has them; see :mod:`amgsrn_core.archive.cells`.
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


@dataclass(frozen=True)
class _Brick:
    """One network, where it lies in the volume's index space, and which voxels are valid."""

    network: SceneNetwork
    first: np.ndarray  # of the ghosted extent, x, y, z
    last: np.ndarray
    valid: np.ndarray | None
    cells: np.ndarray | None
    argument: Network | None = None  # the network for the CPU kernels, if they evaluate it

    @classmethod
    def of_state(
        cls,
        index: ModelIndex,
        record: BrickRecord,
        state: dict[str, np.ndarray],
        device: torch.device,
        backend: str,
    ) -> _Brick:
        low, high = (torch.tensor(v, dtype=torch.float32) for v in index.value_range(record))
        if record.state == "constant":
            network = constant_network(low)
            backend = "torch" if backend == "tcnn" else backend  # for which it is too narrow
        else:
            network = network_from_state(index.network_of(record), state, low, high)
        network.eval().requires_grad_(False).to(device)
        network.use_backend(backend)
        z, y, x = record.ghosted
        return cls(
            network=network,
            first=np.array([x.start, y.start, z.start], dtype=np.float64),
            last=np.array([x.stop - 1, y.stop - 1, z.stop - 1], dtype=np.float64),
            valid=_without_holes(state.get("mask"), index, record),
            cells=state.get("macro_cells"),
            argument=network.kernel_argument(),
        )

    def is_valid(self, points: np.ndarray) -> np.ndarray | None:
        """Return whether the nearest voxel of each point has a value; None when all have."""
        if self.valid is None:
            return None
        x, y, z = np.floor(np.clip(points, self.first, self.last) - self.first + 0.5).astype(int).T
        return self.valid[z, y, x]

    def size(self) -> int:
        """Return the bytes that the brick takes, the kernels' copy of its features included."""
        numbers = sum(p.numel() for p in self.network.parameters())
        return 8 * numbers + (0 if self.valid is None else self.valid.nbytes)

    def where_valid(
        self, points: np.ndarray, local: np.ndarray, columns: int, of: _Property | None
    ) -> np.ndarray:
        """Return a property [N, columns], NaN where the nearest voxel of a point has no value.

        `points` are in the volume's index space, `local` the same ones in the brick's.
        """
        known = self.is_valid(points)
        if known is None or known.all():
            return self._evaluate(local, of)
        values = np.full((len(points), columns), np.nan, dtype=np.float32)
        if known.any():
            values[known] = self._evaluate(local[known], of)
        return values

    def with_gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values [N, C] and gradients [N, C, 3] by the volume's index; NaN where invalid."""
        local = torch.from_numpy(self.local(points)).to(self.network.minimum.device)
        values, gradients = (result.cpu().numpy() for result in self.network.with_gradient(local))
        gradients = gradients * (2.0 / (self.last - self.first)).astype(np.float32)
        known = self.is_valid(points)
        if known is not None:
            values[~known], gradients[~known] = np.nan, np.nan
        return values, gradients

    def local(self, points: np.ndarray) -> np.ndarray:
        """Map points [N, 3] in the volume's index space to the brick, where it is [-1, 1]^3."""
        local = (points - self.first) * (2.0 / (self.last - self.first)) - 1.0
        return local.astype(np.float32)

    def _evaluate(self, local: np.ndarray, of: _Property | None) -> np.ndarray:
        with torch.inference_mode():
            points = torch.from_numpy(local).to(self.network.minimum.device)
            values = self.network(points) if of is None else of(self.network, points)
            return values.cpu().numpy()

    def feature_corners(self) -> np.ndarray:
        """Return the corners of the feature grids [G, 8, 3] in the volume's index space."""
        corners = box_corners(self.network.transforms.cpu().numpy())
        return self.first + (corners + 1.0) * 0.5 * (self.last - self.first)


def _without_holes(
    valid: np.ndarray | None, index: ModelIndex, record: BrickRecord
) -> np.ndarray | None:
    """Return the mask of a brick's voxels, False in bricks that were not trained."""
    for number in index.holes:
        hole = tuple(
            slice(max(h.start - g.start, 0), max(h.stop - g.start, 0))
            for h, g in zip(index.bricks[number].extent, record.ghosted)
        )
        if all(h.start < g.stop - g.start and h.stop for h, g in zip(hole, record.ghosted)):
            valid = np.ones(record.ghosted_dims, dtype=bool) if valid is None else valid.copy()
            valid[hole] = False
    return valid


class _GridPoints:
    """The points of a part of a grid as index coordinates of a volume, in batches."""

    def __init__(self, volume: GridGeometry, grid: GridGeometry, extent: Extent) -> None:
        self.shape = tuple(s.stop - s.start for s in extent)
        self.count = math.prod(self.shape)
        self._volume, self._grid, self._extent = volume, grid, extent
        self._lines: list[np.ndarray] | None = None
        if volume.is_aligned and grid.is_aligned:
            # Axis by axis: no map has to be applied to each point.
            self._lines = [
                _snapped(axis.to_index(other.coordinates[part]))
                for axis, other, part in zip(volume.axes, grid.axes, extent)
            ]
        elif volume == grid:
            self._lines = [np.arange(s.start, s.stop, dtype=np.float64) for s in extent]

    def index(self, part: slice) -> np.ndarray:
        """Return points [n, 3] (x, y, z) of a range of the part's flattened voxels."""
        voxels = np.unravel_index(np.arange(part.start, part.stop), self.shape)
        if self._lines is not None:
            z, y, x = (line[voxel] for line, voxel in zip(self._lines, voxels))
            return np.stack([x, y, z], axis=1)
        z, y, x = (voxel + s.start for voxel, s in zip(voxels, self._extent))
        world = self._grid.index_to_world(np.stack([x, y, z], axis=1))
        return _snapped(self._volume.world_to_index(world))


def _snapped(index: np.ndarray) -> np.ndarray:
    """Move index coordinates that miss a sample by rounding only onto the sample."""
    nearest = np.rint(index)
    return np.where(np.abs(index - nearest) < 1e-9 * (1 + np.abs(nearest)), nearest, index)


def _ranges(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _checked_points(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] != 3:
        raise VolumeError(f"Points must have the shape [N, 3], not {list(points.shape)}.")
    return points
