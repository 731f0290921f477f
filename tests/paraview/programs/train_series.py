"""Train every time step: of data that exist in the pipeline alone, and of a file for each step."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from pathlib import Path

import numpy as np
import paraview.simple as pv
import session  # by its name: programmable sources fill this module's namespace with numpy's

TIMES = (0.0, 2.0, 5.0)
SMALL = {
    "Iterations": 60,
    "WarmIterations": 20,
    "Batch": 2048,
    "Grids": 4,
    "GridShape": [5, 5, 5],
    "Width": 16,
    "Device": "cpu",
}
ANNOUNCE = """
e = self.GetExecutive()
info = e.GetOutputInformation(0)
info.Set(e.WHOLE_EXTENT(), 0, 8, 0, 9, 0, 10)
info.Remove(e.TIME_STEPS())
for t in (0.0, 2.0, 5.0):
    info.Append(e.TIME_STEPS(), t)
"""
WAVE = """
import numpy as np
import session
from vtkmodules.util.numpy_support import numpy_to_vtk
e = self.GetExecutive()
info = e.GetOutputInformation(0)
t = info.Get(e.UPDATE_TIME_STEP()) if info.Has(e.UPDATE_TIME_STEP()) else 0.0
session.executed = getattr(session, "executed", []) + [t]
output.SetDimensions(9, 10, 11)
output.SetSpacing(0.25, 0.25, 0.25)
z, y, x = np.meshgrid(*(0.25 * np.arange(n) for n in (11, 10, 9)), indexing="ij")
values = numpy_to_vtk(((1 + t) * np.sin(2 * x + y - t) + z).ravel(), deep=True)
values.SetName("wave")
output.GetPointData().SetScalars(values)
"""


RANGED = ANNOUNCE + "info.Set(e.TIME_RANGE(), [0.0, 5.0], 2)"


def wave(announce=RANGED):
    """Return a source of data that no file has."""
    source = pv.ProgrammableSource(
        OutputDataSetType="vtkImageData", Script=WAVE, ScriptRequestInformation=announce
    )
    source.UpdatePipeline()
    return source


def trainer_of(source, **options):
    options = {"Array": ["POINTS", "wave"], "TimeSteps": "All", **SMALL, **options}
    trainer = names.AMGSRNTrainer(Input=source, **options)
    return trainer, trainer.SMProxy.GetClientSideObject()


def state_of(trainer):
    trainer.UpdatePropertyInformation()
    return {"state": trainer.State, "message": trainer.Message, "model": trainer.ModelFile}


def look_at(trainer, key):
    """Show every step, and one between two of them; return the model that each says it is of."""
    models = []
    for at in (5.0, 0.0, 2.0, 1.8):
        trainer.UpdatePipeline(at)
        shown = session.output_of(trainer)
        previews[f"{key}/{at:g}"] = session.values(shown, "wave")
        models.append(session.model_of(shown))
    return models


def run_of(algorithm):
    """Return what is another object for every worker."""
    return algorithm._session._run


def in_the_pipeline():
    """Train in one go, look at the steps, and change what is upstream."""
    source = wave()
    trainer, algorithm = trainer_of(source, OutputFile=str(folder / "wave.amgsrn"))
    texts = []
    algorithm.AddObserver("ProgressEvent", lambda *_: texts.append(algorithm.GetProgressText()))
    trainer.UpdatePipeline(2.0)
    found = {"trained": state_of(trainer), "texts": texts}
    run = run_of(algorithm)
    shown = session.output_of(source)
    found["upstream"] = shown.GetInformation().Get(shown.DATA_TIME_STEP())
    found["models"] = look_at(trainer, "pipeline")
    found["history"] = session.output_of(trainer, 1).GetNumberOfRows()
    found["same_run"] = run_of(algorithm) is run
    # Other data: the model of the first ones is not replaced unasked.
    source.Script = WAVE.replace("sin", "cos")
    trainer.UpdatePipeline(0.0)
    found["changed"] = state_of(trainer)
    return found


def while_looking_on():
    """Train in bricks as ParaView's window does, while the time changes."""
    trainer, algorithm = trainer_of(
        wave(),
        OutputFile=str(folder / "live.amgsrn"),
        Execution=1,
        Bricks=[2, 1, 1],
        Ghost=1,
        Workers=2,
    )
    trainer.UpdatePipeline(0.0)
    run = run_of(algorithm)
    algorithm.Pause()
    trainer.UpdatePipeline(5.0)
    later = session.values(session.output_of(trainer), "wave")
    algorithm.Resume()
    while not session.model_of(session.output_of(trainer)):
        time.sleep(0.1)
        if algorithm.GetNeedsUpdate():
            session.update_again(trainer)
    models = look_at(trainer, "live")
    return {
        "untrained": int(np.sum(later != later.min())),
        "models": models,
        "same_run": run_of(algorithm) is run,
        "state": state_of(trainer),
    }


def from_files():
    """Stop in the middle of the series, and go on."""
    source = wave()
    for number, at in enumerate(TIMES):
        source.UpdatePipeline(at)
        pv.SaveData(str(folder / f"wave-{number}.vti"), source)
    files = [str(folder / f"wave-{number}.vti") for number in range(3)]
    reader = pv.XMLImageDataReader(FileName=files)
    trainer, algorithm = trainer_of(
        reader, OutputFile=str(folder / "files.amgsrn"), WarmIterations=2000, Batch=512
    )
    parts = folder / "files.amgsrn.parts"

    def stop():
        while not (parts / "step-0000" / "step.amgsrn").exists():
            time.sleep(0.002)
        (parts / "stop").touch()

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    trainer.UpdatePipeline()
    thread.join()
    found = {"stopped": state_of(trainer), "step": algorithm._session.status().step}
    found["folders"] = sorted(path.name for path in parts.glob("step-*"))
    made = set()

    def watch():
        while parts.exists():
            with contextlib.suppress(FileNotFoundError):
                made.add((parts / "step-0000" / "step.amgsrn").stat().st_mtime_ns)
            time.sleep(0.002)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    session.update_again(trainer)
    found["resumed"] = state_of(trainer)
    thread.join()
    found["first_step_made"] = len(made)
    look_at(trainer, "files")
    found["left"] = [path.name for path in parts.parent.glob("files.amgsrn.parts*")]
    # One of the files goes.
    Path(files[1]).unlink()
    broken, _ = trainer_of(reader, OutputFile=str(folder / "broken.amgsrn"))
    broken.UpdatePipeline()
    found["broken"] = state_of(broken)
    return found


def refusals():
    found = {}
    for key, source in (
        ("untimed", pv.Wavelet(WholeExtent=[-4, 4, -4, 4, -4, 4])),
        ("rangeless", wave(ANNOUNCE)),
        ("repeated", wave(RANGED.replace("2.0,", "2.0, 2.0,"))),
    ):
        trainer, _ = trainer_of(source)
        trainer.UpdatePipeline()
        found[key] = state_of(trainer)
    trainer, algorithm = trainer_of(wave(), OutputFile=str(folder / "aborted.amgsrn"), Execution=1)
    abort = [1]

    def on_progress(*_event):
        if abort and algorithm.GetProgressText() == "Reading time step 2 of 3":
            algorithm.SetAbortExecute(abort.pop())

    algorithm.AddObserver("ProgressEvent", on_progress)
    trainer.UpdatePipeline()
    found["aborted"] = state_of(trainer)
    trainer.UpdatePipeline(2.0)
    found["later"] = state_of(trainer)
    trainer.InvokeCommand("Resume")
    session.update_again(trainer)
    found["after"] = state_of(trainer)
    trainer.InvokeCommand("Stop")
    return found


folder = Path(session.arguments()[0])
names = session.load_plugin()
previews: dict[str, np.ndarray] = {}
results = {part.__name__: part() for part in (in_the_pipeline, while_looking_on, from_files)}
results["refusals"] = refusals()
np.savez(sys.argv[1] + ".npz", **previews)
session.save(**results)
