"""Train a model of an array and make a picture of it: a knot of glass with a core of gold.

    .venv/bin/python docs/examples/01_train_and_render.py [PICTURE.png]

Takes less than a minute on two cores.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from amgsrn_core import NetworkConfig, NeuralVolume, TrainingConfig, train, volume_from_array
from amgsrn_core.rendering import Camera, RenderSettings, TransferFunction, render
from amgsrn_core.rendering.png import on_background, write_png

SIZE = 56


def knot() -> np.ndarray:
    """Return a trefoil knot as a soft tube, brighter along one half of it: float32 [z, y, x]."""
    z, y, x = np.meshgrid(*[np.linspace(-1.0, 1.0, SIZE)] * 3, indexing="ij")
    squared, along = np.full(x.shape, np.inf), np.zeros(x.shape)
    for t in np.linspace(0.0, 2.0 * np.pi, 180, endpoint=False):
        cx, cy = np.sin(t) + 2.0 * np.sin(2.0 * t), np.cos(t) - 2.0 * np.cos(2.0 * t)
        distance = (x - 0.25 * cx) ** 2 + (y - 0.25 * cy) ** 2 + (z + 0.35 * np.sin(3.0 * t)) ** 2
        nearer = distance < squared
        squared[nearer], along[nearer] = distance[nearer], 0.7 + 0.3 * np.sin(t)
    return (along * np.exp(-squared / 0.02)).astype(np.float32)


def main(picture: Path) -> None:
    """Train, render and write the picture."""
    spacing = (2.0 / (SIZE - 1),) * 3
    volume = volume_from_array(knot(), name="density", origin=(-1, -1, -1), spacing=spacing)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "knot.amgsrn"
        train(
            volume,
            file,
            NetworkConfig(grids=8, grid_shape=(12, 12, 12), width=32),
            TrainingConfig(iterations=500, batch=8192, device="cpu"),
        )
        model = NeuralVolume.open(file, device="cpu")
        print(f"{SIZE**3 * 4} bytes of data, {file.stat().st_size} bytes of model")

        # Nothing of the lowest values, then glass, and gold where it is dense.
        at = np.linspace(0.0, 1.0, 256)
        colours = [np.interp(at, (0.3, 0.55, 0.8), row) for row in zip(*_COLOURS)]
        opacity = np.interp(at, (0.15, 0.25, 0.45, 0.6), (0.0, 0.07, 0.07, 0.9))
        transfer = TransferFunction(0.0, 1.0, np.stack([*colours, opacity], axis=1))
        camera = Camera.orbit(
            model.geometry.bounds, width=400, height=360, azimuth=15, polar=75, distance=1.9
        )
        settings = RenderSettings(samples_per_voxel=2.0, shade=True, specular=0.4)
        image = render(model, camera, transfer, settings)
    write_png(picture, on_background(image, (1.0, 1.0, 1.0)))


_COLOURS = ((0.30, 0.55, 0.80), (0.70, 0.35, 0.15), (1.0, 0.80, 0.25))

if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
