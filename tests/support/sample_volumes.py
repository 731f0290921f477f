"""Files that volumes are read from in tests, written without the code under test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amgsrn_core.volume.netcdf.library import import_netcdf4
from support.paths import SHARED

SHARED_DATA = SHARED / "data"


def shared_file(name: str) -> Path:
    """Return a real volume, or skip the test where the collection is not at hand."""
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"the collection of real volumes is not beside this checkout ({name})")
    return path


def ramp(*shape: int, dtype: str = "f4") -> np.ndarray:
    """Return an array in which every value differs, so that any mix-up of order shows."""
    return np.arange(1, np.prod(shape) + 1).reshape(shape).astype(dtype)


def write_netcdf(
    path: Path,
    variables: dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]],
    kind: str = "NETCDF4",
    **options: Any,
) -> Path:
    """Write variables, name: (dimensions, stored numbers, attributes), as they are.

    Dimensions take their sizes from the first variable that has them. The options go to
    ``createVariable`` for variables of three dimensions and more.
    """
    netcdf4 = import_netcdf4()
    with netcdf4.Dataset(str(path), "w", format=kind) as dataset:
        for name, (dimensions, values, attributes) in variables.items():
            values = np.asarray(values)
            for dimension, size in zip(dimensions, values.shape):
                if dimension not in dataset.dimensions:
                    dataset.createDimension(dimension, size)
            attributes = dict(attributes)
            fill = attributes.pop("_FillValue", None)
            variable = dataset.createVariable(
                name,
                values.dtype,
                dimensions,
                fill_value=fill,
                **(options if values.ndim >= 3 else {}),
            )
            variable.setncatts(attributes)
            variable.set_auto_maskandscale(False)
            variable[...] = values
    return path


def field(values: np.ndarray, **attributes: Any) -> tuple[tuple[str, ...], np.ndarray, dict]:
    """Return a variable on (z, y, x) for :func:`write_netcdf`."""
    return ("z", "y", "x"), values, attributes


def coordinate(name: str, values: Any, **attributes: Any) -> tuple[tuple[str], np.ndarray, dict]:
    """Return a coordinate variable for :func:`write_netcdf`."""
    return (name,), np.asarray(values, dtype="f8"), attributes
