"""Neural Volume without the compiled plugin on any number of ranks, here or on a server."""

from __future__ import annotations

from pathlib import Path

import paraview.simple as pv
from session import arguments, load_plugin, save

folder, port, ranks = Path(arguments()[0]), int(arguments()[1]), int(arguments()[2])
if port:
    pv.Connect("localhost", port)
    load_plugin(remote=True)
names = load_plugin()


def new_view():
    view = pv.CreateView("RenderView")
    view.ViewSize = [96, 72]
    view.UseColorPaletteForBackground = 0
    view.Background = [0.1, 0.1, 0.2]
    view.OrientationAxesVisibility = 0
    view.UseFXAA = 0
    view.RemoteRenderThreshold = 0
    return view


def show(view, representation):
    display = pv.Show(source, view)
    display.SetRepresentationType(representation)
    pv.ColorBy(display, ("POINTS", "density"))
    display.SetScalarBarVisibility(view, False)
    display.ScalarOpacityUnitDistance = 1.0
    pv.Render(view)  # the first one resets the camera
    return display


def take(view, name, position):
    view.CameraPosition, view.CameraFocalPoint = position, [14.0, 13.0, 11.0]
    view.CameraViewUp = [0.0, 1.0, 0.0]
    pv.SaveScreenshot(str(folder / f"{name}.png"), view, ImageResolution=[96, 72])


source = names.AMGSRNReader(FileName=str(folder / "bricks.amgsrn"))
view = new_view()
# A client that has the plugin's XML alone has no entry in its menu, but the same pictures.
display = show(view, "Volume" if port else "Neural Volume")
pv.GetColorTransferFunction("density").RescaleTransferFunction(0.0, 10.0)
pv.GetOpacityTransferFunction("density").Points = [
    *(0.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.5, 0.0, 4.0, 0.5, 0.5, 0.0, 10.0, 0.1, 0.5, 0.0)
]
(folder / "bricks.amgsrn").rename(folder / "moved.amgsrn")  # who draws needs no file
take(view, "front", [70.0, 50.0, 80.0])
take(view, "back", [-40.0, -20.0, -60.0])
take(view, "above", [-60.0, 70.0, 40.0])
pv.Delete(view)
if port:
    # A Python plugin does so by itself; ParaView 5.11 with Python 3.11 loads none.
    from amgsrn_paraview import hook

    hook.start()
later = new_view()
show(later, "Neural Volume")
take(later, "later", [70.0, 50.0, 80.0])
parts = [source.GetRankDataInformation(rank).GetNumberOfPoints() for rank in range(ranks)]
save(points_by_rank=parts)
