"""Ask the trainer for what it cannot do, and collect what it says."""

from __future__ import annotations

import os
from pathlib import Path

import paraview.simple as pv
import session  # by its name: programmable sources fill this module's namespace with numpy's

VALUES = """
import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk
output.SetDimensions(5, 6, {depth})
values = np.random.default_rng(0).random(30 * {depth})
{change}
array = numpy_to_vtk(values, deep=True)
array.SetName("values")
output.GetPointData().SetScalars(array)
"""
INFORMATION = """
executive = self.GetExecutive()
executive.GetOutputInformation(0).Set(executive.WHOLE_EXTENT(), 0, 4, 0, 5, 0, {last})
"""

folder = Path(session.arguments()[0])
names = session.load_plugin()
said = {}


def make_volume(change="", depth=4):
    source = pv.ProgrammableSource(
        OutputDataSetType="vtkImageData",
        Script=VALUES.format(change=change, depth=depth),
        ScriptRequestInformation=INFORMATION.format(last=depth - 1),
    )
    source.UpdatePipeline()
    return source


def ask(name, source, **properties):
    properties.setdefault("OutputFile", str(folder / f"{name}.amgsrn"))
    trainer = names.AMGSRNTrainer(Input=source, **properties)
    trainer.UpdatePipeline()
    trainer.UpdatePipeline()
    said[name] = trainer.SMProxy.GetClientSideObject().GetMessage()


good = make_volume()
ask("constant", make_volume("values[:] = 3"))
ask("missing", make_volume("values[:] = np.nan"))
ask("infinite", make_volume("values[7] = np.inf"))
ask("flat", make_volume(depth=1))
ask("unknown", good, Array=["POINTS", "other"])
ask("folder", good, OutputFile=str(folder / "nowhere" / "model.amgsrn"))
(folder / "folder.amgsrn").mkdir()
ask("is_folder", good, OutputFile=str(folder / "folder.amgsrn"))
(folder / "folder.amgsrn").rmdir()
ask("grids", good, Grids=0)
ask("shape", good, GridShape=[2000, 8, 8])
ask("batch", good, Batch=-5)
ask("device", good, Device="abacus")
os.environ["AMGSRN_PYTHON"] = "/nowhere/python"
ask("interpreter", good)
session.save(**said)
