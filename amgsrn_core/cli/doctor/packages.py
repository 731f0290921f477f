"""The Python packages that the suite needs, and what is not possible without some of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from amgsrn_core.cli.doctor.findings import NOTE, OK, PROBLEM, Finding, as_sentence
from amgsrn_core.cli.doctor.machine import version_of
from amgsrn_core.errors import AmgsrnError
from amgsrn_core.system.extras import remedy

_NUMPY_LIMIT = (2, 4)  # numpy 2.4 removed functions that ParaView up to 5.13 calls


def check_packages() -> Iterator[Finding]:
    """Look at each package but PyTorch."""
    yield _numpy()
    yield _netcdf()
    yield _constriction()
    yield _vtk()


def _numpy() -> Finding:
    version = version_of("numpy")
    if version is None:
        return Finding("numpy", PROBLEM, "not installed", as_sentence(remedy("numpy")))
    if _numbers(version)[:2] >= _NUMPY_LIMIT:
        older = 'ParaView up to 5.13 needs an older one: pip install "numpy<2.4".'
        return Finding("numpy", PROBLEM, version, older)
    return Finding("numpy", OK, version)


def _netcdf() -> Finding:
    from amgsrn_core.volume.netcdf.library import import_netcdf4

    try:
        module = import_netcdf4()
    except AmgsrnError as error:
        return Finding("netCDF4", PROBLEM, str(error))
    return Finding("netCDF4", OK, f"{module.__version__} (netCDF {module.__netcdf4libversion__})")


def _constriction() -> Finding:
    version = version_of("constriction")
    if version is None:
        return Finding(
            "constriction",
            NOTE,
            "not installed: compressed models can be neither read nor written",
            f"{as_sentence(remedy('constriction'))} On Linux with ARM that takes Rust.",
        )
    return Finding("constriction", OK, version)


def _vtk() -> Finding:
    try:
        from vtkmodules.vtkCommonCore import vtkVersion
    except ImportError:
        return Finding(
            "vtkmodules",
            NOTE,
            "not importable by this Python: .vti and .vtr files are read only inside ParaView",
            "Make .venv with scripts/setup from the interpreter that ParaView embeds, or convert "
            "the volume to NetCDF.",
        )
    return Finding("vtkmodules", OK, vtkVersion.GetVTKVersion())


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))
