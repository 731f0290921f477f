"""Who is asking: ParaView's window, which goes on living, or a script, which wants the result."""

from __future__ import annotations

import sys

_OURS = ("amgsrn_paraview", "vtkmodules.util.vtkAlgorithm")


def may_return_early(polled: bool) -> bool:
    """Tell whether the caller is ParaView's window and will come back for the rest.

    Parameters
    ----------
    polled : bool
        Whether ``GetNeedsUpdate`` was ever called. Only the window does so; it is the one sign of
        it that a remote server gets.

    Notes
    -----
    A script (pvpython, pvbatch, the Python shell, a macro) is on the interpreter's stack when it
    updates the pipeline, whereas Apply comes straight from C++. So within the client's process the
    stack tells, even if Apply was quicker than the first poll.
    """
    if _called_by_python():
        return False
    return polled or _is_client()


def _called_by_python() -> bool:
    frame = sys._getframe()
    while frame is not None:
        if not frame.f_globals.get("__name__", "").startswith(_OURS):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _is_client() -> bool:
    try:
        from paraview.modules.vtkRemotingCore import vtkProcessModule
    except ImportError:  # plain VTK
        return False
    return bool(vtkProcessModule.GetProcessType() == vtkProcessModule.PROCESS_CLIENT)
