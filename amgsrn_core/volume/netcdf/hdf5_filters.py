"""HDF5 filters: which ones a file needs and the library lacks.

Layout of object headers: HDF5 File Format Specification 3.0, IV.A (version 2 headers and the data
storage filter pipeline message). Numbers of filters: the list of registered HDF5 filter plugins.
"""

from __future__ import annotations

import contextlib
import ctypes
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from amgsrn_core.volume.netcdf.library import c_function, import_netcdf4

_NAMES = {
    4: "szip",
    307: "bzip2",
    32000: "LZF",
    32001: "Blosc",
    32004: "LZ4",
    32008: "bitshuffle",
    32013: "ZFP",
    32014: "fpzip",
    32015: "Zstandard",
    32017: "SZ",
    32018: "FCIDECOMP",
    32022: "BitGroom",
    32023: "Granular BitRound",
    32024: "SZ3",
    32026: "Blosc2",
    32028: "SPERR",
}

_SCANNED_BYTES = 16 << 20
_MOST_FILTERS = 32
_PIPELINE_MESSAGE = 11
_LAST_OF_HDF5 = 6


def missing_filters(variable: Any) -> list[int]:
    """Return the numbers of the filters that a NetCDF variable needs and the library lacks."""
    count, numbers = ctypes.c_size_t(), (ctypes.c_uint * _MOST_FILTERS)()
    inquire = c_function("nc_inq_var_filter_ids")
    if inquire is None:
        return []
    # The number of filters first, so that the list cannot be too short for them.
    if inquire(variable._grpid, variable._varid, ctypes.byref(count), None) != 0:
        return []
    if not 0 < count.value <= _MOST_FILTERS:
        return []
    if inquire(variable._grpid, variable._varid, ctypes.byref(count), numbers) != 0:
        return []
    return [number for number in numbers[: count.value] if not is_filter_known(number)]


def filters_in(path: Path) -> list[int]:
    """Return the numbers of the registered filters that the headers of an HDF5 file name.

    This is for files that the library cannot open: it reads the first 16 MiB by itself.
    """
    with open(path, "rb") as file:
        data = file.read(_SCANNED_BYTES)
    found: dict[int, None] = {}
    at = data.find(b"OHDR")
    while at >= 0:
        # Where these four letters are not the start of a header, what follows makes no sense.
        with contextlib.suppress(struct.error, IndexError):
            found.update(dict.fromkeys(_filters_of_header(data, at)))
        at = data.find(b"OHDR", at + 4)
    return [number for number in found if number > 255]


def is_filter_known(number: int) -> bool:
    """Tell whether the library has a filter."""
    inquire = c_function("nc_inq_filter_avail")
    if inquire is None:  # before NetCDF 4.9: only the filters of HDF5 itself are certain
        return number <= _LAST_OF_HDF5
    netcdf4 = import_netcdf4()
    with netcdf4.Dataset("filters", "w", diskless=True, persist=False) as dataset:
        return bool(inquire(dataset._grpid, ctypes.c_uint(number)) == 0)


def describe_filters(numbers: list[int]) -> str:
    """Return filters with their names, for messages: ``32013 (ZFP)``."""
    shown = [
        f"{number} ({_NAMES[number]})" if number in _NAMES else f"{number}" for number in numbers
    ]
    return " and ".join(shown)


REMEDY = (
    "install it (`pip install hdf5plugin` has the usual ones) and name its folder in "
    "HDF5_PLUGIN_PATH"
)


def _filters_of_header(data: bytes, at: int) -> Iterator[int]:
    version, flags = data[at + 4], data[at + 5]
    if version != 2:
        return
    at += 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    end = at + width + int.from_bytes(data[at : at + width], "little")
    at += width
    while at + 4 <= end:
        kind, size = struct.unpack_from("<BH", data, at)
        at += 4 + (2 if flags & 4 else 0)
        if kind == _PIPELINE_MESSAGE and data[at] == 2:
            yield from _filters_of_message(data, at)
        at += size


def _filters_of_message(data: bytes, at: int) -> Iterator[int]:
    count = data[at + 1]
    at += 2
    for _ in range(min(count, _MOST_FILTERS)):
        (number,) = struct.unpack_from("<H", data, at)
        name = struct.unpack_from("<H", data, at + 2)[0] if number > 255 else 0
        at += 4 if number > 255 else 2
        values = struct.unpack_from("<H", data, at + 2)[0]
        at += 4 + name + 4 * values
        yield number
