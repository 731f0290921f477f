"""Train on a connected or the built-in server, in ways that a script would."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import paraview.simple as pv
import session  # by its name: programmable sources fill this module's namespace with numpy's

SMALL = {"Iterations": 60, "Batch": 2048, "Grids": 4, "GridShape": [6, 6, 6], "Width": 16}
FIELDS = """
from vtkmodules.vtkCommonDataModel import vtkRectilinearGrid
import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk
nx, ny, nz = 13, 11, 9
output.SetDimensions(nx, ny, nz)
x, y, z = np.linspace(0, 1, nx), np.linspace(0, 2, ny), np.linspace(0, 1, nz) ** 2
output.SetXCoordinates(numpy_to_vtk(x, deep=True))
output.SetYCoordinates(numpy_to_vtk(y, deep=True))
output.SetZCoordinates(numpy_to_vtk(z, deep=True))
Z, Y, X = np.meshgrid(z, y, x, indexing="ij")
def add(data, name, values):
    array = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
    array.SetName(name)
    data.AddArray(array)
temperature = np.sin(3 * X) + Z
temperature[:2, :3] = np.nan
add(output.GetPointData(), "temperature", temperature.ravel())
add(output.GetPointData(), "salinity", (np.cos(2 * Y) * Z).ravel())
add(output.GetPointData(), "flat", np.ones(X.size))
add(output.GetCellData(), "flow", np.stack([X, Y, Z], -1)[:-1, :-1, :-1].reshape(-1, 3))
"""


def fields():
    return pv.ProgrammableSource(
        OutputDataSetType="vtkRectilinearGrid",
        Script=FIELDS,
        ScriptRequestInformation=(
            "executive = self.GetExecutive()\n"
            "info = executive.GetOutputInformation(0)\n"
            "info.Set(executive.WHOLE_EXTENT(), 0, 12, 0, 10, 0, 8)\n"
        ),
    )


def state_of(trainer):
    trainer.UpdatePropertyInformation()
    return {
        "state": trainer.State,
        "message": trainer.Message,
        "model": trainer.ModelFile,
        "iteration": trainer.Iteration,
    }


def names_in(trainer):
    return list(trainer.PointData.keys())


def main():
    folder = Path(session.arguments()[0])
    names = session.load_plugin()
    wavelet = pv.Wavelet(WholeExtent=[-6, 6, -7, 7, -8, 8])
    results = {}

    trainer = names.AMGSRNTrainer(Input=wavelet, OutputFile=str(folder / "wave.amgsrn"), **SMALL)
    results["before"] = state_of(trainer)
    algorithm = trainer.SMProxy.GetClientSideObject()
    progress = []
    algorithm.AddObserver(
        "ProgressEvent",
        lambda *_: progress.append((algorithm.GetProgress(), algorithm.GetProgressText())),
    )
    trainer.UpdatePipeline()
    results["trained"] = state_of(trainer)
    worker = algorithm._session.status().pid
    results["progress"] = progress
    results["torch"] = "torch" in sys.modules
    table, boxes = (algorithm.GetOutputDataObject(port) for port in (1, 2))
    results["history"] = {
        table.GetColumnName(i): [
            table.GetValue(row, i).ToDouble() for row in range(table.GetNumberOfRows())
        ]
        for i in range(table.GetNumberOfColumns())
    }
    cells = [boxes.GetBlock(i).GetCellData() for i in range(boxes.GetNumberOfBlocks())]
    results["grids"] = [
        [cell.GetArray("grid").GetValue(0), cell.GetArray("density").GetValue(0)] for cell in cells
    ]
    results["boxes"] = [
        [list(boxes.GetBlock(i).GetPoint(corner)) for corner in (0, 6)] for i in range(len(cells))
    ]

    # The same again is not trained again; other settings do not replace the model unasked.
    made = os.stat(results["trained"]["model"]).st_mtime_ns
    session.update_again(trainer)
    results["same"] = algorithm._session.status().pid == worker
    trainer.Iterations = 30
    trainer.UpdatePipeline()
    results["refused"] = state_of(trainer)
    results["kept"] = os.stat(results["trained"]["model"]).st_mtime_ns == made
    trainer.Restart = 1
    trainer.UpdatePipeline()
    results["restarted"] = state_of(trainer)

    # The model that came of it can be sampled at once.
    fine = names.AMGSRNReconstruction(Input=trainer, ScaleFactor=2)
    fine.UpdatePipeline()
    results["fine"] = list(fine.GetDataInformation().GetExtent())

    source = fields()
    source.UpdatePipeline()
    both = names.AMGSRNTrainer(Input=source, Array=["POINTS", "temperature"], **SMALL)
    both.MoreArrays = ["salinity"]
    both.UpdatePipeline()
    results["both"] = {**state_of(both), "arrays": names_in(both)}
    flow = names.AMGSRNTrainer(Input=source, Array=["CELLS", "flow"], **SMALL)
    flow.OutputFile = str(folder / "flow")
    flow.UpdatePipeline()
    results["flow"] = {**state_of(flow), "arrays": names_in(flow)}
    flat = names.AMGSRNTrainer(Input=source, Array=["POINTS", "flat"], **SMALL)
    flat.UpdatePipeline()
    results["flat"] = state_of(flat)

    goal = names.AMGSRNTrainer(Input=wavelet, OutputFile=str(folder / "goal.amgsrn"))
    goal.Iterations, goal.Batch, goal.Width, goal.TargetSize = 60, 2048, 16, "60kB"
    goal.UpdatePipeline()
    results["goal"] = state_of(goal)
    session.save(**results)


main()
