"""Go through the steps of a model in ParaView's animation, and keep what every source shows."""

from __future__ import annotations

import sys

import numpy as np
import paraview.simple as pv
from neural_scene import Scene, load
from session import arguments, model_of, output_of, save, values

model, folder = arguments()
names = load()
reader = names.AMGSRNReader(FileName=model)
filtered = names.AMGSRNReconstruction(Input=reader)
source = names.AMGSRNReconstructionSource(FileName=model)
shown = [reader, filtered, source]
scene = Scene(reader)
animation = pv.GetAnimationScene()
animation.UpdateAnimationUsingDataTimeSteps()
times = list(pv.GetTimeKeeper().TimestepValues)

arrays, models = {}, []
for time in times:
    animation.AnimationTime = time
    scene.save(f"{folder}/{time:g}.png")
    for which, one in enumerate(shown):
        one.UpdatePipeline(time)
        arrays[f"{which}/{time:g}"] = values(output_of(one), "density")
    models.append(model_of(output_of(reader)))
# Nobody has to ask for the times that are there.
reader.UpdatePipeline(times[-1] - 0.1)
arrays["between"] = values(output_of(reader), "density")
status = scene.status()

alone = names.AMGSRNReader(FileName=f"{folder}/alone.amgsrn")
Scene(alone).save(f"{folder}/alone.png")
np.savez(sys.argv[1] + ".npz", **arrays)
save(
    times=times,
    mode=str(animation.PlayMode).strip("'"),
    each=[list(one.TimestepValues) for one in (reader, source)],
    models=models,
    status=status,
)
