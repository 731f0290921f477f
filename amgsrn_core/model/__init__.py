"""The model file, ``NAME.amgsrn``: one safetensors file with an index and the bricks' tensors."""

from __future__ import annotations

from amgsrn_core.model.growing_file import add_step, make_whole
from amgsrn_core.model.index import ModelIndex
from amgsrn_core.model.open_archives import open_archive
from amgsrn_core.model.records import (
    BRICK_STATES,
    FORMAT_VERSION,
    BrickRecord,
    LookRecord,
    SourceRecord,
    TrainingRecord,
)
from amgsrn_core.model.shapes import parameter_shapes
from amgsrn_core.model.store import (
    Archive,
    archive_bytes,
    load_brick,
    read_index,
    verify_archive,
)
from amgsrn_core.model.writing import OnDemand, write_archive

__all__ = [
    "BRICK_STATES",
    "FORMAT_VERSION",
    "Archive",
    "BrickRecord",
    "LookRecord",
    "ModelIndex",
    "OnDemand",
    "SourceRecord",
    "TrainingRecord",
    "add_step",
    "archive_bytes",
    "load_brick",
    "make_whole",
    "open_archive",
    "parameter_shapes",
    "read_index",
    "verify_archive",
    "write_archive",
]
