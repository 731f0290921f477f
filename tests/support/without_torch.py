"""A program that reads models, which tests run with and without PyTorch, and compare.

Arguments: the model's path, the results' path, and "blocked", "absent" or "present".
"""

# ruff: noqa: E402
from __future__ import annotations

import sys

path, target, torch = sys.argv[1:]
if torch == "blocked":
    sys.modules["torch"] = None
elif torch == "present":
    __import__("torch")

import numpy as np

from amgsrn_core import NeuralVolume, volume_from_array
from amgsrn_core.evaluation.metrics import compare
from amgsrn_core.jobs import previews
from amgsrn_core.rendering import Camera, ProgressiveImage, RenderSettings, TransferFunction
from amgsrn_core.rendering.data import model_of_data
from amgsrn_core.rendering.marcher import make_marcher

ramp = np.linspace(0, 1, 16)[:, None] * [1, 0.5, 1, 0.3]


def picture(model: NeuralVolume, **settings) -> np.ndarray:
    low, high = (bound[0] for bound in model.index.own_range)
    transfer = TransferFunction(low, high if high > low else low + 1, ramp)
    marcher = make_marcher(model, transfer, RenderSettings(**settings))
    assert marcher.backend == "native"
    image = ProgressiveImage(
        marcher, Camera.orbit(model.geometry.bounds, width=24, height=18, polar=70, azimuth=30)
    )
    image.advance(1e-4)
    image.advance()
    return image.rgba


model = NeuralVolume.open(path)
assert (str(model.device), model.backend) == ("cpu", "native")
bounds = np.reshape(model.geometry.bounds, (3, 2))
random = np.random.default_rng(0)
points = random.uniform(-0.05, 1.05, (900, 3)) * np.diff(bounds).T + bounds[:, 0]
block = model.reconstruct_block()
results = {
    "sample": model.sample(points),
    "block": block.values,
    "density": model.density_block().values,
    "corners": model.feature_corners(),
    "plain": picture(model),
    "shaded": picture(model, shade=True),
    "surface": picture(
        model, blend="isosurface", isovalues=(float(np.mean(model.index.own_range)),)
    ),
    "maximum": picture(model, blend="maximum"),
}
results["values"], results["gradients"] = model.sample_with_gradient(points)
previews.of_file(path)
data = volume_from_array(block.values[0].astype("f4"), name="data")
results["data"] = picture(model_of_data(data))
if len(model.components) == 1:
    noisy = block.values[0] + random.normal(0, 0.1, model.geometry.dims)
    whole = volume_from_array(noisy, geometry=model.geometry, name=model.name)
    metrics = compare(whole, lambda extent: model.reconstruct_block(None, extent))
    results["psnr"] = np.array([metrics.psnr])
assert (sys.modules.get("torch") is not None) == (torch not in ("blocked", "absent"))
np.savez(target, **results)
