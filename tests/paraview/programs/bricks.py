"""Train a volume in bricks, and show what the trainer says about it."""

from __future__ import annotations

from pathlib import Path

import paraview.simple as pv
from session import arguments, describe, load_plugin, save

folder = Path(arguments()[0])
names = load_plugin()
wavelet = pv.Wavelet(WholeExtent=[-6, 6, -7, 7, -8, 8])
trainer = names.AMGSRNTrainer(
    Input=wavelet,
    OutputFile=str(folder / "bricks.amgsrn"),
    Iterations=60,
    Batch=1024,
    Grids=4,
    GridShape=[5, 5, 5],
    Width=16,
    Device="cpu",
    Bricks=[2, 2, 1],
    Ghost=1,
    Workers=2,
)
trainer.UpdatePipeline()
trainer.UpdatePropertyInformation()
boxes = pv.OutputPort(trainer, 2)
boxes.UpdatePipeline()
save(
    state=trainer.State,
    message=trainer.Message,
    model=trainer.ModelFile,
    preview=describe(trainer),
    blocks=boxes.GetDataInformation().GetNumberOfCells(),
)
