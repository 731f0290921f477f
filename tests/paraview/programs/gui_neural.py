"""In ParaView's window: a model refines by itself, follows the mouse and is edited meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import paraview.simple as pv
from window import Window, is_refined, play, status

folder = Path(os.environ["AMGSRN_TEST_RESULTS"]).parent
window = Window()
view = pv.GetActiveViewOrCreate("RenderView")
view.UseFXAA = 0
interactor = view.GetInteractor()
seen: dict = {"while_dragging": []}


def restart(change):
    """Make a change, render, and return how far the new picture is then."""
    change()
    view.SMProxy.StillRender()
    return status()


def scenario():
    reader = pv.OpenDataFile(str(folder / "even.amgsrn"))
    display = pv.Show(reader, view)
    seen["representation"] = str(display.Representation)
    display.NeuralSampling = "exact"  # refines long enough to be watched
    pv.Render()
    opacity = pv.GetOpacityTransferFunction("density")
    colors = pv.GetColorTransferFunction("density")
    heart.phase = "refining"
    yield is_refined
    window.photograph("gui-neural-volume")

    heart.phase = "dragging"
    x, y = (size // 2 for size in view.ViewSize)
    interactor.SetEventInformation(x, y, 0, 0, "\0", 0, None)
    interactor.LeftButtonPressEvent()
    for step in range(12):
        interactor.SetEventInformation(x + 6 * step, y + 3 * step, 0, 0, "\0", 0, None)
        interactor.MouseMoveEvent()
        seen["while_dragging"].append(status())
        yield 0.0
    interactor.LeftButtonReleaseEvent()
    yield is_refined

    heart.phase = "editing"
    seen["after_edit"] = restart(lambda: opacity.RescaleTransferFunction(0.0, 9.0))
    colors.RescaleTransferFunction(0.0, 9.0)
    seen["after_zoom"] = restart(lambda: view.GetActiveCamera().Zoom(1.3))
    pv.SaveScreenshot(str(folder / "early.png"), view, ImageResolution=list(view.ViewSize))
    yield is_refined
    pv.SaveScreenshot(str(folder / "late.png"), view, ImageResolution=list(view.ViewSize))

    # Neither a hidden nor a deleted model is missed by what was going to refine it.
    restart(lambda: view.GetActiveCamera().Zoom(1.1))
    pv.Hide(reader, view)
    pv.Render()
    yield 0.3
    pv.Show(reader, view)
    restart(lambda: view.GetActiveCamera().Zoom(0.9))
    pv.Delete(reader)
    yield 0.3
    pv.Render()
    yield 0.2


def end(heart):
    seen["beats"] = len([phase for phase, _ in heart.gaps if phase == "refining"])


heart = play(window, scenario(), seen, on_end=end)
