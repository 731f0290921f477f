"""Train on what ParaView's NetCDF reader gives, with numbers in it that stand for no value."""

from __future__ import annotations

from pathlib import Path

import paraview.simple as pv
from session import arguments, load_plugin, save

folder, ranks = Path(arguments()[0]), int(arguments()[1])
names = load_plugin()
OPTIONS = {
    "Iterations": 40,
    "Batch": 1024,
    "Grids": 4,
    "GridShape": [5, 5, 5],
    "Width": 16,
    "Device": "cpu",
}
BRICKS = {"Bricks": [2, 1, 1], "Ghost": 1, "Workers": 1}


def trained(name: str, **more) -> dict:
    reader = pv.NetCDFReader(FileName=[str(folder / "t.nc")])
    reader.Dimensions = "(z, y, x)"
    array = more.pop("array", "certain")
    reader.UpdatePipelineInformation()
    trainer = names.AMGSRNTrainer(
        Input=reader,
        Array=["POINTS", array],
        OutputFile=str(folder / f"{name}.amgsrn"),
        **{**OPTIONS, **more},
    )
    trainer.UpdatePipeline()
    trainer.UpdatePropertyInformation()
    return {"state": trainer.State, "message": trainer.Message, "model": trainer.ModelFile}


results = {"bricks": trained("bricks", **BRICKS)}
if ranks == 1:
    results["again"] = trained("bricks", **BRICKS)
    results["none"] = trained("none", FillValues="none")
    results["suspect"] = trained("suspect", array="suspect")
    results["nonsense"] = trained("nonsense", FillValues="nothing")
else:
    results["alone"] = trained("alone")
    results["number"] = trained("number", array="suspect", FillValues="-9999", **BRICKS)
save(**results)
