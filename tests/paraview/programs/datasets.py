"""Train on meshes of every kind, in the built-in session."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import paraview.simple as pv
import session  # by its name: programmable sources fill this module's namespace with numpy's
from vtkmodules.util.numpy_support import vtk_to_numpy

SMALL = {"Iterations": 40, "Batch": 1024, "Grids": 2, "GridShape": [5, 5, 5], "Width": 16}

# A quarter of a pipe, as a curvilinear grid, an array of which lives on its cells.
PIPE = """
import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkPoints
nr, nt, nz = 9, 13, 8
z, t, r = np.meshgrid(np.linspace(0, 1, nz), np.linspace(0, np.pi / 2, nt), np.linspace(1, 2, nr),
                      indexing="ij")
where = np.stack([r * np.cos(t), r * np.sin(t), z], axis=-1).reshape(-1, 3)
points = vtkPoints()
points.SetData(numpy_to_vtk(where, deep=True))
output.SetDimensions(nr, nt, nz)
output.SetPoints(points)
def add(data, name, values):
    array = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
    array.SetName(name)
    data.AddArray(array)
x, y, z = where.T
add(output.GetPointData(), "flow", np.stack([x + y, x * y, z], axis=1))
add(output.GetPointData(), "count", (10 * x).astype(np.uint8))
filled = np.where(z > 0.9, 1e20, x)
add(output.GetPointData(), "filled", filled)
add(output.GetCellData(), "layer", np.repeat(np.arange(nz - 1.0), (nr - 1) * (nt - 1)))
"""
EXTENT = """
executive = self.GetExecutive()
executive.GetOutputInformation(0).Set(executive.WHOLE_EXTENT(), 0, 8, 0, 12, 0, 7)
"""
TWO_BLOCKS = """
from vtkmodules.vtkCommonDataModel import vtkMultiBlockDataSet
output.SetNumberOfBlocks(3)
output.SetBlock(0, inputs[0].VTKObject)
bare = inputs[1].VTKObject.NewInstance()
bare.CopyStructure(inputs[1].VTKObject)
output.SetBlock(1, bare)
"""
WAVES = """
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
e = self.GetExecutive()
info = e.GetOutputInformation(0)
t = info.Get(e.UPDATE_TIME_STEP()) if info.Has(e.UPDATE_TIME_STEP()) else 0.0
output.ShallowCopy(inputs[0].VTKObject)
x = vtk_to_numpy(inputs[0].VTKObject.GetPoints().GetData())[:, 0]
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


def pipe():
    return pv.ProgrammableSource(
        OutputDataSetType="vtkStructuredGrid", Script=PIPE, ScriptRequestInformation=EXTENT
    )


def ball(kind="POINTS"):
    """A ball of tetrahedra, of radius 6, cut out of a wavelet."""
    wavelet = pv.Wavelet(WholeExtent=[-8, 8, -8, 8, -8, 8])
    cut = pv.Clip(Input=pv.Tetrahedralize(Input=wavelet), ClipType="Sphere", Invert=1)
    cut.ClipType.Center, cut.ClipType.Radius = [0.0, 0.0, 0.0], 6.0
    return cut if kind == "POINTS" else pv.PointDatatoCellData(Input=cut)


def train(key, source, array, association="POINTS", again=False, **options):
    options = {"OutputFile": str(folder / f"{key}.amgsrn"), **SMALL, **options}
    trainer = names.AMGSRNTrainer(Input=source, Array=[association, array], **options)
    trainer.UpdatePipeline()
    trainer.UpdatePropertyInformation()
    shown = session.output_of(trainer)
    found = {
        "state": trainer.State,
        "message": trainer.Message,
        "model": trainer.ModelFile,
        "preview": list(shown.GetBounds()),
        "arrays": list(trainer.PointData.keys()),
    }
    if again:
        run = trainer.SMProxy.GetClientSideObject()._session._run
        session.update_again(trainer)
        found["same"] = trainer.SMProxy.GetClientSideObject()._session._run is run
        back = names.AMGSRNReconstruction(Input=trainer)
        back.UpdatePipeline()
        found["back"] = session.describe(back)
        values[key] = session.values(session.output_of(back), array)
    return found


def in_index_space():
    """The pipe sample by sample; what comes back, at its own and at twice the resolution."""
    found = {"trained": train("index", grid, "flow", Curvilinear="index")}
    cells = train("index_cells", grid, "layer", "CELLS", Curvilinear="index")
    found["cells"] = cells["state"]
    reader = pv.OpenDataFile(found["trained"]["model"])
    for key, options in (("own", {}), ("fine", {"ScaleFactor": 2.0}), ("part", {"Region": 2})):
        back = names.AMGSRNReconstruction(Input=reader, **options)
        if key == "part":
            back.IndexExtent = [2, 5, 3, 4, 0, 6]
        back.UpdatePipeline()
        found[key] = session.describe(back)
        points = session.output_of(back).GetPoints().GetData()
        values[f"index {key} points"] = vtk_to_numpy(points).copy()
    values["index values"] = vtk_to_numpy(session.output_of(back).GetPointData().GetArray("flow"))
    values["pipe points"] = vtk_to_numpy(session.output_of(grid).GetPoints().GetData()).copy()
    line = pv.PointSource(NumberOfPoints=3)
    box = {"Region": 1, "WorldBounds": [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]}
    refused = (
        names.AMGSRNSample(Input=line, Model=reader),
        names.AMGSRNIsosurface(Input=reader, Isovalues=[1.0]),
        names.AMGSRNReconstruction(Input=reader, **box),
    )
    found["refused"] = []
    for filter_ in refused:
        filter_.UpdatePipeline()
        found["refused"].append(filter_.SMProxy.GetClientSideObject().GetMessage())
    return found


def series():
    """Two time steps of an unstructured grid."""
    source = pv.ProgrammableFilter(
        Input=ball(),
        OutputDataSetType="Same as Input",
        Script=WAVES,
        RequestInformationScript=TIMES,
    )
    source.UpdatePipeline(0.0)
    trainer = names.AMGSRNTrainer(
        Input=source,
        Array=["POINTS", "wave"],
        TimeSteps="All",
        WarmIterations=20,
        OutputFile=str(folder / "series.amgsrn"),
        **SMALL,
    )
    steps = []
    for at in (0.0, 1.0):
        trainer.UpdatePipeline(at)
        shown = session.output_of(trainer)
        steps.append([session.model_of(shown)[2:], float(np.nanmax(session.values(shown, "wave")))])
    trainer.UpdatePropertyInformation()
    return {"steps": steps, "state": trainer.State, "message": trainer.Message}


def refusals():
    sphere = pv.Sphere()
    flat = pv.Slice(Input=ball(), SliceType="Plane")
    empty = pv.Threshold(Input=ball(), Scalars=["POINTS", "RTData"])
    empty.LowerThreshold, empty.UpperThreshold = 1e6, 2e6
    table = pv.ProgrammableSource(OutputDataSetType="vtkTable", Script="pass")
    cases = {
        "surface": (sphere, "Normals"),
        "slice": (flat, "RTData"),
        "empty": (empty, "RTData"),
        "unknown": (ball(), "other"),
        "table": (table, "x"),
    }
    return {key: train(key, *case)["message"] for key, case in cases.items()}


folder = Path(session.arguments()[0])
names = session.load_plugin()
values: dict[str, np.ndarray] = {}
grid = pipe()
mixed = pv.ProgrammableFilter(
    Input=[grid, grid], OutputDataSetType="vtkMultiblockDataSet", Script=TWO_BLOCKS
)
results = {
    "ball": train("ball", ball(), "RTData", again=True, SamplingDimensions=[31, 30, 29]),
    "cells": train("cells", ball("CELLS"), "RTData", "CELLS"),
    "pipe": train("pipe", grid, "flow", again=True),
    "layer": train("layer", grid, "layer", "CELLS"),
    "count": train("count", grid, "count"),
    "filled": train("filled", grid, "filled"),
    "mixed": train("mixed", mixed, "flow"),
    "amr": train("amr", pv.AMRGaussianPulseSource(), "Gaussian-Pulse", "CELLS"),
    "index": in_index_space(),
    "series": series(),
    "refused": refusals(),
}
np.savez(sys.argv[1] + ".npz", **values)
session.save(**results)
