"""On several ranks, each with its own piece: train, fail, go on, stop."""

from __future__ import annotations

from pathlib import Path

import paraview.simple as pv
from session import arguments, describe, load_plugin, save

folder = Path(arguments()[0])
names = load_plugin()
OPTIONS = {
    "Iterations": 60,
    "Batch": 1024,
    "Grids": 4,
    "GridShape": [5, 5, 5],
    "Width": 16,
    "Device": "cpu",
    "Bricks": [2, 2, 1],
    "Ghost": 1,
    "Array": ["POINTS", "RTData"],
}
wavelet = pv.Wavelet(WholeExtent=[-6, 6, -7, 7, -8, 8])


def trained(source, name: str, **more):
    made = names.AMGSRNTrainer(
        Input=source, OutputFile=str(folder / f"{name}.amgsrn"), **{**OPTIONS, **more}
    )
    made.UpdatePipeline()
    return made


def resume(trainer) -> None:
    """Go on, on every rank."""
    trainer.SMProxy.InvokeCommand("Resume")
    trainer.SMProxy.MarkModified(trainer.SMProxy)
    trainer.UpdatePipeline()


def state_of(trainer) -> dict:
    trainer.UpdatePropertyInformation()
    return {"state": trainer.State, "message": trainer.Message, "model": trainer.ModelFile}


results = {}
good = trained(wavelet, "bricks")
results["good"] = state_of(good)
results["preview"] = describe(good)
boxes = pv.OutputPort(good, 2)
boxes.UpdatePipeline()
results["boxes"] = boxes.GetDataInformation().GetNumberOfCells()
resume(good)
results["again"] = state_of(good)

cells = pv.PointDatatoCellData(Input=wavelet)
results["cells"] = state_of(trained(cells, "cells", Iterations=1, Array=["CELLS", "RTData"]))

steep = pv.Calculator(Input=wavelet, Function="exp(200*coordsZ)", ResultArrayName="f")
results["steep"] = state_of(trained(steep, "steep", Array=["POINTS", "f"]))

results["hash"] = state_of(trained(wavelet, "hash", Encoder="hash", Compress=1))

# A brick of the last rank has no folder to write to; then it has.
parts = folder / "failing.amgsrn.parts"
parts.mkdir()
(parts / "brick-0005").write_text("in the way")
failing = trained(wavelet, "failing")
results["failing"] = state_of(failing)
(parts / "brick-0005").unlink()
kept = [(parts / f"brick-000{number}" / "brick.amgsrn").exists() for number in range(5)]
resume(failing)
results["mended"] = {**state_of(failing), "kept": kept}

endless = names.AMGSRNTrainer(
    Input=wavelet, OutputFile=str(folder / "endless.amgsrn"), **{**OPTIONS, "Iterations": 1000000}
)
touched: list[Path] = []
algorithm = endless.SMProxy.GetClientSideObject()


def stop(*_event) -> None:
    stop_file = folder / "endless.amgsrn.parts" / "stop"
    if algorithm.GetProgress() > 0 and stop_file.parent.exists() and not touched:
        stop_file.touch()
        touched.append(stop_file)


algorithm.AddObserver("ProgressEvent", stop)
endless.UpdatePipeline()
results["stopped"] = state_of(endless)
save(**results)
