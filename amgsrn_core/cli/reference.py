"""The volume that a model stands for, found from what the model knows of it."""

from __future__ import annotations

import numpy as np

from amgsrn_core.config import MeshConfig
from amgsrn_core.errors import ConfigurationError, VariableNotFoundError, VolumeError
from amgsrn_core.model import ModelIndex
from amgsrn_core.volume import GridGeometry, TimeAxis, Volume
from amgsrn_core.volume.open import open_step
from amgsrn_core.volume.times import TimeStep


def reference_volume(
    path: str, variables: tuple[str, ...] | None, index: ModelIndex, time: TimeStep = None
) -> Volume:
    """Open what the user names, else what the model was trained on.

    Parameters
    ----------
    path : str
    variables : tuple of str or None
        None for the model's.
    index : ModelIndex
        Of one step.
    time : TimeStep, optional
        None for the model's.

    Raises
    ------
    ConfigurationError
        It has another number of components than the model.
    VolumeError
        It cannot be opened, or has no such variable or time.
    """
    try:
        volume = _open(path, variables or index.source.variables or None, time, index)
    except VariableNotFoundError:
        if variables:
            raise
        # Perhaps a file with another name for its only variable; else this lists the choices.
        volume = _open(path, None, time, index)
    volume.geometry = _turned_to(volume.geometry, index.geometry)
    if volume.n_components != len(index.components):
        raise ConfigurationError(
            f"The model has {len(index.components)} component(s) ({', '.join(index.components)}), "
            f"but {path} was opened with {volume.n_components} "
            f"({', '.join(volume.components)}); choose with --variable."
        )
    return volume.masking(() if index.missing is None else index.missing.values)


def _turned_to(geometry: GridGeometry, known: GridGeometry) -> GridGeometry:
    """Return a grid with longitudes that passed 0 turned to where a model has them.

    Models of earlier versions have 360 to 380 degrees where 0 to 20 are read today.
    """
    axes = []
    for axis, other in zip(geometry.axes, known.axes):
        turns = round((other.coordinates[0] - axis.coordinates[0]) / 360.0)
        apart = axis.wrap is not None and other.wrap is None and turns
        axes.append(axis.shifted(360.0 * turns) if apart else axis)
    z, y, x = axes
    return GridGeometry((z, y, x), geometry.direction)


def _has_times(axis: TimeAxis | None, known: TimeAxis) -> bool:
    """Tell whether a file has the very time steps that a model knows, repeated ones as well."""
    if axis is None or axis.units != known.units:
        return False
    return np.array_equal(axis.values, known.values, equal_nan=True)


def _open(
    path: str, variables: tuple[str, ...] | None, time: TimeStep, index: ModelIndex
) -> Volume:
    if time is not None or index.time is None:
        # A mesh is sampled as it was.
        kind = "space" if index.coordinates is None else "index"
        mesh = MeshConfig(sampling_dimensions=index.dims, curvilinear=kind)
        return open_step(path, variables, time, mesh)
    if _has_times(open_step(path, variables).time, index.time):
        return open_step(path, variables, index.time.index)
    try:
        return open_step(path, variables, f"t={index.time.value!r}")
    except VariableNotFoundError:
        raise
    except VolumeError:
        # A file of this step alone, without its time, will do; one of other steps will not.
        volume = open_step(path, variables)
        if volume.time is not None and len(volume.time.values) > 1:
            raise
        return volume
