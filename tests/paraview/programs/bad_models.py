"""Show ParaView what it cannot open, and mark what it says."""

from __future__ import annotations

import os
import shutil

import paraview.simple as pv
from session import arguments, load_plugin, save

names = load_plugin()
good, cut, foreign = arguments()
asked = []


def ask(name, make):
    # Between marks on the terminal stands what ParaView prints there.
    os.write(2, f"\n<<{name}>>\n".encode())
    source = make()
    source.UpdatePipeline()
    source.UpdatePipeline()
    asked.append(name)


def reconstruction(file, **properties):
    return lambda: names.AMGSRNReconstructionSource(FileName=file, **properties)


ask("missing", reconstruction("nowhere.amgsrn"))
ask("unnamed", names.AMGSRNReconstructionSource)
ask("cut", lambda: names.AMGSRNReader(FileName=cut))
ask("foreign", reconstruction(foreign))
ask("no_model", lambda: names.AMGSRNReconstruction(Input=pv.Wavelet()))
ask("outside", reconstruction(good, Region="World Bounds", WorldBounds=[90, 95, 0, 1, 0, 1]))
ask("extent", reconstruction(good, Region="Index Extent", IndexExtent=[0, 8, 0, 1, 0, 1]))

# A model that is there at first.
moving = "moving.amgsrn"
shutil.copy(good, moving)
reader = names.AMGSRNReader(FileName=os.path.abspath(moving))
held = names.AMGSRNReconstruction(Input=reader)
held.UpdatePipeline()
os.rename(moving, "elsewhere.amgsrn")
held.ScaleFactor = 2
ask("moved", lambda: held)
shutil.copy(os.path.join(os.path.dirname(good), "other.amgsrn"), moving)
held.ScaleFactor = 3
ask("replaced", lambda: held)
os.write(2, b"\n<<created>>\n")
asked.append("created")
unnamed = names.AMGSRNReconstructionSource()
without = names.AMGSRNReconstruction(Input=pv.Wavelet())
save(asked=asked)
