"""Neural Volume in a ParaView without the compiled plugin: its place in the menu, and its pictures.

Whoever loads the Python plugin starts this, and so does each reader and trainer where its data are:
the proxy AMGSRNHook is a part of theirs. On the client of a server it tells the server of views.
"""

from __future__ import annotations

import atexit
from typing import Any

from paraview.modules.vtkRemotingCore import vtkProcessModule
from paraview.modules.vtkRemotingServerManager import vtkSMProxyIterator, vtkSMProxyManager
from vtkmodules.util.vtkAlgorithm import VTKPythonAlgorithmBase
from vtkmodules.vtkParallelCore import vtkMultiProcessController

from amgsrn_paraview import history_chart
from amgsrn_paraview.menu import choose_array, is_compiled, keep_entry
from amgsrn_paraview.network_views import NetworkView
from amgsrn_paraview.sessions import sessions

# By the identities of VTK's objects, which live longer or say when they end.
_known: set[str] = set()

# So many global identifiers in a row may be of things that only a client has.
_FARTHEST = 20_000

_messengers: dict[str, Any] = {}

# Later there is no session that could delete them everywhere.
atexit.register(_messengers.clear)


class Hook(VTKPythonAlgorithmBase):
    """Starts the hook where it is made, and hears of the views there."""

    def __init__(self) -> None:
        super().__init__(nInputPorts=0, nOutputPorts=0)
        start()

    def SetView(self, identifier: int) -> None:
        """Take charge of a view by its proxy's global identifier; 0 for none."""
        for session in sessions():
            found = session.GetSIObject(identifier) if identifier else None
            if found is not None and found.IsA("vtkSIProxy"):
                _take(found.GetVTKObject(), session)


def start() -> None:
    """Take charge of all sessions and views that there are, and of those to come."""
    module = vtkProcessModule.GetProcessModule()
    if module is not None and _is_new(module):
        module.AddObserver("ConnectionCreatedEvent", lambda *_: _visit())
    _visit()


def _visit() -> None:
    for session in sessions():
        if _is_new(session):
            keep_entry(session.GetProxyDefinitionManager())
            manager = _proxies(session)
            if manager is not None:
                manager.AddObserver("RegisterEvent", lambda caller, _: _hear(caller))
    look_at_views()


def look_at_views() -> None:
    """Take charge of the views that there are.

    Those whose proxies are here are drawn by other processes, too, which are told. A server looks
    for what its client did not tell of.
    """
    for session in sessions():
        manager = _proxies(session)
        if manager is None:
            _search(session)
            continue
        for proxy in _registered(manager, "views"):
            if _take(proxy.GetClientSideObject(), session) and _is_shared(session):
                _send(manager, session, proxy)


def _hear(manager: Any) -> None:
    """Look at what was registered just now."""
    look_at_views()
    for proxy in _registered(manager, "representations"):
        # What a state file says is what its author wanted.
        if _is_new(proxy) and not manager.GetInLoadXMLState():
            choose_array(proxy)
            history_chart.settle(manager, proxy)


def _registered(manager: Any, group: str) -> list[Any]:
    """Return the proxies of a group."""
    found, proxies = [], vtkSMProxyIterator()
    proxies.SetSessionProxyManager(manager)
    proxies.SetModeToOneGroup()
    proxies.Begin(group)
    while not proxies.IsAtEnd():
        found.append(proxies.GetProxy())
        proxies.Next()
    return found


def _search(session: Any) -> None:
    """Look for views among the objects of a server's session, which has no list of them."""
    number, last = 0, _FARTHEST
    while number < last:
        number += 1
        found = session.GetSIObject(number)
        if found is not None:
            last = number + _FARTHEST
            if found.IsA("vtkSIProxy"):
                _take(found.GetVTKObject(), session)


def _take(view: Any, session: Any) -> bool:
    """Take charge of a view in this process; return whether it is new."""
    if view is None or not view.IsA("vtkPVRenderView") or not _is_new(view):
        return False
    definitions = session.GetProxyDefinitionManager()
    NetworkView(view, lambda: not is_compiled(definitions))
    return True


def _send(manager: Any, session: Any, view: Any) -> None:
    """Tell the other processes of a view."""
    messenger = _messengers.get(session.__this__)
    if messenger is None:
        if not manager.HasDefinition("misc", "AMGSRNHook"):
            return
        messenger = _messengers[session.__this__] = manager.NewProxy("misc", "AMGSRNHook")
    messenger.GetProperty("View").SetElement(0, view.GetGlobalID())
    messenger.UpdateVTKObjects()


def _proxies(session: Any) -> Any:
    """Return the manager of a session's proxies; None on a server, which has none."""
    if not session.IsA("vtkSMSession"):
        return None
    return vtkSMProxyManager.GetProxyManager().GetSessionProxyManager(session)


def _is_shared(session: Any) -> bool:
    """Tell whether other processes draw, too."""
    controller = vtkMultiProcessController.GetGlobalController()
    ranks = controller.GetNumberOfProcesses() if controller is not None else 1
    return bool(session.IsA("vtkSMSessionClient")) or ranks > 1


def _is_new(thing: Any) -> bool:
    """Tell whether an object of VTK was not asked about before."""
    name = thing.__this__
    if name in _known:
        return False
    _known.add(name)
    thing.AddObserver("DeleteEvent", lambda *_: _known.discard(name))
    return True
