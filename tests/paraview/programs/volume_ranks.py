"""On several ranks: train bricks of a NetCDF file, each rank those of its own extent."""

from __future__ import annotations

import json

from session import arguments, load_plugin, save

names = load_plugin()
path, model = json.loads(arguments()[0])
source = names.AMGSRNVolumeReader(FileName=path)
trainer = names.AMGSRNTrainer(
    Input=source,
    OutputFile=model,
    Array=["POINTS", "warm"],
    Iterations=20,
    Batch=256,
    Grids=2,
    GridShape=[3, 3, 3],
    Width=8,
    Device="cpu",
    Bricks=[2, 1, 1],
)
trainer.UpdatePipeline()
trainer.UpdatePropertyInformation()
save(state=trainer.State, message=trainer.Message)
