"""What a model looks like, as the shader takes it: transfer function, occupancy and settings."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.rendering.occupancy import EmptyCells, MacroCells
from amgsrn_core.rendering.settings import RenderSettings
from amgsrn_core.rendering.transfer import TransferFunction
from amgsrn_core.shader.view import Uniform, plane_count

_ROW = 256  # entries of the table in a row of its texture


@dataclass(frozen=True)
class PackedLook:
    """Textures, uniforms and definitions of a transfer function and settings.

    Attributes
    ----------
    textures : dict of arrays
        [z, y, x, components] or [y, x, components]; float32, or uint8 for unsigned integers.
    uniforms : dict
    defines : dict of int
        What the shader's text depends on.
    """

    textures: dict[str, np.ndarray] = field(repr=False)
    uniforms: dict[str, Uniform]
    defines: dict[str, int]

    @classmethod
    def of(
        cls, volume: NeuralVolume, transfer: TransferFunction, settings: RenderSettings
    ) -> PackedLook:
        """Pack a look of a model; all three in the units of `rendering.units.in_view_units`."""
        seen = transfer
        if settings.blend == "composite":
            seen = transfer.corrected(settings.opacity_ratio(volume.geometry))
        entries = len(seen.table)
        table = np.zeros((-(-entries // _ROW), _ROW, 4), dtype=np.float32)
        table.reshape(-1, 4)[:entries] = seen.table
        empty, maxima = EmptyCells.of_volume(volume).of(transfer, settings)
        textures = {"colours": table, "distances": empty[..., None]}
        if maxima is not None:
            textures["maxima"] = np.maximum(maxima, -1e38).astype(np.float32)[..., None]
        limits = np.array([transfer.low, transfer.high])
        uniforms: dict[str, Uniform] = {
            "tableRange": tuple((np.log2(limits) if transfer.logarithmic else limits).tolist()),
            "tableEntries": entries,
            "least": 1.0 - settings.opacity_limit,
            "component": 0 if settings.component == "magnitude" else int(settings.component),
            "cells": tuple(map(float, empty.shape[::-1])),
            "cellEdge": float(MacroCells.of_volume(volume).edge),
        }
        defines = look_defines(transfer, settings, len(volume.components))
        if "SHADE" in defines:
            names = ("ambient", "diffuse", "specular", "specular_power")
            uniforms["shading"] = tuple(float(getattr(settings, name)) for name in names)
        if "ISOSURFACE" in defines:
            uniforms["isovalues"] = np.array(settings.isovalues)
        return cls(textures, uniforms, defines)


def look_defines(
    transfer: TransferFunction, settings: RenderSettings, components: int
) -> dict[str, int]:
    """Return what the shader's text depends on of a look of a model with so many components."""
    defines = {"PLANES": plane_count(settings), "SEEN": 1}
    if settings.component == "magnitude":
        defines |= {"MAGNITUDE": 1, "SEEN": components}
    if settings.shade and settings.blend != "maximum":
        defines |= {"SHADE": 1, "LIGHTS": len(settings.lights)}
    if settings.blend == "isosurface" and settings.isovalues:
        defines["ISOSURFACE"] = len(settings.isovalues)
    flags = {
        "MAXIMUM": settings.blend == "maximum",
        "LOGARITHMIC": transfer.logarithmic,
        "JITTER": settings.jitter,
    }
    return defines | {name: 1 for name, is_on in flags.items() if is_on}
