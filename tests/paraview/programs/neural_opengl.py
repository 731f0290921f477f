"""Neural Volume drawn by a shader of OpenGL, beside the same pictures of the CPU kernels."""

from __future__ import annotations

from pathlib import Path

import paraview.simple as pv
from amgsrn_paraview import shader_volume
from neural_scene import Scene, load
from session import arguments, save

from amgsrn_core.vtk import network_volume, parts

folder = Path(arguments()[0])
names = load()
results = {"status": {}}


def take(name, scene):
    scene.save(folder / f"{name}.png")
    results["status"][name] = scene.status()


def both(name, scene):
    for backend in ("native", "opengl"):
        scene.display.NeuralBackend = backend
        take(f"{name}-{backend}", scene)


def shown(file, **options):
    scene = Scene(names.AMGSRNReader(FileName=str(folder / file)), **options)
    scene.view.ViewSize = [96, 72]
    return scene


scene = shown("even.amgsrn")
scene.display.Visibility = 0
scene.add_ball([20.0, 16.0, 14.0], 5.0)
take("without", scene)
scene.display.Visibility = 1
packed = []
pack = network_volume.PackedModel.of
network_volume.PackedModel.of = lambda model: packed.append(1) or pack(model)
both("plain", scene)
pv.Render(scene.view)
results["packed"] = len(packed)
scene.display.Visibility = 0
take("hidden", scene)
scene.display.Visibility = 1
take("shown", scene)
scene.display.NeuralShade = 1
both("lit", scene)
scene.display.NeuralShade = 0
scene.display.Scale, scene.display.Orientation = [1.0, 0.7, 1.2], [0.0, 20.0, 10.0]
# ParaView 6 has another name for it.
place = "Position" if "Position" in scene.display.ListProperties() else "Translation"
setattr(scene.display, place, [1.0, 2.0, -1.0])
both("placed", scene)
scene.display.Scale, scene.display.Orientation = [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]
setattr(scene.display, place, [0.0, 0.0, 0.0])
scene.display.NeuralUseCropping = 1
scene.display.NeuralCroppingScale = [0.6, 0.7, 0.8]
both("cropped", scene)
scene.display.NeuralUseCropping = 0
scene.display.NeuralBlendMode = "Maximum Intensity"
both("maximum", scene)
scene.display.NeuralBlendMode = "Isosurface"
scene.display.NeuralIsosurfaceValues = [4.0]
both("surface", scene)
scene.display.NeuralBlendMode = "Composite"
scene.opacity.Points = [0.0, 0.0, 0.5, 0.0, 5.0, 0.0, 0.5, 0.0, 10.0, 0.3, 0.5, 0.0]
both("colours", scene)
scene.look_from([40.0, 60.0, 60.0], parallel=True)
scene.add_ball([5.0, 5.0, 5.0], 4.0, opacity=0.5)
both("translucent", scene)
both("uneven", shown("uneven.amgsrn"))
both("bricks", shown("bricks.amgsrn"))

# A drag: coarse; then in parts, for which nobody asks in a script, and whole in a screenshot.
pv.SetActiveView(scene.view)
view = scene.view.SMProxy
# However fast this computer is, there is no time for all rays.
shaders = [painter.shader for painter in shader_volume.neural_volume._painters.values()]
networks = [shader._network for shader in shaders if shader and shader._network]
given = [network.moving_seconds for network in networks]
for network in networks:
    network.moving_seconds = 1e-6
view.InteractiveRender()
results["status"]["dragged"] = scene.status()
for network, seconds in zip(networks, given):
    network.moving_seconds = seconds
parts._WHOLE_SECONDS = 0.0
scene.save(folder / "parts.png")
results["status"]["parts"] = scene.status()
parts._WHOLE_SECONDS = 1e9
scene.save(folder / "again.png")
for backend in ("native", "opengl"):
    scene.display.NeuralBackend = backend
    scene.save(folder / f"large-{backend}.png", ImageResolution=[192, 144])

scene.display.NeuralBackend = "auto"
take("auto", scene)
# As on a graphics processor, which here is slower than the processor.
is_software, shader_volume.is_software = shader_volume.is_software, lambda name: False
scene.display.NeuralBackend = "native"
take("native", scene)
scene.display.NeuralBackend = "auto"
take("tried", scene)
take("slower", scene)
shader_volume.is_software = is_software
whole = network_volume.fragment_source
network_volume.fragment_source = lambda *_: "this is no shader"
scene.display.NeuralSamplesPerVoxel = 3.0
scene.display.NeuralBackend = "native"
take("native", scene)
scene.display.NeuralBackend = "opengl"
scene.opacity.Points = [0.0, 0.0, 0.5, 0.0, 5.0, 0.0, 0.5, 0.0, 10.0, 0.2, 0.5, 0.0]
take("broken", scene)
scene.display.NeuralBackend = "native"
take("unbroken", scene)
network_volume.fragment_source = whole
scene.display.NeuralBackend = "opengl"
take("mended", scene)

pv.SaveState(str(folder / "state.pvsm"))
pv.ResetSession()
pv.LoadState(str(folder / "state.pvsm"))
found = [v for v in pv.GetViews() if list(v.CameraPosition) == [40.0, 60.0, 60.0]]
pv.SaveScreenshot(str(folder / "restored.png"), found[0])
save(**results)
