"""Volumes: structured grids of numbers in files or in memory, read extent by extent."""

from __future__ import annotations

from amgsrn_core.volume.attributes import Attributes
from amgsrn_core.volume.axis import Axis
from amgsrn_core.volume.block import Block, FieldSummary
from amgsrn_core.volume.exported import export_volume
from amgsrn_core.volume.geometry import Extent, GridGeometry
from amgsrn_core.volume.in_memory import volume_from_array
from amgsrn_core.volume.open import open_series, open_volume
from amgsrn_core.volume.volume import MissingValues, TimeAxis, Volume
from amgsrn_core.volume.vtk.data import volume_from_vtk
from amgsrn_core.volume.writer import VolumeWriter, write_volume

__all__ = [
    "Attributes",
    "Axis",
    "Block",
    "Extent",
    "FieldSummary",
    "GridGeometry",
    "MissingValues",
    "TimeAxis",
    "Volume",
    "VolumeWriter",
    "export_volume",
    "open_series",
    "open_volume",
    "volume_from_array",
    "volume_from_vtk",
    "write_volume",
]
