"""How another process comes by a volume, and what tells whether it is still the same."""

from __future__ import annotations

import os
from typing import Any

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume.in_memory import ArrayVolume
from amgsrn_core.volume.open import open_step
from amgsrn_core.volume.pieces import PieceVolume
from amgsrn_core.volume.volume import Volume

_WORDS = {"kind", "path", "variables", "time", "dims", "fill_values"}


def source_of(volume: Volume) -> dict[str, Any] | None:
    """Return what another process opens the volume by, as plain JSON types; None if it cannot.

    ``{"kind": "file", "path", "variables", "time", "dims"}``, or ``{"kind": "exported", "path",
    "dims"}`` for a folder of :func:`amgsrn_core.volume.export_volume`; ``{"kind": "piece",
    "dims"}`` where who trains has the values already. With ``"fill_values"``, if there are some,
    which are numbers that stand for no value.
    """
    source = _place_of(volume)
    if source is not None and volume.missing.values:
        source["fill_values"] = list(volume.missing.values)
    return source


def open_source(source: dict[str, Any]) -> Volume:
    """Open the volume that :func:`source_of` describes.

    Raises
    ------
    VolumeError
        As for :func:`amgsrn_core.open_volume`, or the description has a word that it knows not.
    """
    if unknown := sorted(source.keys() - _WORDS):
        raise VolumeError(
            f"The source of a volume has no {unknown[0]!r}; it has {', '.join(sorted(_WORDS))}."
        )
    if source["kind"] == "exported":
        volume = open_step(source["path"])
    else:
        volume = open_step(source["path"], source.get("variables"), source.get("time"))
    return volume.masking(source.get("fill_values", ()))


def _place_of(volume: Volume) -> dict[str, Any] | None:
    dims = list(volume.dims)
    if isinstance(volume, PieceVolume):
        return {"kind": "piece", "dims": dims}
    if volume.folder:
        return {"kind": "exported", "path": os.path.abspath(volume.folder), "dims": dims}
    if isinstance(volume, ArrayVolume) or not os.path.exists(volume.source):
        return None
    return {
        "kind": "file",
        "path": os.path.abspath(volume.source),
        "variables": list(volume.variables),
        "time": None if volume.time is None else volume.time.index,
        "dims": dims,
    }


def identity_of(volume: Volume) -> list[Any]:
    """Return what changes with a volume's values, without reading them where there is a file."""
    if isinstance(volume, PieceVolume):
        return [volume.name, volume.identity]
    if isinstance(volume, ArrayVolume):
        crc = 0
        for extent in volume.slabs():
            crc = volume.scanned(extent, checksum=True).checksum(crc)
        if volume.coordinates is not None:
            crc = volume.coordinates.checksum(crc)
        return [volume.name, crc, *([] if volume.time is None else [volume.time.value])]
    status = os.stat(volume.source)
    time = None if volume.time is None else volume.time.index
    return [
        volume.name,
        list(volume.variables),
        time,
        status.st_size,
        status.st_mtime_ns,
        *([list(volume.missing.values)] if volume.missing.values else []),
    ]
