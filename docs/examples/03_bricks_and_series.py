"""Train a series of time steps in bricks, and show three of its moments.

    .venv/bin/python docs/examples/03_bricks_and_series.py [PICTURE.png]

Each time step is cut into two bricks with a network each, which starts from the one of the time
step before. Worker processes train them side by side. Takes less than a minute on two cores.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from amgsrn_core import NetworkConfig, NeuralVolume, TrainingConfig, train_series, volume_from_array
from amgsrn_core.config import BrickConfig, DispatchConfig, SeriesConfig
from amgsrn_core.rendering import Camera, RenderSettings, TransferFunction, render
from amgsrn_core.rendering.png import on_background, write_png

SIZE = (24, 48, 48)


def spiral(turn: float) -> np.ndarray:
    """Return a galaxy with two arms, turned by an angle in radians: float32 [z, y, x]."""
    z, y, x = np.meshgrid(*[np.linspace(-1.0, 1.0, n) for n in SIZE], indexing="ij")
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    arms = np.cos(angle - 2.2 * np.log(radius + 0.15) - turn) ** 6
    disc = np.exp(-((z / 0.3) ** 2)) * np.exp(-((radius / 0.75) ** 4))
    bulge = np.exp(-(x**2 + y**2 + (0.5 * z) ** 2) / 0.02)
    return np.maximum(0.7 * disc * arms, bulge).astype(np.float32)


def main() -> None:
    """Train the series, render three of its time steps and write the picture."""
    picture = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png")
    spacing = (2.0 / 47, 2.0 / 47, 0.5 / 23)
    volumes = [
        volume_from_array(spiral(turn), name="light", origin=(-1, -1, -0.25), spacing=spacing)
        for turn in (0.0, 0.7, 1.4)
    ]
    with tempfile.TemporaryDirectory() as folder:
        outcome = train_series(
            volumes,
            Path(folder) / "galaxy.amgsrn",
            NetworkConfig(grids=8, grid_shape=(6, 12, 12), width=32),
            TrainingConfig(iterations=500, batch=4096, device="cpu"),
            bricks=BrickConfig(bricks=(1, 1, 2)),
            dispatch=DispatchConfig(workers=2),
            series=SeriesConfig(warm_iterations=200),
        )
        print(f"PSNR {outcome.psnr:.1f} dB in {outcome.seconds:.0f} s")
        series = NeuralVolume.open(Path(folder) / "galaxy.amgsrn", device="cpu")
        moments = [moment(series.at(step)) for step in range(len(volumes))]
    write_png(picture, np.concatenate(moments, axis=1))


def moment(model: NeuralVolume) -> np.ndarray:
    """Return a picture of a time step: uint8 [height, width, 3]."""
    at = np.linspace(0.0, 1.0, 256)
    table = ((0.05, 0.05, 0.25), (0.45, 0.2, 0.65), (0.95, 0.5, 0.4), (1.0, 0.95, 0.75))
    colours = [np.interp(at, (0.05, 0.3, 0.6, 1.0), row) for row in zip(*table)]
    opacity = np.interp(at, (0.06, 0.4, 1.0), (0.0, 0.2, 0.9))
    transfer = TransferFunction(0.0, 1.0, np.stack([*colours, opacity], axis=1))
    camera = Camera.look_at(
        (0.0, -1.9, 2.6), (0, 0, 0), (0, 1, 0), width=260, height=240, view_angle=32.0
    )
    image = render(model, camera, transfer, RenderSettings(samples_per_voxel=2.0))
    return on_background(image, (0.02, 0.02, 0.06))


# Worker processes import this file, too.
if __name__ == "__main__":
    main()
