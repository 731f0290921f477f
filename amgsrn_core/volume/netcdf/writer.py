"""NetCDF output by the CF conventions."""

from __future__ import annotations

import contextlib
import datetime
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core.errors import OutputError
from amgsrn_core.system.output import reason
from amgsrn_core.volume.attributes import Attributes, Mapped, axis_records, merged
from amgsrn_core.volume.axis import Axis
from amgsrn_core.volume.geometry import Extent, GridGeometry
from amgsrn_core.volume.netcdf.attributes import VALID
from amgsrn_core.volume.netcdf.library import LOCK, import_netcdf4, library_path
from amgsrn_core.volume.replacement import MARK
from amgsrn_core.volume.volume import MissingValues, TimeAxis

logger = logging.getLogger(__name__)

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
        attributes: Attributes | None,
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
            self._define_file(name, {} if attributes is None else attributes.file, made_by)
            known = Attributes() if attributes is None else attributes
            dimensions = [] if time is None else [self._define_time(time, known.time, taken)]
            for number, axis in enumerate(geometry.axes):
                is_counted = attributes is not None and attributes.counts(number, axis)
                own = None if is_counted else known.axes[number] or {}
                dimensions.append(self._define_axis("zyx"[number], axis, own, taken))
            self._variables = []
            self._valid = _ValidRanges(known.components)
            for number, (component, unit) in enumerate(zip(components, units)):
                variable = self._dataset.createVariable(
                    _legal(component, taken), dtype, dimensions, fill_value=self._fill
                )
                variable.set_auto_maskandscale(False)
                own = known.components[number] if known.components else None
                said = merged([("units", unit)], own, {"long_name": component})
                _set(variable, {key: value for key, value in said.items() if key not in VALID})
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
        for number, (variable, component) in enumerate(zip(self._variables, values)):
            self._valid.see(number, component)
            stored = self._marked(component)
            with self._library():
                variable[tuple(key)] = stored[tuple(flips)]

    def close(self) -> None:
        """Write what is still buffered."""
        with self._library():
            for number, variable in enumerate(self._variables):
                _set(variable, self._valid.attributes(number, variable.name))
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

    def _define_file(self, name: str, known: Mapped, made_by: str) -> None:
        """Write the source's global attributes, and what was done since."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        # The newest line comes first, as NCO and CDO have it (NetCDF Users Guide, appendix A).
        lines = [f"{now}: amgsrn {made_by}", *filter(None, [str(known.get("history", ""))])]
        said = {"title": name, **known, "Conventions": CONVENTIONS, "history": "\n".join(lines)}
        _set(self._dataset, said)
        self._dataset.setncattr(MARK, made_by)

    def _define_axis(self, letter: str, axis: Axis, own: Mapped | None, taken: set[str]) -> str:
        """Define a dimension, and its coordinates unless `own` is None."""
        name = _legal(axis.name or letter, taken)
        self._dataset.createDimension(name, axis.size)
        if own is None:
            return name
        variable = self._dataset.createVariable(name, "f8", (name,))
        records = [("axis", letter.upper()), *axis_records(axis)]
        _set(variable, merged(records, own, {}))
        variable[:] = axis.file_coordinates
        return name

    def _define_time(self, time: TimeAxis, own: Mapped | None, taken: set[str]) -> str:
        name = _legal(time.name, taken)
        steps = time.steps or (time.index,)
        self._dataset.createDimension(name, len(steps))
        variable = self._dataset.createVariable(name, "f8", (name,))
        records = [("axis", "T"), ("units", time.units)]
        if " since " in time.units:
            records += [("standard_name", "time"), ("calendar", time.calendar)]
        _set(variable, merged(records, own, {}))
        variable[:] = [time.values[step] for step in steps]
        return name


class _ValidRanges:
    """The source's valid ranges: readers take what is beyond them for missing.

    They are written where all values are within, and else left out, which is told.
    """

    def __init__(self, components: tuple[Mapped, ...]) -> None:
        self._said = [{k: own[k] for k in VALID if k in own} for own in components]
        self._found = [(np.inf, -np.inf)] * len(components)

    def see(self, number: int, values: np.ndarray) -> None:
        """Look at values of a component that are written."""
        if self._said and self._said[number]:
            low, high = self._found[number]
            known = values[~np.isnan(values)]
            low, high = known.min(initial=low), known.max(initial=high)
            self._found[number] = low, high

    def attributes(self, number: int, name: str) -> Mapped:
        """Return what is said of a component in the end."""
        said = self._said[number] if self._said else {}
        low, high = self._found[number] if said else (0, 0)
        fitting = {key: value for key, value in said.items() if _holds(key, value, low, high)}
        if len(fitting) < len(said):
            logger.warning(
                "%s of '%s' is left out, because its values now go from %g to %g.",
                " and ".join(sorted(said.keys() - fitting.keys())),
                name,
                low,
                high,
            )
        return fitting


def _holds(key: str, value: Any, low: float, high: float) -> bool:
    """Tell whether values from `low` to `high` are within a valid range, as far as it is one."""
    try:
        ends = np.atleast_1d(np.asarray(value, dtype=float))
    except ValueError:
        return False
    above = key == "valid_max" or bool(ends[0] <= low)
    return above and (key == "valid_min" or bool(high <= ends[-1]))


def _set(owner: Any, attributes: Mapped) -> None:
    """Set attributes of a variable or a file; whole numbers are of 32 bits where they fit."""
    for name, value in attributes.items():
        if not isinstance(value, str) and np.asarray(value).dtype.kind in "iu":
            array = np.asarray(value)
            short = np.iinfo(np.int32)
            if array.size and short.min <= array.min() and array.max() <= short.max:
                value = array.astype(np.int32)
        try:
            owner.setncattr(name, value)
        except (AttributeError, TypeError, ValueError) as error:
            logger.warning("The attribute %s is left out: %s.", name, reason(error))


def _legal(name: str, taken: set[str]) -> str:
    """Return a name that CF allows and that is not taken yet, and take it."""
    legal = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not legal[:1].isalpha():
        legal = f"v{legal}"
    while legal in taken:
        legal += "_data"
    taken.add(legal)
    return legal
