"""Sample models at the points of many kinds of data sets; save points and arrays."""

from __future__ import annotations

import sys

import numpy as np
import paraview.simple as pv
from paraview import servermanager
from paraview.vtk.util.numpy_support import vtk_to_numpy
from session import arguments, load_plugin, save

names = load_plugin()
wind, scalar, series = arguments()[:3]
on_ranks = len(arguments()) > 3
wind, scalar = names.AMGSRNReader(FileName=wind), names.AMGSRNReader(FileName=scalar)
every = {"Gradient": 1, "Vorticity": 1, "Divergence": 1, "QCriterion": 1}
line = pv.Line(Point1=[1, 2, 3], Point2=[4.4, 7.5, 11], Resolution=40)
sphere = pv.Sphere(Center=[2.5, 4.5, 8], Radius=2.5, ThetaResolution=40, PhiResolution=40)
image = pv.Wavelet(WholeExtent=[-3, 3, -2, 4, 1, 5])
cases = {"sphere": (sphere, wind, every)}
if not on_ranks:
    turned = pv.Transform(Input=image)
    turned.Transform.Rotate = [0, 0, 30]
    cases |= {
        "line": (line, wind, {}),
        "image": (image, scalar, {"Gradient": 1}),
        "turned": (turned, scalar, {}),
        "rectilinear": (names.AMGSRNReconstruction(Input=scalar), scalar, {}),
        "cells": (pv.Clip(Input=image), scalar, {"Association": "Cell Centres"}),
        "blocks": (pv.GroupDatasets(Input=[line, sphere]), scalar, {}),
        "refused": (line, scalar, {"Vorticity": 1}),
        "nothing": (line, image, {}),
    }
found, arrays = {}, {}


def saved(prefix, data, centres):
    points = [data.GetPoint(i) for i in range(data.GetNumberOfPoints())]
    if centres:  # by the middle of the box, which clipped cells do not have
        points = []
        for number in range(data.GetNumberOfCells()):
            own = vtk_to_numpy(data.GetCell(number).GetPoints().GetData())
            parametric = [0.0] * 3
            data.GetCell(number).GetParametricCenter(parametric)
            where, weights = [0.0] * 3, [0.0] * len(own)
            from vtkmodules.vtkCommonCore import reference

            data.GetCell(number).EvaluateLocation(reference(0), parametric, where, weights)
            points.append(where)
    arrays[f"{prefix}/points"] = np.array(points)
    attributes = data.GetCellData() if centres else data.GetPointData()
    for number in range(attributes.GetNumberOfArrays()):
        array = attributes.GetArray(number)
        arrays[f"{prefix}/{array.GetName()}"] = vtk_to_numpy(array)


for name, (data, model, options) in cases.items():
    sample = names.AMGSRNSample(Input=data, Model=model, **options)
    sample.UpdatePipeline()
    sample.UpdatePropertyInformation()
    found[name] = sample.Message
    if on_ranks:
        output = servermanager.Fetch(sample)
        found["by_rank"] = [
            sample.GetRankDataInformation(rank).GetNumberOfPoints() for rank in range(2)
        ]
    else:
        output = sample.SMProxy.GetClientSideObject().GetOutputDataObject(0)
    blocks = [output]
    if output.IsA("vtkMultiBlockDataSet"):
        blocks = [output.GetBlock(i) for i in range(output.GetNumberOfBlocks())]
    for number, block in enumerate(blocks):
        saved(f"{name}{number or ''}", block, options.get("Association") == "Cell Centres")
if not on_ranks:
    steps = names.AMGSRNReader(FileName=series)
    sample = names.AMGSRNSample(Input=pv.Line(Point2=[3, 3, 3]), Model=steps)
    for number, time in enumerate(steps.TimestepValues):
        sample.UpdatePipeline(time)
        saved(f"step{number}", sample.GetClientSideObject().GetOutputDataObject(0), False)
np.savez(sys.argv[1] + ".npz", **arrays)
save(**found)
