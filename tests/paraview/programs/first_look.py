"""Show models for the first time, with nothing said about how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paraview.simple as pv
from neural_scene import load
from session import arguments, save

folder = Path(arguments()[0])
names = load()


def points(array):
    return list(pv.GetOpacityTransferFunction(array).Points)[::4], list(
        pv.GetOpacityTransferFunction(array).Points
    )[1::4]


def distance(view):
    """Return how far the camera is from what it looks at, once ParaView has reset it."""
    pv.ResetCamera(view)
    return float(np.linalg.norm(np.subtract(view.CameraPosition, view.CameraFocalPoint)))


def shown(name):
    reader = names.AMGSRNReader(FileName=str(folder / f"{name}.amgsrn"))
    view = pv.CreateView("RenderView")
    view.ViewSize, view.OrientationAxesVisibility = [200, 160], 0
    view.Background, view.UseColorPaletteForBackground = [1, 1, 1], 0
    return reader, view, pv.Show(reader, view)


reader, view, display = shown("uneven")
found = {
    "representation": str(display.Representation).strip("'"),
    "scale": list(display.Scale),
    "range": list(reader.PointData["density"].GetRange()),
    "array": list(display.ColorArrayName),
    "opacities": points("density"),
    "unit_distance": display.NeuralUnitDistance,
}
display.SetScalarBarVisibility(view, True)
bar = pv.GetScalarBar(pv.GetColorTransferFunction("density"), view)
found["title"] = [bar.Title, bar.ComponentTitle]
display.SetScalarBarVisibility(view, False)
found["distances"] = {"suggested": distance(view)}
pv.SaveScreenshot(str(folder / "first.png"), view)

display.SMProxy.InvokeCommand("NeuralResetOpacities")
found["even"] = points("density")
found["distances"]["even"] = distance(view)
display.SMProxy.InvokeCommand("NeuralSuggestOpacities")
found["again"] = points("density")
box = pv.Show(pv.Outline(reader), view)
box.Scale = display.Scale
found["distances"]["beside a box"] = distance(view)
pv.Hide(box.Input, view)
found["distances"]["again"] = distance(view)

display.NeuralBlendMode = "Isosurface"
display.NeuralIsosurfaceValues = []
pv.SaveScreenshot(str(folder / "surface.png"), view)
display.UpdatePropertyInformation()
found["status"] = str(display.GetProperty("NeuralStatus"))

# A camera that looks along its own up direction breaks nothing.
display.NeuralBlendMode = "Composite"
view.CameraPosition, view.CameraFocalPoint = [0, 500, 0], [0, 0, 0]
view.CameraViewUp = [0, 1, 0]
pv.Render(view)

# What somebody has chosen stays, also in a state file.
display.Scale = [1.0, 1.0, 1.0]
pv.GetOpacityTransferFunction("density").Points = [0, 0, 0.5, 0, 5, 1, 0.5, 0, 9, 0, 0.5, 0]
second = pv.Show(reader, pv.CreateView("RenderView"))
found["second"] = points("density")
pv.SaveState(str(folder / "state.pvsm"))
pv.ResetSession()
load()
pv.LoadState(str(folder / "state.pvsm"))
found["loaded"] = points("density")
display = next(
    r
    for v in pv.GetViews()
    for r in v.Representations
    if r.NeuralBlendMode == "Composite" and list(r.Scale) == [1.0, 1.0, 1.0]
)
found["loaded_scale"] = list(display.Scale)
save(**found)
