"""The one place that imports netCDF4."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from amgsrn_core.errors import AmgsrnError
from amgsrn_core.system.extras import require

LOCK = threading.RLock()
"""Held around every use of the library: HDF5 as pip ships it is not thread-safe."""


def import_netcdf4() -> ModuleType:
    """Return the netCDF4 module, bound to the C libraries that it was built with.

    ParaView's executables bring a libnetcdf and an HDF5 of their own. Without RTLD_DEEPBIND the
    symbols of those are found first by the wheel's libraries, and the process crashes.
    """
    if "netCDF4" in sys.modules:
        return sys.modules["netCDF4"]
    purpose = "A NetCDF file"
    if not sys.platform.startswith("linux"):
        return require("netCDF4", purpose)
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
    try:
        return require("netCDF4", purpose)
    finally:
        sys.setdlopenflags(flags)


def c_function(name: str) -> Any | None:
    """Return a function of the C library that the netCDF4 module is linked to, or None."""
    try:
        return getattr(ctypes.CDLL(import_netcdf4()._netCDF4.__file__), name, None)
    except (OSError, AttributeError):
        return None


@contextmanager
def library_path(path: Path) -> Iterator[str]:
    """Lend a name by which the library opens a file that exists.

    It takes a backslash for a slash, and perhaps another file, and knows UTF-8 only: such files
    are opened by Python, and lent by their descriptor.

    Raises
    ------
    OSError
        The file cannot be opened.
    """
    name = os.fspath(path)
    plain = re.fullmatch(r"[^\\\ud800-\udfff]*", name) and not name[:1].isspace()
    if plain or os.name != "posix":
        yield name
        return
    descriptor = os.open(name, os.O_RDONLY)
    try:
        lent = f"/dev/fd/{descriptor}"
        if not os.path.exists(lent):
            raise AmgsrnError(
                f"The NetCDF library cannot open a file of the name {name!r}; rename it, without "
                "backslashes and in UTF-8."
            )
        yield lent
    finally:
        os.close(descriptor)
