"""In ParaView's window: the macro of the comparison, with something to compare and without."""

from __future__ import annotations

import os
from pathlib import Path

import paraview.simple as pv
from window import Window, coloured, play

results_file = Path(os.environ["AMGSRN_TEST_RESULTS"])
MACRO = "pqClientMainWindow/MacrosToolbar/1QToolButton0"
window = Window()
seen: dict = {"known": []}
wavelet = pv.Wavelet(WholeExtent=[-8, 8, -8, 8, -8, 8])
pv.Show(wavelet)
pv.Render()


def algorithm():
    return pv.FindSource("AMGSRNTrainer1").SMProxy.GetClientSideObject()


def laid_out():
    """Return the views of the layout that the macro made last, or nothing yet."""
    found = [list(pv.GetViewsInLayout(layout)) for layout in pv.GetLayouts().values()]
    return next((views for views in found if len(views) == 4 and is_new(views)), [])


def is_new(views):
    return views[0].GetGlobalIDAsString() not in seen["known"]


def about(views):
    """Return what four views show."""
    renders = [view for view in views if view.GetXMLName() == "RenderView"]
    (chart,) = (view for view in views if view.GetXMLName() == "XYChartView")
    return {
        "kinds": sorted(view.GetXMLName() for view in views),
        "cameras": [list(view.CameraPosition) for view in renders],
        "coloured": [coloured(view) for view in views],
        "title": str(chart.ChartTitle),
    }


def scenario():
    yield 0.5
    heart.phase = "training"
    window.choose("Filters", "AMGSRNTrainer")
    yield lambda: pv.FindSource("AMGSRNTrainer1")
    trainer = pv.FindSource("AMGSRNTrainer1")
    trainer.Iterations = 400_000
    trainer.Batch, trainer.Grids, trainer.GridShape, trainer.Width = 512, 2, [6, 6, 6], 8
    trainer.OutputFile = str(results_file.parent / "live.amgsrn")
    yield 0.3
    window.press("Accept")
    yield lambda: algorithm().GetState() == "training"
    yield lambda: algorithm().GetOutputDataObject(1).GetNumberOfRows() > 1
    pv.SetActiveSource(trainer)
    heart.phase = "macro"
    window.call(MACRO, "click")
    yield laid_out
    heart.phase = "laid out"
    rows = algorithm().GetOutputDataObject(1).GetNumberOfRows()
    yield lambda: algorithm().GetOutputDataObject(1).GetNumberOfRows() > rows + 1
    yield 0.5
    views = laid_out()
    first = next(view for view in views if view.GetXMLName() == "RenderView")
    first.GetActiveCamera().Azimuth(30)
    pv.Render(first)
    seen["training"] = about(views)
    window.photograph("gui-macro")
    algorithm().Stop()
    yield lambda: algorithm().GetState() == "stopped"

    heart.phase = "compare"
    seen["known"] = [view.GetGlobalIDAsString() for view in views]
    model = pv.AMGSRNReader(FileName=str(results_file.parent / "m.amgsrn"))
    data = pv.XMLImageDataReader(FileName=[str(results_file.parent / "v.vti")])
    compare = pv.AMGSRNCompare(Input=model, Reference=data)
    compare.UpdatePipeline()
    pv.SetActiveSource(compare)
    window.call(MACRO, "click")
    yield laid_out
    yield 0.5
    seen["compare"] = about(laid_out())
    window.photograph("gui-macro-compare")

    heart.phase = "refused"
    before = len(pv.GetViews())
    pv.SetActiveSource(wavelet)
    window.call(MACRO, "click")
    yield 1.0
    seen["more views where refused"] = len(pv.GetViews()) - before


def end(heart):
    if heart.error:
        window.photograph("gui-macro-error")


heart = play(window, scenario(), seen, on_end=end)
