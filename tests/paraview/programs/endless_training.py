"""Train for very long in a script, until somebody ends it."""

from __future__ import annotations

import paraview.simple as pv
from session import arguments, load_plugin

names = load_plugin()
trainer = names.AMGSRNTrainer(
    Input=pv.Wavelet(WholeExtent=[-6, 6, -6, 6, -6, 6]),
    OutputFile=f"{arguments()[0]}/endless.amgsrn",
    Iterations=10_000_000,
    Batch=512,
    Grids=2,
    GridShape=[6, 6, 6],
    Width=8,
)
trainer.UpdatePipeline()
