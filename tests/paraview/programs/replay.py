"""Make the filters on models, undo them, and make them again of a state, a script and a trace."""

from __future__ import annotations

import re
from pathlib import Path

import paraview.simple as pv
from paraview import smstate, smtrace
from paraview.modules import vtkRemotingServerManager as manager
from session import arguments, load_plugin, save

folder, port, isovalue = Path(arguments()[0]), int(arguments()[1]), float(arguments()[2])
if port:
    pv.Connect("localhost", port)
names = load_plugin(remote=bool(port))
NAMES = ("AMGSRNCompare", "AMGSRNFeatureGrids", "AMGSRNStreamTracer", "AMGSRNSample")
NAMES += ("AMGSRNIsosurface", "AMGSRNTrainer")


SMALL = {
    "Array": ["POINTS", "density"],
    "Iterations": 20,
    "Batch": 256,
    "Grids": 2,
    "GridShape": [3, 3, 3],
    "Width": 8,
}
SMALL |= {"SamplingDimensions": [6, 6, 6]}


def make():
    model = names.AMGSRNReader(FileName=str(folder / "wind.amgsrn"))
    data = pv.XMLImageDataReader(FileName=[str(folder / "wind.vti")])
    seeds = pv.Line(Point1=[1.3, 2.4, 3.5], Point2=[4.2, 7.5, 12.5], Resolution=11)
    names.AMGSRNCompare(Input=model, Reference=data, RelativeError=0, Bins=16)
    names.AMGSRNFeatureGrids(Input=model)
    names.AMGSRNSample(Input=pv.Sphere(Center=[2, 4, 8], Radius=0.4), Model=model, Gradient=1)
    names.AMGSRNIsosurface(Input=model, Component=2, Isovalues=[isovalue])
    mesh = pv.Tetrahedralize(Input=data)
    names.AMGSRNTrainer(Input=mesh, OutputFile=str(folder / "mesh.amgsrn"), **SMALL)
    names.AMGSRNStreamTracer(
        Input=model, SeedSource=seeds, IntegrationDirection="FORWARD", MaximumError=1e-5
    )


def present():
    """Return what the filters that there are make."""
    found = {}
    for proxy in pv.GetSources().values():
        name = proxy.GetXMLName()
        if name in NAMES:
            proxy.UpdatePipeline()
            proxy.UpdatePropertyInformation()
            info = proxy[0].GetDataInformation()
            found[name] = [info.GetNumberOfPoints(), info.GetNumberOfCells(), proxy.Message]
    return found


def forget():
    for proxy in reversed(list(pv.GetSources().values())):
        pv.Delete(proxy)


results = {}
make()
results["made"] = present()
if not port:
    pv.SaveState(str(folder / "state.pvsm"))
    script = smstate.get_state()
    forget()
    results["forgotten"] = present()
    pv.LoadState(str(folder / "state.pvsm"))
    results["state"] = present()
    forget()
    exec(compile(script, "state.py", "exec"), {})
    results["script"] = present()
    forget()

    smtrace.start_trace()
    make()
    trace = smtrace.stop_trace()
    forget()
    results["traced"] = re.findall(rf"(?:{'|'.join(NAMES)})\(", trace)
    exec(compile(trace, "trace.py", "exec"), {})
    results["trace"] = present()
    forget()

    stack, builder = manager.vtkSMUndoStack(), manager.vtkSMUndoStackBuilder()
    builder.SetUndoStack(stack)
    manager.vtkSMProxyManager.GetProxyManager().SetUndoStackBuilder(builder)
    builder.Begin("filters")
    make()
    builder.EndAndPushToStack()
    stack.Undo()
    results["undone"] = sorted(present())
    stack.Redo()
    results["redone"] = present()
save(**results)
