"""Sample a model at any points, with gradients: its values on a sphere, with contour lines.

    .venv/bin/python docs/examples/02_sample_anywhere.py [PICTURE.png]

The model knows the slope at every point. So the lines have the same width everywhere, which they
would not have by the values alone. Takes less than a minute on two cores.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from amgsrn_core import NetworkConfig, NeuralVolume, TrainingConfig, train, volume_from_array
from amgsrn_core.rendering.png import write_png

SIZE, PIXELS, RADIUS = 48, 300, 0.95
LEVELS, LINE = 10, 1.3 * 2.0 / PIXELS


def waves() -> np.ndarray:
    """Return waves of four sources in a box from -1 to 1: float32 [z, y, x]."""
    z, y, x = np.meshgrid(*[np.linspace(-1.0, 1.0, SIZE)] * 3, indexing="ij")
    values = np.zeros(x.shape)
    for sx, sy, sz in ((0.8, 0.5, 0.6), (-0.7, 0.6, 0.5), (0.1, -0.8, 0.7), (0.3, 0.4, -1.0)):
        distance = np.sqrt((x - sx) ** 2 + (y - sy) ** 2 + (z - sz) ** 2)
        values += np.cos(7.0 * distance) / (0.6 + distance)
    return values.astype(np.float32)


def globe() -> tuple[np.ndarray, np.ndarray]:
    """Return which pixels see the sphere, and the points that they see: [rows, columns], [N, 3]."""
    v, u = np.meshgrid(*[np.linspace(1.0, -1.0, PIXELS)] * 2, indexing="ij")
    seen = u**2 + v**2 < RADIUS**2
    x, y = -u[seen], v[seen]
    return seen, np.stack([x, y, np.sqrt(RADIUS**2 - x**2 - y**2)], axis=1)


def main(picture: Path) -> None:
    """Train, sample and write the picture."""
    spacing = (2.0 / (SIZE - 1),) * 3
    volume = volume_from_array(waves(), name="height", origin=(-1, -1, -1), spacing=spacing)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "waves.amgsrn"
        train(
            volume,
            file,
            NetworkConfig(grids=8, grid_shape=(12, 12, 12), width=32),
            TrainingConfig(iterations=500, batch=8192, device="cpu"),
        )
        model = NeuralVolume.open(file, device="cpu")
        seen, points = globe()
        values, gradients = model.sample_with_gradient(points)  # [N, C] and [N, C, 3]
    value, gradient = values[:, 0], gradients[:, 0]

    low, high = value.min(), value.max()
    colours = _colours((value - low) / (high - low))
    # How far the next contour line is, along the surface as it is seen: value over slope.
    normal = points / RADIUS
    across = gradient - (gradient * normal).sum(1, keepdims=True) * normal
    apart = (high - low) / LEVELS
    beside = np.abs((value - low + apart / 2) % apart - apart / 2)
    nearness = beside / np.maximum(np.linalg.norm(across, axis=1), 1e-6)
    colours *= np.clip(nearness / LINE, 0.25, 1.0)[:, None]
    light = normal @ (np.array([-0.4, 0.5, 0.77]))
    colours *= (0.35 + 0.65 * light.clip(0.0))[:, None]

    image = np.full((PIXELS, PIXELS, 3), 255, dtype=np.uint8)
    image[seen] = np.rint(255 * colours.clip(0, 1))
    write_png(picture, image)


def _colours(fraction: np.ndarray) -> np.ndarray:
    """Return colours [N, 3] from blue over sand to red."""
    table = ((0.13, 0.30, 0.60), (0.45, 0.72, 0.78), (0.96, 0.92, 0.78), (0.93, 0.6, 0.33))
    table += ((0.66, 0.13, 0.17),)
    at = np.linspace(0.0, 1.0, len(table))
    return np.stack([np.interp(fraction, at, row) for row in zip(*table)], axis=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
