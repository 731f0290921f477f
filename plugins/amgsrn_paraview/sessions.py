"""ParaView's sessions in this process: the window's, a server's, or none in plain VTK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def sessions() -> Iterator[Any]:
    """Yield ParaView's sessions in this process, vtkPVSessionBase."""
    try:
        from paraview.modules.vtkRemotingCore import vtkProcessModule
    except ImportError:  # plain VTK
        return
    module = vtkProcessModule.GetProcessModule()
    if module is None:
        return
    found = module.NewSessionIterator()
    found.InitTraversal()
    while not found.IsDoneWithTraversal():
        yield found.GetCurrentSession()
        found.GoToNextItem()
