"""Models beside data in ParaView; save error fields, tables and messages."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import paraview.simple as pv
from paraview import servermanager
from paraview.vtk.util.numpy_support import vtk_to_numpy
from session import arguments, load_plugin, output_of, save, update_again

names = load_plugin()
folder, ranks = Path(arguments()[0]), int(arguments()[1])
found, arrays = {}, {}


def columns(table):
    """Return a table's columns as lists."""
    result = {}
    for number in range(table.GetNumberOfColumns()):
        column = table.GetColumn(number)
        result[column.GetName()] = [
            column.GetValue(row) for row in range(column.GetNumberOfValues())
        ]
    return result


def compare(name, model, reference, at=None, **options):
    filtered = names.AMGSRNCompare(Input=model, Reference=reference, **options)
    filtered.UpdatePipeline(*([] if at is None else [at]))
    filtered.UpdatePropertyInformation()
    found[name] = {"message": filtered.Message}
    for port, what in ((1, "metrics"), (2, "histogram")):
        table = servermanager.Fetch(filtered, idx=port)
        found[name][what] = columns(table) if table.IsA("vtkTable") else {}
    return filtered


def saved(name, filtered):
    output = output_of(filtered)
    for association, data in (("point", output.GetPointData()), ("cell", output.GetCellData())):
        for number in range(data.GetNumberOfArrays()):
            array = data.GetArray(number)
            arrays[f"{name}/{association}/{array.GetName()}"] = vtk_to_numpy(array)


def volume(name):
    return pv.OpenDataFile(str(folder / name))


wind = names.AMGSRNReader(FileName=str(folder / "wind.amgsrn"))
data = volume("wind.vti")
if ranks > 1:
    filtered = compare("wind", wind, data, SSIM=1)
    count = [filtered.GetRankDataInformation(r).GetNumberOfPoints() for r in range(ranks)]
    found["by_rank"] = count
    # (servermanager.Fetch loses the other ranks' parts of structured data in ParaView 5.11.)
    pv.SaveData(str(folder / "errors.pvti"), filtered)
    compare("refused", wind, volume("other.vti"))
    series = names.AMGSRNReader(FileName=str(folder / "series.amgsrn"))
    compare("all", series, volume("steps.pvd"), 7.5, TimeSteps="All")
else:
    saved("wind", compare("wind", wind, data, SSIM=1, Bins=20))
    saved("few", compare("few", wind, data, AbsoluteError=0, RelativeError=0))
    scalar = names.AMGSRNReader(FileName=str(folder / "scalar.amgsrn"))
    filtered = compare("cells", scalar, volume("cells.vtr"))
    saved("cells", filtered)
    found["cells"]["type"] = filtered.GetDataInformation().GetDataSetTypeAsString()
    compare("renamed", scalar, volume("renamed.vti"))
    compare("elsewhere", scalar, volume("elsewhere.vti"))
    compare("refused", wind, volume("other.vti"))
    compare("mesh", wind, pv.Sphere())
    compare("nothing", pv.Wavelet(), data)
    compare("flat", scalar, volume("flat.vti"))

    series = names.AMGSRNReader(FileName=str(folder / "series.amgsrn"))
    steps = volume("steps.pvd")
    compare("current", series, steps, 7.5)
    compare("near", series, steps, 6.0)
    filtered = compare("all", series, steps, 7.5, TimeSteps="All")
    saved("all", filtered)
    filtered.UpdatePipeline(5.0)
    saved("all5", filtered)
    compare("timeless", series, volume("renamed.vti"), TimeSteps="All")
    # While a model is trained: its preview is compared.
    trainer = names.AMGSRNTrainer(
        Input=volume("cells.vtr"),
        Array=["CELLS", "density"],
        OutputFile=str(folder / "live.amgsrn"),
        Execution="Live",
        Iterations=10_000_000,
        Grids=2,
        GridShape=[6, 6, 6],
        Width=8,
    )
    seen = set()
    while len(seen) < 2:
        update_again(trainer)
        live = compare("live", trainer, volume("cells.vtr"))
        seen.add(found["live"]["metrics"]["PSNR"][0])
        time.sleep(0.2)
    trainer.UpdatePropertyInformation()
    found["live"]["state"] = trainer.State
    found["live"]["points"] = output_of(trainer).GetNumberOfPoints()
    saved("live", live)
    arrays["live/preview"] = vtk_to_numpy(output_of(trainer).GetPointData().GetArray("density"))
    trainer.InvokeCommand("Stop")
np.savez(sys.argv[1] + ".npz", **arrays)
save(**found)
