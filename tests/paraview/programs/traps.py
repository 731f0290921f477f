"""Train on what ParaView's own NetCDF reader makes of a file: a sphere, and fill values."""

from __future__ import annotations

import json

import paraview.simple as pv
from session import arguments, load_plugin, save

names = load_plugin()
path, model = json.loads(arguments()[0])
source = pv.NetCDFReader(FileName=[path])
source.Dimensions = "(depth, lat, lon)"
messages = []
for spherical in (1, 0):
    source.SphericalCoordinates = spherical
    source.OutputType = "Automatic"
    source.UpdatePipeline()
    place = "POINTS" if source.PointData.keys() else "CELLS"
    output = f"{model}-{spherical}"
    trainer = names.AMGSRNTrainer(Input=source, OutputFile=output, Array=[place, "salt"])
    trainer.Iterations, trainer.Grids, trainer.GridShape, trainer.Batch = 10, 1, [3, 3, 3], 64
    trainer.UpdatePipeline()
    trainer.UpdatePropertyInformation()
    messages.append([trainer.State, trainer.Message])
save(messages=messages)
