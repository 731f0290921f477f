"""Open a NetCDF file as File > Open does, train on it, and save what was seen of it."""

from __future__ import annotations

import json
import sys

import numpy as np
import paraview.simple as pv
from session import arguments, describe, load_plugin, output_of, save, values
from vtkmodules.vtkCommonCore import vtkDataArray

names = load_plugin()
path, model, chosen, time = json.loads(arguments()[0])
source = pv.OpenDataFile(path)
kind = source.SMProxy.GetXMLName()
available = list(source.Variables.Available)
source.Variables = chosen
results, arrays = [], {}
source.UpdatePipelineInformation()
for at in list(source.TimestepValues or [0.0]):
    source.UpdatePipeline(at)
    data = output_of(source)
    seen = describe(source)
    points = data.GetPointData()
    seen["units"] = {
        name: points.GetArray(name).GetInformation().Get(vtkDataArray.UNITS_LABEL())
        for name in seen["arrays"]
    }
    for name in seen["arrays"]:
        arrays[f"{at:g}/{name}"] = values(data, name)
    results.append(seen)
np.savez(sys.argv[1] + ".npz", **arrays)
message = ""
if model:
    trainer = names.AMGSRNTrainer(Input=source, Array=["POINTS", chosen[0]], OutputFile=model)
    trainer.Iterations, trainer.Grids, trainer.GridShape, trainer.Batch = 40, 2, [4, 4, 4], 512
    if time == "all":
        trainer.TimeSteps = "All"
    trainer.UpdatePipeline(source.TimestepValues[0] if source.TimestepValues else 0.0)
    trainer.UpdatePropertyInformation()
    message = trainer.Message
source.UpdatePropertyInformation()
save(kind=kind, available=available, seen=results, message=message, note=source.Message)
