"""Packages that not every installation has: who asks for one says what for."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from amgsrn_core.errors import ConfigurationError

# What pyproject.toml calls the group of packages that one belongs to; the others are its base.
_EXTRAS = {
    "torch": "train",
    "nerfacc": "train",
    "distributed": "cluster",
    "tensorboardX": "tensorboard",
    "xarray": "xarray",
    "nibabel": "quickstart",
}
_NAMES = {"torch": "PyTorch", "distributed": "dask.distributed", "vtkmodules": "ParaView's VTK"}
_ELSEWHERE = {
    "vtkmodules": "install vtk, or run it with ParaView's Python (amgsrn pvpython), or use NetCDF",
}


def require(module: str, purpose: str) -> ModuleType:
    """Import a package, or a module of one.

    Parameters
    ----------
    module : str
        Its dotted name.
    purpose : str
        What needs it, in the singular: the sentence begins with it.

    Raises
    ------
    ConfigurationError
        It is not installed, or cannot be imported; the sentence says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        absent = isinstance(error, ModuleNotFoundError) and error.name == package
        raise ConfigurationError(
            sentence(package, purpose, "" if absent else str(error))
        ) from error


def is_there(package: str) -> bool:
    """Return whether a package is installed; imports nothing."""
    return importlib.util.find_spec(package) is not None


def expect(package: str, purpose: str) -> None:
    """Raise what :func:`require` raises where a package is not there; imports nothing."""
    if not is_there(package):
        raise ConfigurationError(sentence(package, purpose))


def remedy(package: str) -> str:
    """Return how to get a package, as a part of a sentence."""
    return _ELSEWHERE.get(package, f"install {wanted(package)} (in a checkout: scripts/setup)")


def wanted(package: str) -> str:
    """Return what pip is to install for a package."""
    extra = _EXTRAS.get(package)
    return package if extra is None else f"amgsrn[{extra}]"


def sentence(package: str, purpose: str, why: str = "") -> str:
    """Return what :func:`require` says: that it is not installed, or why it cannot be imported."""
    state = f"cannot be imported here ({why})" if why else "is not installed here"
    name = _NAMES.get(package, package)
    return f"{purpose} needs {name}, which {state}; {remedy(package)}."
