"""Show, sample and train numbers that float32 does not hold, and steps without any."""

from __future__ import annotations

import sys

import numpy as np
import paraview.simple as pv
import session  # by its name: programmable sources fill this module's namespace with numpy's
from neural_scene import PEAKS, Scene, load

FAR = 1e9
SMALL = {"Iterations": 60, "Batch": 2048, "Grids": 2, "GridShape": [6, 6, 6], "Width": 16}
FIELD = """
import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk
output.SetDimensions(13, 11, 9)
z, y, x = np.meshgrid(*[np.linspace(0, 1, n) for n in (9, 11, 13)], indexing="ij")
array = numpy_to_vtk((1e9 + 2 * z + np.sin(3 * y) + x).ravel(), deep=True)
array.SetName("pressure")
output.GetPointData().AddArray(array)
"""


def type_of(source, name):
    return session.output_of(source).GetPointData().GetArray(name).GetDataTypeAsString()


def main():
    (folder,) = session.arguments()
    names = load()
    arrays, results = {}, {}

    Scene(names.AMGSRNReader(FileName=f"{folder}/near.amgsrn")).save(f"{folder}/near.png")
    reader = names.AMGSRNReader(FileName=f"{folder}/far.amgsrn")
    scene = Scene(reader, array="far")
    scene.colors.RescaleTransferFunction(FAR, FAR + 10.0)
    points = np.array(PEAKS).reshape(-1, 4) + np.array([FAR, 0, 0, 0])
    scene.opacity.Points = points.ravel().tolist()
    scene.save(f"{folder}/far.png")
    results["status"] = scene.status()
    source = names.AMGSRNReconstructionSource(FileName=f"{folder}/far.amgsrn")
    source.UpdatePipeline()
    results["types"] = [type_of(one, "far") for one in (reader, source)]
    arrays["far"] = session.values(session.output_of(source), "far")

    data = pv.ProgrammableSource(
        OutputDataSetType="vtkImageData",
        Script=FIELD,
        ScriptRequestInformation=(
            "executive = self.GetExecutive()\n"
            "info = executive.GetOutputInformation(0)\n"
            "info.Set(executive.WHOLE_EXTENT(), 0, 12, 0, 10, 0, 8)\n"
        ),
    )
    data.UpdatePipeline()
    trainer = names.AMGSRNTrainer(
        Input=data,
        Array=["POINTS", "pressure"],
        OutputFile=f"{folder}/trained.amgsrn",
        **SMALL,
    )
    trainer.UpdatePipeline()
    trainer.UpdatePropertyInformation()
    results["trained"] = [trainer.State, trainer.Message, type_of(trainer, "pressure")]
    back = names.AMGSRNReconstruction(Input=trainer)
    back.UpdatePipeline()
    for name, one in (("trained", back), ("data", data)):
        arrays[name] = session.values(session.output_of(one), "pressure")

    quiet = names.AMGSRNReader(FileName=f"{folder}/quiet.amgsrn")
    scene = Scene(quiet, array="quiet")
    scene.colors.RescaleTransferFunction(0.0, 10.0)
    scene.opacity.Points = [0.0, 0.5, 0.5, 0.0, 10.0, 0.5, 0.5, 0.0]
    every = names.AMGSRNReconstruction(Input=quiet)
    for step in range(3):
        scene.view.ViewTime = step
        scene.save(f"{folder}/quiet-{step}.png")
        every.UpdatePipeline(step)
        arrays[f"quiet-{step}"] = session.values(session.output_of(every), "quiet")
    results["quiet"] = scene.status()
    np.savez(sys.argv[1] + ".npz", **arrays)
    session.save(**results)


main()
