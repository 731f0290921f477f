"""Volumes: structured grids of numbers in files or in memory, read extent by extent."""

from __future__ import annotations

from amgsrn_core.volume.axis import Axis
from amgsrn_core.volume.geometry import Extent, GridGeometry
from amgsrn_core.volume.memory import volume_from_array
from amgsrn_core.volume.open import open_volume
from amgsrn_core.volume.volume import (
    Block,
    FieldSummary,
    MissingValues,
    TimeAxis,
    Volume,
)

__all__ = [
    "Axis",
    "Block",
    "Extent",
    "FieldSummary",
    "GridGeometry",
    "MissingValues",
    "TimeAxis",
    "Volume",
    "open_volume",
    "volume_from_array",
]
