"""Neural Volume in ParaView's menu where the compiled plugin, which has an entry, is missing."""

from __future__ import annotations

from typing import Any

from vtkmodules.vtkCommonDataModel import vtkDataObject

from amgsrn_paraview.sessions import sessions

_TEXT, _GROUP, _IMAGES = "Neural Volume", "representations", "UniformGridRepresentation"
_COMPILED = "NeuralVolumeRepresentation"

# What ParaView's own volumes are drawn by; see network_views.
_OURS = {"text": _TEXT, "subproxy": "VolumeRepresentation"}


def keep_entry(definitions: Any) -> None:
    """See to it that there is one entry, now and whenever a plugin is loaded.

    Parameters
    ----------
    definitions : vtkSIProxyDefinitionManager
        Of a session that is new here.
    """
    _settle(definitions)
    definitions.AddObserver(definitions.ProxyDefinitionsUpdated, lambda caller, _: _settle(caller))


def is_compiled(definitions: Any) -> bool:
    """Tell whether the compiled plugin is loaded."""
    return bool(definitions.HasDefinition(_GROUP, _COMPILED))


def choose_array(display: Any) -> None:
    """Let a display that begins as Neural Volume show the first array; ParaView chooses none.

    Parameters
    ----------
    display : vtkSMProxy
        Of any representation. With the compiled plugin that does it.
    """
    if not display.IsA("vtkSMPVRepresentationProxy") or display.GetUsingScalarColoring():
        return
    kind, colour = display.GetProperty("Representation"), display.GetProperty("ColorArrayName")
    if kind is None or colour is None or kind.GetElement(0) != _TEXT:
        return
    if is_compiled(display.GetSession().GetProxyDefinitionManager()):
        return
    arrays = colour.FindDomain("vtkSMArrayListDomain")
    for number in range(arrays.GetNumberOfStrings() if arrays is not None else 0):
        if arrays.GetFieldAssociation(number) == vtkDataObject.POINT:
            display.SetScalarColoring(arrays.GetString(number), vtkDataObject.POINT)
            display.RescaleTransferFunctionToDataRange(True)
            return


def is_needed() -> bool:
    """Tell whether this process is ParaView's, without the compiled plugin."""
    return any(not is_compiled(found.GetProxyDefinitionManager()) for found in sessions())


def _settle(definitions: Any) -> None:
    """Add the entry or, where the compiled plugin has one, remove it.

    The elements themselves change: an extension that is loaded as XML can neither be taken back,
    nor does it count where image data were shown before.
    """
    if not definitions.HasDefinition(_GROUP, _IMAGES):
        return
    own = definitions.GetProxyDefinition(_GROUP, _IMAGES)
    for images in (own, definitions.GetCollapsedProxyDefinition(_GROUP, _IMAGES, None, True)):
        children = [images.GetNestedElement(i) for i in range(images.GetNumberOfNestedElements())]
        ours = [
            child
            for child in children
            if all(child.GetAttribute(name) == value for name, value in _OURS.items())
        ]
        if is_compiled(definitions):
            for child in ours:
                images.RemoveNestedElement(child)
        elif not ours:
            images.AddNestedElement(_entry())


def _entry() -> Any:
    from paraview.modules.vtkPVVTKExtensionsCore import vtkPVXMLElement

    entry = vtkPVXMLElement()
    entry.SetName("RepresentationType")
    for name, value in _OURS.items():
        entry.AddAttribute(name, value)
    return entry
