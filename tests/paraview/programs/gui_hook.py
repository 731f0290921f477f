"""In ParaView's window, nothing compiled: drag, the eye icon, undo and redo."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import paraview.simple as pv
from amgsrn_paraview import network_views
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkUnsignedCharArray
from window import Window, play

EDIT = "pqClientMainWindow/menubar/menu_Edit/"
results = Path(os.environ["AMGSRN_TEST_RESULTS"])
window = Window()
view = pv.GetActiveViewOrCreate("RenderView")
view.UseFXAA = 0
interactor = view.GetInteractor()
seen: dict = {"rates": []}


def picture() -> np.ndarray:
    shown = view.GetRenderWindow()
    width, height = shown.GetSize()
    pixels = vtkUnsignedCharArray()
    shown.GetPixelData(0, 0, width - 1, height - 1, 1, pixels, 0)
    return vtk_to_numpy(pixels).astype(float)


def differ(one, other):
    return float(np.abs(one - other).mean())


def ray_pixels() -> list[float]:
    volumes = view.GetRenderer().GetVolumes()
    mappers = [volumes.GetItemAsObject(i).GetMapper() for i in range(volumes.GetNumberOfItems())]
    return [m.GetImageSampleDistance() for m in mappers if hasattr(m, "GetImageSampleDistance")]


def scenario():
    pv.GetLayout().PreviewMode = [96, 72]
    reader = pv.OpenDataFile(str(results.parent / "even.amgsrn"))
    display = pv.Show(reader, view)
    seen["representation"] = str(display.Representation)
    pv.ColorBy(display, ("POINTS", "density"))
    pv.GetOpacityTransferFunction("density").Points = [
        *(0.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.5, 0.0, 4.0, 0.5, 0.5, 0.0, 10.0, 0.1, 0.5, 0.0)
    ]
    pv.ResetCamera()
    pv.Render()
    yield 0.3
    window.photograph("gui-hook")
    first = picture()
    heart.phase = "dragging"
    for network_view in network_views._views:  # as if the network were a large one
        for volume in network_view._volumes.values():
            volume._stand_in.moving_seconds = 1e-5
    x, y = (size // 2 for size in view.ViewSize)
    interactor.SetEventInformation(x, y, 0, 0, "\0", 0, None)
    interactor.LeftButtonPressEvent()
    for step in range(6):
        interactor.SetEventInformation(x + 4 * step, y + 2 * step, 0, 0, "\0", 0, None)
        interactor.MouseMoveEvent()
        seen["rates"] += ray_pixels()
        yield 0.0
    interactor.LeftButtonReleaseEvent()
    yield 0.5
    turned = picture()
    seen["turned"] = differ(turned, first)
    seen["still"] = ray_pixels()
    heart.phase = "undo"
    display.Visibility = 0
    pv.Render()
    hidden = picture()
    seen["hidden"] = differ(hidden, turned)
    display.Visibility = 1
    pv.Render()
    seen["shown"] = differ(picture(), turned)
    window.call(EDIT + "actionEditCameraUndo", "trigger")
    yield 0.5
    seen["undone"] = differ(picture(), first)
    window.press("Delete")
    yield 0.5
    seen["deleted"] = differ(picture(), hidden)
    window.call(EDIT + "actionEditUndo", "trigger")
    yield 0.5
    pv.Render()
    seen["brought back"] = differ(picture(), first)


heart = play(window, scenario(), seen)
