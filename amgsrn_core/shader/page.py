"""A web page that draws a model by WebGL 2: one file, which asks nobody for anything."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.rendering.colormap import look_transfer
from amgsrn_core.rendering.looks import UNITS_PER_DIAGONAL, suggestion, value_range
from amgsrn_core.rendering.occupancy import MacroCells
from amgsrn_core.rendering.proportions import display_scale
from amgsrn_core.rendering.settings import RenderSettings, mean_spacing
from amgsrn_core.shader.look import PackedLook
from amgsrn_core.shader.packing import MOST_HALF, PackedModel
from amgsrn_core.shader.source import VERTEX, fragment_source

_TEMPLATE = Path(__file__).parent / "page.html"

# The view angle, in degrees, is that of Camera.orbit; a sphere round the box fills the picture.
_ANGLE = 30.0


def page(volume: NeuralVolume) -> str:
    """Return the page of a time step of a model, HTML.

    Its features have 16 bits; everything else has 32.

    Raises
    ------
    ConfigurationError
        No graphics processor draws the model, float32 does not hold its values, or 16 bits not its
        features.
    """
    if volume.series.is_scaled_in_double:
        raise ConfigurationError(
            "Pages show values that float32 holds, and those of this model differ too little for "
            "it; render pictures instead."
        )
    component: int | str = 0 if len(volume.components) == 1 else "magnitude"
    look = suggestion(volume, component)
    transfer = look_transfer(look)
    volume = volume.scaled(display_scale(volume.geometry))
    geometry = volume.geometry
    low, high = np.reshape(geometry.bounds, (3, 2)).T
    diagonal = float(np.linalg.norm(high - low))
    unit = diagonal / UNITS_PER_DIAGONAL
    settings = RenderSettings(component=component, unit_distance=unit, shade=True)
    model, packed = PackedModel.of(volume), PackedLook.of(volume, transfer, settings)
    to_world = geometry.direction * np.array(geometry.spacing)
    normals = np.linalg.inv(geometry.direction).T / np.array(geometry.spacing)
    arrays, description = _arrays(volume, model, component)
    points = [(value, opacity) for value, opacity in look.opacities]
    span = transfer.high - transfer.low
    description |= {
        **_sources(model, packed),
        "vertex": "#version 300 es\n" + VERTEX,
        "look": {
            "low": transfer.low,
            "high": transfer.high,
            "points": [((value - transfer.low) / span, opacity) for value, opacity in points],
        },
        "ratio": settings.opacity_ratio(geometry),
        "component": packed.uniforms["component"],
        "samplesPerVoxel": settings.samples_per_voxel,
        "lastIndex": [n - 1 for n in geometry.dims[::-1]],
        "fromWorld": np.linalg.inv(to_world).tolist(),
        "toWorld": (to_world / mean_spacing(geometry)).tolist(),
        "normalToWorld": (normals / np.abs(normals).max()).tolist(),
        "distance": 0.5 * diagonal / float(np.sin(np.radians(_ANGLE / 2))),
        "hash": "HASH" in model.defines,
    }
    # A name may hold bytes that are no text, and what looks like a place of the template.
    title = html.escape(volume.name.encode(errors="backslashreplace").decode())
    values = {"title": title, "payload": _payload(arrays, description)}
    text = _TEMPLATE.read_text(encoding="utf-8")
    return re.sub("%(title|payload)%", lambda place: values[place[1]], text)


def _sources(model: PackedModel, packed: PackedLook) -> dict[str, Any]:
    """Return the shader once, and what stands before it with light and without."""
    text = fragment_source({**model.defines, **packed.defines}, "es")
    head, mark, rest = text.partition("uniform sampler2D numbers;")
    flat = [line for line in head.split("\n") if not line.startswith("#define SHADE ")]
    return {"fragment": mark + rest, "defines": {"lit": head, "flat": "\n".join(flat)}}


def _arrays(
    volume: NeuralVolume, model: PackedModel, component: int | str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return arrays for the page by name, and what it has to know of them."""
    features = model.textures["features"]
    if np.abs(features).max(initial=0) > MOST_HALF:
        raise ConfigurationError(
            f"Pages have features of 16 bits, which end at {MOST_HALF:g}, and this model has "
            "larger ones; render pictures instead."
        )
    features = features.astype(np.float16).view(np.uint16)
    flat = features.ravel()
    # Apart, since high bytes are much alike, which gzip finds out.
    arrays = {"features": np.concatenate([flat & 255, flat >> 8]).astype(np.uint8)}
    shapes: dict[str, Any] = {"features": features.shape}
    for name in sorted(set(model.textures) - {"features"}):
        arrays[name], shapes[name] = model.textures[name], model.textures[name].shape
    cells = MacroCells.of_volume(volume)
    minima, maxima = cells.bounds(component)
    if not (minima <= maxima).any():
        raise ConfigurationError("A page has nothing to draw: no voxel of the model has a value.")
    codes, low, high = _bounds(minima, maxima, value_range(volume.index, component))
    arrays["bounds"] = codes
    kinds = {np.dtype(np.uint8): "u1", np.dtype(np.uint16): "u2", np.dtype(np.float32): "f4"}
    entries = {
        name: {"type": kinds[array.dtype], "bytes": array.nbytes, "shape": shapes.get(name)}
        for name, array in arrays.items()
    }
    bounds = {"shape": minima.shape, "edge": cells.edge, "low": low, "high": high}
    return arrays, {"arrays": entries, "cells": bounds}


def _bounds(
    minima: np.ndarray, maxima: np.ndarray, own: tuple[float, float]
) -> tuple[np.ndarray, float, float]:
    """Return bounds of cells as codes, uint8 [2, z, y, x], and what 0 and 255 stand for.

    What they stand for encloses the model's range `own` where a bound is open.

    They are rounded outwards: what may be visible is not left out. Cells without values have a
    minimum above their maximum.
    """
    known = minima <= maxima
    both = np.stack([minima, maxima]).astype(np.float64)
    finite = both[:, known][np.isfinite(both[:, known])]
    is_open = not np.isfinite(both[:, known]).all()  # some are as open as the networks are
    finite = np.append(finite, own) if is_open else finite
    low, high = float(finite.min()), float(finite.max())
    reach = high - low or 1.0
    if is_open:
        low, high = low - reach, high + reach
    scaled = (both.clip(low, low + max(high - low, reach)) - low) / max(high - low, reach) * 255
    codes = np.stack([np.floor(scaled[0] - 1e-3), np.ceil(scaled[1] + 1e-3)]).clip(0, 255)
    codes[:, ~known] = np.array([1, 0])[:, None]
    return codes.astype(np.uint8), low, low + max(high - low, reach)


def _payload(arrays: dict[str, np.ndarray], description: dict[str, Any]) -> str:
    head = json.dumps(description).encode()
    parts = [np.uint32(len(head)).tobytes(), head]
    parts += [np.ascontiguousarray(array).tobytes() for array in arrays.values()]
    return base64.b64encode(gzip.compress(b"".join(parts), 9, mtime=0)).decode()
