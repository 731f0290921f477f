"""What a worker publishes of the network in the making: one small file, replaced as a whole."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core.volume.block import Block
from amgsrn_core.volume.geometry import GridGeometry

PREVIEW_POINTS = 40**3
"""Most points of a live preview."""


@dataclass(frozen=True)
class LiveResult:
    """State of the network at one iteration.

    Attributes
    ----------
    geometry : GridGeometry
        Of the preview: even in the world, coarse.
    preview : Block
        Decoded values float32 [C, z, y, x], and where there are any.
    corners : ndarray of float64 [G, 8, 3]
        Corners of the feature grids' boxes in the world, x fastest; NaN for a grid without a box.
    densities : ndarray of float64 [G]
        What each grid adds to the feature density inside its box.
    history : ndarray of float64 [rows, columns]
    history_columns : tuple of str
    iteration : int
    """

    geometry: GridGeometry
    preview: Block
    corners: np.ndarray
    densities: np.ndarray
    history: np.ndarray
    history_columns: tuple[str, ...]
    iteration: int


def write_live(path: Path, live: LiveResult) -> None:
    """Replace a file of live results; a reader sees the old or the new one, never a part."""
    about = {
        "iteration": live.iteration,
        "geometry": live.geometry.to_json(),
        "columns": live.history_columns,
    }
    arrays: dict[str, Any] = {
        "about": np.array(json.dumps(about)),
        "preview": live.preview.values,
        "corners": live.corners,
        "densities": live.densities,
        "history": live.history,
    }
    temporary = path.with_name(f".{path.name}")
    with open(temporary, "wb") as file:
        np.savez(file, **arrays)
    os.replace(temporary, path)


def read_live(path: Path, newer_than: int = -1) -> LiveResult | None:
    """Return what :func:`write_live` wrote; None if there is nothing, or nothing newer."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            if about["iteration"] <= newer_than:
                return None
            return LiveResult(
                geometry=GridGeometry.from_json(about["geometry"]),
                preview=Block.of_field(stored["preview"]),
                corners=stored["corners"],
                densities=stored["densities"],
                history=stored["history"],
                history_columns=tuple(about["columns"]),
                iteration=about["iteration"],
            )
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None
