"""What the programs of these tests share: the plugin's proxies, results, arrays."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import paraview.simple as pv
from vtkmodules.util.numpy_support import vtk_to_numpy

XML = Path(__file__).resolve().parents[3] / "xml" / "AMGSRN.xml"


def load_plugin(remote: bool = False) -> ModuleType:
    """Load the plugin; its proxies then are functions of the module that is returned."""
    pv.LoadPlugin(str(XML), remote=remote)
    return pv


def load_neural_volume(remote: bool = False) -> None:
    """Load the compiled plugin, which client and server both need."""
    # Not above: some programs run without the suite on their paths.
    from amgsrn_core.cli.paraview_launcher import neural_volume

    for place in (True, False) if remote else (False,):
        pv.LoadPlugin(str(neural_volume()), remote=place)


def arguments() -> list[str]:
    return sys.argv[2:]


def save(**results) -> None:
    """Write what the test looks at; the file's name is the program's first argument."""
    Path(sys.argv[1]).write_text(json.dumps(results))


def describe(source, port: int = 0) -> dict:
    """Return kind, extent, bounds and arrays of a source's output."""
    info = source[port].GetDataInformation()
    points = source[port].PointData
    names = points.keys()
    return {
        "type": info.GetDataSetTypeAsString(),
        "extent": list(info.GetExtent()),
        "bounds": list(info.GetBounds()),
        "points": info.GetNumberOfPoints(),
        "arrays": {name: points[name].GetNumberOfComponents() for name in names},
        "times": list(getattr(source, "TimestepValues", None) or []),
    }


def output_of(source, port: int = 0):
    """Return an output that is in this process.

    (servermanager.Fetch damages rectilinear grids in ParaView 5.11.)
    """
    return source.SMProxy.GetClientSideObject().GetOutputDataObject(port)


def update_again(source) -> None:
    """Update a pipeline as if something about the source had changed."""
    source.SMProxy.GetClientSideObject().Modified()
    source.SMProxy.MarkModified(source.SMProxy)
    source.UpdatePipeline()


def values(dataset, name: str) -> np.ndarray:
    """Return a point array as [z, y, x, component]."""
    x, y, z = dataset.GetDimensions()
    return vtk_to_numpy(dataset.GetPointData().GetArray(name)).reshape(z, y, x, -1)


def model_of(dataset) -> list[str]:
    array = dataset.GetFieldData().GetAbstractArray("amgsrn_model")
    return [array.GetValue(i) for i in range(array.GetNumberOfValues())] if array else []
