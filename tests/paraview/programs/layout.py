"""Lay out a training while it goes on; save what the views show."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from pathlib import Path

import paraview.simple as pv
from session import arguments, load_plugin, save, update_again

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "scripts"))
from compare_layout import build, from_window

folder = Path(arguments()[0])
names = load_plugin()
wavelet = pv.Wavelet(WholeExtent=[-6, 6, -6, 6, -6, 6])
pv.SetActiveSource(wavelet)
found = {}
with contextlib.redirect_stderr(io.StringIO()) as said:
    from_window()
found["refused"] = said.getvalue()
trainer = names.AMGSRNTrainer(
    Input=wavelet,
    OutputFile=str(folder / "wave.amgsrn"),
    Execution="Live",
    Iterations=400_000,
    Batch=512,
    Grids=2,
    GridShape=[6, 6, 6],
    Width=8,
)
table = trainer[1]


def rows():
    update_again(trainer)
    table.UpdatePipeline()
    return table.GetDataInformation().GetNumberOfRows()


layout = build(trainer)
found["chosen"] = pv.GetActiveView().GetXMLName()
before = rows()
while rows() <= before + 1:
    time.sleep(0.3)
trainer.UpdatePropertyInformation()
found["state"] = trainer.State
views = list(pv.GetViewsInLayout(layout))
found["views"] = [view.GetXMLName() for view in views]
chart = next(view for view in views if view.GetXMLName() == "XYChartView")
(plotted,) = chart.Representations
found["series"] = [list(plotted.SeriesVisibility), plotted.XArrayName.GetData()]
renders = [view for view in views if view.GetXMLName() == "RenderView"]
renders[0].GetActiveCamera().Azimuth(40)
pv.Render(renders[0])
found["cameras"] = [list(view.CameraPosition) for view in renders]
layout.SetSize(800, 600)
pv.SaveScreenshot(str(folder / "layout.png"), layout, ImageResolution=[800, 600])
trainer.InvokeCommand("Stop")
save(**found)
pv.Disconnect()
