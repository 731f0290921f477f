"""Open a time series of feature grids: its times, and at each how many boxes lie where."""

import json
import sys

import paraview.simple as pv

results, path = sys.argv[1:3]
reader = pv.OpenDataFile(path)
found = []
for time in reader.TimestepValues:
    reader.UpdatePipeline(time)
    information = reader.GetDataInformation()
    found.append([time, information.GetNumberOfCells(), information.GetBounds()])
arrays = sorted(reader.CellData.keys())
with open(results, "w") as file:
    json.dump({"times": found, "arrays": arrays}, file)
