"""Train for very long in a script, and tell the worker's process number."""

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
algorithm = trainer.SMProxy.GetClientSideObject()
told = []


def on_progress(*_):
    status = algorithm._session.status()
    if status is not None and status.iteration > 0 and not told:
        told.append(status.pid)
        print(status.pid, flush=True)


algorithm.AddObserver("ProgressEvent", on_progress)
trainer.UpdatePipeline()
