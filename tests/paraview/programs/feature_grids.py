"""Feature grids of models as boxes, and the feature density on grids; save what there is."""

from __future__ import annotations

import sys

import numpy as np
import paraview.simple as pv
from paraview.vtk.util.numpy_support import vtk_to_numpy
from session import arguments, load_plugin, output_of, save, values

names = load_plugin()
bricks, series, ranks = arguments()
found, arrays = {}, {}


def saved(name, data):
    arrays[f"{name}/points"] = vtk_to_numpy(data.GetPoints().GetData())
    cells = data.GetCellData()
    for number in range(cells.GetNumberOfArrays()):
        arrays[f"{name}/{cells.GetArrayName(number)}"] = vtk_to_numpy(cells.GetArray(number))


model = names.AMGSRNReader(FileName=bricks, FeatureDensity=1)
boxes = names.AMGSRNFeatureGrids(Input=model)
boxes.UpdatePipeline()
# (servermanager.Fetch loses the other ranks' parts in ParaView 5.11.)
pv.SaveData(f"{bricks}.boxes.{'pvtu' if int(ranks) > 1 else 'vtu'}", boxes)
found["by_rank"] = [
    boxes.GetRankDataInformation(rank).GetNumberOfCells() for rank in range(int(ranks))
]
if ranks == "1":
    arrays["preview"] = values(output_of(model), "feature_density")
    fine = names.AMGSRNReconstruction(Input=model, FeatureDensity=1)
    fine.UpdatePipeline()
    arrays["fine"] = values(output_of(fine), "feature_density")
    steps = names.AMGSRNReader(FileName=series)
    moving = names.AMGSRNFeatureGrids(Input=steps)
    for number, time in enumerate(steps.TimestepValues):
        moving.UpdatePipeline(time)
        saved(f"step{number}", output_of(moving))
    nothing = names.AMGSRNFeatureGrids(Input=pv.Wavelet())
    nothing.UpdatePipeline()
    nothing.UpdatePropertyInformation()
    found["nothing"] = nothing.Message
np.savez(sys.argv[1] + ".npz", **arrays)
save(**found)
