"""Open a model, reconstruct it, draw it: what each took, and whether PyTorch was loaded for it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import paraview.simple as pv
from neural_scene import NEURAL, load
from session import arguments, describe, save

model, picture, train = (*arguments(), "")[:3]
stages: dict[str, dict[str, object]] = {}


def note(name: str) -> None:
    """Note the processor's seconds and the resident megabytes (10^6 bytes) until now."""
    status = Path("/proc/self/status").read_text()
    kilobytes = int(status.split("VmRSS:")[1].split()[0])
    torch = sys.modules.get("torch") is not None
    stages[name] = {
        "seconds": time.process_time(),
        "megabytes": kilobytes * 1.024e-3,
        "torch": torch,
    }


note("start")
names = load()
reader = names.AMGSRNReader(FileName=model)
reader.UpdatePipeline()
note("open")
whole = names.AMGSRNReconstruction(Input=reader, Dimensions=[64, 64, 64])
whole.UpdatePipeline()
note("reconstruct")
view = pv.CreateView("RenderView")
view.ViewSize = [400, 300]
shown = pv.Show(reader, view)
shown.SetRepresentationType(NEURAL)
pv.ColorBy(shown, ("POINTS", reader.PointData.keys()[0]))
pv.ResetCamera(view)
pv.SaveScreenshot(picture, view)
note("render")
shown.UpdatePropertyInformation()
results = {
    "stages": stages,
    "whole": describe(whole),
    "status": str(shown.GetProperty("NeuralStatus")),
}
if train:
    source = pv.Wavelet(WholeExtent=[0, 7, 0, 7, 0, 7])
    source.UpdatePipeline()
    trainer = names.AMGSRNTrainer(Input=source, OutputFile=train, Iterations=5)
    trainer.UpdatePipeline()
    trainer.UpdatePropertyInformation()
    results["trainer"] = {"state": trainer.State, "message": trainer.Message}
save(**results)
