"""Open model files and sample them; save every array beside the results."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import paraview.simple as pv
from session import arguments, describe, load_plugin, model_of, output_of, save, values

names = load_plugin()
imported_early = "torch" in sys.modules
steps = json.loads(arguments()[0])
results, arrays = [], {}
for number, step in enumerate(steps):
    if step["proxy"] == "open":
        source = pv.OpenDataFile(step["file"])
    elif step["proxy"] == "filter":
        reader = names.AMGSRNReader(FileName=step["file"])
        source = names.AMGSRNReconstruction(Input=reader, **step.get("properties", {}))
    else:
        make = getattr(names, step["proxy"])
        source = make(FileName=step["file"], **step.get("properties", {}))
    source.UpdatePipeline()
    if "replacement" in step:
        os.replace(step["replacement"], step["file"])
        if not pv.ReloadFiles(source):
            source.InvokeCommand("Reload")  # a source is no reader
        source.UpdatePipeline()
    result = describe(source)
    data = output_of(source)
    result["model"] = model_of(data)
    result["proxy"] = source.SMProxy.GetXMLName()
    for name in result["arrays"]:
        arrays[f"{number}/{name}"] = values(data, name)
    results.append(result)
np.savez(sys.argv[1] + ".npz", **arrays)
save(steps=results, torch_at_load=imported_early)
