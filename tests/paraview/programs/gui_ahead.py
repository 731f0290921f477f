"""In ParaView's window: while a picture is looked at, the next time step is decoded."""

from __future__ import annotations

import os
from pathlib import Path

import paraview.simple as pv
from amgsrn_paraview import neural_volume
from window import Window, is_refined, play, status

folder = Path(os.environ["AMGSRN_TEST_RESULTS"]).parent
window = Window()
view = pv.GetActiveViewOrCreate("RenderView")
seen: dict = {"blocks": [], "ahead": [], "status": []}


def painter():
    (only,) = neural_volume._painters.values()
    return only


def is_prepared():
    """Whether all passes are over: the one that finds nothing to do, too."""
    image = painter()._sharp.image._ahead
    return image is not None and image.fraction >= 1.0


def note():
    pictures = painter()._rough, painter()._sharp
    seen["blocks"].append(sum(picture.marcher.blocks for picture in pictures))
    seen["status"].append(status())


def scenario():
    pv.OpenDataFile(str(folder / "series.amgsrn"))
    pv.Show(view=view)
    pv.Render()
    scene = pv.GetAnimationScene()
    scene.UpdateAnimationUsingDataTimeSteps()
    yield is_refined
    note()
    for _ in range(2):
        yield is_prepared
        seen["ahead"].append(painter()._next_picture.marcher.blocks)
        scene.GoToNext()
        yield is_refined
        note()
        yield 0.5
    seen["last"] = painter()._next_picture is None  # there is none behind it
    window.photograph("gui-ahead")


heart = play(window, scenario(), seen)
