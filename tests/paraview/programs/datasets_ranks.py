"""Train on unstructured grids, a part of which is on each of a server's ranks."""

from __future__ import annotations

from pathlib import Path

import paraview.simple as pv
import session  # by its name: programmable sources fill this module's namespace with numpy's

SMALL = {"Iterations": 40, "Batch": 1024, "Grids": 2, "GridShape": [5, 5, 5], "Width": 16}
WAVES = """
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
e = self.GetExecutive()
info = e.GetOutputInformation(0)
t = info.Get(e.UPDATE_TIME_STEP()) if info.Has(e.UPDATE_TIME_STEP()) else 0.0
output.ShallowCopy(inputs[0].VTKObject)
points = inputs[0].VTKObject.GetPoints()
if points is not None and points.GetNumberOfPoints():
    x = vtk_to_numpy(points.GetData())[:, 0]
    array = numpy_to_vtk((t + 1) * x.astype(float), deep=True)
    array.SetName("wave")
    output.GetPointData().AddArray(array)
output.VTKObject.GetInformation().Set(output.VTKObject.DATA_TIME_STEP(), t)
"""
TIMES = """
e = self.GetExecutive()
info = e.GetOutputInformation(0)
info.Remove(e.TIME_STEPS())
for t in (0.0, 1.0):
    info.Append(e.TIME_STEPS(), t)
info.Set(e.TIME_RANGE(), [0.0, 1.0], 2)
"""


def state_of(trainer):
    trainer.UpdatePropertyInformation()
    return [trainer.State, trainer.Message]


def in_index_space():
    """A curvilinear grid sample by sample, of which each rank has a part."""
    image = pv.Wavelet(WholeExtent=[0, 12, 0, 10, 0, 8])
    turned = pv.Transform(Input=image)
    turned.Transform.Translate = [0.0, 0.0, 0.0]
    bent = pv.Calculator(Input=turned, ResultArrayName="where", CoordinateResults=1)
    bent.Function = "iHat*coordsX*(1+0.05*coordsY)+jHat*coordsY+kHat*coordsZ"
    grid = pv.Calculator(Input=bent, ResultArrayName="linear")
    grid.Function = "coordsX+2*coordsY+3*coordsZ"
    options = {"Array": ["POINTS", "linear"], "Curvilinear": "index", **SMALL}
    output = str(folder / "index.amgsrn")
    trainer = names.AMGSRNTrainer(Input=grid, OutputFile=output, **options)
    trainer.UpdatePipeline()
    again = str(folder / "index_bricks.amgsrn")
    bricks = names.AMGSRNTrainer(Input=grid, OutputFile=again, Bricks=[2, 1, 1], **options)
    bricks.UpdatePipeline()
    back = names.AMGSRNReconstruction(Input=pv.OpenDataFile(output))
    back.UpdatePipeline()
    about = back.GetDataInformation()
    return {
        "state": state_of(trainer),
        "bricks": state_of(bricks),
        "back": {
            "type": about.GetDataSetTypeAsString(),
            "whole": list(about.GetExtent()),
            "bounds": list(about.GetBounds()),
        },
    }


folder, port = Path(session.arguments()[0]), int(session.arguments()[1])
if port:
    pv.Connect("localhost", port)
names = session.load_plugin(remote=bool(port))
ball = pv.Clip(
    Input=pv.Tetrahedralize(Input=pv.Wavelet(WholeExtent=[-8, 8, -8, 8, -8, 8])),
    ClipType="Sphere",
    Invert=1,
)
ball.ClipType.Center, ball.ClipType.Radius = [0.0, 0.0, 0.0], 6.0
trainer = names.AMGSRNTrainer(
    Input=ball,
    Array=["POINTS", "RTData"],
    OutputFile=str(folder / "ball.amgsrn"),
    SamplingDimensions=[31, 30, 29],
    **SMALL,
)
trainer.UpdatePipeline()
found = {"ball": state_of(trainer)}
# Bricks of a mesh are trained by the first rank, too.
bricks = names.AMGSRNTrainer(
    Input=ball,
    Array=["POINTS", "RTData"],
    OutputFile=str(folder / "bricks.amgsrn"),
    Bricks=[2, 1, 1],
    **SMALL,
)
bricks.UpdatePipeline()
found["bricks"] = state_of(bricks)
moving = pv.ProgrammableFilter(
    Input=ball, OutputDataSetType="Same as Input", Script=WAVES, RequestInformationScript=TIMES
)
moving.UpdatePipeline(0.0)
series = names.AMGSRNTrainer(
    Input=moving,
    Array=["POINTS", "wave"],
    TimeSteps="All",
    WarmIterations=20,
    OutputFile=str(folder / "series.amgsrn"),
    **SMALL,
)
series.UpdatePipeline(1.0)
found["series"] = state_of(series)
flat = names.AMGSRNTrainer(
    Input=pv.Slice(Input=ball, SliceType="Plane"),
    Array=["POINTS", "RTData"],
    OutputFile=str(folder / "flat.amgsrn"),
)
flat.UpdatePipeline()
found["flat"] = state_of(flat)
found["index"] = in_index_space()
session.save(**found)
