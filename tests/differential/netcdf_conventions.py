"""What a file of a recipe means, from the text of the conventions and nothing else.

NUG: the attribute conventions of the NetCDF Users Guide (appendix A) and its best practices.
CF: the Climate and Forecast conventions 1.11; the sections are given where they are applied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from netcdf_files import attribute_value, stored_numbers
from netcdf_recipes import Attribute, Coordinate, Dimension, Recipe, fills_of, width


@dataclass
class Field:
    """Decoded numbers: unpacked values (float64), and where they are missing.

    `by_default` is where nothing but the default fill value makes them so, `either` where
    besides a valid range includes that value: then the conventions do not say.
    """

    values: np.ndarray
    missing: np.ndarray
    by_default: np.ndarray
    either: np.ndarray
    reads_as: np.dtype
    packed: bool

    @property
    def fits_float32(self) -> bool:
        """Whether float32 holds every value."""
        return not self.packed and np.can_cast(self.reads_as, np.float32)


@dataclass
class Step:
    """What a field has at a time step: arrays [z, y, x] along ascending coordinates."""

    values: np.ndarray
    missing: np.ndarray
    either: np.ndarray


@dataclass
class AxisMeaning:
    """An axis of space: world coordinates by ascending sample, or None where they are counted.

    `flipped`: the file holds the samples in the other order. `around`: they pass the end of the
    circle of longitudes, so that they are known but for 360 degrees. `odd`: a reader should say
    that the coordinates cannot be used; `sloppy`: it may say that they are not in their own valid
    range.
    """

    name: str
    size: int
    coordinates: np.ndarray | None
    flipped: bool
    around: bool
    odd: bool
    units: str
    standard_name: str
    sloppy: bool = False


@dataclass
class Meaning:
    """All that a reader must find; `components` has a list of steps for each variable."""

    axes: list[AxisMeaning]
    fields: list[Field]
    components: list[list[Step]]
    times: list[float] | None
    time_name: str
    is_volume: bool
    unknown_names: list[str]


def meaning_of(recipe: Recipe) -> Meaning:
    """Return what the conventions say about the file of a recipe."""
    variables = [each for each in (recipe.numbers, recipe.second) if each is not None]
    fields = [decode(stored_numbers(recipe, each), each.attributes) for each in variables]
    by_role = {d.role: i for i, d in enumerate(recipe.dimensions) if d.role != "extra"}
    axes = [_axis(recipe.dimensions[by_role[role]]) for role in "zyx"]
    time = recipe.dimensions[by_role["time"]] if "time" in by_role else None
    is_volume = all(axis.size > 1 for axis in axes) and all(
        d.size == 1 for d in recipe.dimensions if d.role == "extra"
    )

    def of_step(array: np.ndarray, step: int) -> np.ndarray:
        key: list[Any] = [0] * array.ndim
        if time is not None:
            key[by_role["time"]] = step
        for role in "zyx":
            key[by_role[role]] = slice(None)
        order = np.argsort(np.argsort([by_role[role] for role in "zyx"]))
        flips = tuple(slice(None, None, -1 if axis.flipped else 1) for axis in axes)
        return array[tuple(key)].transpose(order)[flips]

    components = [
        [
            Step(*(of_step(a, step) for a in (field.values, field.missing, field.either)))
            for step in range(1 if time is None else time.size)
        ]
        for field in fields
        if is_volume
    ]
    times = None
    if time is not None:
        times = [float(i) for i in range(time.size)]
        if time.coordinate is not None:
            times = _coordinate_numbers(time.coordinate).tolist()
    return Meaning(
        axes,
        fields,
        components,
        times,
        "" if time is None else time.name,
        is_volume,
        [word for word in recipe.other_coordinates if word == "unknown"],
    )


# --- numbers


def decode(stored: np.ndarray, attributes: tuple[Attribute, ...]) -> Field:
    """Return the values of stored numbers by their attributes."""
    known = {attribute[0]: attribute_value(attribute) for attribute in attributes}
    bounds, bounds_dtype = _bounds(known)
    reads_as = _sign(stored.dtype, known, bounds, bounds_dtype)
    numbers = stored.view(reads_as)
    missing = np.isnan(numbers) if reads_as.kind == "f" else np.zeros(stored.shape, bool)
    # CF 2.5.1: the fill value, and every one of the missing values, is missing data.
    for name in ("_FillValue", "missing_value"):
        for value in np.atleast_1d(known.get(name, np.empty(0))):
            missing |= _equals(numbers, _number(value, stored.dtype, reads_as))
    by_default = np.zeros(stored.shape, bool)
    # NUG: without a fill value the default one of the stored type holds, but not for bytes.
    if "_FillValue" not in known and stored.dtype.itemsize > 1:
        default = stored.dtype.type(fills_of(stored.dtype.str[1:]))
        by_default = (stored == default) & ~missing
        missing = missing | by_default
    packed = "scale_factor" in known or "add_offset" in known
    values = numbers.astype(np.float64)
    unpacked = values
    if packed:
        unpacked = values * np.float64(known.get("scale_factor", 1)) + np.float64(
            known.get("add_offset", 0)
        )
    if bounds_dtype is not None:
        low, high = (_number(b, stored.dtype, reads_as) for b in bounds)
        if _in_unpacked_units(known, bounds_dtype, reads_as):
            outside = (unpacked < low) | (unpacked > high)
        elif reads_as.kind == "f":
            # CF 2.5.1: the bounds have the type of the data, so they are rounded to it.
            low, high = reads_as.type(low), reads_as.type(high)
            outside = (numbers < low) | (numbers > high)
        else:
            outside = ~_between(numbers, low, high)
        by_default &= ~outside
        missing = missing | outside
    either = by_default & (bounds_dtype is not None)
    return Field(unpacked, missing, by_default, either, reads_as, packed)


def _bounds(known: dict[str, Any]) -> tuple[list[Any], np.dtype | None]:
    """Return the valid minimum and maximum, and their type (None where there are none)."""
    if "valid_range" in known:
        return list(known["valid_range"]), known["valid_range"].dtype
    given = [known[name] for name in ("valid_min", "valid_max") if name in known]
    if not given:
        return [-math.inf, math.inf], None
    return [known.get("valid_min", -math.inf), known.get("valid_max", math.inf)], given[0].dtype


def _sign(
    stored: np.dtype, known: dict[str, Any], bounds: list[Any], bounds_dtype: np.dtype | None
) -> np.dtype:
    """Return the type that the bits of the stored numbers stand for.

    NUG: `_Unsigned` says so. CF 2.2: without it, a byte is unsigned if its valid range is.
    """
    sign = known.get("_Unsigned")
    if sign == "true" and stored.kind == "i":
        return np.dtype(f"u{stored.itemsize}")
    if sign == "false" and stored.kind == "u":
        return np.dtype(f"i{stored.itemsize}")
    if sign is None and stored == np.int8 and bounds_dtype is not None:
        if _in_unpacked_units(known, bounds_dtype, stored):
            return stored
        low, high = (float(b) for b in bounds)
        if low >= 0 and 127 < high < math.inf:
            return np.dtype("u1")
    return stored


def _number(value: Any, stored: np.dtype, reads_as: np.dtype) -> Any:
    """Return the number that an attribute names.

    An attribute of the stored type (NUG: it should be) is stored as the data are: in the same
    bits. One of another type says the number itself.
    """
    if isinstance(value, np.generic) and value.dtype == stored and stored != reads_as:
        return np.array([value]).view(reads_as)[0].item()
    return value.item() if isinstance(value, np.generic) else value


def _equals(numbers: np.ndarray, value: Any) -> np.ndarray:
    if value != value:
        return np.isnan(numbers) if numbers.dtype.kind == "f" else np.zeros(numbers.shape, bool)
    if numbers.dtype.kind == "f":
        return numbers == numbers.dtype.type(value)
    return _between(numbers, value, value)


def _between(numbers: np.ndarray, low: Any, high: Any) -> np.ndarray:
    """Tell which integers lie between two numbers of any type, without rounding any."""
    info = np.iinfo(numbers.dtype)
    low = info.min if low == -math.inf else math.ceil(low)
    high = info.max if high == math.inf else math.floor(high)
    if low > info.max or high < info.min:
        return np.zeros(numbers.shape, bool)
    low, high = (numbers.dtype.type(min(max(int(n), info.min), info.max)) for n in (low, high))
    return (numbers >= low) & (numbers <= high)


def _in_unpacked_units(known: dict[str, Any], bounds: np.dtype, reads_as: np.dtype) -> bool:
    """Apply the rule of the NUG on the units of a valid range.

    It is in the units of the unpacked data if it has the type of the scale factor (the wider one
    of scale factor and offset) and that is wider than the type of the stored numbers.
    """
    packing = [known[name].dtype for name in ("scale_factor", "add_offset") if name in known]
    if not packing or (known.get("scale_factor", 1), known.get("add_offset", 0)) == (1, 0):
        return False  # or both units are the same
    widest = max(packing, key=_width)
    return bounds == widest and _width(widest) > _width(reads_as)


def _width(dtype: np.dtype) -> int:
    return width(dtype.str[1:])


# --- axes


def _axis(dimension: Dimension) -> AxisMeaning:
    counted = AxisMeaning(dimension.name, dimension.size, None, False, False, False, "", "")
    coordinate = dimension.coordinate
    if coordinate is None:
        return counted
    texts = {name: value for name, dtype, value in coordinate.attributes if dtype == "str"}
    world = _coordinate_numbers(coordinate)
    # CF 4.3: `positive`, in any case of letters, says which way is up.
    if texts.get("positive", "").lower() == "down":
        world = -world
    around = False
    turns = texts.get("units", "").startswith("degree") or "longitude" in texts.get(
        "standard_name", ""
    )
    if turns and not _is_monotonic(world) and np.ptp(world) <= 360.0:
        turned = np.unwrap(world, period=360.0)
        around = _is_monotonic(turned)
        world = turned if around else world
    if not _is_monotonic(world) or _has_gap(coordinate):
        # CF 1.3: coordinates of a dimension are monotonic, and none is missing; others are none.
        counted.odd = True
        return counted
    flipped = bool(world[0] > world[-1])
    return AxisMeaning(
        dimension.name,
        dimension.size,
        world[::-1] if flipped else world,
        flipped,
        around,
        False,
        texts.get("units", ""),
        texts.get("standard_name", ""),
        any(name.startswith("valid_") for name, _, _ in coordinate.attributes),
    )


def _coordinate_numbers(coordinate: Coordinate) -> np.ndarray:
    """Return coordinates, of which none is missing (CF 2.5.1), unpacked."""
    known = {attribute[0]: attribute_value(attribute) for attribute in coordinate.attributes}
    stored = np.array(coordinate.stored, coordinate.dtype)
    values = stored.view(_sign(stored.dtype, known, *_bounds(known))).astype(np.float64)
    return values * np.float64(known.get("scale_factor", 1)) + np.float64(
        known.get("add_offset", 0)
    )


def _has_gap(coordinate: Coordinate) -> bool:
    """Tell whether a number stands for none: a missing value, or one that nobody wrote."""
    known = {attribute[0]: attribute_value(attribute) for attribute in coordinate.attributes}
    values = np.array(coordinate.stored, coordinate.dtype)
    marks = [known[name] for name in ("_FillValue", "missing_value") if name in known]
    if "_FillValue" not in known and values.itemsize > 1:
        marks.append(values.dtype.type(fills_of(coordinate.dtype)))
    return any((values == mark).any() for mark in marks)


def _is_monotonic(values: np.ndarray) -> bool:
    steps = np.diff(values)
    return bool((steps > 0).all() or (steps < 0).all())
