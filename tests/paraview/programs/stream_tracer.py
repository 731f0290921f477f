"""Streamlines of models in ParaView, beside those of its own filter on a fine grid."""

from __future__ import annotations

import sys

import numpy as np
import paraview.simple as pv
from paraview.vtk.util.numpy_support import vtk_to_numpy
from session import arguments, load_plugin, output_of, save

names = load_plugin()
wind, scalar, parts, ranks = arguments()
found, arrays = {}, {}
model = names.AMGSRNReader(FileName=wind)
seeds = pv.Line(Point1=[1.3, 2.4, 3.5], Point2=[4.2, 7.5, 12.5], Resolution=11)


def saved(name, data):
    arrays[f"{name}/points"] = vtk_to_numpy(data.GetPoints().GetData())
    arrays[f"{name}/offsets"] = vtk_to_numpy(data.GetLines().GetOffsetsArray())
    arrays[f"{name}/connectivity"] = vtk_to_numpy(data.GetLines().GetConnectivityArray())
    for attributes in (data.GetPointData(), data.GetCellData()):
        for number in range(attributes.GetNumberOfArrays()):
            array = attributes.GetArray(number)
            arrays[f"{name}/{array.GetName()}"] = vtk_to_numpy(array)


def message(model, seeds, **options):
    tracer = names.AMGSRNStreamTracer(Input=model, SeedSource=seeds, **options)
    tracer.UpdatePipeline()
    tracer.UpdatePropertyInformation()
    return tracer.Message


options = {"InitialStepLength": 0.1, "MaximumStepLength": 0.2, "MaximumError": 1e-5}
tracer = names.AMGSRNStreamTracer(Input=model, SeedSource=seeds, **options)
tracer.UpdatePipeline()
tracer.UpdatePropertyInformation()
found["message"] = tracer.Message
found["by_rank"] = [
    tracer.GetRankDataInformation(rank).GetNumberOfCells() for rank in range(int(ranks))
]
if ranks == "1":
    saved("own", output_of(tracer))
    fine = names.AMGSRNReconstruction(Input=model, ScaleFactor=12)
    grid = pv.StreamTracerWithCustomSource(
        Input=fine,
        SeedSource=seeds,
        Vectors=["POINTS", "density"],
        MaximumStreamlineLength=100.0,
        MaximumSteps=20000,
        MaximumStepLength=0.5,
        IntegratorType="Runge-Kutta 4-5",
        MaximumError=1e-7,
    )
    grid.UpdatePipeline()
    saved("grid", output_of(grid))
    forward = names.AMGSRNStreamTracer(
        Input=model, SeedSource=seeds, IntegrationDirection="FORWARD", MaximumStreamlineLength=1.0
    )
    forward.UpdatePipeline()
    saved("short", output_of(forward))
    found["outside"] = message(model, pv.Line(Point1=[1.3, 2.4, 3.5], Point2=[-9, 0, 0]))
    found["scalar"] = message(names.AMGSRNReader(FileName=scalar), seeds)
    found["parts"] = message(names.AMGSRNReader(FileName=parts), seeds)
    found["unknown"] = message(model, seeds, Vectors="u")
    found["steps"] = message(model, seeds, MaximumStepLength=0.001)
    found["nothing"] = message(pv.Wavelet(), seeds)
np.savez(sys.argv[1] + ".npz", **arrays)
save(**found)
