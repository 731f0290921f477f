"""The Python packages that the suite needs, and what is not possible without some of them."""

from __future__ import annotations

from collections.abc import Iterator

from amgsrn_core.cli.doctor.findings import NOTE, OK, PROBLEM, Finding, install, set_up
from amgsrn_core.cli.doctor.machine import version_of
from amgsrn_core.errors import AmgsrnError


def check_packages() -> Iterator[Finding]:
    """Look at each package but PyTorch."""
    yield _numpy()
    yield _netcdf()
    yield _constriction()
    yield _vtk()


def _numpy() -> Finding:
    version = version_of("numpy")
    if version is None:
        return Finding("numpy", PROBLEM, "not installed", install("numpy"))
    return Finding("numpy", OK, version)


def _netcdf() -> Finding:
    from amgsrn_core.volume.netcdf.library import import_netcdf4

    try:
        module = import_netcdf4()
    except AmgsrnError as error:
        return Finding("netCDF4", PROBLEM, str(error), install("netCDF4"))
    return Finding("netCDF4", OK, f"{module.__version__} (netCDF {module.__netcdf4libversion__})")


def _constriction() -> Finding:
    version = version_of("constriction")
    if version is None:
        return Finding(
            "constriction",
            NOTE,
            "not installed: compressed models can be neither read nor written",
            f"On Linux with ARM it takes Rust. {install('constriction')}",
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
            "Convert the volume to NetCDF, or set up with the Python that ParaView embeds: "
            f"{set_up()}",
        )
    return Finding("vtkmodules", OK, vtkVersion.GetVTKVersion())
