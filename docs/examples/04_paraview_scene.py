"""Draw a model as Neural Volume in ParaView among a slice and an isosurface of itself.

    amgsrn pvpython docs/examples/04_paraview_scene.py [PICTURE.png [MODEL.amgsrn]]

Without a model it trains one, of the electron cloud of a hydrogen atom. Takes less than a minute on
two cores.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import paraview.simple as pv

from amgsrn_core import NetworkConfig, TrainingConfig, train, volume_from_array
from amgsrn_core.errors import AmgsrnError
from amgsrn_core.model.replacement import guard
from amgsrn_core.volume.replacement import PARAVIEW_PICTURE

SIZE = [640, 420]


def orbital() -> np.ndarray:
    """Return the density of a hydrogen atom's 3d electron: float32 [z, y, x], 0 to 1."""
    z, y, x = np.meshgrid(*[np.linspace(-1.0, 1.0, 48)] * 3, indexing="ij")
    wave = (3.0 * y**2 - (x**2 + y**2 + z**2)) * np.exp(-5.5 * np.sqrt(x**2 + y**2 + z**2))
    return (np.abs(wave) / np.abs(wave).max()).astype(np.float32)


def train_model(file: Path) -> None:
    """Train a small model of the orbital."""
    volume = volume_from_array(
        orbital(), name="density", origin=(-1, -1, -1), spacing=(2.0 / 47,) * 3
    )
    network = NetworkConfig(grids=8, grid_shape=(12, 12, 12), width=32)
    train(volume, file, network, TrainingConfig(iterations=500, batch=8192, device="cpu"))


def draw(model_file: Path, picture: Path) -> None:
    """Save a picture of the scene."""
    guard(picture, PARAVIEW_PICTURE, by="04_paraview_scene", inputs=[model_file])
    view = pv.CreateView("RenderView")
    view.ViewSize, view.Background, view.UseColorPaletteForBackground = SIZE, [1, 1, 1], 0
    view.OrientationAxesVisibility = 0
    model = pv.OpenDataFile(str(model_file))
    model.UpdatePipeline()
    name = model.PointData.keys()[0]
    low, high = model.PointData[name].GetRange()

    def value(fraction: float) -> float:
        return low + fraction * (high - low)

    shown = pv.Show(model, view)
    shown.SetRepresentationType("Neural Volume")
    pv.ColorBy(shown, ("POINTS", name))
    pv.GetColorTransferFunction(name).RescaleTransferFunction(low, high)
    # Nothing below a tenth of the range, then more and more.
    pv.GetOpacityTransferFunction(name).Points = [
        number
        for fraction, opacity in ((0.0, 0.0), (0.1, 0.0), (0.3, 0.02), (1.0, 0.3))
        for number in (value(fraction), opacity, 0.5, 0.0)
    ]
    full = pv.AMGSRNReconstruction(Input=model, ScaleFactor=1.0)
    full.UpdatePipeline()  # before that it has no bounds
    slice_ = pv.Slice(Input=full)
    slice_.SliceType.Normal = [0.0, 0.0, 1.0]
    x0, _, y0, _, z0, z1 = full.GetDataInformation().GetBounds()
    slice_.SliceType.Origin = [x0, y0, z0 + 0.02 * (z1 - z0)]
    pv.ColorBy(pv.Show(slice_, view), ("POINTS", name))
    surface = pv.Contour(Input=full, ContourBy=["POINTS", name], Isosurfaces=[value(0.4)])
    gold = pv.Show(surface, view)
    pv.ColorBy(gold, None)
    gold.DiffuseColor = [1.0, 0.75, 0.1]
    pv.Show(pv.Outline(Input=model), view).DiffuseColor = [0.3, 0.3, 0.3]
    pv.ResetCamera(view)
    camera = pv.GetActiveCamera()
    camera.Azimuth(30)
    camera.Elevation(25)
    pv.ResetCamera(view)
    camera.Zoom(1.05)
    pv.SaveScreenshot(str(picture), view)


def main(picture: Path, model_file: Path | None = None) -> None:
    """Draw a model, or one that is trained for it."""
    if model_file is not None:
        draw(model_file, picture)
        return
    with tempfile.TemporaryDirectory() as folder:
        train_model(Path(folder) / "orbital.amgsrn")
        draw(Path(folder) / "orbital.amgsrn", picture)


if __name__ == "__main__":
    words = [Path(word) for word in sys.argv[1:3]] or [Path(__file__).with_suffix(".png")]
    try:
        main(*words)
    except AmgsrnError as error:
        sys.exit(str(error))
