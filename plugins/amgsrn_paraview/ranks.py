"""ParaView's ranks: which one this is, and how the others learn what the first one does."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from vtkmodules.vtkCommonCore import VTK_CHAR, VTK_ID_TYPE, vtkDataArray
from vtkmodules.vtkParallelCore import vtkMultiProcessController

# Where Open MPI and MPICH tell how many ranks are on this computer.
_LOCAL_RANKS = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")

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


def share_cores() -> None:
    """Let PyTorch, and with it the kernels, use this rank's share of the computer's cores.

    Otherwise every rank would start a thread on every core. OMP_NUM_THREADS goes before.
    """
    if ranks() == 1 or "OMP_NUM_THREADS" in os.environ:
        return
    import torch

    here = next((int(os.environ[name]) for name in _LOCAL_RANKS if name in os.environ), ranks())
    # A rank that is bound to some cores may not use more than these.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(max(1, min(allowed or 1, (os.cpu_count() or 1) // here)))


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
