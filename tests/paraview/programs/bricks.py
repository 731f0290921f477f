"""Train a volume in bricks, and show what the trainer says about it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import paraview.simple as pv
from session import arguments, describe, load_plugin, output_of, save, update_again, values

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

# As ParaView's window does it: two of four bricks are constant and done at once, the others never
# (there is a worker left over for the former).
half = pv.Calculator(Input=wavelet, Function="RTData*(coordsX>1.5)", ResultArrayName="half")
live = names.AMGSRNTrainer(
    Input=half,
    Array=["POINTS", "half"],
    OutputFile=str(folder / "live.amgsrn"),
    Iterations=1000000,
    Device="cpu",
    Bricks=[2, 2, 1],
    Ghost=1,
    Workers=3,
    Execution=1,
)
live.UpdatePipeline()
algorithm = live.SMProxy.GetClientSideObject()
previews = [values(output_of(live), "half")]
while not np.isnan(previews[-1]).any() or live.State != "training":
    time.sleep(0.1)
    if algorithm.GetNeedsUpdate():
        update_again(live)
        previews.append(values(output_of(live), "half"))
    live.UpdatePropertyInformation()
done = np.isfinite(previews[-1][..., 0])
live.InvokeCommand("Stop")
save(
    live={"done": done.any(axis=(0, 1)).tolist(), "iteration": live.Iteration},
    state=trainer.State,
    message=trainer.Message,
    model=trainer.ModelFile,
    preview=describe(trainer),
    blocks=boxes.GetDataInformation().GetNumberOfCells(),
)
