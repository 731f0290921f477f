"""Geometry of a structured volume: three axes, a direction, and the maps between its spaces.

Four spaces occur. *World* is what everything public takes and returns. *Index* counts samples
(fractions between them), *local* is index scaled to [-1, 1] with samples on the corners: where a
network lives. *Axis coordinates* are world coordinates before the direction matrix turns them.
Points are rows (x, y, z); arrays are [z, y, x].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

import numpy as np

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume.axis import Axis

Extent = tuple[slice, slice, slice]
"""Half-open index ranges along z, y, x."""

PartialExtent = Optional[tuple[slice, slice, slice]]


@dataclass(frozen=True, eq=False)
class GridGeometry:
    """Where the samples of a volume lie: ``world = o + direction @ (c(index) - o)``.

    c(index) are the axis coordinates (x, y, z) and o those of the first sample.

    Parameters
    ----------
    axes : tuple of three Axis
        In the order z, y, x.
    direction : ndarray of float64, shape [3, 3], default: identity
        Its columns are the world directions of the x, y and z axes; must be invertible.

    Raises
    ------
    VolumeError
        Not three axes, or a singular direction.
    """

    axes: tuple[Axis, Axis, Axis]
    direction: np.ndarray = field(default_factory=lambda: np.eye(3))

    def __post_init__(self) -> None:
        axes = tuple(self.axes)
        if len(axes) != 3 or not all(isinstance(axis, Axis) for axis in axes):
            raise VolumeError("A volume's geometry needs three axes, in the order z, y, x.")
        direction = np.array(self.direction, dtype=np.float64)
        if direction.shape != (3, 3) or not np.isfinite(direction).all():
            raise VolumeError("The direction of a volume must be a finite 3 x 3 matrix.")
        with np.errstate(over="ignore", invalid="ignore"):
            if not 1e-12 <= abs(np.linalg.det(direction)) < np.inf:
                raise VolumeError("The direction matrix of a volume must be invertible.")
            direction.flags.writeable = False
            object.__setattr__(self, "axes", axes)
            object.__setattr__(self, "direction", direction)
            # Finite coordinates may be so far apart that their distance is not.
            sizes = [axis.coordinates[-1] - axis.coordinates[0] for axis in reversed(axes)]
            if not np.isfinite(np.abs(direction) @ sizes + np.abs(self.origin)).all():
                raise VolumeError("The box of a volume must have a finite size.")

    @classmethod
    def uniform(
        cls,
        dims: tuple[int, int, int],
        origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
        spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
        direction: np.ndarray | None = None,
        units: str = "",
    ) -> GridGeometry:
        """Return an evenly spaced geometry; `dims` is (z, y, x), origin and spacing (x, y, z)."""
        axes = (
            Axis.uniform("z", int(dims[0]), float(origin[2]), float(spacing[2]), units),
            Axis.uniform("y", int(dims[1]), float(origin[1]), float(spacing[1]), units),
            Axis.uniform("x", int(dims[2]), float(origin[0]), float(spacing[0]), units),
        )
        return cls(axes) if direction is None else cls(axes, direction)

    @property
    def dims(self) -> tuple[int, int, int]:
        """Number of samples along z, y, x."""
        z, y, x = self.axes
        return z.size, y.size, x.size

    @property
    def n_points(self) -> int:
        """Number of samples altogether."""
        nz, ny, nx = self.dims
        return nz * ny * nx

    @property
    def is_uniform(self) -> bool:
        """Whether all three axes are evenly spaced."""
        return all(axis.is_uniform for axis in self.axes)

    @property
    def is_aligned(self) -> bool:
        """Whether the axes run along the world's axes (identity direction)."""
        return bool(np.array_equal(self.direction, np.eye(3)))

    @property
    def origin(self) -> tuple[float, float, float]:
        """World coordinates (x, y, z) of the first sample."""
        z, y, x = (float(axis.coordinates[0]) for axis in self.axes)
        return x, y, z

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Mean distance (x, y, z) between samples."""
        z, y, x = (axis.spacing for axis in self.axes)
        return x, y, z

    @property
    def bounds(self) -> tuple[float, float, float, float, float, float]:
        """World box (x0, x1, y0, y1, z0, z1) around all samples."""
        nz, ny, nx = self.dims
        corners = np.array(
            [(x, y, z) for x in (0, nx - 1) for y in (0, ny - 1) for z in (0, nz - 1)], dtype=float
        )
        world = self.index_to_world(corners)
        low, high = world.min(axis=0), world.max(axis=0)
        x0, x1, y0, y1, z0, z1 = np.stack([low, high], axis=1).ravel().tolist()
        return x0, x1, y0, y1, z0, z1

    def index_to_world(self, points: np.ndarray) -> np.ndarray:
        """Map fractional sample indices [N, 3] (x, y, z) to world coordinates [N, 3]."""
        points = _points(points)
        turned = np.empty_like(points)
        for column, axis in enumerate(reversed(self.axes)):
            turned[:, column] = axis.to_world(points[:, column])
        return self._turn(turned)

    def world_to_index(self, points: np.ndarray) -> np.ndarray:
        """Map world coordinates [N, 3] (x, y, z) to fractional sample indices [N, 3]."""
        points = _points(points)
        if not self.is_aligned:
            origin = np.array(self.origin)
            points = origin + np.linalg.solve(self.direction, (points - origin).T).T
        index = np.empty(points.shape, order="F")  # what follows goes column by column
        for column, axis in enumerate(reversed(self.axes)):
            index[:, column] = axis.to_index(points[:, column])
        return index

    def index_gradient_to_world(self, points: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        """Turn gradients by the sample index, at points in index space, into those by the world.

        Parameters
        ----------
        points : array [N, 3]
            Fractional sample indices x, y, z. On uneven axes the slope is that of the cell.
        gradients : array [N, C, 3]

        Returns
        -------
        array [N, C, 3]
        """
        points = _points(points)
        slopes = [a.index_slope(points[:, i]) for i, a in enumerate(reversed(self.axes))]
        by_axes = gradients * np.stack(slopes, axis=1)[:, None, :]
        return by_axes if self.is_aligned else by_axes @ np.linalg.inv(self.direction)

    def index_to_local(self, points: np.ndarray) -> np.ndarray:
        """Map sample indices [N, 3] to local coordinates: the samples span [-1, 1]^3."""
        return 2.0 * _points(points) / self._last_index() - 1.0

    def local_to_index(self, points: np.ndarray) -> np.ndarray:
        """Map local coordinates [N, 3] in [-1, 1] to sample indices [N, 3]."""
        return (_points(points) + 1.0) * 0.5 * self._last_index()

    def world_to_local(self, points: np.ndarray) -> np.ndarray:
        """Map world coordinates [N, 3] to local coordinates [N, 3]."""
        return self.index_to_local(self.world_to_index(points))

    def local_to_world(self, points: np.ndarray) -> np.ndarray:
        """Map local coordinates [N, 3] to world coordinates [N, 3]."""
        return self.index_to_world(self.local_to_index(points))

    def resampled(self, dims: tuple[int, int, int]) -> GridGeometry:
        """Return the same region with `dims` (z, y, x) samples, even in index space."""
        nz, ny, nx = dims
        z, y, x = self.axes
        return self._on((z.resampled(nz), y.resampled(ny), x.resampled(nx)))

    def between(
        self, low: np.ndarray, high: np.ndarray, dims: tuple[int, int, int]
    ) -> GridGeometry:
        """Return `dims` samples, even in index space, that span an index box.

        `low`, `high` and `dims` are in the order z, y, x.
        """
        z, y, x = (
            axis.between(float(first), float(last), n)
            for axis, first, last, n in zip(self.axes, low, high, dims)
        )
        return self._on((z, y, x))

    def scaled(self, factors: Sequence[float]) -> GridGeometry:
        """Return the geometry with the world stretched by positive factors (x, y, z)."""
        stretch = np.array(factors, dtype=np.float64)
        if self.is_aligned:
            z, y, x = (
                replace(axis, coordinates=axis.coordinates * factor, wrap=None)
                for axis, factor in zip(self.axes, stretch[::-1])
            )
            return GridGeometry((z, y, x))
        # The axes stay as they are; they begin elsewhere, and the direction stretches, too.
        moves = (stretch - 1.0) * np.array(self.origin)
        z, y, x = (axis.shifted(float(move)) for axis, move in zip(self.axes, moves[::-1]))
        return GridGeometry((z, y, x), stretch[:, None] * self.direction)

    def window(self, extent: Extent) -> GridGeometry:
        """Return the geometry of a sub-extent (index ranges along z, y, x)."""
        z, y, x = (
            axis.window(part.start, part.stop)
            for axis, part in zip(self.axes, self.resolve(extent))
        )
        return self._on((z, y, x))

    def on_samples(self, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> GridGeometry:
        """Return the geometry of some samples, given by ascending indices along each axis."""
        a, b, c = (
            replace(axis, coordinates=axis.coordinates[index])
            for axis, index in zip(self.axes, (z, y, x))
        )
        return self._on((a, b, c))

    def resolve(self, extent: PartialExtent = None) -> Extent:
        """Return an extent with explicit starts and stops; None stands for everything.

        Raises
        ------
        VolumeError
            The extent is empty, strided or reaches beyond the samples.
        """
        if extent is None:
            extent = (slice(None), slice(None), slice(None))
        if len(extent) != 3:
            raise VolumeError("An extent needs three ranges, along z, y and x.")
        z, y, x = (_resolve(axis, part) for axis, part in zip(self.axes, extent))
        return z, y, x

    def to_json(self) -> dict[str, Any]:
        """Return the geometry as plain JSON types, exact to the last bit."""
        axes = [axis.to_json() for axis in self.axes]
        return {"axes": axes, "direction": self.direction.tolist()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> GridGeometry:
        """Make a geometry from :meth:`to_json`'s result; anything else raises VolumeError."""
        try:
            z, y, x = (Axis.from_json(axis) for axis in values["axes"])
            return cls((z, y, x), np.array(values["direction"], dtype=np.float64))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, VolumeError):
                raise
            raise VolumeError(f"The description of a geometry is damaged ({error}).") from error

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GridGeometry):
            return NotImplemented
        return self.axes == other.axes and np.array_equal(self.direction, other.direction)

    def __hash__(self) -> int:
        return hash((self.axes, self.direction.tobytes()))

    def _turn(self, points: np.ndarray) -> np.ndarray:
        """Map axis coordinates [N, 3] to the world."""
        if self.is_aligned:
            return points
        origin = np.array(self.origin)
        return origin + (points - origin) @ self.direction.T

    def _on(self, axes: tuple[Axis, Axis, Axis]) -> GridGeometry:
        """Return a geometry on a selection of these axes' points, in the same place.

        The direction turns about the first sample. Where that changes, the axis coordinates
        have to move with it, or the same samples would land elsewhere.
        """
        if self.is_aligned:
            return GridGeometry(axes)
        first = np.array([[axis.coordinates[0] for axis in reversed(axes)]])
        dx, dy, dz = (self._turn(first) - first)[0].tolist()
        z, y, x = axes
        return GridGeometry((z.shifted(dz), y.shifted(dy), x.shifted(dx)), self.direction)

    def _last_index(self) -> np.ndarray:
        """Return the largest sample index along x, y, z (at least 1, so that one can divide)."""
        return np.maximum(np.array(self.dims[::-1], dtype=np.float64) - 1.0, 1.0)


def _points(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise VolumeError(f"Points must have the shape [N, 3], not {list(points.shape)}.")
    return points


def _resolve(axis: Axis, part: slice) -> slice:
    start = 0 if part.start is None else int(part.start)
    stop = axis.size if part.stop is None else int(part.stop)
    if part.step not in (None, 1) or not 0 <= start < stop <= axis.size:
        raise VolumeError(
            f"Axis '{axis.name}' has samples 0 to {axis.size - 1}; "
            f"the range {start} to {stop} (exclusive) is empty, strided or outside."
        )
    return slice(start, stop)
