"""In ParaView's window: the time changes while a picture is refining."""

from __future__ import annotations

import json
import os
from pathlib import Path

import paraview.simple as pv
from window import Heart, Window, is_refined, status

results = Path(os.environ["AMGSRN_TEST_RESULTS"])
window = Window()
view = pv.GetActiveViewOrCreate("RenderView")
view.UseFXAA = 0
seen: dict = {}


def save(name):
    pv.SaveScreenshot(
        str(results.parent / f"{name}.png"), view, ImageResolution=list(view.ViewSize)
    )


def scenario():
    reader = pv.OpenDataFile(str(results.parent / "series.amgsrn"))
    display = pv.Show(reader, view)
    display.NeuralSampling = "exact"  # refines long enough to be interrupted
    scene = pv.GetAnimationScene()
    scene.UpdateAnimationUsingDataTimeSteps()
    pv.Render()
    yield is_refined
    save("first")
    camera = view.GetActiveCamera()
    camera.Azimuth(20)
    pv.Render()
    yield lambda: status() and " 0% refined" not in status()
    seen["interrupted"] = status()
    scene.AnimationTime = 2.0
    seen["restarted"] = status()
    yield is_refined
    yield 0.3
    save("changed")
    window.photograph("gui-times")

    # Another display of the same, which has never seen another time.
    pv.Delete(reader)
    fresh = pv.OpenDataFile(str(results.parent / "series.amgsrn"))
    display = pv.Show(fresh, view)
    display.NeuralSampling = "exact"
    pv.Render()
    yield is_refined
    seen["time"] = view.ViewTime
    save("fresh")


def end():
    seen["error"] = heart.error
    results.write_text(json.dumps(seen))
    window.quit()


heart = Heart(scenario(), patience=60, on_end=end)
