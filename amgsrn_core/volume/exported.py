"""Volumes as a folder of plain arrays: how a program hands one to another process.

``values.npy`` is float32 or float64 [C, z, y, x], ``valid.npy`` bool [z, y, x] (only when
something is missing), ``volume.json`` everything else. Reading maps the arrays, so that only what
is used is ever in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from amgsrn_core.errors import OutputError, VariableNotFoundError, VolumeError, VolumeNotFoundError
from amgsrn_core.system.json_fields import Fields
from amgsrn_core.system.output import reason, replacing
from amgsrn_core.volume.array_file import ArrayFile
from amgsrn_core.volume.block import Block
from amgsrn_core.volume.curvilinear import Coordinates
from amgsrn_core.volume.description import Description, describe
from amgsrn_core.volume.in_memory import ArrayVolume
from amgsrn_core.volume.times import TimeStep, select_time
from amgsrn_core.volume.volume import Volume

FORMAT = "amgsrn-volume"
VERSION = 1

_DESCRIPTION = "volume.json"
_VALUES = "values.npy"
_VALID = "valid.npy"


def export_volume(
    volume: Volume,
    directory: str | os.PathLike[str],
    watch: Callable[[Block], None] = lambda block: None,
) -> Path:
    """Write a volume to a folder that :func:`amgsrn_core.open_volume` opens.

    The volume is read slab by slab; `watch` is shown each on its way. The folder is made if its
    parent exists; a volume that it held before is replaced when the new one is complete.

    Raises
    ------
    VolumeError
        The volume cannot be read, or has infinite values.
    OutputError
        The folder cannot be made or written (no permission, disk full).
    """
    directory = Path(directory)
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write the folder '{directory}': {reason(error)}.") from error
    with replacing(directory / _VALUES) as values, replacing(directory / _VALID) as valid:
        is_masked = _write_arrays(volume, values, valid, watch)
        # The description goes first and comes last: a folder without it is not a volume.
        (directory / _DESCRIPTION).unlink(missing_ok=True)
    if not is_masked:
        (directory / _VALID).unlink()
    with replacing(directory / _DESCRIPTION) as temporary:
        temporary.write_text(json.dumps(_describe(volume, is_masked)), encoding="utf-8")
    return directory


def open_exported(
    directory: Path, variables: tuple[str, ...] | None = None, time: TimeStep = None
) -> ArrayVolume:
    """Open a folder that :func:`export_volume` wrote."""
    try:
        description = json.loads((directory / _DESCRIPTION).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise VolumeNotFoundError(
            f"'{directory}' is a folder without a volume in it ({_DESCRIPTION} is missing)."
        ) from error
    except (OSError, ValueError) as error:
        raise VolumeError(f"'{directory / _DESCRIPTION}' cannot be read ({error}).") from error
    try:
        if description["format"] != FORMAT or int(description["version"]) > VERSION:
            raise VolumeError(
                f"'{directory}' was exported by another program or a newer version of this one."
            )
        about = Description.from_json(description)
        if about.missing is None:
            raise KeyError("missing")
        geometry, components = about.geometry, about.components
        shape = (len(components), *geometry.dims)
        values = _map(directory / _VALUES, shape, np.float32, np.float64)
        valid = _map(directory / _VALID, geometry.dims, np.bool_) if description["masked"] else None
        volume = ArrayVolume(
            values,
            valid,
            name=about.name,
            components=components,
            units=about.units,
            geometry=geometry,
            source_dtype=np.dtype(str(description["dtype"])),
            dtype=values.dtype,
            missing=about.missing,
            time=about.time,
            attributes=about.attributes,
            source=str(description["source"]),
            folder=str(directory),
            coordinates=_coordinates(description, geometry.dims),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, VolumeError):
            raise
        raise VolumeError(f"'{directory / _DESCRIPTION}' is damaged ({error!r}).") from error
    if variables is not None and variables not in ((volume.name,), volume.components):
        raise VariableNotFoundError(
            f"'{directory}' holds '{volume.name}', not '{', '.join(variables)}'."
        )
    if time is not None:
        chosen = select_time(volume.name, volume.time, time)
        if chosen != volume.time:
            raise VolumeError(f"'{directory}' holds another time step than {time} only.")
    return volume


def _coordinates(description: dict[str, Any], dims: tuple[int, int, int]) -> Coordinates | None:
    fields = Fields(description, "volume").optional_child("coordinates")
    return None if fields is None else Coordinates.from_json(fields, dims)


def _write_arrays(
    volume: Volume, values_path: Path, valid_path: Path, watch: Callable[[Block], None]
) -> bool:
    """Write both arrays; return whether anything is missing."""
    is_masked = False
    with open(values_path, "wb") as values_file, open(valid_path, "wb") as valid_file:
        offset = _write_header(values_file, (volume.n_components, *volume.dims), volume.dtype)
        arrays: list[ArrayFile] = []
        for _ in volume.components:
            arrays.append(ArrayFile(values_file, offset, volume.dims, volume.dtype.itemsize))
            offset = arrays[-1].end
        mask = ArrayFile(
            valid_file, _write_header(valid_file, volume.dims, np.bool_), volume.dims, 1
        )
        for extent in volume.slabs():
            block = volume.scanned(extent, checksum=True)
            watch(block)
            for array, values in zip(arrays, block.values):
                array.write(extent, values)
            is_masked = is_masked or block.valid is not None
            valid = np.ones(block.values.shape[1:], bool) if block.valid is None else block.valid
            mask.write(extent, valid)
    return is_masked


def _write_header(file: BinaryIO, shape: tuple[int, ...], dtype: Any) -> int:
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_2_0(file, header)
    return file.tell()


def _describe(volume: Volume, is_masked: bool) -> dict[str, Any]:
    places = volume.coordinates
    return {
        "format": FORMAT,
        "version": VERSION,
        **describe(volume),
        **({} if places is None else {"coordinates": places.to_json()}),
        "masked": is_masked,
        "source": volume.source,
        "dtype": volume.source_dtype.str,
    }


def _map(path: Path, shape: tuple[int, ...], *dtypes: Any) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise VolumeError(
            f"'{path}' cannot be read; it is missing or damaged ({error})."
        ) from error
    if array.shape != shape or array.dtype not in dtypes:
        wanted = " or ".join(str(np.dtype(dtype)) for dtype in dtypes)
        raise VolumeError(
            f"'{path}' holds {array.dtype} {list(array.shape)} instead of {wanted} {list(shape)}."
        )
    return array
