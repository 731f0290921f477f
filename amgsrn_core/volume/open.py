"""Opening a volume by its path, whatever format the file turns out to have."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from amgsrn_core.config import MeshConfig
from amgsrn_core.errors import ConfigurationError, VolumeError, VolumeNotFoundError
from amgsrn_core.volume.exported import open_exported
from amgsrn_core.volume.netcdf.reader import netcdf_names, netcdf_volumes, open_netcdf
from amgsrn_core.volume.times import Nearest, TimeStep, select_times, tell_first
from amgsrn_core.volume.volume import Volume
from amgsrn_core.volume.vtk.mesh_file import READERS as MESHES
from amgsrn_core.volume.vtk.mesh_file import mesh_names, open_mesh_file
from amgsrn_core.volume.vtk.reader import open_vtk_file, vtk_names
from amgsrn_core.volume.vtk.xml import vtk_file_kind

NETCDF = "NetCDF"

TIME_METHODS = ("exact", "nearest")


def open_volume(
    path: str | os.PathLike[str],
    variables: Sequence[str] | str | None = None,
    time: TimeStep = None,
    *,
    time_method: str = "exact",
    mesh: MeshConfig | None = None,
) -> Volume:
    """Open a volume; its values are read later, extent by extent.

    Parameters
    ----------
    path : path-like
        A NetCDF file (classic or NetCDF-4), VTK image data (.vti) or rectilinear grid (.vtr), also
        in pieces (.pvti, .pvtr), or a folder that :func:`export_volume` wrote; or a mesh in a file
        of VTK's (.vtu, .vts, .vtm and others), which is read whole and sampled, see
        :class:`~amgsrn_core.config.MeshConfig`. Content decides, not the suffix.
    variables : str or sequence of str, optional
        Variable(s) to use; several become the components of one field. Needed only where the
        file holds more than one volume.
    time : int, float or str, optional
        Step of the time dimension: an index, or an ISO 8601 date; a number that is no index, and a
        text "t=12", is a time in the file's units. Default: the first; which one that is, of how
        many, is logged.
    time_method : {"exact", "nearest"}, default: "exact"
        Whether the step nearest to a time will do.
    mesh : MeshConfig, optional
        How a mesh becomes a volume.

    Raises
    ------
    VolumeNotFoundError
        There is no such file, or it may not be read.
    VariableNotFoundError
        No such variable, or a choice has to be made; the message lists what there is.
    VolumeError
        The file is damaged or of another kind, or holds no volume.

    Examples
    --------
    >>> volume = open_volume("ocean.nc", "temperature")            # doctest: +SKIP
    >>> block = volume.read((slice(0, 4), slice(0, 90), slice(0, 90)))    # doctest: +SKIP
    """
    if time_method not in TIME_METHODS:
        raise ConfigurationError(f"The time method is exact or nearest, not {time_method!r}.")
    if time_method == "nearest" and time is not None and not isinstance(time, Nearest):
        time = Nearest(time)
    volume = open_step(path, variables, time, mesh)
    if time is None:
        tell_first(volume.name, volume.time)
    return volume


def open_step(
    path: str | os.PathLike[str],
    variables: Sequence[str] | str | None = None,
    time: TimeStep = None,
    mesh: MeshConfig | None = None,
) -> Volume:
    """Open a volume like :func:`open_volume`, but tell nobody that it is the first step."""
    path = Path(path)
    names = _names(variables)
    if path.is_dir():
        return open_exported(path, names, time)
    kind = _file_kind(path)
    if kind == NETCDF:
        return open_netcdf(path, names, time)
    if kind in MESHES:
        return open_mesh_file(path, kind, names, time, mesh)
    return open_vtk_file(path, kind, names, time)


def _file_kind(path: Path) -> str:
    """Return NETCDF or the kind of a file of VTK's, by its content."""
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except FileNotFoundError as error:
        raise VolumeNotFoundError(f"There is no file '{path}'.") from error
    except OSError as error:
        raise VolumeNotFoundError(f"'{path}' cannot be opened ({error.strerror}).") from error
    if head[:3] == b"CDF" or head[:8] == b"\x89HDF\r\n\x1a\n":
        return NETCDF
    if not head:
        raise VolumeError(f"'{path}' is empty.")
    if head.startswith(b"# vtk DataFile"):
        raise VolumeError(
            f"'{path}' is a legacy VTK file, which is not read here; open it in ParaView and save "
            "it as .vti, .vtr or, of a mesh, .vtu."
        )
    kind = vtk_file_kind(path)
    if kind is not None:
        return kind
    raise VolumeError(
        f"'{path}' is of a kind that is not read here; "
        "use NetCDF, .vti, .vtr, a mesh (.vtu, .vts, .vtm) or an exported folder."
    )


def variable_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the names of everything in a file that could be named as a variable.

    Parameters
    ----------
    path : path-like
        As for :func:`open_volume`.

    Raises
    ------
    VolumeNotFoundError, VolumeError
        It cannot be opened; as for :func:`open_volume`.
    """
    path = Path(path)
    if path.is_dir():
        volume = open_exported(path)
        return (volume.name, *volume.components)
    kind = _file_kind(path)
    if kind in MESHES:
        return mesh_names(path, kind)
    return netcdf_names(path) if kind == NETCDF else vtk_names(path, kind)


def volume_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the names of the variables of a NetCDF file that can be opened as volumes.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    VolumeNotFoundError, VolumeError
        It cannot be opened, or is no NetCDF file.
    """
    path = Path(path)
    if path.is_dir() or _file_kind(path) != NETCDF:
        raise VolumeError(f"'{path}' is no NetCDF file.")
    return netcdf_volumes(path)


def open_series(
    path: str | os.PathLike[str],
    variables: Sequence[str] | str | None = None,
    times: str = "all",
) -> list[Volume]:
    """Open several time steps of a file, each as a volume.

    Parameters
    ----------
    path, variables
        As for :func:`open_volume`.
    times : str, default: "all"
        "all", a range of indices "FIRST:END" or "FIRST:END:STRIDE" as in Python, or steps with
        commas between.

    Raises
    ------
    VolumeError
        The file has no time dimension or no such steps; and as for :func:`open_volume`.
    """
    first = open_step(path, variables)
    chosen = select_times(first.name, first.time, times)
    return [open_step(path, variables, index) for index in chosen]


def _names(variables: Sequence[str] | str | None) -> tuple[str, ...] | None:
    if variables is None or variables == "":
        return None
    names = (variables,) if isinstance(variables, str) else tuple(variables)
    return names or None
