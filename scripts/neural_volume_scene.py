"""Draw a model as Neural Volume among ordinary geometry: a slice and an isosurface of itself.

amgsrn pvpython scripts/neural_volume_scene.py MODEL.amgsrn OUT.png
"""

from __future__ import annotations

import sys

import paraview.simple as pv

from amgsrn_core.errors import AmgsrnError
from amgsrn_core.model.replacement import guard
from amgsrn_core.volume.replacement import PARAVIEW_PICTURE

SIZE = [1000, 620]


def main(model_file: str, picture: str) -> None:
    """Save a picture of the scene."""
    guard(picture, PARAVIEW_PICTURE, by="neural_volume_scene", inputs=[model_file])
    view = pv.CreateView("RenderView")
    view.ViewSize, view.Background, view.UseColorPaletteForBackground = SIZE, [1, 1, 1], 0
    view.OrientationAxesVisibility = 0
    model = pv.OpenDataFile(model_file)
    model.UpdatePipeline()
    name = model.PointData.keys()[0]
    low, high = model.PointData[name].GetRange()

    def value(fraction: float) -> float:
        return low + fraction * (high - low)

    shown = pv.Show(model, view)
    shown.SetRepresentationType("Neural Volume")
    pv.ColorBy(shown, ("POINTS", name))
    pv.GetColorTransferFunction(name).RescaleTransferFunction(low, high)
    # Nothing below a fifth of the range, then more and more.
    pv.GetOpacityTransferFunction(name).Points = [
        number
        for fraction, opacity in ((0.0, 0.0), (0.2, 0.0), (0.35, 0.15), (1.0, 0.9))
        for number in (value(fraction), opacity, 0.5, 0.0)
    ]
    full = pv.AMGSRNReconstruction(Input=model, ScaleFactor=1.0)
    slice_ = pv.Slice(Input=full)
    slice_.SliceType.Normal = [0.0, 0.0, 1.0]
    x0, _, y0, _, z0, z1 = full.GetDataInformation().GetBounds()
    slice_.SliceType.Origin = [x0, y0, z0 + 0.12 * (z1 - z0)]
    pv.ColorBy(pv.Show(slice_, view), ("POINTS", name))
    surface = pv.Contour(Input=full, ContourBy=["POINTS", name], Isosurfaces=[value(0.7)])
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
    pv.SaveScreenshot(picture, view)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except AmgsrnError as error:
        sys.exit(str(error))
