"""Which variable of a NetCDF file a name stands for, and which coordinates a dimension has.

Reference: the NetCDF Climate and Forecast conventions 1.10, chapters 2.7 (groups) and 5
(coordinate systems).
"""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from amgsrn_core.volume.netcdf.library import c_function

logger = logging.getLogger(__name__)


def tell(variable: Any, sentence: str) -> None:
    """Warn of an oddity of a variable, once for each file: a series opens its file many times."""
    _tell(variable.group().filepath(), sentence)


@functools.lru_cache(maxsize=1024)
def _tell(path: str, sentence: str) -> None:
    logger.warning("%s", sentence)


def text(variable: Any, attribute: str) -> str:
    """Return a text attribute, or "" if there is none."""
    value = variable.getncattr(attribute) if attribute in variable.ncattrs() else ""
    return value.strip() if isinstance(value, str) else ""


def is_numeric(variable: Any) -> bool:
    """Tell whether a variable holds real numbers: neither text nor a type that a file defines."""
    # `datatype`, because the `dtype` of a ragged array is that of its elements.
    return isinstance(variable.datatype, np.dtype) and variable.dtype.kind in "iuf"


def walk(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the variable of everything in a group and the groups below it."""
    for name, variable in group.variables.items():
        yield prefix + name, variable
    for name, child in group.groups.items():
        yield from walk(child, f"{prefix}{name}/")


def identity(variable: Any) -> tuple[str, str]:
    """Return what tells a variable from all others of its file."""
    return variable.group().path, variable.name


def same_dimension(one: Any, other: Any) -> bool:
    """Tell whether two dimensions are the same: a group may have its own of a known name."""
    return one.name == other.name and one.group().path == other.group().path


def hidden_dimensions(variable: Any) -> list[str]:
    """Return dimensions of a variable that the netCDF4 module takes for others.

    It finds them by their names: one of a group above is hidden by one of the variable's own group.
    """
    inquire = c_function("nc_inq_vardimid")
    numbers = (ctypes.c_int * max(1, variable.ndim))()
    if inquire is None or inquire(variable._grpid, variable._varid, numbers) != 0:
        return []
    return [dim.name for dim, at in zip(variable.get_dims(), numbers) if dim._dimid != at]


def find_variable(group: Any, reference: str) -> Any | None:
    """Return the variable that an attribute of a variable in `group` names, or None.

    A name without a path is searched in the group and those above it, a path from the group (or
    one above it), and an absolute path from the root.
    """
    if reference.startswith("/"):
        while group.parent is not None:
            group = group.parent
        return _follow(group, reference)
    while group is not None:
        found = _follow(group, reference)
        if found is not None:
            return found
        group = group.parent
    return None


def coordinate_of(dimension: Any, variable: Any) -> Any | None:
    """Return the variable that holds the coordinates of a dimension of `variable`, if any.

    That is the variable of the dimension's own name, in the variable's group or above it; or a
    1-D one that the `coordinates` attribute names; or else the one of the dimension's name in
    another group below the dimension's. It has to be on the dimension itself, not on one of the
    same name.
    """
    for found in _candidates(dimension, variable):
        dimensions = found.get_dims()
        if len(dimensions) == 1 and same_dimension(dimensions[0], dimension) and is_numeric(found):
            return found
    return None


def tell_of_coordinates(variable: Any, without: list[str]) -> None:
    """Warn of coordinates that a variable names and that are not read.

    `without` are its dimensions that have no coordinates of their own.
    """
    absent, flat = [], []
    for name in text(variable, "coordinates").split():
        found = find_variable(variable.group(), name)
        if found is None:
            absent.append(name)
        elif len([size for size in found.shape if size > 1]) == 2 and is_numeric(found):
            flat.append((name, found.dimensions))
    for name in without:
        found = find_variable(variable.group(), name)
        if found is not None and not is_numeric(found):
            tell(variable, f"The coordinates '{name}' are no numbers; its samples are counted.")
    if absent:
        tell(
            variable,
            f"'{variable.name}' names coordinates that are not in the file: {', '.join(absent)}.",
        )
    curved = [name for name, dimensions in flat if any(each in without for each in dimensions)]
    if curved:
        counted = [name for name in without if any(name in each for _, each in flat)]
        tell(
            variable,
            f"The coordinates {', '.join(curved)} of '{variable.name}' are two-dimensional, which "
            f"is not read; the samples along {' and '.join(counted)} are counted instead.",
        )


def _candidates(dimension: Any, variable: Any) -> Iterator[Any]:
    """Yield variables that may hold the coordinates of a dimension, in the order of CF 2.7."""
    group = variable.group()
    while group is not None:
        if dimension.name in group.variables:
            yield group.variables[dimension.name]
        group = group.parent
    for name in text(variable, "coordinates").split():
        found = find_variable(variable.group(), name)
        if found is not None:
            yield found
    groups = [dimension.group()]
    while groups:
        group = groups.pop(0)
        groups += group.groups.values()
        if dimension.name in group.variables:
            yield group.variables[dimension.name]


def _follow(group: Any, path: str) -> Any | None:
    *folders, name = path.split("/")
    for folder in folders:
        if folder in ("", "."):
            continue
        group = group.parent if folder == ".." else group.groups.get(folder)
        if group is None:
            return None
    return group.variables.get(name)
