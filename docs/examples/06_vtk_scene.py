"""A model among geometry of plain VTK: fog round a twisted ribbon, drawn by the network itself.

    .venv/bin/python docs/examples/06_vtk_scene.py [PICTURE.png]

Takes less than a minute on two cores. Any VTK from 9.2 will do (`pip install vtk`).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonComputationalGeometry import vtkParametricMobius
from vtkmodules.vtkCommonCore import vtkUnsignedCharArray
from vtkmodules.vtkFiltersSources import vtkParametricFunctionSource
from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper, vtkRenderer, vtkRenderWindow

from amgsrn_core import NetworkConfig, NeuralVolume, TrainingConfig, train, volume_from_array
from amgsrn_core.rendering import RenderSettings, TransferFunction
from amgsrn_core.rendering.png import write_png
from amgsrn_core.vtk import NeuralVolumeProp

SIZE = 48


def model(folder: str) -> NeuralVolume:
    """Train a model of a wave that runs round a ring."""
    z, y, x = np.meshgrid(*[np.linspace(-1.6, 1.6, SIZE)] * 3, indexing="ij")
    ring = np.exp(-((np.hypot(x, y) - 1.0) ** 2 + z**2) / 0.06)
    values = (ring * (0.6 + 0.4 * np.cos(7 * np.arctan2(y, x)))).astype(np.float32)
    spacing = (3.2 / (SIZE - 1),) * 3
    volume = volume_from_array(values, name="wave", origin=(-1.6,) * 3, spacing=spacing)
    train(
        volume,
        Path(folder) / "wave.amgsrn",
        NetworkConfig(grids=8, grid_shape=(12, 12, 12), width=32),
        TrainingConfig(iterations=500, batch=8192, device="cpu"),
    )
    return NeuralVolume.open(Path(folder) / "wave.amgsrn", device="cpu")


def ribbon() -> vtkActor:
    """Return a golden ribbon with one side."""
    shape = vtkParametricMobius()
    source = vtkParametricFunctionSource()
    source.SetParametricFunction(shape)
    mapper = vtkPolyDataMapper()
    mapper.SetInputConnection(source.GetOutputPort())
    mapper.ScalarVisibilityOff()
    actor = vtkActor()
    actor.SetMapper(mapper)
    actor.SetScale(0.55)
    actor.GetProperty().SetColor(0.95, 0.75, 0.2)
    return actor


def main(picture: Path) -> None:
    """Draw the scene and write the picture."""
    renderer, window = vtkRenderer(), vtkRenderWindow()
    renderer.SetBackground(1, 1, 1)
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.SetSize(480, 360)
    window.AddRenderer(renderer)
    renderer.AddActor(ribbon())
    with tempfile.TemporaryDirectory() as folder:
        field = model(folder)
    ramp = np.linspace(0, 1, 256)[:, None]
    colours = (1 - ramp) * (0.3, 0.5, 0.95) + ramp * (0.9, 0.15, 0.4)
    opacity = np.clip(ramp - 0.15, 0, 1) * 0.5
    transfer = TransferFunction(0.0, 1.0, np.hstack([colours, opacity]))
    prop = NeuralVolumeProp(field, transfer, RenderSettings(shade=True, ambient=0.4, diffuse=0.7))
    prop.attach(renderer)
    renderer.GetActiveCamera().SetPosition(2.5, -6, 4.5)
    renderer.GetActiveCamera().SetViewUp(0, 0, 1)
    renderer.ResetCamera()
    renderer.GetActiveCamera().Zoom(1.6)
    window.Render()
    print(prop.status)
    pixels, (width, height) = vtkUnsignedCharArray(), window.GetSize()
    window.GetPixelData(0, 0, width - 1, height - 1, 0, pixels, 0)
    write_png(picture, vtk_to_numpy(pixels).reshape(height, width, 3)[::-1])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
