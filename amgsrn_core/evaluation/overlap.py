"""Whether a volume is the one that a model stands for: how many of its voxels the model knows."""

from __future__ import annotations

import math

import numpy as np

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume.geometry import GridGeometry

# A volume that a model stands for has more of its voxels in common with it, whatever its masks.
_LEAST_SHARE = 0.5

# Faces this close to each other, as a share of the box, are the same.
_SAME_FACE = 1e-3


def refuse_stranger(
    name: str,
    volume: GridGeometry,
    model: GridGeometry | None,
    common: int,
    known: int,
    advice: str = "",
) -> None:
    """Raise unless at least half of a volume's voxels with a value have one in the model, too.

    Parameters
    ----------
    name : str
        Of the volume.
    volume : GridGeometry
        Where its voxels lie.
    model : GridGeometry or None
        Where those lie that the model was trained on, if that is known.
    common, known : int
        Voxels with a value in both, and in the volume.
    advice : str, optional
        What else can be done, as the end of a sentence.

    Raises
    ------
    VolumeError
        Which says how many voxels there are, and how the grids differ.
    """
    if common >= _LEAST_SHARE * known:
        return
    number = f"{common:,}" if common else "none"
    raise VolumeError(
        f"The model has a value for {number} of the {known:,} voxels that have one in {name}, "
        f"so that it does not stand for this volume: {difference(volume, model)}; name the data "
        f"that it was trained on{advice}."
    )


def voxels_inside(volume: GridGeometry, model: GridGeometry) -> int | None:
    """Return how many voxels of a volume lie in the box of a model's; None if that takes long."""
    if volume == model:
        return volume.n_points
    if not (volume.is_aligned and model.is_aligned):
        return None
    counts = []
    for axis, own in zip(volume.axes, model.axes):
        index = own.to_index(axis.coordinates)
        counts.append(
            np.count_nonzero((index >= -_SAME_FACE) & (index <= own.size - 1 + _SAME_FACE))
        )
    return math.prod(map(int, counts))


def difference(volume: GridGeometry, model: GridGeometry | None) -> str:
    """Return how a volume's grid differs from a model's, as a part of a sentence."""
    if model is None:
        return "it has no value at the others"
    found = []
    units = [
        f"{own.name} is in {own.units} there and in {axis.units} here"
        for axis, own in zip(reversed(volume.axes), reversed(model.axes))
        if axis.units and own.units and axis.units != own.units
    ]
    found += units
    if not np.allclose(volume.direction, model.direction, atol=_SAME_FACE):
        found.append("its axes have other directions")
    if not _same_box(volume, model):
        found.append(f"it spans {_box(model)}, and the volume {_box(volume)}")
    if volume.dims != model.dims:
        found.append(f"it has {_dims(model)} voxels, and the volume {_dims(volume)}")
    if not found or found == [f"it has {_dims(model)} voxels, and the volume {_dims(volume)}"]:
        found.insert(0, "both lie in the same place, but other voxels are missing in it")
    return ", ".join(found)


def _same_box(a: GridGeometry, b: GridGeometry) -> bool:
    first, second = np.reshape(a.bounds, (3, 2)), np.reshape(b.bounds, (3, 2))
    sizes = np.maximum(np.ptp(first, axis=1), np.ptp(second, axis=1))[:, None]
    return bool((np.abs(first - second) <= _SAME_FACE * sizes).all())


def _box(geometry: GridGeometry) -> str:
    pairs = np.reshape(geometry.bounds, (3, 2))
    units = [axis.units for axis in reversed(geometry.axes)]
    return ", ".join(
        f"{name} {low:g} to {high:g} {unit}".rstrip()
        for name, (low, high), unit in zip("xyz", pairs, units)
    )


def _dims(geometry: GridGeometry) -> str:
    return " x ".join(map(str, geometry.dims))
