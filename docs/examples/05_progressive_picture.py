"""Make a picture from coarse to fine, as a view does that has little time for each frame.

    .venv/bin/python docs/examples/05_progressive_picture.py [PICTURE.png]

The picture shows four stages of the same image. Takes less than a minute on two cores.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from amgsrn_core import NetworkConfig, NeuralVolume, TrainingConfig, train, volume_from_array
from amgsrn_core.rendering import (
    Camera,
    ProgressiveImage,
    RenderSettings,
    TransferFunction,
    make_marcher,
)
from amgsrn_core.rendering.png import on_background, write_png

SIZE = 48
STAGES = (1 / 64, 1 / 16, 1 / 4, 1.0)


def gyroid() -> np.ndarray:
    """Return a gyroid that fades towards the faces of its box: float32 [z, y, x], 0 to 1."""
    z, y, x = np.meshgrid(*[np.linspace(-1.0, 1.0, SIZE)] * 3, indexing="ij")
    a, b, c = 5.5 * x, 5.5 * y, 5.5 * z
    wave = np.sin(a) * np.cos(b) + np.sin(b) * np.cos(c) + np.sin(c) * np.cos(a)
    ball = 1.0 / (1.0 + np.exp(18.0 * (np.sqrt(x**2 + y**2 + z**2) - 0.85)))
    return (np.exp(-3.0 * wave**2) * ball).astype(np.float32)


def main(picture: Path) -> None:
    """Train, render in small budgets of time and write four stages side by side."""
    spacing = (2.0 / (SIZE - 1),) * 3
    volume = volume_from_array(gyroid(), name="wall", origin=(-1, -1, -1), spacing=spacing)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gyroid.amgsrn"
        train(
            volume,
            file,
            NetworkConfig(grids=8, grid_shape=(14, 14, 14), width=32),
            TrainingConfig(iterations=500, batch=8192, device="cpu"),
        )
        model = NeuralVolume.open(file, device="cpu")
        camera = Camera.orbit(
            model.geometry.bounds, width=200, height=200, azimuth=35, polar=65, distance=1.9
        )
        settings = RenderSettings(
            samples_per_voxel=2.0, shade=True, specular=0.3, clip_planes=((-0.5, 0.0, -1.0, 0.3),)
        )
        image = ProgressiveImage(make_marcher(model, transfer(), settings), camera)
        stages: list[np.ndarray] = []
        while len(stages) < len(STAGES):
            # A view would give what its frame has left.
            done = image.advance(budget_seconds=0.01)
            if done >= STAGES[len(stages)]:
                stages.append(on_background(image.rgba, (1.0, 1.0, 1.0)))
    write_png(picture, np.concatenate(stages, axis=1))


def transfer() -> TransferFunction:
    """Return colours for the wall: nothing below a third, then from violet to orange."""
    at = np.linspace(0.0, 1.0, 256)
    table = ((0.35, 0.15, 0.5), (0.85, 0.3, 0.4), (1.0, 0.75, 0.35))
    colours = [np.interp(at, (0.3, 0.65, 1.0), row) for row in zip(*table)]
    return TransferFunction(
        0.0, 1.0, np.stack([*colours, np.interp(at, (0.45, 0.6), (0.0, 0.8))], axis=1)
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
