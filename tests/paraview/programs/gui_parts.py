"""In ParaView's window, without the compiled plugin: a network comes part by part."""

from __future__ import annotations

import os
from pathlib import Path

import paraview.simple as pv
from session import load_plugin
from window import Window, play

from amgsrn_core.vtk import parts

parts._WHOLE_SECONDS, parts._PART_SECONDS, parts._FIRST_PIXELS = 0.0, 0.01, 512
folder = Path(os.environ["AMGSRN_TEST_RESULTS"]).parent
window = Window()
view = pv.GetActiveViewOrCreate("RenderView")
view.UseFXAA = 0
seen: dict = {"turned": []}
names = load_plugin()


def networks():
    from amgsrn_paraview import network_views

    volumes = [each for one in network_views._views for each in one._volumes.values()]
    return [volume._stand_in for volume in volumes if volume._stand_in is not None]


def note(*_):
    if heart.phase == "turned":
        seen["turned"] += [network.progress for network in networks()]


def is_complete():
    return bool(networks()) and networks()[0].progress == 1


def turn():
    view.GetActiveCamera().Azimuth(20)
    view.SMProxy.StillRender()


def shoot(name):
    pv.SaveScreenshot(str(folder / f"{name}.png"), view, ImageResolution=list(view.ViewSize))


def scenario():
    reader = names.AMGSRNReader(FileName=str(folder / "even.amgsrn"))
    display = pv.Show(reader, view)
    display.SetRepresentationType("Neural Volume")
    pv.ColorBy(display, ("POINTS", "density"))
    pv.Render()
    yield 0.5
    yield is_complete
    heart.phase = "turned"
    turn()
    yield is_complete
    heart.phase = "shot"
    turn()
    seen["at_shot"] = networks()[0].progress
    shoot("early")
    yield is_complete
    shoot("late")


view.GetRenderer().AddObserver("EndEvent", note, -5.0)
heart = play(window, scenario(), seen)
