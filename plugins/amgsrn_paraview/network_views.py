"""Networks in ParaView's render views, where the preview's volume would be drawn.

VTK's objects tell everything, so this works in each process that draws: in the window, on a server
and on its ranks.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

# Of classes whose modules nobody imported, VTK's objects have no methods here.
import paraview.modules.vtkRemotingViews  # noqa: F401
import vtkmodules.vtkRenderingVolumeOpenGL2  # noqa: F401
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkOutputWindow, vtkWeakReference

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.shader.renderers import is_software
from amgsrn_paraview import datasets
from amgsrn_paraview.explanation import explain
from amgsrn_paraview.neural_volume import component_of, piece_of

if TYPE_CHECKING:
    from amgsrn_core.field.neural_volume import NeuralVolume
    from amgsrn_core.rendering import RenderSettings
    from amgsrn_core.vtk.stand_in import StandIn

_FASTER = (
    "That is a program on the CPU; there the compiled plugin NeuralVolume is faster: `amgsrn "
    "paraview-setup --build`."
)

# Several views show one model.
_networks: weakref.WeakValueDictionary[tuple[str, int], NeuralVolume] = (
    weakref.WeakValueDictionary()
)


_views: weakref.WeakSet[NetworkView] = weakref.WeakSet()


@atexit.register
def _leave_all() -> None:
    """Leave all views; what they call when they end, later, must not be Python any more."""
    for view in list(_views):
        view.forget()


class NetworkView:
    """Draws networks in a vtkPVRenderView in place of the volumes of data that carry them.

    It lives as long as the view's renderer does.

    Parameters
    ----------
    view : vtkPVRenderView
    is_wanted : callable
        Whether volumes that come into the view now are to be drawn by their networks.
    """

    def __init__(self, view: Any, is_wanted: Callable[[], bool]) -> None:
        self._is_wanted = is_wanted
        self._volumes: dict[str, _Volume] = {}
        self._listed: tuple[int, Any] = (0, None)
        self._found: dict[str, Any] = {}
        renderer = view.GetRenderer()
        self._view, self._renderer = vtkWeakReference(), vtkWeakReference()
        self._view.Set(view)
        self._renderer.Set(renderer)
        self._tags = [
            (self._renderer, renderer.AddObserver("StartEvent", self._start)),
            (self._renderer, renderer.AddObserver("EndEvent", self._end)),
            (self._view, view.AddObserver("DeleteEvent", lambda *_: self.leave())),
        ]
        _views.add(self)

    def _start(self, renderer: Any, event: str) -> None:
        view = self._view.Get()
        if view is None or renderer.GetSelector() is not None:  # what is picked is the preview
            return
        found = self._representations(view)
        for name in set(self._volumes) - set(found):
            self._volumes.pop(name).leave(renderer)
        for name, representation in found.items():
            volume = self._volumes.get(name)
            if volume is None:
                if not self._is_wanted() or _carrier(representation.GetActor()) is None:
                    continue
                volume = self._volumes[name] = _Volume(representation.GetActor())
            volume.begin(renderer)

    def leave(self) -> None:
        """Free the textures while there is an OpenGL context."""
        renderer = self._renderer.Get()
        self._listed, self._found = (0, None), {}
        while self._volumes:
            volume = self._volumes.popitem()[1]
            if renderer is not None:
                volume.leave(renderer)

    def forget(self) -> None:
        """Leave, and hear of no frame any more."""
        self.leave()
        for observed, tag in self._tags:
            if observed.Get() is not None:
                observed.Get().RemoveObserver(tag)
        self._tags = []

    def _representations(self, view: Any) -> dict[str, Any]:
        """Return those that draw volumes of image data, by their identities."""
        count = view.GetNumberOfRepresentations()
        # New ones come last. What is held cannot end, so that its identity stays its own.
        last = view.GetRepresentation(count - 1) if count else None
        if (count, last) != self._listed:
            self._listed = count, last
            every = [view.GetRepresentation(number) for number in range(count)]
            self._found = {
                found.__this__: found
                for found in every
                if found.IsA("vtkImageVolumeRepresentation")
                and not found.IsA("vtkNeuralVolumeRepresentation")
            }
        return self._found

    def _end(self, renderer: Any, event: str) -> None:
        for volume in self._volumes.values():
            volume.end(renderer)


class _Volume:
    """One volume of ParaView's, and the network in its place."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._stand_in: StandIn | None = None
        self._identity: tuple[str, int] | None = None  # which network
        self._seen: tuple[Any, ...] = ()  # what of it
        self._failed: tuple[Any, ...] = ()  # what cannot be seen

    def begin(self, renderer: Any) -> None:
        if not self._actor.GetVisibility():
            if self._stand_in is not None:
                self._stand_in.volume.VisibilityOff()
            return
        data = _carrier(self._actor)
        if data is None:
            self.leave(renderer)
            return
        color = self._actor.GetProperty().GetRGBTransferFunction(0)
        array = self._actor.GetMapper().GetArrayName()
        identity = _identity(data)
        seen = *identity, data.GetMTime(), array, color.GetVectorMode(), color.GetVectorComponent()
        if seen == self._failed:
            return
        try:
            stand_in = self._stand_in
            if stand_in is None or identity != self._identity:
                self.leave(renderer)
                stand_in = self._stand_in = self._opened(renderer, _network(data))
                self._identity = identity
            if seen != self._seen:
                stand_in.settings = _settings(stand_in.model, data, array, color)
                self._seen = seen
            stand_in.begin(renderer)
            _tell(stand_in.status)
        except Exception as error:
            self._failed = seen
            self.leave(renderer)
            why = explain(error, "Neural Volume", "choose a smaller window")
            _tell(f"A preview is shown: {why}")

    def end(self, renderer: Any) -> None:
        if self._stand_in is not None:
            self._stand_in.end(renderer)

    def leave(self, renderer: Any) -> None:
        """Let ParaView's volume be seen again."""
        if self._stand_in is not None:
            self._stand_in.end(renderer)
            self._stand_in.detach(renderer)
            self._stand_in, self._seen = None, ()

    def _opened(self, renderer: Any, model: NeuralVolume) -> StandIn:
        from amgsrn_core.vtk.stand_in import StandIn

        stand_in = StandIn(model, self._actor)
        renderer.AddVolume(stand_in.volume)
        return stand_in


def _carrier(actor: Any) -> Any:
    """Return the data that an actor shows if they carry a network, or why they carry none."""
    mapper = actor.GetMapper()
    if mapper is None or not mapper.GetNumberOfInputConnections(0):
        return None
    data = mapper.GetInputDataObject(0, 0)
    if data is None or datasets.get_model(data) is None:
        return None
    return data if data.GetFieldData().GetAbstractArray(datasets.NETWORK) is not None else None


def _identity(data: Any) -> tuple[str, int]:
    """Return checksum and step of the model whose network data carry."""
    known = datasets.get_model(data)
    assert known is not None
    return known[1:]


def _network(data: Any) -> NeuralVolume:
    """Return the network that data carry; who shows the same one shares it."""
    from amgsrn_core.field.carried import unpacked

    carried = data.GetFieldData().GetAbstractArray(datasets.NETWORK)
    if carried.IsA("vtkStringArray"):
        raise ConfigurationError(carried.GetValue(0))
    identity = _identity(data)
    model = _networks.get(identity)
    if model is None:
        model = _networks[identity] = unpacked(vtk_to_numpy(carried).tobytes())
    return model


def _settings(model: NeuralVolume, data: Any, array: str, color: Any) -> RenderSettings:
    """Return which component is seen, and of the model the part that the data are."""
    import numpy as np

    from amgsrn_core.rendering import RenderSettings

    component = -1 if color.GetVectorMode() == color.MAGNITUDE else color.GetVectorComponent()
    settings = RenderSettings(component=component_of(array, component, model.index))
    bounds, whole = data.GetBounds(), np.array(model.geometry.bounds)
    if np.allclose(bounds, whole, rtol=0, atol=1e-6 * np.ptp(whole)):
        return settings
    matrix = data.GetIndexToPhysicalMatrix()
    numbers = tuple(matrix.GetElement(i, j) for i in range(4) for j in range(4))
    crop, planes = piece_of(
        {"bounds": bounds, "index_to_world": numbers, "extent": data.GetExtent()}
    )
    return dataclasses.replace(settings, crop=crop, clip_planes=tuple(planes))


@functools.cache
def _tell(status: str) -> None:
    """Say once in ParaView's messages what draws, or why there is a preview."""
    more = f" {_FASTER}" if is_software(status) else ""
    vtkOutputWindow.GetInstance().DisplayText(f"Neural Volume: {status.rstrip('.')}.{more}\n")
