"""ParaView's ranks: which one this is, and how the others learn what the first one does."""

from __future__ import annotations

import json
import time
from typing import Any

from vtkmodules.vtkCommonCore import VTK_CHAR, VTK_ID_TYPE, vtkDataArray
from vtkmodules.vtkParallelCore import vtkMultiProcessController

# The first rank speaks about once a second; the others sleep in between, because waiting in MPI
# keeps a core busy that the training needs.
_SLEEP_SECONDS = 0.8

Message = dict[str, Any]


def rank() -> int:
    """Return this process's number among ParaView's ranks."""
    controller = vtkMultiProcessController.GetGlobalController()
    return 0 if controller is None else int(controller.GetLocalProcessId())


def ranks() -> int:
    """Return the number of ParaView's ranks."""
    controller = vtkMultiProcessController.GetGlobalController()
    return 1 if controller is None else int(controller.GetNumberOfProcesses())


def tell(message: Message, *, last: bool) -> None:
    """On the first rank: tell the others something; they listen until the `last` message."""
    if ranks() > 1:
        _broadcast({**message, "last": last})


def listen() -> Message:
    """On another rank: return the first one's last message."""
    while not (message := _broadcast(None))["last"]:
        time.sleep(_SLEEP_SECONDS)
    return message


def _broadcast(message: Message | None) -> Message:
    """Send a message from the first rank, or receive it elsewhere."""
    controller = vtkMultiProcessController.GetGlobalController()
    text = b"" if message is None else json.dumps(message).encode()
    size = vtkDataArray.CreateDataArray(VTK_ID_TYPE)
    size.InsertNextTuple1(len(text))
    controller.Broadcast(size, 0)
    content = vtkDataArray.CreateDataArray(VTK_CHAR)
    content.SetNumberOfTuples(int(size.GetTuple1(0)))
    if message is not None:
        for place, byte in enumerate(text):
            content.SetTuple1(place, byte)
    controller.Broadcast(content, 0)
    received = bytes(int(content.GetTuple1(i)) for i in range(content.GetNumberOfTuples()))
    return json.loads(received)
