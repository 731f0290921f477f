"""What may happen to a neural volume that is shown: faults, changes, selections, states."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import paraview.simple as pv
from neural_scene import Scene, load
from paraview import smstate, smtrace
from session import arguments, save, update_again

folder = Path(arguments()[0])
names = load()


def mark(what):
    sys.stdout.flush()
    sys.stderr.write(f"\n<<{what}>>\n")
    sys.stderr.flush()


def take(name, scene):
    scene.save(folder / f"{name}.png")


def shown(file):
    return Scene(names.AMGSRNReader(FileName=str(folder / file)))


results = {}

mark("default")
pv.CreateView("RenderView")
reader = names.AMGSRNReader(FileName=str(folder / "even.amgsrn"))
display = pv.Show(reader)
pv.Render()
results["default"] = [str(display.Representation), str(display.ColorArrayName[1])]
pv.Delete(pv.GetActiveView())

pv.ImportPresets(str(folder / "preset.json"))
colors, opacity = (
    get("density") for get in (pv.GetColorTransferFunction, pv.GetOpacityTransferFunction)
)
results["preset"] = []
for function in (colors, opacity):
    function.RescaleTransferFunction(2.0, 8.0)
    function.ApplyPreset("Of the original", True)
for value in np.linspace(2.0, 8.0, 31).tolist():
    rgb = [0.0, 0.0, 0.0]
    colors.SMProxy.GetClientSideObject().GetColor(value, rgb)
    alpha = opacity.SMProxy.GetClientSideObject().GetValue(value)
    results["preset"].append([value, *rgb, alpha])

mark("import")
sys.modules["amgsrn_core.rendering"] = None
broken = shown("even.amgsrn")
take("broken", broken)
broken.look_from([60.0, 60.0, 80.0])
pv.Render(broken.view)
del sys.modules["amgsrn_core.rendering"]
broken.look_from([70.0, 50.0, 80.0])
take("mended", broken)

mark("other_data")
plain = Scene(pv.Wavelet(WholeExtent=[0, 28, 0, 26, 0, 22]), array="RTData")
plain.colors.RescaleTransferFunction(40.0, 270.0)
plain.opacity.RescaleTransferFunction(40.0, 270.0)
take("other-neural", plain)
plain.display.SetRepresentationType("Volume")
take("other-volume", plain)

mark("array")
pv.ColorBy(broken.display, ("POINTS", "density"))
calculated = Scene(
    pv.Calculator(Input=broken.source, Function="density*2", ResultArrayName="twice"),
    array="twice",
)
take("no-such-array", calculated)

mark("quiet")
scene = shown("even.amgsrn")
take("before", scene)
os.replace(folder / "other.amgsrn", folder / "even.amgsrn")
take("still", scene)
update_again(scene.source)
scene.colors.RescaleTransferFunction(0.0, 10.0)
take("replaced", scene)
take("fresh", shown("even.amgsrn"))

pv.SetActiveView(scene.view)
pv.SelectSurfacePoints(Rectangle=[10, 10, 150, 110], View=scene.view)
pv.SelectSurfaceCells(Rectangle=[10, 10, 150, 110], View=scene.view)
pv.ClearSelection()
take("selected", scene)
scene.view.InteractiveRender()
results["interactive"] = scene.status()
scene.display.NeuralSampling = "cached"
take("cached", scene)
results["cached"] = scene.status()
scene.display.NeuralInterpolation = "cubic"
take("cubic", scene)
scene.display.NeuralInterpolation = "linear"
scene.display.NeuralSampling = "exact"
scene.view.InteractiveRender()
results["exact"] = scene.status()
scene.display.NeuralSampling = "auto"
take("automatic", scene)
results["automatic"] = scene.status()
scene.display.NeuralSamplesPerVoxel = 0.5
scene.display.NeuralJitter = 1
take("coarse", scene)
scene.display.NeuralBackend = "torch"
scene.view.ViewSize = [40, 30]
pv.Render(scene.view)
results["torch"] = scene.status()

mark("backend")
scene.display.NeuralBackend = "abacus"
pv.Render(scene.view)
scene.display.NeuralBackend = "auto"
scene.view.ViewSize = [160, 120]

mark("state")
take("saved", scene)
pv.SaveState(str(folder / "state.pvsm"))
results["script"] = smstate.get_state()
smtrace.start_trace()
pv.Show(names.AMGSRNReader(FileName=str(folder / "even.amgsrn")), scene.view)
results["trace"] = smtrace.stop_trace()
pv.SetActiveView(scene.view)
pv.GetAnimationScene().NumberOfFrames = 2  # 1 in ParaView 6.1
pv.SaveAnimation(str(folder / "frame.png"), scene.view, FrameWindow=[0, 1])
results["frames"] = len(list(folder.glob("frame*.png")))
pv.ResetSession()
pv.LoadState(str(folder / "state.pvsm"))
restored = [
    view
    for view in pv.GetRenderViews()
    for display in view.Representations
    if str(getattr(display, "NeuralSamplesPerVoxel", 0)) == "0.5"
]
results["restored"] = len(restored)
pv.SaveScreenshot(str(folder / "restored.png"), restored[0], ImageResolution=[160, 120])
mark("end")
save(**results)
