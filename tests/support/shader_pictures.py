"""Pictures that the shader draws in an OpenGL context without a window, and native ones."""

from __future__ import annotations

import numpy as np

from amgsrn_core import NeuralVolume
from amgsrn_core.rendering import Camera, RenderSettings, TransferFunction
from amgsrn_core.rendering.units import in_view_units
from amgsrn_core.shader import PackedLook, PackedModel, fragment_source, view_uniforms
from amgsrn_core.shader.offscreen import OffscreenContext


def shader_picture(
    context: OffscreenContext,
    volume: NeuralVolume,
    camera: Camera,
    transfer: TransferFunction,
    settings: RenderSettings,
    *,
    depth: np.ndarray | None = None,
    slices: list[tuple[float, float]] | None = None,
    filtered: bool = False,
) -> np.ndarray:
    """Return what `render` returns, float32 [height, width, 4]."""
    volume = volume.scaled(camera.scale)
    settings, camera = settings.scaled(camera.scale), camera.displayed()
    volume, transfer, settings = in_view_units(volume, transfer, settings)
    model, look = PackedModel.of(volume), PackedLook.of(volume, transfer, settings)
    context.use(fragment_source({**model.defines, **look.defines}))
    context.load({**model.textures, **look.textures}, linear=filtered)
    view = view_uniforms(camera.world_to_clip, volume.geometry, settings)
    context.set({**look.uniforms, **view})
    context.set({"pixelOrigin": (0.0, 0.0), "pixelColumns": camera.width})
    context.set({"hasDepth": int(depth is not None), "filtered": int(filtered)})
    if depth is not None:
        context.load({"depth": depth[..., None]})
    return context.draw(camera.width, camera.height, slices)


def levels(picture: np.ndarray, expected: np.ndarray) -> tuple[float, float, float]:
    """Return mean, 99th percentile and maximum of the difference in levels of 255."""
    difference = 255 * np.abs(picture.astype(np.float64) - expected)
    return difference.mean(), float(np.percentile(difference, 99)), difference.max()
