"""Writing a volume to a file: NetCDF, .vti or .vtr, slab by slab, complete or not at all."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np

from amgsrn_core.errors import OutputError, VolumeError
from amgsrn_core.system.output import ensure_writable, replacing
from amgsrn_core.volume.attributes import Attributes
from amgsrn_core.volume.block import Block
from amgsrn_core.volume.geometry import Extent, GridGeometry, PartialExtent
from amgsrn_core.volume.in_memory import component_names
from amgsrn_core.volume.netcdf.writer import NetCDFOutput
from amgsrn_core.volume.precision import type_of_ranges
from amgsrn_core.volume.replacement import NETCDF_SUFFIXES, VOLUME, VTK_SUFFIXES, guard
from amgsrn_core.volume.volume import MissingValues, TimeAxis, extent_shape
from amgsrn_core.volume.vtk.writer import VTKOutput

Blocks = Iterable[tuple[Extent, Union[Block, np.ndarray]]]


def write_volume(
    path: str | os.PathLike[str],
    data: np.ndarray | Blocks,
    geometry: GridGeometry,
    *,
    name: str = "data",
    components: Sequence[str] | None = None,
    units: Sequence[str] | str = "",
    valid: np.ndarray | None = None,
    missing: MissingValues | None = None,
    time: TimeAxis | None = None,
    attributes: Attributes | None = None,
    made_by: str = "library",
    force: bool = False,
    dtype: Any = None,
) -> Path:
    """Write a volume at once; the arguments are those of :class:`VolumeWriter`.

    Parameters
    ----------
    data : ndarray, shape [z, y, x] or [C, z, y, x], or iterable of (extent, Block)
        All values, or a stream of blocks that together cover the geometry. Streams need
        `components` unless the field is scalar.
    valid : ndarray of bool, shape [z, y, x], optional
        False where an array has no value.
    dtype : float32 or float64, optional
        Default: float32, but float64 for arrays of which float32 would lose more than 1e-4 of their
        range, and for streams whose first block is float64.

    Examples
    --------
    >>> import numpy as np
    >>> from amgsrn_core.volume import GridGeometry, write_volume
    >>> geometry = GridGeometry.uniform((8, 16, 32))
    >>> write_volume("noise.vti", np.random.rand(8, 16, 32), geometry)    # doctest: +SKIP
    """
    if isinstance(data, np.ndarray):
        if isinstance(data, np.ma.MaskedArray):
            data = np.where(np.ma.getmaskarray(data), np.nan, data.data)
        values = data[np.newaxis] if data.ndim == 3 else data
        if values.ndim != 4:
            raise VolumeError(
                f"The values to write must be [z, y, x] or [C, z, y, x], not {list(data.shape)}."
            )
        if components is None:
            components = component_names(name, len(values))
        dtype = dtype or _type_of(values, valid)
        data = [(geometry.resolve(), Block(values, valid))]
    elif dtype is None:
        data = iter(data)
        if (first := next(data, None)) is not None:
            dtype = getattr(first[1], "values", first[1]).dtype
            data = itertools.chain([first], data)
    with VolumeWriter(
        path,
        geometry,
        name=name,
        components=components,
        units=units,
        missing=missing,
        time=time,
        attributes=attributes,
        made_by=made_by,
        force=force,
        dtype=np.float64 if dtype == np.float64 else np.float32,
    ) as writer:
        for extent, block in data:
            writer.write(extent, block)
    return Path(path)


class VolumeWriter:
    """Writes a volume extent by extent; the file appears when the ``with`` block succeeds.

    Parameters
    ----------
    path : path-like
        ``.nc`` (also .nc4, .cdf, .netcdf), ``.vti`` or ``.vtr``.
    geometry : GridGeometry
        Every sample of it has to be written.
    name : str, default: "data"
        Name of the array. In VTK's files all components are one array of this name; in NetCDF
        each component is a variable of its own.
    components : sequence of str, default: `name`
        Names of the components.
    units : str or sequence of str, default: ""
        Units of all components, or of each.
    missing : MissingValues, optional
        Its fill value marks invalid voxels in NetCDF (NaN where it has none). VTK's files have
        NaN there.
    time : TimeAxis, optional
        The step that this volume is; written as a time dimension of one step. With `steps` a
        NetCDF file gets all of those.
    attributes : Attributes, optional
        What the source said in attributes; NetCDF files get them back, with a line more of history.
    made_by : str, default: "library"
        A mark for the file, whose first word tells who may replace it without being asked.
    force : bool, default: False
        Replace a volume that somebody else made.
    dtype : float32 or float64, default: float32
        Type of the numbers in the file.

    Raises
    ------
    VolumeError
        The format cannot hold the geometry (uneven axes in .vti, a turned grid in .nc or .vtr) or
        several time steps, or the suffix is unknown.
    OutputError
        The file cannot be written: no such folder, no permission, disk full, or a volume there
        that was not made alike.

    Notes
    -----
    NetCDF files get the axes back as their source had them: its order (`Axis.descending`) and
    sign (`Axis.negated`, with ``positive: down``).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        geometry: GridGeometry,
        *,
        name: str = "data",
        components: Sequence[str] | None = None,
        units: Sequence[str] | str = "",
        missing: MissingValues | None = None,
        time: TimeAxis | None = None,
        attributes: Attributes | None = None,
        made_by: str = "library",
        force: bool = False,
        dtype: Any = np.float32,
    ) -> None:
        self._path = Path(path)
        self._dtype = np.dtype(dtype)
        self._geometry = geometry
        names = (name,) if components is None else tuple(components)
        if not names:
            raise VolumeError("A volume needs at least one component.")
        if not isinstance(units, str) and len(units) != len(names):
            raise VolumeError(f"'{name}' has {len(names)} components but {len(units)} units.")
        if attributes is not None and len(attributes.components) != len(names):
            raise VolumeError(f"'{name}' has {len(names)} components, unlike its attributes.")
        suffix = self._path.suffix.lower()
        _require_format(suffix, geometry)
        if time is not None and not time.steps and math.isnan(time.value):
            time = None  # the data do not say
        self._steps = 1 if time is None else max(1, len(time.steps))
        if self._steps > 1 and suffix not in NETCDF_SUFFIXES:
            raise VolumeError(
                f"A {suffix} file holds one time step, not {self._steps}; write a .nc file, or "
                "choose a step."
            )
        self._arguments: dict[str, Any] = {
            "name": name,
            "components": names,
            "units": (units,) * len(names) if isinstance(units, str) else tuple(units),
            "missing": missing or MissingValues(),
            "time": time,
            "attributes": attributes,
            "made_by": made_by,
            "dtype": self._dtype,
        }
        self._kind = NetCDFOutput if suffix in NETCDF_SUFFIXES else VTKOutput
        self._stack = contextlib.ExitStack()
        self._output: NetCDFOutput | VTKOutput | None = None
        self._written = 0
        ensure_writable(self._path)
        guard(self._path, VOLUME, by=made_by.split(" ")[0], force=force)
        self._require_space()

    def __enter__(self) -> VolumeWriter:
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(replacing(self._path))
            self._output = self._kind(temporary, self._geometry, **self._arguments)
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def write(self, extent: PartialExtent, block: Block | np.ndarray, step: int = 0) -> None:
        """Write the values of one extent.

        Parameters
        ----------
        extent : tuple of three slices (z, y, x), or None for everything
        block : Block or ndarray, shape [C, z, y, x] (or [z, y, x] for a scalar field)
            Invalid voxels, by the block's mask or NaN, are written as missing.
        step : int, default: 0
            Which of the time axis' `steps` it is, from 0.
        """
        if self._output is None:
            raise OutputError("Open the writer with a `with` statement before writing to it.")
        extent = self._geometry.resolve(extent)
        if not isinstance(block, Block):
            block = Block(np.asarray(block))
        values = block.values[np.newaxis] if block.values.ndim == 3 else block.values
        shape = (len(self._arguments["components"]), *extent_shape(extent))
        if values.shape != shape:
            raise VolumeError(
                f"The block to write has the shape {list(values.shape)}, "
                f"but its extent needs {list(shape)}."
            )
        valid = None if block.valid is None else np.asarray(block.valid, dtype=bool)
        if valid is not None and valid.shape != shape[1:]:
            raise VolumeError(
                f"The block's validity mask has the shape {list(valid.shape)} "
                f"instead of {list(shape[1:])}."
            )
        values = Block(values.astype(self._dtype, copy=False), valid).with_nan()
        self._output.write(extent, values, step)
        self._written += int(np.prod(shape[1:]))

    def _require_space(self) -> None:
        """Raise OutputError now if the values cannot fit on the disk later."""
        item_bytes = self._dtype.itemsize * len(self._arguments["components"])
        needed = item_bytes * self._steps * self._geometry.n_points
        free = shutil.disk_usage(self._path.resolve().parent).free
        if free < needed:
            raise OutputError(
                f"Cannot write {self._path}: it needs {needed / 1e9:.3g} GB, "
                f"and the disk has {free / 1e9:.3g} GB left."
            )

    def _finish(self, kind: type[BaseException] | None, *more: object) -> None:
        """Close the file; with an error under way, only let go of it."""
        output, self._output = self._output, None
        if output is None:
            return
        if kind is not None:
            output.abandon()
            return
        output.close()
        if self._written < (wanted := self._steps * self._geometry.n_points):
            raise OutputError(
                f"Only {self._written} of {wanted} samples were written to "
                f"'{self._path}'; nothing was kept."
            )


def _type_of(values: np.ndarray, valid: np.ndarray | None) -> np.dtype:
    """Return the type that holds an array [C, z, y, x]."""
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    kept = np.isfinite(values) if valid is None else np.isfinite(values) & valid
    low, high = (
        extreme(values, axis=(1, 2, 3), where=kept, initial=start).astype(float)
        for extreme, start in ((np.min, np.inf), (np.max, -np.inf))
    )
    known = low <= high
    return type_of_ranges([(low[known].tolist(), high[known].tolist())])


def _require_format(suffix: str, geometry: GridGeometry) -> None:
    if suffix not in NETCDF_SUFFIXES + VTK_SUFFIXES:
        raise VolumeError(
            f"The suffix '{suffix}' names no format that volumes are written in; "
            "use .nc, .vti or .vtr."
        )
    if suffix == ".vti" and not geometry.is_uniform:
        raise VolumeError(
            "Image data (.vti) needs evenly spaced axes, and these are not; write .vtr or .nc."
        )
    if suffix != ".vti" and not geometry.is_aligned:
        raise VolumeError(
            f"A '{suffix}' file cannot hold a grid that is turned in space; write .vti."
        )
