"""The CF conventions, as far as a volume needs them: which variable, which axis, which numbers.

References: the NetCDF Climate and Forecast conventions 1.10 (chapters 4, 5 and 8) and the
attribute conventions of the NetCDF Users Guide (appendix A) for fill values and valid ranges.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from amgsrn_core.errors import VariableNotFoundError, VolumeError
from amgsrn_core.precision import type_of_numbers, type_of_packed
from amgsrn_core.volume.volume import Loaded

# Attributes whose words name other variables, which thereby describe data instead of being data.
_REFERENCES = (
    "ancillary_variables",
    "bounds",
    "cell_measures",
    "climatology",
    "coordinates",
    "formula_terms",
    "geometry",
    "grid_mapping",
)
_NEVER_DATA = ("bounds", "climatology")

_LONGITUDE = re.compile(r"^degrees?(_east|_e|e)$", re.I)
_LATITUDE = re.compile(r"^degrees?(_north|_n|n)$", re.I)
_PRESSURE = re.compile(
    r"^(d|h|k)?pa$|^pascals?$|^m?bars?$|^millibars?$|^deci?bars?$|^dbar$|^atm$", re.I
)
_STANDARD_NAMES = {
    "longitude": "x",
    "grid_longitude": "x",
    "projection_x_coordinate": "x",
    "latitude": "y",
    "grid_latitude": "y",
    "projection_y_coordinate": "y",
    "air_pressure": "z",
    "altitude": "z",
    "depth": "z",
    "height": "z",
    "height_above_mean_sea_level": "z",
    "model_level_number": "z",
    "time": "t",
}


@dataclass(frozen=True)
class Variable:
    """A variable, its path in the file ("group/name") and whether it looks like data."""

    path: str
    variable: Any
    is_coordinate: bool
    is_auxiliary: bool

    @property
    def sizes(self) -> str:
        """Dimensions with their sizes, for messages."""
        return ", ".join(f"{dim.name} {len(dim)}" for dim in self.variable.get_dims())


def choose_variables(dataset: Any, names: tuple[str, ...] | None) -> list[Variable]:
    """Return the named variables, or the only one that can be a volume.

    Raises
    ------
    VariableNotFoundError
        An unknown name, a coordinate variable, or no name where there is a choice.
    """
    known = list_variables(dataset)
    candidates = [v for v in known if not v.is_auxiliary and _count_space(v.variable) >= 3]
    choices = "; ".join(f"{v.path} ({v.sizes})" for v in candidates) or "none"
    if names is None:
        if len(candidates) == 1:
            return candidates
        if candidates:
            raise VariableNotFoundError(
                f"The file holds {len(candidates)} volumes; name the variable(s) to use: {choices}."
            )
        others = [v for v in known if not v.is_auxiliary]
        if len(others) == 1:
            return others  # whoever uses it will say what it lacks
        flat = "; ".join(f"{v.path} ({v.sizes})" for v in others) or "none"
        raise VariableNotFoundError(
            f"The file holds no variable with three space dimensions; its variables: {flat}."
        )
    chosen = []
    for name in names:
        found = [v for v in known if v.path == name.strip("/")]
        if not found:
            raise VariableNotFoundError(
                f"There is no variable '{name}' in the file; it has: {choices}."
            )
        if found[0].is_coordinate:
            raise VariableNotFoundError(
                f"'{name}' is a coordinate variable, not data; the file has: {choices}."
            )
        chosen += found
    return chosen


def list_variables(dataset: Any) -> list[Variable]:
    """Return all numeric variables of a file and its groups."""
    everything = list(_walk(dataset))
    referenced: set[str] = set()
    bounds: set[str] = set()
    for _, variable in everything:
        for attribute in _REFERENCES:
            words = text(variable, attribute).replace(":", " ").split()
            referenced.update(words)
            if attribute in _NEVER_DATA:
                bounds.update(words)
    result = []
    for path, variable in everything:
        if not _is_numeric(variable):
            continue
        coordinate = variable.dimensions == (variable.name,) or variable.name in bounds
        auxiliary = coordinate or variable.name in referenced
        result.append(Variable(path, variable, coordinate, auxiliary))
    return result


def coordinate_of(dimension: Any, variable: Any) -> Any | None:
    """Return the variable that holds the coordinates of a dimension of `variable`, if any.

    That is the variable of the dimension's own name, or else a 1-D one that the `coordinates`
    attribute names.
    """
    names = [dimension.name, *text(variable, "coordinates").split()]
    for name in names:
        group = variable.group()
        while group is not None:
            found = group.variables.get(name)
            if found is not None and found.dimensions == (dimension.name,):
                return found if _is_numeric(found) else None
            group = group.parent
    return None


def axis_kind(dimension: Any, coordinate: Any | None) -> str | None:
    """Return "t", "z", "y" or "x" where attributes say what a dimension is, else None."""
    if coordinate is None:
        return "t" if dimension.name.lower() in ("time", "times") else None
    axis = text(coordinate, "axis").lower()
    if axis in ("t", "z", "y", "x"):
        return axis
    kind = _STANDARD_NAMES.get(text(coordinate, "standard_name"))
    if kind:
        return kind
    units = text(coordinate, "units")
    if " since " in units:
        return "t"
    if _LONGITUDE.match(units):
        return "x"
    if _LATITUDE.match(units):
        return "y"
    if text(coordinate, "positive") or _PRESSURE.match(units):
        return "z"
    return "t" if dimension.name.lower() in ("time", "times") else None


def text(variable: Any, attribute: str) -> str:
    """Return a text attribute, or "" if there is none."""
    value = variable.getncattr(attribute) if attribute in variable.ncattrs() else ""
    return value.strip() if isinstance(value, str) else ""


class Decoder:
    """Turns the stored numbers of one variable into values and a mask of missing ones."""

    def __init__(self, variable: Any) -> None:
        self._dtype = variable.dtype
        if text(variable, "_Unsigned").lower() == "true" and self._dtype.kind == "i":
            # How classic files, which know signed bytes only, store unsigned ones.
            self._dtype = np.dtype(f"u{self._dtype.itemsize}")
        self._scale = _number(variable, "scale_factor", 1.0)
        self._offset = _number(variable, "add_offset", 0.0)
        declared = {
            name: _numbers(variable, name)
            for name in ("_FillValue", "missing_value")
            if name in variable.ncattrs()
        }
        self._missing = [
            stored
            for values in declared.values()
            for stored in (_as_stored(v, self._dtype) for v in values)
            if stored is not None
        ]
        default = _default_fill(variable)
        if "_FillValue" not in declared and default is not None:
            self._missing.append(default)
        self._minimum, self._maximum, self._range_is_unpacked = self._valid_range(variable)
        self._declared = declared

    @property
    def is_packed(self) -> bool:
        """Whether values are computed from the stored numbers."""
        return self._scale != 1.0 or self._offset != 0.0

    @property
    def source_dtype(self) -> np.dtype:
        """Type of the stored numbers."""
        return self._dtype

    @property
    def value_dtype(self) -> np.dtype:
        """Type that holds the values: float32 or float64."""
        if self.is_packed:
            return type_of_packed(self._dtype, self._scale, self._offset)
        return type_of_numbers(self._dtype)

    @property
    def meaning(self) -> str:
        """What marks a voxel as missing, for people."""
        parts = []
        for name, values in self._declared.items():
            numbers = [f"{value:g}" for value in values if value == value]
            if numbers:
                parts.append(f"{name} {', '.join(numbers)}")
        if self._minimum is not None or self._maximum is not None:
            low = "-inf" if self._minimum is None else f"{self._minimum:g}"
            high = "inf" if self._maximum is None else f"{self._maximum:g}"
            parts.append(f"outside the valid range {low} to {high}")
        if self._dtype.kind == "f":
            parts.append("NaN")
        elif not parts and self._missing:
            parts.append("default fill value")
        return "; ".join(parts) or "no value"

    @property
    def fill_value(self) -> float | None:
        """The fill value in units of the data, where it can be written back; None for NaN."""
        values = self._declared.get("_FillValue") or self._declared.get("missing_value") or []
        if self.is_packed or not values or not np.isfinite(values[0]):
            return None
        return float(values[0])

    def decode(self, raw: np.ndarray, dtype: Any = None) -> Loaded:
        """Return values and where they are missing (None: nowhere) of an array of stored numbers.

        Numbers that were not packed keep their type; the others become `dtype`, by default that
        which holds them.
        """
        if self._dtype.kind == "u" and raw.dtype.kind == "i":
            raw = raw.view(raw.dtype.str.replace("i", "u"))
        missing = self._find_missing(raw)
        if not self.is_packed:
            return raw, missing
        values = np.empty(raw.shape, dtype=dtype or self.value_dtype)
        outside = np.zeros(raw.shape, dtype=bool) if self._range_is_unpacked else None
        # Slice by slice: the products are float64, the result need not be.
        for index, stored in enumerate(raw):
            unpacked = stored * np.float64(self._scale) + self._offset
            values[index] = unpacked
            if outside is not None:
                outside[index] = self._is_outside(unpacked)
        if outside is not None:
            missing = outside if missing is None else missing | outside
        return values, missing

    def _find_missing(self, raw: np.ndarray) -> np.ndarray | None:
        missing: np.ndarray | None = None
        for value in self._missing:
            equal = raw == value
            missing = equal if missing is None else np.logical_or(missing, equal, out=missing)
        if not self._range_is_unpacked and (self._minimum, self._maximum) != (None, None):
            outside = self._is_outside(raw)
            missing = outside if missing is None else np.logical_or(missing, outside, out=missing)
        return missing

    def _is_outside(self, values: np.ndarray) -> np.ndarray:
        outside = np.zeros(values.shape, dtype=bool)
        if self._minimum is not None:
            outside |= values < self._minimum
        if self._maximum is not None:
            outside |= values > self._maximum
        return outside

    def _valid_range(self, variable: Any) -> tuple[Any, Any, bool]:
        """Return the bounds and whether they are meant for unpacked values.

        The Users Guide: bounds of the same type as the scale factor, wider than the stored type,
        are in the units of the unpacked data; otherwise in those of the stored numbers.
        """
        attributes = variable.ncattrs()
        low = high = None
        dtype = self._dtype
        if "valid_range" in attributes:
            bounds = _numbers(variable, "valid_range")
            if len(bounds) == 2:
                low, high = bounds
                dtype = np.asarray(variable.getncattr("valid_range")).dtype
        for name in ("valid_min", "valid_max"):
            bounds = _numbers(variable, name) if name in attributes else []
            if len(bounds) == 1:
                dtype = np.asarray(variable.getncattr(name)).dtype
                low, high = (bounds[0], high) if name == "valid_min" else (low, bounds[0])
        unpacked = self.is_packed and dtype.kind == "f" and self._dtype.kind in "iu"
        if not unpacked and self._dtype.kind == "f":
            # A bound written with more digits than the data must not cut off the extreme itself.
            low, high = (
                None if bound is None else self._dtype.type(bound) for bound in (low, high)
            )
        return low, high, unpacked


def _walk(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, variable in group.variables.items():
        yield prefix + name, variable
    for name, child in group.groups.items():
        yield from _walk(child, f"{prefix}{name}/")


def _is_numeric(variable: Any) -> bool:
    # `datatype`, because the `dtype` of a ragged array is that of its elements.
    return isinstance(variable.datatype, np.dtype) and variable.dtype.kind in "iuf"


def _count_space(variable: Any) -> int:
    """Return how many dimensions of more than one sample, beside time, a variable has."""
    dimensions = [dim for dim in variable.get_dims() if len(dim) > 1]
    return sum(axis_kind(dim, coordinate_of(dim, variable)) != "t" for dim in dimensions)


def _numbers(variable: Any, attribute: str) -> list[float]:
    """Return a numeric attribute as a list; text that is no number counts as absent."""
    value = np.atleast_1d(np.asarray(variable.getncattr(attribute)))
    try:
        return [v.item() for v in (value if value.dtype.kind in "iuf" else value.astype(float))]
    except ValueError:
        return []


def _number(variable: Any, attribute: str, default: float) -> float:
    if attribute not in variable.ncattrs():
        return default
    values = _numbers(variable, attribute)
    if len(values) != 1 or not np.isfinite(values[0]):
        raise VolumeError(
            f"The attribute {attribute} of '{variable.name}' must be a single finite number."
        )
    return float(values[0])


def _as_stored(value: float, dtype: np.dtype) -> Any | None:
    """Return a missing value in the type of the stored numbers, or None if none can equal it."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return None if np.isnan(value) else dtype.type(value)
    value = _as_unsigned(value, dtype)
    limits = np.iinfo(dtype)
    if not limits.min <= value <= limits.max or value != int(value):
        return None
    return dtype.type(int(value))


def _as_unsigned(value: float, dtype: np.dtype) -> float:
    """Return a number below zero, which an unsigned type cannot be, by its bits."""
    return value + (1 << 8 * dtype.itemsize) if dtype.kind == "u" and value < 0 else value


def _default_fill(variable: Any) -> Any | None:
    """Return what the library wrote where nobody wrote anything; bytes have no such value."""
    dtype = variable.dtype
    if dtype.itemsize == 1:
        return None
    fills = {"i2": -32767, "u2": 65535, "i4": -2147483647, "u4": 4294967295}
    fills |= {"i8": -9223372036854775806, "u8": 18446744073709551614}
    if dtype.kind == "f":
        return dtype.type(9.9692099683868690e36)
    return dtype.type(fills[f"{dtype.kind}{dtype.itemsize}"])
