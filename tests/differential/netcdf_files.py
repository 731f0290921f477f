"""Writes the file of a recipe with the NetCDF library alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from netcdf_recipes import Attribute, Coordinate, Numbers, Recipe

from amgsrn_core.volume.netcdf.library import import_netcdf4

SECOND = "w"


def stored_numbers(recipe: Recipe, numbers: Numbers) -> np.ndarray:
    """Return what a variable holds, in the file's order of dimensions."""
    random = np.random.default_rng(numbers.seed)
    shape = [dimension.size for dimension in recipe.dimensions]
    reads_as = np.dtype(numbers.reads_as)
    if reads_as.kind == "f":
        values = random.normal(0, 20 if numbers.spread == "small" else 1e10, shape)
        values = np.where(random.random(shape) < 0.3, np.round(values), values)
    else:
        info = np.iinfo(reads_as)
        low, high = int(info.min), int(info.max)
        if numbers.spread == "small":
            low, high = max(low, -100), min(high, 200)
        values = random.integers(low, high, shape, reads_as, endpoint=True)
    if numbers.spread == "constant":
        values = np.full(shape, 7)
    stored = values.astype(reads_as).view(numbers.dtype)
    for mark, count in numbers.marks:
        places = random.permutation(stored.size)[: stored.size if count < 0 else count]
        stored.flat[places] = mark
    return stored


def attribute_value(attribute: Attribute) -> Any:
    """Return the value of an attribute in the type that the recipe names."""
    _, dtype, value = attribute
    if dtype == "str":
        return value
    return np.array(value, dtype) if isinstance(value, tuple) else np.dtype(dtype).type(value)


def write(recipe: Recipe, path: Path) -> Path:
    """Write the file of a recipe."""
    with import_netcdf4().Dataset(str(path), "w", format=recipe.kind) as dataset:
        parts = recipe.group.split("/") if recipe.group else []
        levels = ["/".join(parts[:level]) for level in range(len(parts) + 1)]
        for dimension in recipe.dimensions:
            size = None if dimension.unlimited else dimension.size
            _group(dataset, levels[dimension.level]).createDimension(dimension.name, size)
            if dimension.decoy is not None:
                above = _group(dataset, levels[dimension.level - 1])
                _decoy(above, dimension.name, dimension.decoy, dimension.decoy_coordinates)
            if recipe.sibling and recipe.group:
                _decoy(_group(dataset, "beside"), dimension.name, dimension.size + 1, True)
        for dimension in recipe.dimensions:
            if dimension.coordinate is not None:
                _write_coordinate(dataset, dimension.name, dimension.coordinate)
        group = _group(dataset, recipe.group)
        if "scalar" in recipe.other_coordinates:
            group.createVariable("scalar", "f8", ())[...] = 3.0
        for name in _rivals(recipe):
            size = len(group.dimensions[name])
            group.createVariable(f"rival_{name}", "f8", (name,))[:] = 5.0 * np.arange(size)
        _write_data(group, recipe.name, recipe, recipe.numbers)
        if recipe.second is not None:
            _write_data(group, SECOND, recipe, recipe.second)
    return path


def coordinates_attribute(recipe: Recipe) -> str:
    """Return the words of the attribute `coordinates`."""
    references = [d.coordinate.reference for d in recipe.dimensions if d.coordinate is not None]
    rivals = [f"rival_{name}" for name in _rivals(recipe)]
    return " ".join([*recipe.other_coordinates, *rivals, *(word for word in references if word)])


def _rivals(recipe: Recipe) -> list[str]:
    """Return the dimensions with coordinates of their own that get others beside."""
    own = [
        d.name
        for d in recipe.dimensions
        if d.coordinate is not None and (d.coordinate.name, d.coordinate.group) == (d.name, "")
    ]
    return own if recipe.rivals and not recipe.group else []


def _group(dataset: Any, path: str) -> Any:
    return dataset.createGroup(path) if path else dataset


def _decoy(group: Any, name: str, size: int, has_coordinates: bool) -> None:
    group.createDimension(name, size)
    if has_coordinates:
        group.createVariable(name, "f8", (name,))[:] = 1000.0 + 100.0 * np.arange(size)


def _write_coordinate(dataset: Any, dimension: str, coordinate: Coordinate) -> None:
    fill = [attribute_value(a) for a in coordinate.attributes if a[0] == "_FillValue"]
    variable = _group(dataset, coordinate.group).createVariable(
        coordinate.name, coordinate.dtype, (dimension,), fill_value=fill[0] if fill else None
    )
    variable.set_auto_maskandscale(False)
    _set_attributes(variable, coordinate.attributes)
    variable[:] = np.array(coordinate.stored, coordinate.dtype)


def _write_data(group: Any, name: str, recipe: Recipe, numbers: Numbers) -> None:
    storage = recipe.storage
    fill = [attribute_value(a) for a in numbers.attributes if a[0] == "_FillValue"]
    order = {"little": "<", "big": ">", "native": "="}[storage.endian]
    stored = stored_numbers(recipe, numbers)
    variable = group.createVariable(
        name,
        stored.dtype.newbyteorder(order),
        [dimension.name for dimension in recipe.dimensions],
        fill_value=fill[0] if fill else None,
        chunksizes=storage.chunks,
        compression=storage.compression,
        shuffle=storage.shuffle,
        fletcher32=storage.fletcher32,
        endian=storage.endian,
    )
    variable.set_auto_maskandscale(False)
    _set_attributes(variable, numbers.attributes)
    words = coordinates_attribute(recipe)
    if words:
        variable.coordinates = words
    variable[...] = stored.astype(stored.dtype.newbyteorder(order))


def _set_attributes(variable: Any, attributes: tuple[Attribute, ...]) -> None:
    for attribute in attributes:
        if attribute[0] != "_FillValue":
            variable.setncattr(attribute[0], attribute_value(attribute))
