"""On several ranks: train, read, reconstruct; save what each rank holds and the joined values."""

from __future__ import annotations

from pathlib import Path

import paraview.simple as pv
from session import arguments, describe, load_plugin, save

folder, port, ranks = Path(arguments()[0]), int(arguments()[1]), int(arguments()[2])
if port:
    pv.Connect("localhost", port)
names = load_plugin(remote=bool(port))
wavelet = pv.Wavelet(WholeExtent=[-6, 6, -7, 7, -8, 8])
options = {"Iterations": 60, "Batch": 2048, "Grids": 4, "GridShape": [6, 6, 6], "Width": 16}
trainer = names.AMGSRNTrainer(Input=wavelet, OutputFile=str(folder / "ranks.amgsrn"), **options)
trainer.UpdatePipeline()
trainer.UpdatePropertyInformation()
results = {"trained": [trainer.State, trainer.Message, trainer.ModelFile]}
results["preview"] = describe(trainer)

sources = {
    "filter": names.AMGSRNReconstruction(Input=trainer, ScaleFactor=1.5),
    "source": names.AMGSRNReconstructionSource(FileName=str(folder / "uneven.amgsrn")),
    "reader": pv.OpenDataFile(str(folder / "ranks.amgsrn")),
}
for name, source in sources.items():
    source.UpdatePipeline()
    results[name] = describe(source)
    parts = [source.GetRankDataInformation(rank) for rank in range(ranks)]
    results[name]["points_by_rank"] = [part.GetNumberOfPoints() for part in parts]
    # (servermanager.Fetch loses the other ranks' parts of structured data in ParaView 5.11.)
    even = results[name]["type"] == "vtkImageData"
    pv.SaveData(str(folder / f"{name}.{'pvti' if even else 'pvtr'}"), source)

view = pv.CreateView("RenderView")
view.ViewSize = [300, 300]
shown = pv.Show(sources["filter"], view)
shown.SetRepresentationType("Surface")
pv.ColorBy(shown, ("POINTS", "RTData"))
pv.ResetCamera(view)
pv.SaveScreenshot(str(folder / "ranks.png"), view)

if not port:  # the script runs on the first rank itself
    from amgsrn_core.kernels import load
    from amgsrn_core.kernels.threads import thread_count

    results["threads"] = thread_count()
    results["kernels"] = load() is not None

bad = names.AMGSRNReconstructionSource(FileName=str(folder / "missing.amgsrn"))
bad.UpdatePipeline()
save(**results)
