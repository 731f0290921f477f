"""In ParaView's window: the README's tour, from a file to its model and back, then undo, redo."""

from __future__ import annotations

import json
import os
from pathlib import Path

import paraview.simple as pv
from window import Heart, Window, coloured, is_refined

EDIT = "pqClientMainWindow/menubar/menu_Edit/actionEdit"
ARRAY = "Array/ComboBox"
results = Path(os.environ["AMGSRN_TEST_RESULTS"])
folder = results.parent
window = Window()
view = pv.GetActiveViewOrCreate("RenderView")
seen: dict = {}


def algorithm():
    return pv.FindSource("AMGSRNTrainer1").SMProxy.GetClientSideObject()


def save(name):
    pv.SaveScreenshot(str(folder / f"{name}.png"), view, ImageResolution=[320, 240])
    window.photograph(f"gui-tour-{name}")


def opened(name):
    """Open a file by File > Open and Apply; wait for it."""
    before = list(pv.GetSources().values())
    if pv.GetParaViewVersion() < (5, 12):
        yield window.open(folder / name)
    else:  # whose dialog takes no file from a recording
        pv.OpenDataFile(str(folder / name))
    yield lambda: len(pv.GetSources()) > len(before)
    yield 0.3
    window.press("Accept")
    yield 0.5
    new = next(source for source in pv.GetSources().values() if source not in before)
    pv.SetActiveSource(new)
    return new


def shown_as(source):
    return str(pv.GetRepresentation(source, view).Representation).strip("'")


def undone():
    """Undo until there is no isosurface; return how many steps back that is."""
    steps = 0
    while pv.FindSource("AMGSRNIsosurface1") and steps < 30:
        window.call(EDIT + "Undo", "trigger")
        steps += 1
        yield 0.3
    return steps


def scenario():
    yield 0.5
    heart.phase = "data"
    data = yield from opened("data.vti")
    seen["opened"] = data.GetXMLName()

    heart.phase = "training"
    window.choose("Filters", "AMGSRNTrainer")
    yield lambda: pv.FindSource("AMGSRNTrainer1")
    trainer = pv.FindSource("AMGSRNTrainer1")
    yield 0.3
    seen["offered"] = str(trainer.Array[1])
    window.type(ARRAY, "second")
    window.type("Iterations/LineEdit0", "3000")
    window.type("OutputFile/FileChooser/FileLineEdit", str(folder / "tour.amgsrn"))
    trainer.Batch, trainer.Grids, trainer.GridShape, trainer.Width = 1024, 2, [8, 8, 8], 16
    yield 0.3
    window.press("Accept")
    yield lambda: algorithm().GetState() in ("training", "done")
    seen["array"] = str(trainer.Array[1])
    seen["preview"] = shown_as(trainer)
    yield lambda: algorithm().GetState() == "done" and (folder / "tour.amgsrn").exists()
    yield lambda: algorithm().GetOutputDataObject(1).GetNumberOfRows() > 1
    yield 0.5
    chart = next(each for each in pv.GetViews() if each.GetXMLName() == "XYChartView")
    seen["curve"] = coloured(chart)
    window.photograph("gui-tour-training")
    window.press("Delete")
    yield lambda: pv.FindSource("AMGSRNTrainer1") is None
    pv.Delete(chart)
    pv.SetActiveView(view)

    heart.phase = "model"
    model = yield from opened("tour.amgsrn")
    seen["model"] = shown_as(model)
    pv.Hide(data, view)
    view.CameraPosition, view.CameraFocalPoint = [40.0, 30.0, 50.0], [8.0, 8.0, 8.0]
    pv.Render()
    yield is_refined
    save("model")

    heart.phase = "reconstruction"
    window.choose("Filters", "AMGSRNReconstruction")
    yield lambda: pv.FindSource("AMGSRNReconstruction1")
    yield 0.3
    window.press("Accept")
    fine = pv.FindSource("AMGSRNReconstruction1")
    yield lambda: fine.GetDataInformation().GetNumberOfPoints() > 1
    yield 0.3
    display = pv.GetRepresentation(fine, view)  # ParaView's own list would ask whether it may
    display.SetRepresentationType("Volume")
    pv.ColorBy(display, ("POINTS", "second"))
    pv.Hide(model, view)
    pv.Render()
    yield 0.5
    save("reconstruction")
    pv.Hide(fine, view)
    pv.Render()
    save("nothing")
    unit = display.ScalarOpacityUnitDistance
    display = pv.Show(data, view)
    display.SetRepresentationType("Volume")
    pv.ColorBy(display, ("POINTS", "second"))
    display.ScalarOpacityUnitDistance = unit
    display.SetScalarBarVisibility(view, True)
    pv.Render()
    yield 0.3
    save("data")

    heart.phase = "undo"
    pv.Hide(data, view)
    pv.SetActiveSource(model)
    pv.Show(model, view)
    pv.Render()
    yield is_refined
    save("before")
    window.choose("Filters", "AMGSRNIsosurface")
    yield lambda: pv.FindSource("AMGSRNIsosurface1")
    surface = pv.FindSource("AMGSRNIsosurface1")
    surface.Isovalues = [0.5]
    yield 0.3
    window.press("Accept")
    yield lambda: surface.GetDataInformation().GetNumberOfPoints() > 1
    seen["points"] = surface.GetDataInformation().GetNumberOfPoints()
    yield 0.5
    save("surface")
    steps = yield from undone()
    for _ in range(steps):
        window.call(EDIT + "Redo", "trigger")
        yield 0.3
    seen["redone"] = pv.FindSource("AMGSRNIsosurface1") is not None
    yield from undone()
    seen["gone"] = pv.FindSource("AMGSRNIsosurface1") is None
    pv.SetActiveSource(model)
    seen["shown again"] = pv.GetRepresentation(model, view).Visibility
    pv.Render()
    yield is_refined
    save("undone")


def end():
    if heart.error:
        window.photograph("gui-tour-error")
    seen["error"] = heart.error
    results.write_text(json.dumps(seen))
    window.quit()


heart = Heart(scenario(), patience=40, on_end=end)
