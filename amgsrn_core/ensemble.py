"""NeuralVolume: a trained model as one continuous field in world coordinates."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from amgsrn_core.archive import Archive, BrickRecord, ModelIndex, parameter_shapes
from amgsrn_core.backends import backend_name
from amgsrn_core.devices import select_device
from amgsrn_core.errors import VolumeError
from amgsrn_core.feature_grids import box_corners
from amgsrn_core.networks import SceneNetwork, network_from_state
from amgsrn_core.volume import Block, Extent, GridGeometry
from amgsrn_core.volume.preview import preview_geometry

# Points of one evaluation. On a CPU larger batches fall out of the cache and are slower; a GPU
# needs many to be busy. Both shrink for wide networks, to about 256 MiB (CPU) of temporaries.
CPU_POINTS, _GPU_POINTS = 1 << 14, 1 << 18
_BATCH_BYTES = 256 << 20

# A point this fraction of a cell outside the volume still counts as on its face: world coordinates
# arrive rounded.
_FACE_TOLERANCE = 1e-3

_SLAB_BYTES = 64 << 20


class NeuralVolume:
    """One continuous field over all bricks of a model.

    Use :meth:`open`. Everything public takes and returns world coordinates unless its name says
    otherwise; a value is NaN, or invalid, outside the volume and where its nearest voxel was
    missing in the data.

    Attributes
    ----------
    path : str
        The file that the model was read from; it is not needed any more.
    index : ModelIndex
        Everything that the file says about the model.
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
        bricks: list[dict[str, np.ndarray]],
        *,
        path: str = "memory",
        checksum: str = "",
        device: str | torch.device = "cpu",
        backend: str = "auto",
    ) -> None:
        self.index = index
        self.path = path
        self.checksum = checksum
        self.device = select_device(device)
        self.backend = backend_name(self.device, backend)
        self._bricks = [
            _Brick.of_state(index, record, state, self.device, self.backend)
            for record, state in zip(index.bricks, bricks)
        ]
        self._owners = _Owners.of_bricks(index.bricks)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        device: str | torch.device = "auto",
        *,
        backend: str = "auto",
        verify: bool = False,
    ) -> NeuralVolume:
        """Read a model file; afterwards it may be moved or removed.

        Parameters
        ----------
        path : path
            A model file, `NAME.amgsrn`.
        device : str, default: "auto"
            "cpu", "cuda", "cuda:N", "mps", or "auto" for the first of cuda, mps, cpu that works.
        backend : {"auto", "torch", "native"}, default: "auto"
            The CPU kernels (native), PyTorch (torch), or the fastest that works on the device.
        verify : bool, default: False
            Compare every tensor with its checksum.

        Raises
        ------
        ArchiveNotFoundError
            When there is no such file (also a FileNotFoundError).
        ArchiveError
            When the file is damaged, foreign, or of a newer major version.
        ConfigurationError
            When there is no such device here, or the backend does not work on it.
        """
        with Archive(path) as archive:
            numbers = range(len(archive.index.bricks))
            bricks = [archive.load_brick(number, verify) for number in numbers]
            return cls(
                archive.index,
                bricks,
                path=archive.path,
                checksum=archive.checksum,
                device=device,
                backend=backend,
            )

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
        shapes = parameter_shapes(self.index.network, len(self.components))
        return len(self.index.bricks) * sum(math.prod(shape) for shape in shapes.values())

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
            for chosen, brick, inside in self._valid_by_brick(index):
                some, slopes = brick.evaluate_with_gradient(inside, self.device)
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

        See :func:`amgsrn_core.feature_grids.box_corners`; a grid may reach beyond the volume.
        """
        corners = [brick.feature_corners() for brick in self._bricks]
        world = [self.geometry.index_to_world(points.reshape(-1, 3)) for points in corners]
        return np.stack(world).reshape(len(corners), -1, 8, 3)

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
        """Yield the networks and where they lie, for renderers."""
        for brick, record in zip(self._bricks, self.index.bricks):
            region = _nearest_voxels(record.extent, self.geometry.dims)
            yield BrickNetwork(
                brick.network,
                brick.first,
                brick.last,
                brick.valid,
                brick.cells,
                region,
                np.zeros((2, 3)),
            )

    @property
    def _batch(self) -> int:
        network = self.index.network
        per_point = 4 * (network.grids * (3 + 2 * network.features) + 3 * network.width)
        most = CPU_POINTS if self.device.type == "cpu" else _GPU_POINTS
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
        values = np.full((len(index), len(self.components)), np.nan, dtype=np.float32)
        for chosen, brick, points in self._valid_by_brick(index):
            values[chosen] = brick.evaluate(points, self.device)
        return values

    def _density(self, index: np.ndarray) -> np.ndarray:
        """Return the feature density [N, 1] at one batch of points in index space."""
        values = np.full((len(index), 1), np.nan, dtype=np.float32)
        for chosen, brick, points in self._by_brick(index):
            values[chosen, 0] = brick.density(points, self.device)
        return values

    def _valid_by_brick(self, index: np.ndarray) -> Iterator[tuple[np.ndarray, _Brick, np.ndarray]]:
        """Like :meth:`_by_brick`, without points whose nearest voxel is missing."""
        for chosen, brick, points in self._by_brick(index):
            known = brick.is_valid(points)
            if known is not None:
                chosen, points = chosen[known], points[known]
            if len(points):
                yield chosen, brick, points

    def _by_brick(self, index: np.ndarray) -> Iterator[tuple[np.ndarray, _Brick, np.ndarray]]:
        """Split points inside the volume by the brick that owns their nearest voxel."""
        last = np.array(self.geometry.dims[::-1], dtype=np.float64) - 1
        inside = np.all((index >= -_FACE_TOLERANCE) & (index <= last + _FACE_TOLERANCE), axis=1)
        chosen = np.flatnonzero(inside)
        if not len(chosen):
            return
        points = np.clip(index[chosen], 0, last)
        if len(self._bricks) == 1:
            yield chosen, self._bricks[0], points
            return
        owners = self._owners.of(points)
        for number in np.unique(owners):
            mine = owners == number
            yield chosen[mine], self._bricks[number], points[mine]


class BrickNetwork(NamedTuple):
    """A brick's network, and its place in the volume's index space.

    Attributes
    ----------
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

    network: SceneNetwork
    first: np.ndarray
    last: np.ndarray
    valid: np.ndarray | None
    cells: np.ndarray | None
    ends: np.ndarray
    halves: np.ndarray


def _nearest_voxels(extent: Extent, dims: tuple[int, int, int]) -> np.ndarray:
    """Return the low and high ends [2, 3] of the points whose nearest voxel is in an extent."""
    bounds = [
        (own.start - 0.5 if own.start else -np.inf, own.stop - 0.5 if own.stop < n else np.inf)
        for own, n in zip(reversed(extent), reversed(dims))
    ]
    return np.array(bounds).T


@dataclass(frozen=True)
class _Brick:
    """One network, where it lies in the volume's index space, and which voxels are valid."""

    network: SceneNetwork
    first: np.ndarray  # of the ghosted extent, x, y, z
    last: np.ndarray
    valid: np.ndarray | None
    cells: np.ndarray | None

    @classmethod
    def of_state(
        cls,
        index: ModelIndex,
        record: BrickRecord,
        state: dict[str, np.ndarray],
        device: torch.device,
        backend: str,
    ) -> _Brick:
        network = network_from_state(
            index.network,
            state,
            torch.tensor(index.value_minimum, dtype=torch.float32),
            torch.tensor(index.value_maximum, dtype=torch.float32),
        )
        network.eval().requires_grad_(False).to(device)
        network.use_backend(backend)
        z, y, x = record.ghosted
        return cls(
            network=network,
            first=np.array([x.start, y.start, z.start], dtype=np.float64),
            last=np.array([x.stop - 1, y.stop - 1, z.stop - 1], dtype=np.float64),
            valid=state.get("mask"),
            cells=state.get("macro_cells"),
        )

    def is_valid(self, points: np.ndarray) -> np.ndarray | None:
        """Return whether the nearest voxel of each point has a value; None when all have."""
        if self.valid is None:
            return None
        x, y, z = np.floor(np.clip(points, self.first, self.last) - self.first + 0.5).astype(int).T
        return self.valid[z, y, x]

    def evaluate(self, points: np.ndarray, device: torch.device) -> np.ndarray:
        """Return float32 [N, C] at points [N, 3] in the volume's index space."""
        with torch.inference_mode():
            return self.network(self._local(points, device)).cpu().numpy()

    def evaluate_with_gradient(
        self, points: np.ndarray, device: torch.device
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return float32 values [N, C] and gradients [N, C, 3] by the volume's index."""
        values, gradients = self.network.with_gradient(self._local(points, device))
        by_index = gradients.cpu().numpy() * (2.0 / (self.last - self.first)).astype(np.float32)
        return values.cpu().numpy(), by_index

    def density(self, points: np.ndarray, device: torch.device) -> np.ndarray:
        """Return the feature density float32 [N]."""
        with torch.inference_mode():
            return self.network.density(self._local(points, device)).cpu().numpy()

    def feature_corners(self) -> np.ndarray:
        """Return the corners of the feature grids [G, 8, 3] in the volume's index space."""
        corners = box_corners(self.network.transforms.cpu().numpy())
        return self.first + (corners + 1.0) * 0.5 * (self.last - self.first)

    def _local(self, points: np.ndarray, device: torch.device) -> torch.Tensor:
        local = (points - self.first) * (2.0 / (self.last - self.first)) - 1.0
        return torch.from_numpy(local.astype(np.float32)).to(device)


class _Owners:
    """Which brick owns a voxel, for any partition of the volume into boxes."""

    def __init__(self, cuts: list[np.ndarray], numbers: np.ndarray) -> None:
        self._cuts = cuts  # for x, y, z: where bricks begin, ascending
        self._numbers = numbers  # [x, y, z] cells between the cuts

    @classmethod
    def of_bricks(cls, bricks: tuple[BrickRecord, ...]) -> _Owners:
        cuts = [
            np.unique([bound for b in bricks for bound in (b.extent[a].start, b.extent[a].stop)])
            for a in (2, 1, 0)
        ]
        numbers = np.zeros([len(c) - 1 for c in cuts], dtype=np.intp)
        for number, brick in enumerate(bricks):
            cells = tuple(
                slice(*np.searchsorted(c, [brick.extent[a].start, brick.extent[a].stop]))
                for c, a in zip(cuts, (2, 1, 0))
            )
            numbers[cells] = number
        return cls(cuts, numbers)

    def of(self, points: np.ndarray) -> np.ndarray:
        voxels = np.floor(points + 0.5)
        cells = [
            np.clip(np.searchsorted(cut, voxels[:, axis], side="right") - 1, 0, len(cut) - 2)
            for axis, cut in enumerate(self._cuts)
        ]
        return self._numbers[tuple(cells)]


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
