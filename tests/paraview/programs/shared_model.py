"""One model file in a reader, a reconstruction and a Neural Volume: how often it is opened."""

from __future__ import annotations

from pathlib import Path

import paraview.simple as pv
from neural_scene import Scene, load
from session import arguments, save

names = load()

from amgsrn_core.model import Archive  # noqa: E402 - load() puts the library on the path

opened: list[str] = []
_open = Archive.__init__


def _told(self, path):
    opened.append(str(path))
    _open(self, path)


Archive.__init__ = _told
path = Path(arguments()[0]) / "bricks.amgsrn"
reader = names.AMGSRNReader(FileName=str(path))
scene = Scene(reader)
pv.Render(scene.view)
source = names.AMGSRNReconstructionSource(FileName=str(path))
source.UpdatePipeline()
filtered = names.AMGSRNReconstruction(Input=reader)
filtered.UpdatePipeline()
results = {"opened": len(opened), "mapped": str(path) in Path("/proc/self/maps").read_text()}
save(**results)
