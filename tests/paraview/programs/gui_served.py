"""In ParaView's window, on a server of several ranks: decoded blocks, and the next time step's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import paraview.simple as pv
from neural_scene import load
from window import Window, is_refined, play, status

folder = Path(os.environ["AMGSRN_TEST_RESULTS"]).parent
pv.Connect("localhost", int(os.environ["AMGSRN_TEST_PORT"]))
load(remote=True)
window = Window()
view = pv.GetActiveViewOrCreate("RenderView")
seen: dict = {"status": []}


def blocks():
    """Return of each rank how many blocks its sharp picture has decoded, and those of the next."""
    program = pv.ProgrammableSource(OutputDataSetType="vtkTable")
    program.Script = f"""
import json
from amgsrn_paraview import neural_volume
from amgsrn_paraview.ranks import rank
painters = neural_volume._painters.values()
pictures = [[p._rough, p._sharp, p._next_picture] for p in painters]
counts = [[x and x.marcher.blocks for x in of_one] for of_one in pictures]
with open(f"{folder}/rank-{{rank()}}.json", "w") as file:
    json.dump(counts, file)
"""
    program.UpdatePipeline()
    pv.Delete(program)
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2)]


def scenario():
    reader = pv.OpenDataFile(str(folder / "series.amgsrn"))
    pv.Show(reader, view)
    view.RemoteRenderThreshold = 0
    pv.Render()
    scene = pv.GetAnimationScene()
    scene.UpdateAnimationUsingDataTimeSteps()
    yield is_refined
    yield 2.0
    seen["status"].append(status())
    seen["first"] = blocks()
    pv.SetActiveSource(reader)
    scene.GoToNext()
    yield is_refined
    yield 2.0
    seen["status"].append(status())
    seen["second"] = blocks()
    window.photograph("gui-served")


heart = play(window, scenario(), seen)
