"""NetCDF output by the CF conventions."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core.errors import OutputError
from amgsrn_core.system.output import reason
from amgsrn_core.volume.axis import Axis
from amgsrn_core.volume.geometry import Extent, GridGeometry
from amgsrn_core.volume.netcdf.library import LOCK, import_netcdf4, library_path
from amgsrn_core.volume.replacement import MARK
from amgsrn_core.volume.volume import MissingValues, TimeAxis

CONVENTIONS = "CF-1.8"

_NEARLY_NOTHING = 1 << 20


class NetCDFOutput:
    """A NetCDF-4 file with one variable per component, float32 or float64."""

    def __init__(
        self,
        path: Path,
        geometry: GridGeometry,
        *,
        name: str,
        components: tuple[str, ...],
        units: tuple[str, ...],
        missing: MissingValues,
        time: TimeAxis | None,
        made_by: str,
        dtype: np.dtype,
    ) -> None:
        self._path = path
        self._geometry = geometry
        self._has_time = time is not None
        fill = missing.fill_value
        with np.errstate(over="ignore"):
            self._fill = dtype.type(np.nan if fill is None else fill)
        if not np.isfinite(self._fill):
            self._fill = dtype.type(np.nan)
        netcdf4 = import_netcdf4()
        taken: set[str] = set()
        with self._library():
            # Made by Python first, because its errors say what is wrong and the library's do not.
            path.touch()
            with library_path(path) as lent:
                self._dataset = netcdf4.Dataset(lent, "w", format="NETCDF4")
            self._dataset.Conventions = CONVENTIONS
            self._dataset.title = name
            self._dataset.setncattr(MARK, made_by)
            dimensions = [] if time is None else [self._define_time(time, taken)]
            for letter, axis in zip("zyx", geometry.axes):
                dimensions.append(self._define_axis(letter, axis, taken))
            self._variables = []
            for component, unit in zip(components, units):
                variable = self._dataset.createVariable(
                    _legal(component, taken), dtype, dimensions, fill_value=self._fill
                )
                variable.set_auto_maskandscale(False)
                variable.long_name = component
                if unit:
                    variable.units = unit
                self._variables.append(variable)

    def write(self, extent: Extent, values: np.ndarray, step: int = 0) -> None:
        """Write values [C, z, y, x] of a resolved extent of a time step."""
        key: list[Any] = [step] if self._has_time else []
        flips: list[slice] = []
        for axis, part in zip(self._geometry.axes, extent):
            if axis.descending:
                part = slice(axis.size - part.stop, axis.size - part.start)
            key.append(part)
            flips.append(slice(None, None, -1 if axis.descending else 1))
        for variable, component in zip(self._variables, values):
            stored = self._marked(component)
            with self._library():
                variable[tuple(key)] = stored[tuple(flips)]

    def close(self) -> None:
        """Write what is still buffered."""
        with self._library():
            self._dataset.close()

    def abandon(self) -> None:
        """Let go of a file that will be removed."""
        with contextlib.suppress(OutputError), self._library():
            if self._dataset.isopen():
                self._dataset.close()

    @contextlib.contextmanager
    def _library(self) -> Iterator[None]:
        """Guard calls into the library, and turn its failures into one sentence."""
        with LOCK:
            try:
                yield
            except RuntimeError as error:
                # HDF5 does not pass on why a write failed; a full disk is nearly always it.
                full = shutil.disk_usage(self._path.parent).free < _NEARLY_NOTHING
                cause = "the disk is full" if full else reason(error)
                raise OutputError(f"Cannot write NetCDF: {cause}.") from error

    def _marked(self, values: np.ndarray) -> np.ndarray:
        """Return the values with the fill value where they are NaN, and only there."""
        missing = np.isnan(values)
        stored = values.copy()
        # A value that happens to be the fill value moves by the least possible amount.
        toward = stored.dtype.type(1.0 if self._fill == 0 else 0.0)
        stored[stored == self._fill] = np.nextafter(self._fill, toward)
        stored[missing] = self._fill
        return stored

    def _define_axis(self, letter: str, axis: Axis, taken: set[str]) -> str:
        name = _legal(axis.name or letter, taken)
        self._dataset.createDimension(name, axis.size)
        variable = self._dataset.createVariable(name, "f8", (name,))
        variable.axis = letter.upper()
        if axis.units:
            variable.units = axis.units
        if axis.standard_name:
            variable.standard_name = axis.standard_name
        if axis.negated:
            variable.positive = "down"
        variable[:] = axis.file_coordinates
        return name

    def _define_time(self, time: TimeAxis, taken: set[str]) -> str:
        name = _legal(time.name, taken)
        steps = time.steps or (time.index,)
        self._dataset.createDimension(name, len(steps))
        variable = self._dataset.createVariable(name, "f8", (name,))
        variable.axis = "T"
        if time.units:
            variable.units = time.units
        if " since " in time.units:
            variable.standard_name = "time"
            variable.calendar = time.calendar
        variable[:] = [time.values[step] for step in steps]
        return name


def _legal(name: str, taken: set[str]) -> str:
    """Return a name that CF allows and that is not taken yet, and take it."""
    legal = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not legal[:1].isalpha():
        legal = f"v{legal}"
    while legal in taken:
        legal += "_data"
    taken.add(legal)
    return legal
