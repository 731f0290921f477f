"""In ParaView's window: choose the trainer from the menu, Apply, watch, pause, resume, stop."""

from __future__ import annotations

import os
from pathlib import Path

import paraview.simple as pv
from vtkmodules.util.numpy_support import vtk_to_numpy
from window import Window, coloured, play

results_file = Path(os.environ["AMGSRN_TEST_RESULTS"])
window = Window()
seen: dict = {"updates": []}

wavelet = pv.Wavelet(WholeExtent=[-12, 12, -12, 12, -12, 12])
pv.Show(wavelet)
view = pv.GetActiveView()
pv.Render()


def algorithm():
    return pv.FindSource("AMGSRNTrainer1").SMProxy.GetClientSideObject()


def state():
    return algorithm().GetState()


def iteration():
    return algorithm().GetIteration()


def output(port):
    return algorithm().GetOutputDataObject(port)


def ask_for(iterations, name):
    """Type other settings into the panel, as a user does before pressing Apply."""
    window.type("Iterations/LineEdit0", str(iterations))
    window.type("OutputFile/FileChooser/FileLineEdit", str(results_file.parent / name))


def update_seen():
    """Note every new preview that the pipeline shows; return how many there were."""
    update = {
        "values": float(vtk_to_numpy(output(0).GetPointData().GetArray(0)).std()),
        "rows": output(1).GetNumberOfRows(),
        "boxes": output(2).GetNumberOfBlocks(),
    }
    if update["boxes"] and update not in seen["updates"][-1:]:
        seen["updates"].append(update)
    return len(seen["updates"])


def scenario():
    yield 0.5
    window.choose("Filters", "AMGSRNTrainer")
    yield lambda: pv.FindSource("AMGSRNTrainer1")
    trainer = pv.FindSource("AMGSRNTrainer1")
    seen["array"] = list(trainer.Array)
    trainer.Iterations = 200_000
    trainer.Batch, trainer.Grids, trainer.GridShape, trainer.Width = 512, 4, [8, 8, 8], 16
    trainer.OutputFile = str(results_file.parent / "live.amgsrn")
    yield 0.5

    heart.phase = "apply"
    window.press("Accept")
    yield lambda: state() != "idle"
    seen["state_after_apply"] = state()
    seen["points_after_apply"] = output(0).GetNumberOfPoints()
    heart.phase = "training"
    yield lambda: state() == "training"
    preview = pv.GetRepresentation(trainer, view)
    seen["shown_as"] = str(preview.Representation).strip("'")
    seen["coloured_by"] = list(preview.ColorArrayName)
    shown = [r for r in view.Representations if r.Visibility and hasattr(r, "Input")]
    seen["grids_shown"] = any(r.Input.Port == 2 for r in shown)
    pv.Hide(wavelet, view)
    yield lambda: update_seen() >= 4 and seen["updates"][-1]["rows"]
    seen["views"] = sorted(shown.GetXMLName() for shown in pv.GetViews())
    seen["chosen"] = pv.GetActiveView().GetXMLName()
    chart = next(shown for shown in pv.GetViews() if shown.GetXMLName() == "XYChartView")
    seen["chart"] = [str(chart.ChartTitle), *(each.GetXMLName() for each in chart.Representations)]
    seen["in_one_layout"] = pv.GetLayout(chart) == pv.GetLayout(view)
    seen["curve"] = coloured(chart)
    seen["beats_while_training"] = sum(phase == "training" for phase, _ in heart.gaps)
    window.photograph("gui-training")
    trainer.UpdatePropertyInformation()
    seen["progress"] = str(trainer.GetProperty("Progress"))
    seen["more_arrays"] = list(trainer.MoreArrays)

    heart.phase = "pause"
    window.press("Pause")
    yield lambda: state() == "paused"
    paused_at = iteration()
    yield 1.5
    seen["while_paused"] = [paused_at, iteration(), state()]
    window.photograph("gui-paused")
    window.press("Resume")
    yield lambda: state() == "training" and iteration() > paused_at

    heart.phase = "stop"
    window.press("Stop")
    yield lambda: state() == "stopped"
    stopped_at = iteration()
    yield 1.5
    seen["after_stop"] = [stopped_at, iteration(), state()]
    window.press("Resume")
    yield lambda: state() == "training"
    seen["resumed_at"] = iteration()

    heart.phase = "other settings"
    seen["running"] = os.path.exists(f"{trainer.OutputFile}.parts")
    ask_for(150, "short.amgsrn")
    yield 0.3
    window.press("Accept")
    yield lambda: "short" in algorithm().GetModelFile()
    heart.phase = "finishing"
    yield lambda: state() == "done" and output(0).GetFieldData().GetAbstractArray("amgsrn_model")
    seen["model"] = output(0).GetFieldData().GetAbstractArray("amgsrn_model").GetValue(0)
    yield 0.5
    seen["completed"] = algorithm().GetTrainingProgress()
    window.photograph("gui-done")
    heart.phase = "reconstruction"
    window.choose("Filters", "AMGSRNReconstruction")
    yield lambda: pv.FindSource("AMGSRNReconstruction1")
    window.type("ScaleFactor/DoubleLineEdit0", "1.96")
    window.press("Accept")
    fine = pv.FindSource("AMGSRNReconstruction1")
    yield lambda: fine.GetDataInformation().GetNumberOfPoints() > 1
    seen["reconstruction"] = list(fine.GetDataInformation().GetExtent())
    window.press("Delete")
    yield lambda: pv.FindSource("AMGSRNReconstruction1") is None
    pv.SetActiveSource(trainer)
    yield 0.5

    heart.phase = "delete"
    ask_for(2_000_000, "deleted.amgsrn")
    yield 0.3
    window.press("Accept")
    yield lambda: state() == "training"
    window.press("Delete")
    yield lambda: pv.FindSource("AMGSRNTrainer1") is None
    # Nobody asks for it any more: its worker's lease runs out. (Another test waits for that.)
    yield 1.0
    renewed = lease()
    yield 1.5
    seen["lease_renewed_after_delete"] = lease() != renewed


def lease():
    folders = Path(os.environ["TMPDIR"]).glob("amgsrn-live-*/watched")
    return max(path.stat().st_mtime_ns for path in folders)


def end(heart):
    phases = dict.fromkeys(name for name, _ in heart.gaps)
    seen["gaps"] = {name: round(heart.longest(name), 3) for name in phases}


heart = play(window, scenario(), seen, on_end=end)
