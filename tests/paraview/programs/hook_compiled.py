"""The compiled plugin beside the hook, loaded before it or after: arguments FILE and ORDER."""

from __future__ import annotations

import paraview.simple as pv
from session import arguments, load_neural_volume, load_plugin, output_of, save

path, order = arguments()


def shown(source):
    """Show it in a view of its own; return the menu's entries and what draws."""
    view = pv.CreateView("RenderView")
    view.ViewSize = [60, 40]
    display = pv.Show(source, view)
    display.SetRepresentationType("Neural Volume")
    pv.ColorBy(display, ("POINTS", "density"))
    pv.Render(view)
    composite = display.SMProxy.GetClientSideObject()
    volumes = view.GetRenderer().GetVolumes()
    mappers = [volumes.GetItemAsObject(i).GetMapper() for i in range(volumes.GetNumberOfItems())]
    return {
        "menu": list(display.GetProperty("Representation").Available),
        "class": composite.GetActiveRepresentation().GetClassName(),
        "ours": sum(m.GetClassName() == "vtkOpenGLGPUVolumeRayCastMapper" for m in mappers if m),
    }


def reader():
    return pv.AMGSRNReader(FileName=path)


found = {}
if order == "before":
    load_neural_volume()
load_plugin()
if order == "after":
    pv.Show(pv.Wavelet(), pv.CreateView("RenderView"))  # image data that were shown before count
    source = reader()
    found["alone"] = shown(source)
    load_neural_volume()
source = reader()
found["both"] = shown(source)
fields = output_of(source).GetFieldData()
found["carried"] = bool(fields.HasArray("amgsrn_network"))
save(**found)
