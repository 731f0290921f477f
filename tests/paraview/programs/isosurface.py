"""Isosurfaces of models in ParaView; save triangles, values and messages."""

from __future__ import annotations

import sys

import numpy as np
import paraview.simple as pv
from paraview import servermanager
from paraview.vtk.util.numpy_support import vtk_to_numpy
from session import arguments, load_plugin, save

names = load_plugin()
reader = names.AMGSRNReader(FileName=arguments()[0])
inside, outside = (float(value) for value in arguments()[1:3])
ranks = int(arguments()[3])
surface = names.AMGSRNIsosurface(Input=reader, Isovalues=[inside, outside], Tolerance=0.4)
surface.UpdatePipeline()
surface.UpdatePropertyInformation()
result = {"message": surface.Message, "arrays": surface.PointData.keys()}
result["by_rank"] = [
    surface.GetRankDataInformation(rank).GetNumberOfPoints() for rank in range(ranks)
]
output = servermanager.Fetch(surface)
points = output.GetPointData()
np.savez(
    sys.argv[1] + ".npz",
    points=vtk_to_numpy(output.GetPoints().GetData()),
    triangles=vtk_to_numpy(output.GetPolys().GetConnectivityArray()).reshape(-1, 3),
    **{points.GetArrayName(i): vtk_to_numpy(points.GetArray(i)) for i in range(4)},
)
surface.Isovalues = [outside]
surface.UpdatePipeline()
result["left"] = surface.GetDataInformation().GetNumberOfPoints()
wavelet = names.AMGSRNIsosurface(Input=pv.Wavelet(), Isovalues=[1.0])
wavelet.UpdatePipeline()
wavelet.UpdatePropertyInformation()
result["no_model"] = wavelet.Message
save(**result)
