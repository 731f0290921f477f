"""The CF conventions, as far as a volume needs them: which variable, which axis, which numbers.

References: the NetCDF Climate and Forecast conventions 1.10 (chapters 4, 5 and 8) and the
attribute conventions of the NetCDF Users Guide (appendix A) for fill values and valid ranges.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from amgsrn_core.errors import VariableNotFoundError, VolumeError, did_you_mean
from amgsrn_core.volume.netcdf.references import (
    coordinate_of,
    find_variable,
    identity,
    is_numeric,
    tell,
    text,
    walk,
)
from amgsrn_core.volume.precision import type_of_numbers, type_of_packed
from amgsrn_core.volume.volume import Loaded

# Attributes whose words name other variables, which thereby describe data instead of being data.
REFERENCES = (
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
# Their words with a colon are keys ("area: cell_area"), no variables.
_KEYED = ("cell_measures", "formula_terms")

_LONGITUDE = re.compile(r"^degrees?(_east|_e|e)$", re.I)
_LATITUDE = re.compile(r"^degrees?(_north|_n|n)$", re.I)
_PRESSURE = re.compile(
    r"^(d|h|k)?pa$|^pascals?$|^m?bars?$|^millibars?$|^deci?bars?$|^dbar$|^atm$", re.I
)
_DURATION = re.compile(
    r"^((milli|micro|nano)?s(ec(ond)?s?)?|msecs?|min(ute)?s?|h|hrs?|hours?|d|days?|weeks?"
    r"|months?|yrs?|years?)$",
    re.I,
)
_TIME_NAME = re.compile(r"(^|_)times?(_?counter|_?steps?|_?\d+)?$", re.I)
_TIME_NAMES = ("time", "times")
_LIKELY_TIME_NAMES = ("nt", "step", "steps", "t", "timestep", "timesteps", "tstep")
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
    "forecast_period": "t",
    "forecast_reference_time": "t",
}


_LISTED = 8


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
    volumes = candidates(dataset)
    choices = "; ".join(f"{v.path} ({v.sizes})" for v in volumes) or "none"
    if names is None:
        if len(volumes) == 1:
            return volumes
        if volumes:
            raise VariableNotFoundError(
                f"The file holds {len(volumes)} volumes; name the variable(s) to use: {choices}."
            )
        others = [v for v in known if not v.is_auxiliary]
        if len(others) == 1:
            return others  # whoever uses it will say what it lacks
        flat = [f"{v.path} ({v.sizes})" for v in others]
        flat += [f"{path} ({kind_of(v)})" for path, v in walk(dataset) if not is_numeric(v)]
        raise VariableNotFoundError(
            "The file holds no variable with three space dimensions; its variables: "
            f"{'; '.join(flat) or 'none'}."
        )
    chosen = []
    for name in names:
        found = [v for v in known if v.path == name.strip("/")]
        if not found:
            raise VariableNotFoundError(
                f"{_unusable(dataset, name)}; the file has: {choices}"
                f"{did_you_mean(name.strip('/'), [v.path for v in known]) or '.'}"
            )
        if found[0].is_coordinate:
            raise VariableNotFoundError(
                f"'{name}' is a coordinate variable, not data; the file has: {choices}."
            )
        chosen += found
    return chosen


def candidates(dataset: Any) -> list[Variable]:
    """Return the variables that can be volumes."""
    known = list_variables(dataset)
    return [v for v in known if not v.is_auxiliary and _count_space(v.variable) >= 3]


def _unusable(dataset: Any, name: str) -> str:
    """Say why a name stands for no variable of numbers."""
    for path, variable in walk(dataset):
        if path == name.strip("/"):
            return f"'{name}' holds {kind_of(variable)}, not numbers that a network can learn"
    return f"There is no variable '{name}' in the file"


def kind_of(variable: Any) -> str:
    """Say what a variable without real numbers holds."""
    datatype = variable.datatype
    names = getattr(datatype, "enum_dict", None)
    if names is not None:
        shown = ", ".join(f"{value} {name}" for name, value in list(names.items())[:_LISTED])
        more = ", ..." if len(names) > _LISTED else ""
        return f"categories (the enum type {datatype.name}: {shown}{more})"
    if variable.dtype is str:
        return "text"
    if isinstance(datatype, np.dtype) and datatype.kind in "SU":
        return "characters"
    if not isinstance(datatype, np.dtype) and isinstance(variable.dtype, np.dtype):
        kind = "records" if variable.dtype.names else "lists of varying length"
        return f"{kind} (the type {datatype.name})"
    return f"values of the type {datatype}"


def list_variables(dataset: Any) -> list[Variable]:
    """Return all numeric variables of a file and its groups."""
    everything = list(walk(dataset))
    referenced: set[tuple[str, str]] = set()
    bounds: set[tuple[str, str]] = set()
    for _, variable in everything:
        for attribute in REFERENCES:
            words = text(variable, attribute)
            if attribute in _KEYED:
                words = re.sub(r"\S+:(\s|$)", " ", words)
            for word in words.replace(": ", " ").split():
                found = find_variable(variable.group(), word)
                if found is not None:
                    referenced.add(identity(found))
                    if attribute in _NEVER_DATA:
                        bounds.add(identity(found))
    result = []
    for path, variable in everything:
        if not is_numeric(variable):
            continue
        key = identity(variable)
        coordinate = variable.dimensions == (variable.name,) or key in bounds
        result.append(Variable(path, variable, coordinate, coordinate or key in referenced))
    return result


def axis_kind(dimension: Any, coordinate: Any | None) -> str | None:
    """Return "t", "z", "y" or "x" where attributes say what a dimension is, else None."""
    named = "t" if dimension.name.lower() in _TIME_NAMES else None
    if coordinate is None:
        return named
    axis = text(coordinate, "axis").lower()
    if axis in ("t", "z", "y", "x"):
        return axis
    kind = _STANDARD_NAMES.get(text(coordinate, "standard_name"))
    if kind:
        return kind
    units = text(coordinate, "units")
    if " since " in units or _is_model_time(coordinate):
        return "t"
    if _LONGITUDE.match(units):
        return "x"
    if _LATITUDE.match(units):
        return "y"
    if text(coordinate, "positive") or _PRESSURE.match(units):
        return "z"
    return named


def time_likelihood(dimension: Any, coordinate: Any | None) -> int:
    """Return how likely a dimension is time that :func:`axis_kind` knows nothing of, 0: not.

    This is for variables with a dimension too many: a seismic volume has time in place of depth.
    """
    if axis_kind(dimension, coordinate) is not None:
        return 0
    if coordinate is not None and _DURATION.match(text(coordinate, "units")):
        return 3
    name = dimension.name.lower()
    if coordinate is not None and text(coordinate, "standard_name"):
        return 0  # an ensemble member, for example
    if name in _LIKELY_TIME_NAMES or _TIME_NAME.search(name):
        return 2
    return 1 if coordinate is None and dimension.isunlimited() else 0


def _is_model_time(coordinate: Any) -> bool:
    """Tell whether a coordinate counts the time of a model: ROMS' ocean_time in "second"."""
    if not _DURATION.match(text(coordinate, "units")):
        return False
    said = text(coordinate, "field").lower().startswith("time")
    said = said or text(coordinate, "long_name").lower().startswith("time since")
    name = coordinate.name.lower()
    seismic = "way" in name or "travel" in name  # two_way_time is the depth of a volume
    return said or (_TIME_NAME.search(name) is not None and not seismic)


_Range = tuple[Any, Any]
"""Lower and upper bound, None where there is none."""
_ENDLESS: _Range = (None, None)


class Decoder:
    """Turns the stored numbers of one variable into values and a mask of missing ones."""

    def __init__(self, variable: Any) -> None:
        self._dtype = _meant_dtype(variable)
        self._scale = _number(variable, "scale_factor", 1.0)
        self._offset = _number(variable, "add_offset", 0.0)
        declared = {
            name: self._meant(variable, name)
            for name in ("_FillValue", "missing_value")
            if name in variable.ncattrs()
        }
        self._missing = [
            stored
            for values in declared.values()
            for stored in (_as_stored(v, self._dtype) for v in values)
            if stored is not None
        ]
        self._stored_range, self._unpacked_range = self._valid_ranges(variable)
        default = self._default_fill(variable)
        if "_FillValue" not in declared and default is not None:
            self._missing.append(default)
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
        if self.valid_range:
            parts.append(f"outside the valid range {self.valid_range}")
        if self._dtype.kind == "f":
            parts.append("NaN")
        elif not parts and self._missing:
            parts.append("default fill value")
        return "; ".join(parts) or "no value"

    @property
    def valid_range(self) -> str:
        """The valid range, for people; "" where none is declared."""
        ranges = [each for each in (self._stored_range, self._unpacked_range) if each != _ENDLESS]
        return " and ".join(
            f"{'-inf' if low is None else f'{low:g}'} to {'inf' if high is None else f'{high:g}'}"
            for low, high in ranges
        )

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
        raw = self._with_sign(raw)
        missing = self._find_missing(raw)
        if not self.is_packed:
            return raw, missing
        values = np.empty(raw.shape, dtype=dtype or self.value_dtype)
        ranged = self._unpacked_range != _ENDLESS
        outside = np.zeros(raw.shape, dtype=bool) if ranged else None
        # Slice by slice: the products are float64, the result need not be.
        for index, stored in enumerate(raw):
            # NumPy 1 would multiply float32 by a number of double precision in float32.
            unpacked = stored.astype(np.float64) * self._scale + self._offset
            values[index] = unpacked
            if outside is not None:
                outside[index] = _is_outside(unpacked, self._unpacked_range)
        if outside is not None:
            missing = outside if missing is None else missing | outside
        return values, missing

    def decode_coordinates(self, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return coordinates in float64, where they equal a fill value, and where out of range."""
        raw = self._with_sign(raw)
        filled = self._find_filled(raw)
        values = raw.astype(np.float64)
        if self.is_packed:
            values = values * self._scale + self._offset
        outside = _is_outside(raw, self._stored_range) | _is_outside(values, self._unpacked_range)
        none = np.zeros(raw.shape, dtype=bool)
        return values, none if filled is None else filled, outside

    def _with_sign(self, raw: np.ndarray) -> np.ndarray:
        """Return stored numbers as signed or unsigned as they are meant."""
        if raw.dtype.kind == self._dtype.kind:
            return raw
        return raw.view(raw.dtype.str.replace(raw.dtype.kind, self._dtype.kind))

    def _find_missing(self, raw: np.ndarray) -> np.ndarray | None:
        missing = self._find_filled(raw)
        if self._stored_range != _ENDLESS:
            outside = _is_outside(raw, self._stored_range)
            missing = outside if missing is None else np.logical_or(missing, outside, out=missing)
        return missing

    def _find_filled(self, raw: np.ndarray) -> np.ndarray | None:
        filled: np.ndarray | None = None
        for value in self._missing:
            equal = raw == value
            filled = equal if filled is None else np.logical_or(filled, equal, out=filled)
        return filled

    def _valid_ranges(self, variable: Any) -> tuple[_Range, _Range]:
        """Return the bounds of the stored numbers, and those of the unpacked values."""
        stored: list[Any] = [None, None]
        unpacked: list[Any] = [None, None]
        for side, name, bound, dtype in _bounds(variable):
            if _is_unpacked(variable, dtype):
                # Neither the bound nor the products are more exact than their attributes.
                inexact = 4 * _precision(variable, dtype) * (abs(bound) + abs(self._offset))
                if self._dtype.kind in "iu":  # but it tells one stored number from the next
                    inexact = min(inexact, 0.25 * abs(self._scale))
                stored[side], unpacked[side] = None, bound + (inexact if side else -inexact)
                continue
            _tell_of_stored_range(variable, name, dtype)
            if self._dtype.kind == "f":
                # One with more digits than the data must not cut off the extreme itself.
                with np.errstate(over="ignore"):
                    bound = self._dtype.type(bound)
            stored[side], unpacked[side] = self._as_meant(variable, name, bound), None
        return (stored[0], stored[1]), (unpacked[0], unpacked[1])

    def _meant(self, variable: Any, attribute: str) -> list[float]:
        """Return the numbers of an attribute that stand for stored ones."""
        values = [self._as_meant(variable, attribute, v) for v in _numbers(variable, attribute)]
        for value in values if self._dtype.kind in "iu" else ():
            if _as_stored(value, self._dtype) is None and _fits_bits(value, self._dtype):
                tell(
                    variable,
                    f"{attribute} {value:g} of '{variable.name}' is beyond its type "
                    f"({self._dtype}), so that nothing is missing by it.",
                )
        return values

    def _as_meant(self, variable: Any, attribute: str, value: Any) -> Any:
        """Return a number that an attribute gives in the other sign, by its bits.

        That is where the variable itself is stored so, or the attribute has as many bits.
        """
        dtype = self._dtype
        given = np.asarray(variable.getncattr(attribute)).dtype
        if dtype.kind not in "iu" or given.kind not in "iu":
            return value
        limits = np.iinfo(dtype)
        if limits.min <= value <= limits.max or not _fits_bits(value, dtype):
            return value
        if variable.dtype.kind == dtype.kind and given.itemsize != dtype.itemsize:
            return value
        return value + (1 << 8 * dtype.itemsize) * (1 if value < 0 else -1)

    def _default_fill(self, variable: Any) -> Any | None:
        """Return what the library wrote where nobody wrote anything; bytes have no such value."""
        stored = variable.dtype
        if stored.itemsize == 1:
            return None
        if stored.kind == "f":
            return stored.type(9.9692099683868690e36)
        value = _DEFAULT_FILLS[f"{stored.kind}{stored.itemsize}"]
        if stored.kind == self._dtype.kind:
            return stored.type(value)
        default = self._with_sign(np.array([value], stored))[0]
        low, high = self._stored_range
        # It is in the middle of the numbers that are meant: a range that names it decides.
        named = low is not None and high is not None and low <= default <= high
        return None if named else default


def _meant_dtype(variable: Any) -> np.dtype:
    """Return the type that the stored numbers mean.

    Classic files know signed bytes only, and OPeNDAP unsigned ones only: the attribute _Unsigned
    says what is meant. Without it a range of 0 to 255 makes a byte an unsigned one (NetCDF Users
    Guide, CF 2.2).
    """
    dtype = variable.dtype
    if dtype.kind not in "iu":
        return dtype
    if "_Unsigned" in variable.ncattrs():
        said = str(variable.getncattr("_Unsigned")).strip().lower()
        kind = {"true": "u", "1": "u", "false": "i", "0": "i"}.get(said, dtype.kind)
    else:
        kind = "u" if _is_range_unsigned(variable) else dtype.kind
    return dtype if kind == dtype.kind else np.dtype(f"{kind}{dtype.itemsize}")


def _is_range_unsigned(variable: Any) -> bool:
    """Tell whether the valid range of signed numbers is one of unsigned ones."""
    dtype = variable.dtype
    if dtype.kind != "i":
        return False
    ends = {side: v for side, _, v, kind in _bounds(variable) if not _is_unpacked(variable, kind)}
    low, high = ends.get(0), ends.get(1)
    if high is None or (low is not None and low < 0):
        return False
    beyond = np.iinfo(dtype).max < high <= np.iinfo(f"u{dtype.itemsize}").max
    wrapped = low is not None and np.iinfo(dtype).min <= high < 0  # 255 as a byte: -1
    if not (beyond or wrapped):
        return False
    if dtype.itemsize == 1:
        return True
    if low is None:
        return False
    tell(
        variable,
        f"'{variable.name}' is stored as {dtype.name}, but its valid range {low:g} to {high:g} is "
        "one of unsigned numbers, and so it is read.",
    )
    return True


def _bounds(variable: Any) -> list[tuple[int, str, Any, np.dtype]]:
    """Return the declared bounds: 0 (lower) or 1 (upper), attribute, value and type."""
    attributes = variable.ncattrs()
    found = []
    for name, count in (("valid_range", 2), ("valid_min", 1), ("valid_max", 1)):
        values = _numbers(variable, name) if name in attributes else []
        dtype = np.asarray(variable.getncattr(name)).dtype if values else np.dtype("f8")
        if len(values) == count:
            for side, value in enumerate(values, 1 if name == "valid_max" else 0):
                found.append((side, name, value, dtype))
    return [(side, name, value, dtype) for side, name, value, dtype in found if value == value]


def _is_unpacked(variable: Any, dtype: np.dtype) -> bool:
    """Tell whether bounds of a type are meant for unpacked values.

    The Users Guide: bounds of the same type as the scale factor, wider than the stored type, are
    in the units of the unpacked data; otherwise in those of the stored numbers.
    """
    packing = _packing_dtype(variable)
    return packing is not None and dtype == packing and _width(dtype) > _width(variable.dtype)


def _width(dtype: np.dtype) -> tuple[bool, int]:
    """Return what orders types by width: floating point is wider than any whole numbers."""
    return dtype.kind == "f", dtype.itemsize


def _tell_of_stored_range(variable: Any, name: str, dtype: np.dtype) -> None:
    """Warn of a bound that is meant for whole stored numbers though it is a floating-point one."""
    packing = _packing_dtype(variable)
    if packing is not None and dtype.kind == "f" and variable.dtype.kind in "iu":
        tell(
            variable,
            f"{name} of '{variable.name}' is {dtype} and not {packing}, as its packing is, and so "
            "it is taken for one of the stored numbers (NetCDF Users Guide).",
        )


def _packing_dtype(variable: Any) -> np.dtype | None:
    """Return the wider type of scale factor and offset; None where numbers are not packed."""
    usual = {"scale_factor": 1.0, "add_offset": 0.0}
    given = [name for name in usual if name in variable.ncattrs()]
    if all(_numbers(variable, name) == [usual[name]] for name in given):
        return None
    types = [np.asarray(variable.getncattr(name)).dtype for name in given]
    return max(types, key=_width) if all(dtype.kind in "iuf" for dtype in types) else None


def _precision(variable: Any, dtype: np.dtype) -> float:
    """Return the relative precision of bounds, or of the packing if that is less."""
    types = [each for each in (dtype, _packing_dtype(variable)) if each is not None]
    return max((float(np.finfo(each).eps) for each in types if each.kind == "f"), default=0.0)


def _is_outside(values: np.ndarray, ends: _Range) -> np.ndarray:
    outside = np.zeros(values.shape, dtype=bool)
    low, high = ends
    if low is not None:
        outside |= values < low
    if high is not None:
        outside |= values > high
    return outside


def _fits_bits(value: float, dtype: np.dtype) -> bool:
    """Tell whether a number fits the bits of an integer type, signed or unsigned."""
    bits = 8 * dtype.itemsize
    return -(1 << (bits - 1)) <= value < (1 << bits) and value == int(value)


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
    limits = np.iinfo(dtype)
    if not limits.min <= value <= limits.max or value != int(value):
        return None
    return dtype.type(int(value))


_DEFAULT_FILLS = {
    "i2": -32767,
    "u2": 65535,
    "i4": -2147483647,
    "u4": 4294967295,
    "i8": -9223372036854775806,
    "u8": 18446744073709551614,
}
