"""Train every time step on several ranks, whose readers work together."""

from __future__ import annotations

from pathlib import Path

import paraview.simple as pv
from session import arguments, load_plugin, model_of, output_of, save

folder, *files = arguments()
names = load_plugin()
reader = pv.XMLImageDataReader(FileName=files)
reader.UpdatePipelineInformation()
found = {}
for name, bricks in (("whole", [1, 1, 1]), ("bricks", [2, 1, 1])):
    trainer = names.AMGSRNTrainer(
        Input=reader,
        Array=["POINTS", "wave"],
        OutputFile=str(Path(folder) / f"{name}.amgsrn"),
        TimeSteps="All",
        Bricks=bricks,
        Iterations=20,
        Batch=1024,
        Grids=2,
        GridShape=[5, 5, 5],
        Width=16,
        Device="cpu",
    )
    trainer.UpdatePipeline()
    trainer.UpdatePropertyInformation()
    found[name] = [trainer.State, trainer.Message]
    if name == "whole":
        found["models"] = []
        for time in (0.0, 5.0):
            trainer.UpdatePipeline(time)
            found["models"].append(model_of(output_of(trainer))[2:])
save(**found)
