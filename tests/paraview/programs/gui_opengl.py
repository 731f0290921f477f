"""In ParaView's window: a shader draws a model part by part, and follows the mouse."""

from __future__ import annotations

import os
import re
from pathlib import Path

import paraview.simple as pv
from window import Window, is_refined, play, status

from amgsrn_core.vtk import parts

parts._WHOLE_SECONDS, parts._PART_SECONDS, parts._FIRST_PIXELS = 0.0, 0.01, 512
folder = Path(os.environ["AMGSRN_TEST_RESULTS"]).parent
window = Window()
view = pv.GetActiveViewOrCreate("RenderView")
view.UseFXAA = 0
interactor = view.GetInteractor()
seen: dict = {"first": [], "while_dragging": []}


def refined():
    return int(re.search(r"(\d+)% refined", status())[1])


def watched():
    seen["first"].append(refined())
    return seen["first"][-1] == 100


def scenario():
    reader = pv.OpenDataFile(str(folder / "even.amgsrn"))
    display = pv.Show(reader, view)
    display.NeuralBackend = "opengl"
    pv.Render()
    yield watched
    window.photograph("gui-opengl")

    x, y = (size // 2 for size in view.ViewSize)
    interactor.SetEventInformation(x, y, 0, 0, "\0", 0, None)
    interactor.LeftButtonPressEvent()
    for step in range(4):
        interactor.SetEventInformation(x + 6 * step, y + 3 * step, 0, 0, "\0", 0, None)
        interactor.MouseMoveEvent()
        seen["while_dragging"].append(status())
        yield 0.0
    interactor.LeftButtonReleaseEvent()
    seen["after_drag"] = refined()
    yield is_refined

    view.GetActiveCamera().Zoom(1.2)
    view.SMProxy.StillRender()
    seen["at_shot"] = refined()
    pv.SaveScreenshot(str(folder / "early.png"), view, ImageResolution=list(view.ViewSize))
    yield is_refined
    pv.SaveScreenshot(str(folder / "late.png"), view, ImageResolution=list(view.ViewSize))
    display.NeuralBackend = "native"
    pv.SaveScreenshot(str(folder / "native.png"), view, ImageResolution=list(view.ViewSize))


heart = play(window, scenario(), seen)
