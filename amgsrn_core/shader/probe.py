"""What OpenGL of this machine makes of a network: `python -m amgsrn_core.shader.probe` says it.

It is a program of its own, since a driver that is broken may take its process with it.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.model import BrickRecord, ModelIndex, SourceRecord, parameter_shapes
from amgsrn_core.rendering import Camera, RenderSettings, TransferFunction, render
from amgsrn_core.rendering.samples import Samples
from amgsrn_core.shader.look import PackedLook
from amgsrn_core.shader.offscreen import ContextError, OffscreenContext
from amgsrn_core.shader.packing import PackedModel
from amgsrn_core.shader.renderers import is_software
from amgsrn_core.shader.source import fragment_source
from amgsrn_core.shader.view import view_uniforms
from amgsrn_core.volume.geometry import GridGeometry

_NETWORK = NetworkConfig(grids=16, features=2, grid_shape=(16, 16, 16), layers=2, width=64)
_VOXELS = 64
_SMALL, _LARGE = (24, 18), (512, 384)  # pictures on the CPU and on a graphics processor


def probe() -> dict[str, Any]:
    """Draw a network of random numbers, as fog, and return what came of it.

    Returns
    -------
    dict
        `renderer` (GL_RENDERER), `version` of OpenGL, `is_software`, `samples_per_second`, and
        `difference`: the largest from the kernels or from PyTorch, in levels of 255, None where
        neither is there. Or `failure`: why there is no picture.
    """
    try:
        with OffscreenContext() as context:
            return _measured(context)
    except ContextError as error:
        return {"failure": str(error)}


def _measured(context: OffscreenContext) -> dict[str, Any]:
    volume, settings = _model(), RenderSettings()
    table = np.array([[0, 0, 1, 0.01], [1, 1, 0, 0.02]])
    transfer = TransferFunction(0.0, 1.0, table)
    model, look = PackedModel.of(volume), PackedLook.of(volume, transfer, settings)
    software = is_software(context.renderer)
    width, height = _SMALL if software else _LARGE
    camera = Camera.orbit(volume.geometry.bounds, width=width, height=height, azimuth=30, polar=60)
    context.use(fragment_source({**model.defines, **look.defines}))
    context.load({**model.textures, **look.textures})
    view = view_uniforms(camera.world_to_clip, volume.geometry, settings)
    context.set({**look.uniforms, **view, "hasDepth": 0, "filtered": 0})
    picture = context.draw(width, height)  # compiles, too
    start = time.perf_counter()
    picture = context.draw(width, height)
    seconds = time.perf_counter() - start
    samples = int(Samples.on_rays(camera.rays(), volume.geometry, settings).count.sum())
    try:
        expected = render(volume, camera, transfer, settings)
        difference = float(255 * np.abs(picture - expected).max())
    except ConfigurationError:  # neither kernels nor PyTorch
        difference = None
    return {
        "renderer": context.renderer,
        "version": context.version,
        "is_software": software,
        "samples_per_second": samples / seconds,
        "difference": difference,
    }


def _model() -> NeuralVolume:
    whole = (slice(0, _VOXELS),) * 3
    index = ModelIndex(
        name="fog",
        components=("fog",),
        units=("1",),
        geometry=GridGeometry.uniform((_VOXELS,) * 3),
        value_minimum=(0.0,),
        value_maximum=(1.0,),
        network=_NETWORK,
        bricks=(BrickRecord(whole, whole),),
        source=SourceRecord("", "float32", 4 * _VOXELS**3),
    )
    random = np.random.default_rng(0)
    shapes = parameter_shapes(_NETWORK, 1).items()
    state = {name: random.normal(0, 0.15, shape).astype(np.float32) for name, shape in shapes}
    state["transforms"][:] = np.eye(3, 4)
    return NeuralVolume(index, [state], device="cpu")


if __name__ == "__main__":
    json.dump(probe(), sys.stdout)
