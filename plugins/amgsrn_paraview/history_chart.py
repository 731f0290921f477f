"""The chart of a training's history, which ParaView's window opens at Apply: its titles, its place.

The hint View of the trainer's second output has it opened. ParaView chooses each view that it
opens; a training's picture is what its user goes on working with, and so is chosen again.
"""

from __future__ import annotations

import sys
import time
from typing import Any

_TYPE = "AMGSRNHistoryChart"
_TITLES = {
    "ChartTitle": "Training history",
    "LeftAxisTitle": "PSNR (dB)",
    "BottomAxisTitle": "iteration",
}
_BOTTOM_RIGHT = 2  # where the curve of a training does not go
_APPLY_SECONDS = 5.0  # at most, between the displays of a filter's outputs

# The name of the view that was chosen when the last display was made, by the manager of proxies.
_chosen: dict[str, tuple[str, float]] = {}


def settle(manager: Any, display: Any) -> None:
    """Name the chart that was opened for a display, and choose the view that was chosen before.

    Parameters
    ----------
    manager : vtkSMSessionProxyManager
    display : vtkSMProxy
        Any new one. Others than of histories tell which view is chosen.
    """
    selection = manager.GetSelectionModel("ActiveView")
    view = None if selection is None else selection.GetCurrentProxy()
    if view is None:
        return
    if display.GetXMLName() != _TYPE:
        _chosen[manager.__this__] = manager.GetProxyName("views", view), time.monotonic()
        return
    name, moment = _chosen.pop(manager.__this__, ("", 0.0))
    before = manager.GetProxy("views", name) if name else None
    # A script chooses its views itself, and so does who opens a chart by hand.
    if before is None or _in_a_script() or time.monotonic() - moment > _APPLY_SECONDS:
        return
    if view.GetXMLName() == "XYChartView" and before.GetGlobalID() != view.GetGlobalID():
        for title, text in _TITLES.items():
            view.GetProperty(title).SetElement(0, text)
        view.GetProperty("LegendLocation").SetElement(0, _BOTTOM_RIGHT)
        view.UpdateVTKObjects()
        selection.SetCurrentProxy(before, selection.CLEAR_AND_SELECT)


def _in_a_script() -> bool:
    """Tell whether Python called what called this: Qt, in the window, calls from no Python."""
    frame = sys._getframe()
    while frame is not None and frame.f_globals.get("__package__") == __package__:
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None
