"""In ParaView's window: how soon a picture appears, and how long the event loop waits for it."""

from __future__ import annotations

import os
import time

import paraview.simple as pv
from window import Window, is_refined, play

window = Window()
view = pv.GetActiveViewOrCreate("RenderView")
view.UseFXAA = 0
interactor = view.GetInteractor()
seen: dict = {"first image": [], "drag": [], "refined": []}


def scenario():
    pv.GetLayout().PreviewMode = [1000, 700]
    reader = pv.OpenDataFile(os.environ["AMGSRN_BENCH_MODEL"])
    start = time.monotonic()
    pv.Show(reader, view)
    pv.ResetCamera()
    pv.GetActiveCamera().Zoom(1.4)
    pv.Render()
    yield is_refined
    seen["opened"] = [time.monotonic() - start]
    seen["size"] = list(view.ViewSize)
    for _ in range(8):
        heart.phase = "between"
        yield 0.3
        heart.phase = "refining"
        start = time.monotonic()
        view.GetActiveCamera().Azimuth(17)
        view.SMProxy.StillRender()
        seen["first image"].append(time.monotonic() - start)
        yield is_refined
        seen["refined"].append(time.monotonic() - start)
    heart.phase = "dragging"
    x, y = (size // 2 for size in view.ViewSize)
    interactor.SetEventInformation(x, y, 0, 0, "\0", 0, None)
    interactor.LeftButtonPressEvent()
    for step in range(20):
        interactor.SetEventInformation(x + 6 * step, y + 3 * step, 0, 0, "\0", 0, None)
        start = time.monotonic()
        interactor.MouseMoveEvent()
        seen["drag"].append(time.monotonic() - start)
        yield 0.0
    interactor.LeftButtonReleaseEvent()
    heart.phase = "after"
    yield is_refined


def end(heart):
    seen["gap while refining"] = [gap for phase, gap in heart.gaps if phase == "refining"]


heart = play(window, scenario(), seen, on_end=end)
