"""Recipes of small NetCDF files: what a file is made of, printable, and drawn at random.

A printed recipe is Python: ``from netcdf_recipes import *``, then ``write(recipe, path)`` of
``netcdf_files`` makes the file again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import inf, nan
from typing import Any, Union

import numpy as np
from hypothesis import strategies as st

Attribute = tuple[str, str, Any]
"""Name, type ("str" or one of NumPy's) and value: a number, a tuple of numbers, or a text."""

Number = Union[int, float]

CLASSIC_TYPES = ("i1", "i2", "i4", "f4", "f8")
ALL_TYPES = (*CLASSIC_TYPES, "i8", "u1", "u2", "u4", "u8")


def width(dtype: str) -> int:
    """Return what orders types: a wider one has more bytes, and floating point is wider still."""
    return int(dtype[1]) + (8 if dtype[0] == "f" else 0)


class _Brief:
    """Prints only what is not as usual."""

    def __repr__(self) -> str:
        parts = [
            f"{field.name}={value!r}"
            for field in fields(self)  # type: ignore[arg-type]
            if (value := getattr(self, field.name)) != field.default
        ]
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, repr=False)
class Coordinate(_Brief):
    """A 1-D variable with the coordinates of a dimension.

    `group` is the path of its group, `reference` how the data's attribute `coordinates` names it
    (None: it has the dimension's own name).
    """

    stored: tuple[Number, ...]
    dtype: str = "f8"
    attributes: tuple[Attribute, ...] = ()
    name: str = ""
    group: str = ""
    reference: str | None = None


@dataclass(frozen=True, repr=False)
class Dimension(_Brief):
    """A dimension of the data: its role ("z", "y", "x", "time", "extra") and where it stands.

    `level` counts the groups above the one that defines it. `decoy` is the size of another
    dimension of the same name one group further up, `decoy_coordinates` gives that one
    coordinates.
    """

    role: str
    name: str
    size: int
    coordinate: Coordinate | None = None
    unlimited: bool = False
    level: int = 0
    decoy: int | None = None
    decoy_coordinates: bool = False


@dataclass(frozen=True, repr=False)
class Numbers(_Brief):
    """The stored numbers and the attributes that say what they mean.

    `spread` is "small", "full" (the whole range of the type that they stand for) or "constant";
    `reads_as` that type. `marks` are stored numbers and how many voxels hold each (-1: all).
    """

    dtype: str = "f4"
    reads_as: str = "f4"
    spread: str = "small"
    marks: tuple[tuple[Number, int], ...] = ()
    attributes: tuple[Attribute, ...] = ()
    seed: int = 0


@dataclass(frozen=True, repr=False)
class Storage(_Brief):
    """How the library lays the numbers out; all None: as it likes."""

    chunks: tuple[int, ...] | None = None
    compression: str | None = None
    shuffle: bool = False
    fletcher32: bool = False
    endian: str = "native"


@dataclass(frozen=True, repr=False)
class Recipe(_Brief):
    """A file with a variable, and "w" where there is a `second`; `dimensions` in file order."""

    dimensions: tuple[Dimension, ...]
    numbers: Numbers = Numbers()
    kind: str = "NETCDF4"
    group: str = ""
    name: str = "v"
    storage: Storage = Storage()
    other_coordinates: tuple[str, ...] = ()
    """Further words of the attribute `coordinates`: "scalar" is in the file, "unknown" is not."""
    second: Numbers | None = None
    rivals: bool = False
    """Auxiliary coordinates beside the coordinate variables, which go before them."""
    sibling: bool = False
    """A group beside, with dimensions and coordinates of the same names and other sizes."""
    step: int = 0
    cuts: tuple[tuple[int, int], ...] = ((0, 1), (0, 1), (0, 1))
    """Extent along z, y, x that is read by itself."""


# --- numbers


def fills_of(dtype: str) -> Number:
    """Return the number that the library stores where nothing was written."""
    return {
        "i1": -127,
        "u1": 255,
        "i2": -32767,
        "u2": 65535,
        "i4": -2147483647,
        "u4": 4294967295,
        "i8": -9223372036854775806,
        "u8": 18446744073709551614,
        "f4": float(np.float32(9.969209968386869e36)),
        "f8": 9.969209968386869e36,
    }[dtype]


def _limits(dtype: str) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def as_bits(number: Number, reads_as: str, dtype: str) -> Number:
    """Return the stored number of type `dtype` with the bits of a number of type `reads_as`."""
    return np.array([number], reads_as).view(dtype)[0].item()


@st.composite
def numbers(draw: st.DrawFn, types: tuple[str, ...]) -> Numbers:
    """Draw stored numbers with fill values, valid ranges, packing and signs."""
    dtype = draw(st.sampled_from(types))
    kind, size = dtype[0], int(dtype[1])
    reads_as, sign = dtype, []
    byte_range = False
    if kind == "i":
        sign_kind = draw(st.sampled_from(["", "", "true", "false", "range"]))
        if sign_kind == "true":
            reads_as = f"u{size}"
        if sign_kind in ("true", "false"):
            sign = [("_Unsigned", "str", sign_kind)]
        byte_range = sign_kind == "range" and dtype == "i1"
        if byte_range:
            reads_as = "u1"
    elif kind == "u":
        sign_kind = draw(st.sampled_from(["", "", "true", "false"]))
        if sign_kind == "false":
            reads_as = f"i{size}"
        if sign_kind:
            sign = [("_Unsigned", "str", sign_kind)]

    packed = draw(_packing(dtype, types))
    marks: list[Number] = []
    attributes = [*sign, *packed]
    filled = draw(st.booleans())
    if filled:
        fill = draw(st.sampled_from(_candidates(dtype)))
        attributes.append(("_FillValue", dtype, fill))
        marks.append(fill)
    if draw(st.booleans()):
        attribute, some = draw(_missing_value(dtype, reads_as, types))
        attributes.append(attribute)
        marks += some
    if draw(st.sampled_from([False, False, True])):
        marks.append(fills_of(dtype))
    if kind == "f":
        marks.append(nan)
        if draw(st.sampled_from([False] * 9 + [True])):
            marks.append(inf)
    if byte_range:
        attributes += draw(_byte_range())
    else:
        attributes += draw(_valid_range(dtype, reads_as, packed, types))
    if kind == "f":
        # Their own ends are within valid ranges.
        ends = [v for name, t, v in attributes if name.startswith("valid_")]
        marks += [end for v in ends for end in (v if isinstance(v, tuple) else (v,))]
    counted = [
        (mark, draw(st.sampled_from([0, 1, 1, 3, 10, 10, -1] if i else [1, 3, 10])))
        for i, mark in enumerate(marks)
    ]
    # At most one mark is everywhere, and seldom.
    everywhere = draw(st.sampled_from([False] * 14 + [True]))
    counted = [(m, n if n >= 0 else (-1 if everywhere else 2)) for m, n in counted]
    spread = draw(st.sampled_from(["small"] * 6 + ["full"] * 5 + ["constant"]))
    return Numbers(
        dtype, reads_as, spread, tuple(counted), tuple(attributes), draw(st.integers(0, 9999))
    )


def _candidates(dtype: str) -> list[Number]:
    if dtype[0] == "f":
        return [-9999.0, 1e20, nan, fills_of(dtype), 0.0, -0.5, inf]
    low, high = _limits(dtype)
    usual = [high, low, 0, fills_of(dtype), 99, 1]
    return [*usual, -1, -99] if low < 0 else usual


@st.composite
def _packing(draw: st.DrawFn, dtype: str, types: tuple[str, ...]) -> list[Attribute]:
    how = draw(
        st.sampled_from(["", "", "", "scale", "both", "both", "both", "offset", "ones", "whole"])
    )
    if how == "whole" and dtype[0] != "f":
        whole = [t for t in types if t[0] != "f" and t[0] == dtype[0]]
        return [
            ("scale_factor", draw(st.sampled_from(whole)), 3),
            ("add_offset", draw(st.sampled_from(whole)), 100),
        ]
    types = st.sampled_from(["f4", "f8"])
    scale = (
        "scale_factor",
        draw(types),
        draw(st.sampled_from([0.5, 0.01, 0.1, -0.25, 10.0, 2e-5])),
    )
    offset = ("add_offset", draw(types), draw(st.sampled_from([0.0, -7.0, 273.15, 100.5, -0.1])))
    same = draw(st.sampled_from([True, True, False]))
    if same:
        offset = (offset[0], scale[1], offset[2])
    if how == "ones":
        return [("scale_factor", scale[1], 1.0), ("add_offset", offset[1], 0.0)]
    return {"scale": [scale], "offset": [offset], "both": [scale, offset]}.get(how, [])


@st.composite
def _missing_value(
    draw: st.DrawFn, dtype: str, reads_as: str, types: tuple[str, ...]
) -> tuple[Attribute, list[Number]]:
    """Draw a missing_value, and the stored numbers that it marks (or seems to)."""
    count = draw(st.sampled_from([1, 1, 2, 3]))
    picked = draw(
        st.lists(st.sampled_from(_candidates(dtype)), min_size=count, max_size=count, unique=True)
    )
    written = dtype
    if draw(st.sampled_from([False, False, True])):
        # In another type the number itself counts: as it reads, not as it is stored.
        written = draw(st.sampled_from([t for t in types if t != dtype]))
        values = [
            v if dtype == reads_as or dtype[0] == "f" else as_bits(v, dtype, reads_as)
            for v in picked
        ]
        kept = [(p, v) for p, v in zip(picked, values) if _holds(written, v)]
        if not kept:
            written = dtype
        else:
            picked, numbers_ = [p for p, _ in kept], [v for _, v in kept]
            if written[0] == "f" and dtype[0] in "iu" and draw(st.booleans()):
                numbers_ = [*numbers_, draw(st.sampled_from([0.5, -1e30, nan]))]
            value = numbers_[0] if len(numbers_) == 1 else tuple(numbers_)
            return ("missing_value", written, value), picked
    return ("missing_value", dtype, picked[0] if count == 1 else tuple(picked)), picked


def _holds(dtype: str, value: Number) -> bool:
    """Tell whether a type holds a number exactly (float32 holds what float64 rounds to it)."""
    if dtype[0] == "f":
        return value != value or abs(value) == inf or float(value) == value
    if value != value or abs(value) == inf or value != int(value):
        return False
    low, high = _limits(dtype)
    return low <= value <= high


@st.composite
def _byte_range(draw: st.DrawFn) -> list[Attribute]:
    """Draw the range that makes a signed byte an unsigned one."""
    low, high = draw(st.sampled_from([(0, 255), (0, 255), (0, 250), (1, 255)]))
    dtype = draw(st.sampled_from(["i2", "i2", "i4", "f4", "f8"]))
    return _spelled(draw, dtype, low, high, both=True)


@st.composite
def _valid_range(
    draw: st.DrawFn, dtype: str, reads_as: str, packed: list[Attribute], types: tuple[str, ...]
) -> list[Attribute]:
    how = draw(st.sampled_from(["", "", "same", "same", "other", "unpacked"]))
    if not how:
        return []
    if dtype[0] == "f":
        low, high = draw(
            st.sampled_from([(-60.0, 60.0), (-0.1, 0.7), (-20.5, 1e10), (-30.3, 30.3)])
        )
    else:
        lowest, highest = _limits(reads_as)
        some = [(-60, 60), (0, 90), (lowest, highest), (0, highest - 5), (lowest + 1, highest // 2)]
        if lowest == 0:
            some = [(0, 60), (20, highest - 5), (0, highest), (1, highest // 2), (2, highest - 1)]
        low, high = draw(st.sampled_from(some))
    if how == "same":
        if dtype != reads_as:
            low, high = as_bits(low, reads_as, dtype), as_bits(high, reads_as, dtype)
        return _spelled(draw, dtype, low, high)
    widest = max((t for _, t, _ in packed), key=width, default="")
    if how == "unpacked" and packed:
        # Between two stored numbers, so that no rounding decides.
        written = widest
        if written[0] != "f":
            return []
        scale = next((float(np.dtype(t).type(v)) for n, t, v in packed if n[0] == "s"), 1.0)
        offset = next((float(np.dtype(t).type(v)) for n, t, v in packed if n[0] == "a"), 0.0)
        low, high = max(low, -1000), min(high, 1000)
        if width(written) <= width(dtype):
            return []
        ends = sorted([(low - 0.5) * scale + offset, (high + 0.5) * scale + offset])
        return _spelled(draw, written, *ends)
    other = draw(st.sampled_from([t for t in types if t != dtype]))
    if dtype[0] == "f" and other[0] != "f":
        low, high = round(low), round(min(high, 100))
    if other == widest and width(other) > width(dtype):
        return []  # these would be in the units of the unpacked data
    if not (_holds(other, low) and _holds(other, high)):
        return []
    if other[0] == "f":
        # Of numbers with more digits than the type has, neighbours would decide.
        low, high = (n if abs(n) < 1 << 24 else int(np.sign(n)) << 23 for n in (low, high))
    return _spelled(draw, other, low, high)


def _spelled(
    draw: st.DrawFn, dtype: str, low: Number, high: Number, both: bool = False
) -> list[Attribute]:
    spelling = draw(st.sampled_from(["range", "range", "two"] + ([] if both else ["min", "max"])))
    if spelling == "range":
        return [("valid_range", dtype, (low, high))]
    ends = [("valid_min", dtype, low), ("valid_max", dtype, high)]
    return {"two": ends, "min": ends[:1], "max": ends[1:]}[spelling]


# --- axes

_LABELS: dict[str, list[list[Attribute]]] = {
    "z": [
        [("axis", "str", "Z")],
        [("positive", "str", "up"), ("units", "str", "m")],
        [("positive", "str", "down"), ("units", "str", "m"), ("standard_name", "str", "depth")],
        [("positive", "str", "Down")],
        *([("units", "str", u)] for u in ("Pa", "hPa", "mbar", "millibar", "bar", "dbar", "atm")),
        [("standard_name", "str", "air_pressure")],
        [("standard_name", "str", "altitude"), ("units", "str", "m")],
        [("standard_name", "str", "height"), ("units", "str", "m")],
    ],
    "y": [
        [("axis", "str", "Y")],
        *([("units", "str", f"degree{u}")] for u in ("s_north", "_north", "_N", "s_N", "N", "sN")),
        [("standard_name", "str", "latitude")],
        [("standard_name", "str", "grid_latitude"), ("units", "str", "degrees")],
        [("standard_name", "str", "projection_y_coordinate"), ("units", "str", "m")],
    ],
    "x": [
        [("axis", "str", "X")],
        *([("units", "str", f"degree{u}")] for u in ("s_east", "_east", "_E", "s_E", "E", "sE")),
        [("standard_name", "str", "longitude")],
        [("standard_name", "str", "grid_longitude"), ("units", "str", "degrees")],
        [("standard_name", "str", "projection_x_coordinate"), ("units", "str", "km")],
    ],
}
_NAMES = {"z": ("z", "lev", "k", "a"), "y": ("y", "lat", "j", "b"), "x": ("x", "lon", "i", "c")}
_EAST = ("s_east", "_east", "_E", "s_E", "E", "sE")


@st.composite
def _axis_numbers(
    draw: st.DrawFn, size: int, cyclic: bool, plain: bool
) -> tuple[tuple[Number, ...], str, list[Attribute]]:
    """Draw stored coordinates, their type, and attributes that describe these numbers."""
    steps = [draw(st.sampled_from([1.0, 2.0, 2.5, 10.0])) for _ in range(size - 1)]
    if draw(st.booleans()):
        steps = steps[:1] * (size - 1)
    start = draw(st.sampled_from([0.0, -40.0, 10.0, 100.0]))
    values = [start, *(start + np.cumsum(steps)).tolist()][:size]
    order = draw(
        st.sampled_from(["up", "up", "down"] if plain else ["up", "down", "mixed", "cyclic"])
    )
    if order == "cyclic" and cyclic and size > 2:
        values = [(v - start + 350.0) % 360.0 for v in values]
        values = values if draw(st.booleans()) else values[::-1]
    elif order == "down":
        values = values[::-1]
    elif order == "mixed" and size > 2:
        values = draw(st.permutations(values))
    kinds = ["f8", "f4"] if plain else ["f8", "f4", "i4", "i2", "packed", "unsigned"]
    dtype = draw(st.sampled_from(kinds))
    attributes: list[Attribute] = []
    if dtype == "unsigned":
        whole = [as_bits(100 + round(2 * (v - min(values))), "u1", "i1") for v in values]
        return tuple(whole), "i1", [("_Unsigned", "str", "true")]
    if dtype == "packed":
        dtype = "i2"
        values = [round(2 * v) for v in values]
        attributes = [
            ("scale_factor", "f8", 0.5),
            ("add_offset", "f8", draw(st.sampled_from([0.0, 5.0]))),
        ]
    elif dtype[0] == "i":
        values = [round(2 * v) for v in values] if not cyclic else [round(v) for v in values]
    if not plain:
        odd = draw(
            st.sampled_from(
                ["", "", "", "fill", "missing", "range", "max", "nan", "gap", "unwritten"]
            )
        )
        mark = -9999.0 if dtype[0] == "f" else -9999
        attributes += {
            "fill": [("_FillValue", dtype, mark)],
            "missing": [("missing_value", dtype, mark)],
            "gap": [("missing_value", dtype, mark)],
            "range": [("valid_range", dtype, (int(min(values)) + 1, int(max(values)) - 1))],
            "max": [("valid_max", dtype, int(max(values)) - 1)],
        }.get(odd, [])
        hole = {"gap": mark, "unwritten": fills_of(dtype), "nan": nan if dtype[0] == "f" else mark}
        if odd in hole and draw(st.booleans()):
            place = draw(st.integers(0, size - 1))
            values = [hole[odd] if i == place else v for i, v in enumerate(values)]
    return tuple(values), dtype, attributes


@st.composite
def _space(
    draw: st.DrawFn, role: str, name: str, size: int, labelled: bool, plain: bool
) -> Dimension:
    """Draw a dimension of space."""
    if not labelled and draw(st.booleans()):
        return Dimension(role, name, size)
    label = draw(st.sampled_from(_LABELS[role])) if labelled else []
    if not labelled and draw(st.booleans()):
        label = [("units", "str", draw(st.sampled_from(["m", "km", "1"])))]
    cyclic = any(n == "units" and v in [f"degree{e}" for e in _EAST] for n, _, v in label)
    stored, dtype, attributes = draw(_axis_numbers(size, cyclic, plain))
    return Dimension(role, name, size, Coordinate(stored, dtype, (*attributes, *label), name=name))


@st.composite
def _time(draw: st.DrawFn, size: int, plain: bool, wide: bool) -> Dimension:
    """Draw a dimension of time; `wide` where three others of several samples are beside it."""
    how = draw(st.sampled_from(["since", "since", "name", "axis", "standard_name", "ocean_time"]))
    if how == "name":
        names = ["time", "Time", "TIME", "times"] + (["t"] if wide and size > 1 else [])
        return Dimension("time", draw(st.sampled_from(names)), size)
    steps = [draw(st.sampled_from([1, 1, 6])) for _ in range(size)]
    values: list[Number] = np.cumsum(steps).tolist()
    order = draw(st.sampled_from(["up", "up"] if plain else ["up", "down", "mixed", "same", "nan"]))
    dtype = draw(st.sampled_from(["f8", "i4", "f4", "i2"]))
    if order == "down":
        values = values[::-1]
    elif order == "mixed":
        values = draw(st.permutations(values))
    elif order == "same" and size > 1:
        values[1] = values[0]
    elif order == "nan" and size > 1:
        dtype = "f8"
        values[1] = nan
    if dtype[0] == "f":
        values = [float(v) for v in values]
    attributes = {
        "since": [("units", "str", draw(st.sampled_from(["days", "hours"])) + " since 2000-01-01")],
        "axis": [("axis", "str", "T"), ("units", "str", "s")],
        "standard_name": [("standard_name", "str", "time")],
        "ocean_time": [("units", "str", "second"), ("field", "str", "time, scalar, series")],
    }[how]
    name = "ocean_time" if how == "ocean_time" else draw(st.sampled_from(["time", "valid", "r"]))
    return Dimension(
        "time", name, size, Coordinate(tuple(values), dtype, tuple(attributes), name=name)
    )


@st.composite
def _extra(draw: st.DrawFn, name: str) -> Dimension:
    """Draw a dimension of one sample."""
    how = draw(st.sampled_from(["", "", "realization", "reference", "band"]))
    if not how:
        return Dimension("extra", name, 1)
    attributes: tuple[Attribute, ...] = {
        "realization": (("standard_name", "str", "realization"), ("units", "str", "1")),
        "reference": (
            ("standard_name", "str", "forecast_reference_time"),
            ("units", "str", "hours since 1999-01-01"),
        ),
        "band": (("long_name", "str", "band"),),
    }[how]
    return Dimension("extra", name, 1, Coordinate((5.0,), "f8", attributes, name=name))


# --- groups


@st.composite
def _placed(draw: st.DrawFn, dimension: Dimension, group: str, groups: bool) -> Dimension:
    """Draw where a dimension and its coordinates stand, at and above the group of the data."""
    parts = group.split("/") if group else []
    depth = len(parts)
    level = draw(st.integers(0, depth)) if groups else 0
    decoy, decoy_coordinates = None, False
    if level and draw(st.booleans()):
        decoy = draw(st.sampled_from([dimension.size, dimension.size + 3, 1]))
        decoy_coordinates = draw(st.booleans())
    coordinate = dimension.coordinate
    if coordinate is not None and groups:
        at = draw(st.integers(level, depth))
        home = "/".join(parts[:at])
        where = draw(st.sampled_from(["own"] * 3 + ["auxiliary"] * 2 + ["side", "lateral"]))
        name, reference = dimension.name, None
        if where == "own" and draw(st.sampled_from([False] * 4 + [True])):
            reference = name
        if where == "lateral":
            # CF 2.7: below the group of the dimension, where coordinate variables are found too.
            home = "/".join([*parts[:level], "GEO"])
        elif where != "own":
            name = f"{dimension.name}_{draw(st.sampled_from(['values', 'aux']))}"
            if where == "side":
                home = f"{home}/GEO".strip("/")
            full = f"/{home}/{name}".replace("//", "/")
            up = "../" * (depth - at)
            near = f"{up}GEO/{name}" if where == "side" else f"{up}{name}"
            spellings = [full, near] + ([name] if where == "auxiliary" else [])
            reference = draw(st.sampled_from(spellings))
        coordinate = replace(coordinate, name=name, group=home, reference=reference)
    return replace(
        dimension,
        coordinate=coordinate,
        level=level,
        decoy=decoy,
        decoy_coordinates=decoy_coordinates,
    )


# --- files


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Draw a recipe: one part of it, or seldom all of them, is out of the ordinary."""
    focus = draw(st.sampled_from(["numbers"] * 3 + ["axes", "groups", "time", "all"]))
    in_focus = {part: focus in (part, "all") for part in ("numbers", "axes", "groups", "time")}
    kinds = ["NETCDF4"] * 3 + ["NETCDF4_CLASSIC", "NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET"]
    kind = draw(st.sampled_from([*kinds, "NETCDF3_64BIT_DATA", "NETCDF3_64BIT_DATA"]))
    if focus == "groups":
        kind = "NETCDF4"
    types = ALL_TYPES if kind in ("NETCDF4", "NETCDF3_64BIT_DATA") else CLASSIC_TYPES
    groups = in_focus["groups"] and kind == "NETCDF4"
    group = draw(st.sampled_from(["g", "g/h", "", "g/h"])) if groups else ""

    labelling = draw(st.sampled_from(["all", "all", "none", "some"]))
    names = {role: draw(st.sampled_from(_NAMES[role])) for role in "zyx"}
    if labelling == "all" and draw(st.sampled_from([False] * 4 + [True])):
        names = {"z": "x", "y": "z", "x": "y"}
    sizes = [draw(st.integers(2, 6)) for _ in range(3)]
    if draw(st.sampled_from([False] * 30 + [True])):
        sizes[draw(st.integers(0, 2))] = 1  # no volume
    space = [
        draw(
            _space(
                role,
                names[role],
                size,
                labelling == "all" or (labelling == "some" and draw(st.booleans())),
                not in_focus["axes"],
            )
        )
        for role, size in zip("zyx", sizes)
    ]
    others: list[Dimension] = []
    if in_focus["time"] or draw(st.booleans()):
        steps = draw(st.sampled_from([1, 2, 3, 4] if in_focus["time"] else [1, 2]))
        others.append(draw(_time(steps, not in_focus["time"], 1 not in sizes)))
    if in_focus["time"] or in_focus["axes"] or draw(st.sampled_from([False] * 4 + [True])):
        names_left = ["member", "tile"][: draw(st.integers(0, 2))]
        others += [draw(_extra(name)) for name in names_left]
    if draw(st.sampled_from([False] * 40 + [True])) and 1 not in sizes:
        others.append(Dimension("extra", "many", 2))  # no volume
    if labelling == "all" and draw(st.booleans()):
        space = draw(st.permutations(space))
    dimensions = list(space)
    for other in others:
        dimensions.insert(draw(st.integers(0, len(dimensions))), other)
    placed = [draw(_placed(dimension, group, groups)) for dimension in dimensions]
    placed = _unlimited(draw, placed, kind)

    words: list[str] = []
    if groups or draw(st.sampled_from([False] * 5 + [True])):
        words = draw(st.lists(st.sampled_from(["scalar", "unknown"]), max_size=2, unique=True))
    spatial = [next(d.size for d in placed if d.role == role) for role in "zyx"]
    cuts = []
    for size in spatial:
        start = draw(st.integers(0, size - 1))
        cuts.append((start, draw(st.integers(start + 1, size))))
    times = next((d.size for d in placed if d.role == "time"), 1)
    second = in_focus["numbers"] and draw(st.sampled_from([False] * 3 + [True]))
    return Recipe(
        tuple(placed),
        draw(numbers(types)) if in_focus["numbers"] else Numbers(seed=draw(st.integers(0, 9999))),
        kind,
        group,
        draw(st.sampled_from(["v"] * 9 + ["v,w", "höhe", "a b.c"])),
        draw(_storage(kind, placed)),
        tuple(words),
        draw(numbers(types)) if second else None,
        in_focus["axes"] and draw(st.booleans()),
        groups and draw(st.booleans()),
        draw(st.integers(0, times - 1)),
        tuple(cuts),
    )


def _unlimited(draw: st.DrawFn, dimensions: list[Dimension], kind: str) -> list[Dimension]:
    """Make the first dimension, or in NetCDF-4 any, unlimited."""
    chosen: set[int] = set()
    # Of four dimensions without a name, a reader may take an unlimited one for time.
    too_many = any(d.role == "extra" and d.size > 1 for d in dimensions)
    if draw(st.booleans()) and not too_many:
        chosen = {0}
        if kind == "NETCDF4":
            chosen = draw(st.sets(st.integers(0, len(dimensions) - 1), max_size=3))
    return [replace(d, unlimited=i in chosen) for i, d in enumerate(dimensions)]


@st.composite
def _storage(draw: st.DrawFn, kind: str, dimensions: list[Dimension]) -> Storage:
    if not kind.startswith("NETCDF4") or draw(st.booleans()):
        return Storage()
    chunks = None
    if draw(st.booleans()):
        chunks = tuple(draw(st.integers(1, d.size)) for d in dimensions)
    return Storage(
        chunks,
        draw(st.sampled_from([None, "zlib", "zlib", "zstd"])),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.sampled_from(["native", "little", "big", "big"])),
    )
