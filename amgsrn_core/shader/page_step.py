"""A time step of a model on a web page: arrays that compress well, and how they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.model.codec import Quantised
from amgsrn_core.model.records import LookRecord
from amgsrn_core.rendering.colormap import look_transfer
from amgsrn_core.rendering.looks import value_range
from amgsrn_core.rendering.occupancy import MacroCells
from amgsrn_core.rendering.proportions import display_scale
from amgsrn_core.rendering.settings import RenderSettings
from amgsrn_core.shader.look import look_defines
from amgsrn_core.shader.packing import MOST_HALF, PackedModel
from amgsrn_core.shader.source import fragment_source

LoadQuantised = Callable[[int], Quantised | None]


@dataclass(frozen=True)
class PageStep:
    """A time step as its page holds it.

    Attributes
    ----------
    arrays : dict of arrays
        Flat, uint8 or float32. Numbers of several bytes are parted into their bytes, all lowest
        ones first: high bytes are much alike, which gzip finds out.
    description : dict
        Types and shapes of the arrays, in their order, and what else the page has to know of them.
    heads : dict of str
        What stands before the shader's text with light ("lit") and without ("flat").
    fragment : str
        That text, the same for all models.
    """

    arrays: dict[str, np.ndarray]
    description: dict[str, Any]
    heads: dict[str, str]
    fragment: str

    @classmethod
    def of(
        cls,
        volume: NeuralVolume,
        look: LookRecord,
        settings: RenderSettings,
        quantised: LoadQuantised | None,
    ) -> PageStep:
        """Pack a time step; see :func:`~amgsrn_core.shader.page.page`."""
        scaled = volume.scaled(display_scale(volume.geometry))
        model = PackedModel.of(scaled)
        seen = look_defines(look_transfer(look), settings, len(volume.components))
        text = fragment_source({**model.defines, **seen}, "es")
        head, mark, rest = text.partition("uniform sampler2D numbers;")
        flat = [line for line in head.split("\n") if not line.startswith("#define SHADE ")]
        arrays, grids = _features(volume, model, quantised)
        numbers, arrays["palette"] = _coded(model.textures["numbers"])
        arrays["numbers"] = numbers
        if "mask" in model.textures:
            arrays["mask"] = model.textures["mask"].ravel()
        arrays["bounds"], cells = _cells(scaled, settings.component)
        types = {np.dtype(np.uint8): "u1", np.dtype(np.float32): "f4"}
        entries = {
            name: {"type": types[array.dtype], "bytes": array.nbytes}
            for name, array in arrays.items()
        }
        shapes = {name: texture.shape for name, texture in model.textures.items()}
        description = {"arrays": entries, "shapes": shapes, "cells": cells, "grids": grids}
        return cls(arrays, description, {"lit": head, "flat": "\n".join(flat)}, mark + rest)


def in_planes(codes: np.ndarray) -> np.ndarray:
    """Return whole numbers from 0 as bytes, uint8: of all the lowest byte first, then the next."""
    count = max(1, -(-int(codes.max(initial=0)).bit_length() // 8))
    flat = codes.ravel().astype(np.uint64)
    return np.concatenate(
        [(flat >> np.uint64(8 * i)) & np.uint64(255) for i in range(count)]
    ).astype(np.uint8)


def _coded(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 numbers as codes and what these stand for: few of them are different."""
    values, codes = np.unique(table.view(np.uint32), return_inverse=True)
    return in_planes(codes), values.view(np.float32)


def _features(
    volume: NeuralVolume, model: PackedModel, quantised: LoadQuantised | None
) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """Return features for the page, and which grids they are of where they are quantised."""
    features = model.textures["features"]
    if np.abs(features).max(initial=0) > MOST_HALF:
        raise ConfigurationError(
            f"Pages have features of 16 bits, which end at {MOST_HALF:g}, and this model has "
            "larger ones; render pictures instead."
        )
    found = _quantised(volume, quantised)
    if not found:
        return {"features": in_planes(features.astype(np.float16).view(np.uint16))}, []
    codes, steps, grids = [], [], []
    for position, brick in enumerate(volume.bricks()):
        if brick.record.state != "network":
            continue
        numbers = found[position]
        whole = numbers.coefficients["feature_grids"]
        shape = whole.shape[2:]
        z, y, x = np.indices(shape)
        order = np.argsort((z + y + x).ravel(), kind="stable")  # low frequencies first
        rows = whole.reshape(-1, order.size)[:, order]
        codes.append(np.where(rows < 0, -2 * rows - 1, 2 * rows).T.ravel())
        steps.append(numbers.steps["feature_grids"].ravel())
        corners = _corners(model, position).tolist()
        grids.append({"shape": shape, "features": whole.shape[1], "corners": corners})
    return {"features": in_planes(np.concatenate(codes)), "steps": np.concatenate(steps)}, grids


def _quantised(volume: NeuralVolume, quantised: LoadQuantised | None) -> dict[int, Quantised]:
    """Return the quantised numbers of the networks by their bricks' positions; none unless all."""
    if quantised is None:
        return {}
    first = volume.series.bricks_of(volume.step).start
    own = volume.series.at(volume.step).bricks
    found = {}
    for position, brick in enumerate(volume.bricks()):
        if brick.record.state == "network":
            numbers = quantised(first + own.index(brick.record))
            if numbers is None:
                return {}
            found[position] = numbers
    return found


def _corners(model: PackedModel, position: int) -> np.ndarray:
    """Return where the margins of a brick's grids begin in the texture, int [G, 3] (x, y, z)."""
    defines = model.defines
    texels = model.textures["numbers"].reshape(-1, 4)
    first = position * defines["BRICK_TEXELS"] + defines["GRIDS_AT"]
    rows = texels[first : first + 4 * defines["GRIDS"]].reshape(-1, 4, 4)
    return rows[:, 3, :3].astype(int)


def _cells(volume: NeuralVolume, component: int | str) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the codes of the macro-cells' bounds, flat, and what they stand for."""
    cells = MacroCells.of_volume(volume)
    minima, maxima = cells.bounds(component)
    if not (minima <= maxima).any():
        raise ConfigurationError("A page has nothing to draw: no voxel of the model has a value.")
    codes, low, high = _bounds(minima, maxima, value_range(volume.index, component))
    return codes.ravel(), {"shape": minima.shape, "edge": cells.edge, "low": low, "high": high}


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
