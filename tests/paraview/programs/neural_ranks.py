"""The same pictures on any number of ranks, here or on a server."""

from __future__ import annotations

from pathlib import Path

import paraview.simple as pv
from neural_scene import Scene, load
from session import arguments
from session import save as keep

folder, port, ranks = Path(arguments()[0]), int(arguments()[1]), int(arguments()[2])
if port:
    pv.Connect("localhost", port)
names = load(remote=bool(port))
scene = Scene(names.AMGSRNReader(FileName=str(folder / "bricks.amgsrn")))
scene.view.RemoteRenderThreshold = 0
scene.display.NeuralBackend, scene.display.NeuralSampling = arguments()[3:5]
scene.add_ball([16, 13, 11], 5.0)
scene.add_ball([36, 26, 36], 3.0)
scene.save(folder / "front.png")
status = scene.status()
scene.look_from([-40.0, -20.0, -60.0])
scene.save(folder / "back.png")
scene.look_from([-60.0, 70.0, 40.0])
scene.save(folder / "above.png")
scene.display.NeuralUseCropping = 1
scene.look_from([-40.0, -20.0, -60.0])
scene.display.NeuralCroppingOrigin = [3.0, 0.0, 6.0]
scene.display.NeuralCroppingScale = [0.5, 1.0, 0.6]
scene.save(folder / "cropped.png")
parts = [scene.source.GetRankDataInformation(rank).GetNumberOfPoints() for rank in range(ranks)]
scene.display.NeuralUseCropping = 0
scene.look_from([70.0, 50.0, 80.0])
scene.view.InteractiveRender()

# Every rank tells which bricks it has read for its part of the picture. (The program fills the
# names of this one with numpy's.)
program = pv.ProgrammableSource(OutputDataSetType="vtkTable")
program.Script = f"""
import json
from amgsrn_paraview import neural_volume
from vtkmodules.vtkParallelCore import vtkMultiProcessController
volumes = [painter._volume for painter in neural_volume._painters.values()]
held = {{int(number) for volume in volumes for number in volume._bricks.held}}
rank = vtkMultiProcessController.GetGlobalController().GetLocalProcessId()
told = [painter.told for painter in neural_volume._painters.values()]  # a shader tells nothing
decoded = [each.decoded.blocks for each in told if each and each.decoded]
found = decoded[0] if decoded else None
with open(f"{folder}/rank-{{rank}}.json", "w") as file:
    json.dump({{"held": sorted(held), "blocks": found}}, file)
"""
program.UpdatePipeline()
keep(points_by_rank=parts, status=status)
