"""NeuralVolume: a trained model as one continuous field in world coordinates."""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from amgsrn_core.errors import ArchiveError, ConfigurationError, VolumeError
from amgsrn_core.field.blended_field import ranges
from amgsrn_core.field.blending import Blend
from amgsrn_core.field.brick import FieldBrick
from amgsrn_core.field.content import Content, Part, refuse_gaps
from amgsrn_core.field.devices import chosen_device
from amgsrn_core.field.labelled import labelled
from amgsrn_core.field.points import named_points
from amgsrn_core.model import Archive, ModelIndex, archive_bytes
from amgsrn_core.model.box import FACE_TOLERANCE
from amgsrn_core.system.extras import require
from amgsrn_core.system.output import size
from amgsrn_core.volume import Block, Extent, GridGeometry
from amgsrn_core.volume.grid_points import GridPoints
from amgsrn_core.volume.preview import preview_geometry
from amgsrn_core.volume.times import Nearest, TimeStep, shown_time
from amgsrn_core.volume.vtk.dataset import (
    new_dataset,
    set_arrays,
    set_description,
    set_places,
    whole_extent,
)

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

_SLAB_BYTES = 64 << 20

MEMORY_LIMIT = 2 << 30
"""Bytes that the bricks of one open model take at most, unless said otherwise."""


class NeuralVolume:
    """One continuous field over all bricks of a model.

    Use :meth:`open`. Everything public takes and returns world coordinates unless its name says
    otherwise; a value is NaN, or invalid, outside the volume, where its nearest voxel was missing
    in the data, and in bricks that were not trained (`index.holes`). Where bricks overlap they are
    blended, unless they are the original's, see :mod:`amgsrn_core.field.blending`. Several threads
    may use one object.

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
    content : Content
        What it shares with the model's other fields.
    checksum : str
        Identity of the model's content (SHA-256, hexadecimal).
    device : Device
        Where the networks are evaluated: the name of PyTorch's device.
    backend : str
        What evaluates them: "torch", or "native" for the CPU kernels.
    dtype : numpy.dtype
        Of the values: float64 where float32 would lose what the networks know, else float32.

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
        refuse_gaps(index, path)
        states = bricks if callable(bricks) else bricks.__getitem__
        content = Content(index, states, chosen_device(device), backend, memory_limit)
        self._set_content(content, path, checksum)

    @classmethod
    def of_content(cls, content: Content, path: str, checksum: str) -> NeuralVolume:
        """Return the field of an open model's first step; all made of one content share it."""
        volume = cls.__new__(cls)
        volume._set_content(content, path, checksum)
        return volume

    def _set_content(self, content: Content, path: str, checksum: str) -> None:
        self.content, self.series, self.path, self.checksum = content, content.index, path, checksum
        self.device, self.backend = content.device, content.backend
        self._show(content.part(0), 0)
        if len(self._bricks) == 1 and len(self._field.numbers):
            self._bricks[0]  # a damaged model is found out now

    def _show(self, part: Part, step: int) -> None:
        """Become the field of a part of the content."""
        self._part, self.step = part, step
        self.index, self._bricks, self._field = part.index, part.bricks, part.field

    def derived(self, key: Any, make: Callable[[], T]) -> T:
        """Return what a renderer makes of this field once, kept as long as the field.

        What `make` returns must not refer to this object.
        """
        return self._part.derived(key, make)

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
        self.series.check_step(step)
        other = copy.copy(self)
        # In other units there is one step, perhaps not the content's first.
        if self.series is self.content.index:
            other._show(self.content.part(step), step)
        return other

    def near(self, bounds: Sequence[float], margin: float = 0.0) -> NeuralVolume:
        """Return the field of those bricks alone that reach into a box.

        Inside the box it is the same field. Both share the bricks in memory.

        Parameters
        ----------
        bounds : six numbers
            World box x0, x1, y0, y1, z0, z1.
        margin : float, default: 0
            Voxels by which the box is larger to every side.
        """
        low, high = self._index_box(bounds)
        other = copy.copy(self)
        other._show(self._part.near(low - margin, high + margin), self.step)
        return other

    def is_whole_near(self, bounds: Sequence[float] | None, margin: float = 0.0) -> bool:
        """Return whether no brick is missing, see :meth:`near`, that reaches into a box.

        Parameters
        ----------
        bounds, margin
            See :meth:`near`; of what is outside the volume nothing is missing. None: everywhere.
        """
        last = np.array(self.geometry.dims[::-1]) - 1.0
        box = (np.zeros(3), last) if bounds is None else self._index_box(bounds)
        low, high = np.clip(box[0] - margin, 0, last), np.clip(box[1] + margin, 0, last)
        least, most = self.whole_box
        return bool((low >= least - FACE_TOLERANCE).all() and (high <= most + FACE_TOLERANCE).all())

    def _index_box(self, bounds: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        corners = np.array(list(itertools.product(*np.reshape(bounds, (3, 2)))))
        index = self.geometry.world_to_index(corners)
        return index.min(axis=0), index.max(axis=0)

    @property
    def whole_box(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest index x, y, z, float64 [3], of where no brick is missing."""
        last = np.array(self.geometry.dims[::-1]) - 1.0
        if self._part.box is None:
            return np.zeros(3), last
        low, high = (np.clip(x, 0.0, last) for x in self._part.box)
        return low, high

    def in_units(self, offset: np.ndarray, factor: np.ndarray) -> NeuralVolume:
        """Return this time step's field in other units, for renderers.

        Both share the bricks in memory.

        Parameters
        ----------
        offset, factor : float64 array [C]
            A value v of a component becomes (v - offset) / factor; float32 has to hold these.
        """
        other = copy.copy(self)
        other._show(self._part.in_units(offset, factor), self.step)
        other.series = other.index
        return other

    def scaled(self, factors: Sequence[float]) -> NeuralVolume:
        """Return this field with the world stretched along x, y, z, as pictures show uneven boxes.

        Both share the bricks in memory.

        Parameters
        ----------
        factors : three positive numbers
            A world point (x, y, z) becomes (x, y, z) * factors.
        """
        if all(factor == 1.0 for factor in factors):
            return self
        other = copy.copy(self)
        other._show(self._part.scaled(tuple(map(float, factors))), self.step)
        return other

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
            if verify:
                archive.verify()
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
    def dtype(self) -> np.dtype:
        """Type of the values: float32 or float64."""
        return self.series.value_dtype

    @property
    def geometry(self) -> GridGeometry:
        """The grid of the data that the model replaces."""
        return self.index.geometry

    @property
    def n_parameters(self) -> int:
        """Trained numbers in all bricks."""
        return self.index.n_parameters

    def __repr__(self) -> str:
        units = ", ".join(dict.fromkeys(unit for unit in self.units if unit not in ("", "1")))
        parts = [" x ".join(map(str, self.geometry.dims))]
        if self.index.time is not None and self.series.steps > 1:
            when = shown_time(self.index.time, self.index.time.index)
            parts.append(f"time step {self.step} of {self.series.steps} ({when})")
        with contextlib.suppress(OSError, ArchiveError):
            parts.append(size(archive_bytes(self.path)))
        if (psnr := self.index.psnr) is not None:
            parts.append(f"{psnr:.2f} dB")
        named = f"{self.name}{f' [{units}]' if units else ''}"
        return f"<NeuralVolume {named} {', '.join(parts)}, {self.device}>"

    def sel(self, time: TimeStep, method: str | None = None) -> NeuralVolume:
        """Return the field of a time step; both share the bricks in memory.

        Parameters
        ----------
        time : int, float or str
            Of the data: an index, or an ISO 8601 date; see :func:`amgsrn_core.open_volume`.
        method : {None, "exact", "nearest"}
            Whether the step nearest to a time will do.

        Raises
        ------
        VolumeError
            The model has no such step, or no time.
        """
        if method not in (None, "exact", "nearest"):
            raise VolumeError(f"The method is exact or nearest, not {method!r}.")
        if method == "nearest" and time is not None:
            time = Nearest(time.to if isinstance(time, Nearest) else time)
        return self.at(self.series.step_of(time))

    def sample(
        self,
        points: np.ndarray | Sequence[float] | None = None,
        *,
        corrected: bool = True,
        **named: Any,
    ) -> np.ndarray:
        """Evaluate the field at points.

        Parameters
        ----------
        points : array [N, 3] or [3], optional
            World coordinates, columns x, y, z; or a single point.
        **named : array_like
            Instead of `points`: a coordinate along each axis by its name (also lon, lat, and the
            letters x, y, z), as its file has them, a depth positive for example; shapes are
            broadcast.
        corrected : bool, default: True
            Where the model promises a bound of its errors, add what keeps it at the data's voxels,
            interpolated between them; False is the network alone.

        Returns
        -------
        array of `dtype` [N, C], or [C] of a single point
            NaN where the point is outside the volume or its nearest voxel is missing. Of named
            coordinates, their shape, and [C] behind it unless the field is scalar.

        Raises
        ------
        VolumeError
            The points are not as described; an axis is missing, unknown or named twice.

        Examples
        --------
        >>> model.sample(lon=150.5, lat=[-10, 0, 10], depth=100)  # doctest: +SKIP
        array([18.25, 17.5, 19.75], dtype=float32)
        """
        if named:
            if points is not None:
                raise VolumeError("Give points, or coordinates by the names of axes, not both.")
            where, shape = named_points(self.geometry, named)
            found = self.sample(where, corrected=corrected)
            return found.reshape(shape if len(self.components) == 1 else (*shape, -1))
        if points is not None and np.shape(points) == (3,):
            one: np.ndarray = self.sample(np.reshape(points, (1, 3)), corrected=corrected)[0]
            return one
        points = _checked_points(np.asarray(points))
        values = np.empty((len(points), len(self.components)), dtype=self.dtype)
        for part in ranges(len(points), self._field.batch):
            index = self.geometry.world_to_index(points[part])
            values[part] = self._field.values(index, corrected=corrected)
        return values

    def error_at(self, points: np.ndarray, *, rms: bool = False) -> np.ndarray:
        """Return how far the field is from its data around world points.

        That was measured when the model was made, in each macro-cell of 8 or more voxels along each
        axis, cut at the faces of bricks: true at voxels, rounded upwards by 9 % at least. A point
        has the errors of the cell that its nearest voxel is in; between the voxels there are no
        data to compare with.

        Parameters
        ----------
        points : array [N, 3]
            Columns x, y, z.
        rms : bool, default: False
            Return the root mean square of the cell's errors instead of the largest.

        Returns
        -------
        float64 array [N, C]
            In the units of the values. NaN where there is no value.

        Raises
        ------
        ConfigurationError
            The model's file does not tell; `amgsrn test MODEL --against DATA --store` adds it.
        """
        self._refuse_unknown_errors()
        points = _checked_points(points)
        errors = np.empty((len(points), len(self.components)))
        for part in ranges(len(points), self._field.batch):
            index = self.geometry.world_to_index(points[part])
            errors[part] = self._field.errors(index, rms=rms)
        return errors

    @property
    def has_errors(self) -> bool:
        """Whether the file tells how large the errors are, see :meth:`error_at`."""
        for number, record in enumerate(self.index.bricks):
            if record.state == "network":
                return self._bricks[number].errors is not None
        return True

    def error_block(
        self,
        geometry: GridGeometry | None = None,
        extent: Extent | None = None,
        *,
        rms: bool = False,
    ) -> Block:
        """Return :meth:`error_at` on a part of a grid, values of `dtype` [C, z, y, x]."""
        self._refuse_unknown_errors()
        geometry = geometry or self.geometry
        grid = GridPoints(self.geometry, geometry, geometry.resolve(extent))
        errors = np.empty((len(self.components), grid.count), dtype=self.dtype)
        for part in ranges(grid.count, self._field.batch):
            errors[:, part] = _upwards(self._field.errors(grid.index(part), rms=rms).T, self.dtype)
        return Block.of_field(errors.reshape(-1, *grid.shape))

    def _refuse_unknown_errors(self) -> None:
        if not self.has_errors:
            raise ConfigurationError(
                f"{self.path} does not tell the errors of its parts; `amgsrn test MODEL --against "
                "DATA --store` measures them and adds them to it."
            )

    def sample_index(self, points: np.ndarray, *, corrected: bool = True) -> np.ndarray:
        """Evaluate the field at points in index space; otherwise like :meth:`sample`.

        Parameters
        ----------
        points : array [N, 3]
            Columns x, y, z; 0 is the first sample of an axis, n - 1 the last.
        """
        points = _checked_points(points)
        values = np.empty((len(points), len(self.components)), dtype=self.dtype)
        for part in ranges(len(points), self._field.batch):
            values[part] = self._field.values(points[part], corrected=corrected)
        return values

    def sample_with_gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate the field and its analytic gradient at world points.

        Parameters
        ----------
        points : array [N, 3]
            Columns x, y, z.

        Returns
        -------
        values : array of `dtype` [N, C]
            As :meth:`sample` returns them.
        gradients : float32 or float64 array [N, C, 3]
            Change of each component per world unit along x, y, z; NaN where the value is. They are
            the network's: corrections do not change them.
        """
        index = self.geometry.world_to_index(_checked_points(points))
        values, slopes = self.sample_index_with_gradient(index)
        return values, self.geometry.index_gradient_to_world(index, slopes).astype(slopes.dtype)

    def sample_index_with_gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate field and gradient at points [N, 3] in index space.

        Otherwise like :meth:`sample_with_gradient`: the gradient is by the index, too.
        """
        points = _checked_points(points)
        values = np.empty((len(points), len(self.components)), dtype=self.dtype)
        gradients = np.empty((*values.shape, 3), dtype=self._field.dtype)
        for part in ranges(len(points), self._field.batch):
            values[part], gradients[part] = self._field.with_gradient(points[part])
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
            Values of `dtype` [C, z, y, x], NaN where they are missing, and which are valid.
        """
        geometry = geometry or self.geometry
        nz, ny, nx = geometry.dims
        layers = max(1, max_bytes // (self.dtype.itemsize * len(self.components) * ny * nx))
        for start in range(0, nz, layers):
            extent = (slice(start, min(start + layers, nz)), slice(0, ny), slice(0, nx))
            yield extent, self.reconstruct_block(geometry, extent)

    def reconstruct_block(
        self,
        geometry: GridGeometry | None = None,
        extent: Extent | None = None,
        *,
        corrected: bool = True,
    ) -> Block:
        """Return the field on a part of a grid; see :meth:`reconstruct` and :meth:`sample`."""
        geometry = geometry or self.geometry
        return self._on_grid(geometry, extent, len(self.components), corrected=corrected)

    def to_numpy(self) -> np.ndarray:
        """Return the field on the grid of the data, of this time step, in memory.

        Returns
        -------
        array of `dtype` [z, y, x], or [C, z, y, x] of several components
            Coordinates ascend along every axis; NaN where values are missing.
        """
        values = self.reconstruct_block().with_nan()
        return values[0] if len(values) == 1 else values

    def to_xarray(self, *, decode_times: bool = True) -> Any:
        """Return the field, of all time steps, as an xarray.Dataset that is sampled when used.

        Dimensions [time,] z, y, x, coordinates, their order and sign, and attributes are as the
        data's file had them; values are NaN where they are missing. Only what is indexed is
        sampled: ``model.to_xarray()["t"].isel(z=0)`` one layer.

        Parameters
        ----------
        decode_times : bool, default: True
            Whether times become dates.

        Raises
        ------
        ConfigurationError
            xarray is not installed.
        VolumeError
            The grid is turned in space.
        """
        dataset = labelled(self.series, self._on_samples)
        if not decode_times:
            return dataset
        decode = require("xarray", "A labelled data set").decode_cf
        return decode(dataset, mask_and_scale=False, decode_timedelta=False)

    def to_vtk(self, geometry: GridGeometry | None = None) -> Any:
        """Return this time step's field as a VTK data set; ``pyvista.wrap`` takes it.

        Parameters
        ----------
        geometry : GridGeometry, optional
            Any grid in the world; default: the grid of the data.

        Returns
        -------
        vtkImageData, or vtkRectilinearGrid where axes are uneven
            The values are point arrays with their units; NaN where they are missing. Of a model in
            the index space of a curvilinear grid it is that grid, a vtkStructuredGrid.

        Raises
        ------
        ConfigurationError
            VTK is not installed.
        """
        geometry = geometry or self.geometry
        output = new_dataset(geometry, self.index.coordinates)
        set_places(output, geometry, whole_extent(geometry), self.index)
        block = self.reconstruct_block(geometry)
        set_arrays(output, block, self.name, self.components, self.units)
        set_description(output, self.index)
        return output

    def _on_samples(self, step: int, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return values [C, z, y, x] of a step at ascending indices along each axis."""
        return self.at(step).reconstruct_block(self.geometry.on_samples(z, y, x)).with_nan()

    def density_block(
        self, geometry: GridGeometry | None = None, extent: Extent | None = None
    ) -> Block:
        """Return the feature density, values [1, z, y, x], on a part of a grid.

        It tells how much grid resolution the network has placed there, and is known inside the
        whole volume.
        """
        return self._on_grid(geometry or self.geometry, extent, 1, density=True)

    def feature_corners(self, bricks: Sequence[int] | None = None) -> np.ndarray:
        """Return the corners of feature grids in the world, float64 [bricks, G, 8, 3].

        See :func:`amgsrn_core.model.feature_grids.box_corners`; a grid may reach beyond the volume.
        A brick without a network has none: its corners are NaN.

        Parameters
        ----------
        bricks : sequence of int, default: all of them
            Their numbers.
        """
        numbers = range(len(self._bricks)) if bricks is None else bricks
        corners = np.full((len(numbers), self.index.network.grids, 8, 3), np.nan)
        for own, number in zip(corners, numbers):
            if self.index.bricks[number].state == "network":
                points = self._bricks[number].feature_corners()
                own[:] = self.geometry.index_to_world(points.reshape(-1, 3)).reshape(-1, 8, 3)
        return corners

    def feature_densities(self, bricks: Sequence[int] | None = None) -> np.ndarray:
        """Return what each feature grid adds to the feature density, float64 [bricks, G].

        That holds inside its box, see :meth:`feature_corners`; NaN in a brick without a network.
        """
        numbers = range(len(self._bricks)) if bricks is None else bricks
        densities = np.full((len(numbers), self.index.network.grids), np.nan)
        for own, number in zip(densities, numbers):
            if self.index.bricks[number].state == "network":
                own[:] = self._bricks[number].feature_densities()
        return densities

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

    @property
    def has_values(self) -> bool:
        """Whether any brick has values."""
        return len(self._field.numbers) > 0

    def bricks(self) -> Iterator[FieldBrick]:
        """Yield the bricks that have values; a reference to one keeps it in memory."""
        return self._field.bricks()

    @property
    def blend(self) -> Blend:
        """The weights of :meth:`bricks`, in their order."""
        return self._field.blend

    def _on_grid(
        self,
        geometry: GridGeometry,
        extent: Extent | None,
        columns: int,
        *,
        density: bool = False,
        corrected: bool = False,
    ) -> Block:
        """Return values, or the density, with so many columns."""
        grid = GridPoints(self.geometry, geometry, geometry.resolve(extent))
        dtype = np.dtype(np.float32) if density else self.dtype
        values = np.empty((columns, grid.count), dtype=dtype)
        parts = ranges(grid.count, self._field.batch)
        if self._field.on_device is not None:
            import torch

            from amgsrn_core.field.device_field import DeviceGridPoints

            grid_points = DeviceGridPoints(grid, self.device)
            for part in parts:
                batch = self._field.tensor(grid_points.index(part), columns, density=density)
                torch.from_numpy(values[:, part]).copy_(batch.t())
        else:
            for part in parts:
                index = grid.index(part)
                values[:, part] = (
                    self._field.density(index)
                    if density
                    else self._field.values(index, corrected=corrected)
                ).T
        return Block.of_field(values.reshape(-1, *grid.shape))


def _checked_points(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] != 3:
        raise VolumeError(f"Points must have the shape [N, 3], not {list(points.shape)}.")
    return points


def _upwards(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return numbers of a type that are not below the given ones."""
    with np.errstate(over="ignore"):
        rounded = values.astype(dtype)
    return np.where(rounded < values, np.nextafter(rounded, dtype.type(np.inf)), rounded)
