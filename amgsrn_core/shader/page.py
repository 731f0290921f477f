"""A web page that draws a model by WebGL 2: one file, which asks nobody for anything."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.model.index import ModelIndex
from amgsrn_core.model.records import LookRecord
from amgsrn_core.rendering.colormap import look_transfer
from amgsrn_core.rendering.looks import UNITS_PER_DIAGONAL, suggestion
from amgsrn_core.rendering.proportions import display_scale
from amgsrn_core.rendering.settings import RenderSettings, mean_spacing
from amgsrn_core.shader.page_step import LoadQuantised, PageStep
from amgsrn_core.shader.source import VERTEX
from amgsrn_core.volume.times import shown_time

_TEMPLATE = Path(__file__).parent / "page.html"

# The view angle, in degrees, is that of Camera.orbit; a sphere round the box fills the picture.
_ANGLE = 30.0

# Of all time steps, before they are compressed: a phone holds all of them.
_MOST_BYTES = 256 << 20


def page(
    model: NeuralVolume,
    steps: Sequence[int] | None = None,
    quantised: LoadQuantised | None = None,
) -> str:
    """Return the page of a model, HTML.

    Its features have 16 bits; everything else has 32.

    Parameters
    ----------
    model : NeuralVolume
    steps : list of int, optional
        The time steps of a series on it; default: all.
    quantised : callable, optional
        Returns what the compressed parameters of a brick of `model.series` consist of, by its
        number, or None; an archive's `load_quantised`. With it the page of a compressed model is
        small: it holds the quantised numbers, which the browser makes features of.

    Raises
    ------
    ConfigurationError
        No graphics processor draws the model, float32 does not hold its values, 16 bits not its
        features, or the steps are more than a browser should hold.
    """
    if model.series.is_scaled_in_double:
        raise ConfigurationError(
            "Pages show values that float32 holds, and those of this model differ too little for "
            "it; render pictures instead."
        )
    component: int | str = 0 if len(model.components) == 1 else "magnitude"
    shown = [model.at(step) for step in (range(model.series.steps) if steps is None else steps)]
    look = suggestion(shown[0], component)
    common, settings = _common(shown[0], look, component)
    heads: list[dict[str, str]] = []
    data: list[np.ndarray] = []
    described: list[dict[str, Any]] = []
    for volume in shown:
        step = PageStep.of(volume, look, settings, quantised)
        if step.heads not in heads:
            heads.append(step.heads)
        label = _label(model.series, volume.step)
        described.append({**step.description, "head": heads.index(step.heads), "label": label})
        data += step.arrays.values()
        if sum(array.nbytes for array in data) > _MOST_BYTES:
            raise ConfigurationError(
                f"The networks of {len(described)} of {len(shown)} time steps are more than the "
                f"{_MOST_BYTES >> 20} MiB that a page may have; choose one step (--time), or train "
                "a smaller model."
            )
    description = {**common, "fragment": step.fragment, "heads": heads, "steps": described}
    # A name may hold bytes that are no text, and what looks like a place of the template.
    title = html.escape(model.name.encode(errors="backslashreplace").decode())
    values = {"title": title, "payload": _payload(data, description)}
    text = _TEMPLATE.read_text(encoding="utf-8")
    return re.sub("%(title|payload)%", lambda place: values[place[1]], text)


def _common(
    volume: NeuralVolume, look: LookRecord, component: int | str
) -> tuple[dict[str, Any], RenderSettings]:
    """Return what the page has to know of all time steps, and the settings of their pictures."""
    transfer = look_transfer(look)
    geometry = volume.scaled(display_scale(volume.geometry)).geometry
    low, high = np.reshape(geometry.bounds, (3, 2)).T
    diagonal = float(np.linalg.norm(high - low))
    unit = diagonal / UNITS_PER_DIAGONAL
    settings = RenderSettings(component=component, unit_distance=unit, shade=True)
    to_world = geometry.direction * np.array(geometry.spacing)
    normals = np.linalg.inv(geometry.direction).T / np.array(geometry.spacing)
    span = transfer.high - transfer.low
    description = {
        "vertex": "#version 300 es\n" + VERTEX,
        "look": {
            "low": transfer.low,
            "high": transfer.high,
            "points": [((v - transfer.low) / span, opacity) for v, opacity in look.opacities],
        },
        "ratio": settings.opacity_ratio(geometry),
        "component": 0 if component == "magnitude" else component,
        "samplesPerVoxel": settings.samples_per_voxel,
        "lastIndex": [n - 1 for n in geometry.dims[::-1]],
        "fromWorld": np.linalg.inv(to_world).tolist(),
        "toWorld": (to_world / mean_spacing(geometry)).tolist(),
        "normalToWorld": (normals / np.abs(normals).max()).tolist(),
        "distance": 0.5 * diagonal / float(np.sin(np.radians(_ANGLE / 2))),
        "hash": volume.index.network.encoder == "hash",
    }
    return description, settings


def _label(series: ModelIndex, step: int) -> str:
    """Return what tells a time step from the others."""
    axis = series.time
    if axis is None or not axis.steps:
        return ""
    return f"{axis.steps[step]} ({shown_time(axis, axis.steps[step])})"


def _payload(arrays: Sequence[np.ndarray], description: dict[str, Any]) -> str:
    head = json.dumps(description).encode()
    parts = [np.uint32(len(head)).tobytes(), head]
    parts += [np.ascontiguousarray(array).tobytes() for array in arrays]
    return base64.b64encode(gzip.compress(b"".join(parts), 9, mtime=0)).decode()
