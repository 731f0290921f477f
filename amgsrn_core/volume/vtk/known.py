"""What VTK's data sets say of their units and their source, and how a volume takes it up."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np

from amgsrn_core.errors import AmgsrnError
from amgsrn_core.system.extras import require
from amgsrn_core.volume.attributes import Attributes
from amgsrn_core.volume.axis import UNIFORM_TOLERANCE, Axis
from amgsrn_core.volume.description import Description
from amgsrn_core.volume.geometry import GridGeometry
from amgsrn_core.volume.volume import Volume

DESCRIPTION = "amgsrn_description"
"""Name of the field data's array that holds a description as JSON."""

SAMPLING = "amgsrn_sampling"
"""Name of the field data's array that says how a mesh became this volume; also of the attribute
that a model gets of it."""


def description_of(dataset: Any) -> Description | None:
    """Return what a data set's field data say of it, or None if that is nothing, or damaged."""
    array = dataset.GetFieldData().GetAbstractArray(DESCRIPTION)
    if array is None or array.GetNumberOfValues() != 1:
        return None
    try:
        return Description.from_json(json.loads(array.GetValue(0)))
    except (AmgsrnError, ValueError, TypeError):
        return None


def units_of(array: Any) -> str:
    """Return the units that VTK knows of an array, or an empty text."""
    key = units_key()
    info = array.GetInformation() if array.HasInformation() else None
    return str(info.Get(key)).strip() if info is not None and info.Has(key) else ""


def units_key() -> Any:
    """Return VTK's key of an array's units."""
    return require("vtkmodules.vtkCommonCore", "A VTK data set").vtkDataArray.UNITS_LABEL()


def take_description(volume: Volume, known: Description | None) -> None:
    """Let a volume of a data set have what is known of the field that the data set shows."""
    if known is None:
        return
    volume.geometry = described_geometry(volume.geometry, known.geometry)
    if known.missing is not None:
        fill = known.missing.fill_value
        volume.missing = dataclasses.replace(volume.missing, fill_value=fill)
    if volume.time and known.time and volume.time.value == known.time.value:
        volume.time = known.time
    if known.attributes is not None:
        own = dict(zip(known.components, known.attributes.components))
        components = tuple(own.get(name, {}) for name in volume.components)
        volume.attributes = dataclasses.replace(known.attributes, components=components)


def take_sampling(volume: Volume, dataset: Any) -> None:
    """Let a volume's attributes say how it became one of a mesh, if it did."""
    array = dataset.GetFieldData().GetAbstractArray(SAMPLING)
    if array is None or array.GetNumberOfValues() != 1:
        return
    known = volume.attributes or Attributes(components=({},) * volume.n_components)
    file = {**known.file, SAMPLING: array.GetValue(0)}
    volume.attributes = dataclasses.replace(known, file=file)


def is_sampled(volume: Volume) -> bool:
    """Tell whether a volume was made of a mesh."""
    return volume.attributes is not None and SAMPLING in volume.attributes.file


def described_geometry(geometry: GridGeometry, known: GridGeometry) -> GridGeometry:
    """Return a data set's geometry with what is known of its axes beside their coordinates.

    An axis that goes beyond the known one is another one, and stays as it is.
    """
    if not np.array_equal(geometry.direction, known.direction):
        return geometry
    z, y, x = (_described(own, other) for own, other in zip(geometry.axes, known.axes))
    return GridGeometry((z, y, x), geometry.direction)


def _described(own: Axis, known: Axis) -> Axis:
    low, high = known.coordinates[0], known.coordinates[-1]
    slack = 1e-6 * (high - low)
    if own.descending or own.coordinates[0] < low - slack or own.coordinates[-1] > high + slack:
        return own
    # Image data have the even coordinates that come closest.
    apart = UNIFORM_TOLERANCE * known.spacing
    same = own.size == known.size and np.allclose(own.coordinates, known.coordinates, 0, apart)
    return known if same else dataclasses.replace(known, coordinates=own.coordinates)
