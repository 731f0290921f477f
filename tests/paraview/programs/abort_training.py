"""Abort a training, stop it with a file, kill its worker, and go on each time."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import paraview.simple as pv
from session import arguments, load_plugin, save, update_again

folder = Path(arguments()[0])
names = load_plugin()
trainer = names.AMGSRNTrainer(
    Input=pv.Wavelet(WholeExtent=[-6, 6, -6, 6, -6, 6]),
    OutputFile=str(folder / "wave.amgsrn"),
    Iterations=10000,
    Batch=512,
    Grids=2,
    GridShape=[6, 6, 6],
    Width=8,
)
algorithm = trainer.SMProxy.GetClientSideObject()
ways = ["abort", "file", "kill", "complete"]
results = {}


def on_progress(*_):
    """Hold each run as soon as it begins, so that it cannot end before it is interrupted."""
    if ways[0] == "complete":
        return
    if algorithm.GetState() == "starting":
        algorithm.Pause()
    elif algorithm.GetState() != "paused":
        return
    elif ways[0] == "abort":
        algorithm.SetAbortExecute(1)
    elif ways[0] == "file":
        (folder / "wave.amgsrn.parts" / "stop").touch()
    elif ways[0] == "kill":
        os.kill(algorithm._session.status().pid, signal.SIGKILL)


algorithm.AddObserver("ProgressEvent", on_progress)
while ways:
    update_again(trainer)
    state = algorithm.GetOutputDataObject(0).GetFieldData().GetAbstractArray("amgsrn_state")
    results[ways.pop(0)] = {
        "message": algorithm.GetMessage(),
        "state": algorithm.GetState(),
        "shown": state.GetValue(0) if state else "",
        "iteration": algorithm.GetIteration(),
        "checkpoint": (folder / "wave.amgsrn.parts" / "brick-0000").exists(),
        "volumes": len(list(folder.glob("wave.amgsrn.parts/volume-*"))),
    }
save(**results)
