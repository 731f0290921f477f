"""The one place that imports netCDF4."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from types import ModuleType

from amgsrn_core.errors import AmgsrnError

LOCK = threading.RLock()
"""Held around every use of the library: HDF5 as pip ships it is not thread-safe."""


def import_netcdf4() -> ModuleType:
    """Return the netCDF4 module, bound to the C libraries that it was built with.

    ParaView's executables bring a libnetcdf and an HDF5 of their own. Without RTLD_DEEPBIND the
    symbols of those are found first by the wheel's libraries, and the process crashes.
    """
    if "netCDF4" in sys.modules:
        return sys.modules["netCDF4"]
    try:
        if not sys.platform.startswith("linux"):
            return importlib.import_module("netCDF4")
        flags = sys.getdlopenflags()
        sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
        try:
            return importlib.import_module("netCDF4")
        finally:
            sys.setdlopenflags(flags)
    except ImportError as error:
        raise AmgsrnError(
            f"NetCDF files need the netCDF4 package, which cannot be imported here ({error}); "
            "install it with: pip install netCDF4"
        ) from error
