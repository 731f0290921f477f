"""ParaView's ranks: which one this is, and how the others learn what the first one does."""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import VTK_ID_TYPE, VTK_UNSIGNED_CHAR, vtkDataArray
from vtkmodules.vtkParallelCore import vtkMultiProcessController

from amgsrn_core.errors import TrainingError
from amgsrn_core.system import local_rank as launcher
from amgsrn_core.system.cores import available_cores
from amgsrn_paraview.explanation import explain

# The first rank speaks about once a second; the others sleep in between, because waiting in MPI
# keeps a core busy that the training needs.
SLEEP_SECONDS = 0.8

Message = dict[str, Any]

T = TypeVar("T")

_share = ""  # what share_cores has set OMP_NUM_THREADS to


def rank() -> int:
    """Return this process's number among ParaView's ranks."""
    controller = vtkMultiProcessController.GetGlobalController()
    return 0 if controller is None else int(controller.GetLocalProcessId())


def ranks() -> int:
    """Return the number of ParaView's ranks."""
    controller = vtkMultiProcessController.GetGlobalController()
    return 1 if controller is None else int(controller.GetNumberOfProcesses())


def share_cores() -> None:
    """Let the kernels, and PyTorch, use this rank's share of the computer's cores.

    Otherwise every rank would start a thread on every core. OMP_NUM_THREADS goes before; where it
    is not set, the kernels learn of their share by it. PyTorch has to be loaded to be told.
    """
    global _share
    if ranks() == 1 or os.environ.get("OMP_NUM_THREADS", _share) != _share:
        return
    here = ranks_here()
    # A rank that is bound to some cores may not use more than these.
    count = max(1, min(available_cores(), (os.cpu_count() or 1) // here))
    os.environ["OMP_NUM_THREADS"] = _share = str(count)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(count)


def local_rank() -> int:
    """Return this process's number among the ranks on this computer."""
    number = launcher.local_rank()
    return rank() if number is None else number


def ranks_here() -> int:
    """Return how many of ParaView's ranks are on this computer: all, if nobody tells."""
    return min(launcher.local_size() or ranks(), ranks())


def share(message: Any) -> list[Any]:
    """Give a small message to every rank; return those of all ranks, in their order."""
    return [_broadcast(message, sender) for sender in range(ranks())]


def agree(work: Callable[[], T], label: str) -> list[T]:
    """Do something on every rank; return what came of it on each.

    Parameters
    ----------
    work : callable
    label : str
        What the object is called that does it.

    Raises
    ------
    TrainingError
        On every rank, if it went wrong on one. (A single rank raises what it meets.)
    """
    if ranks() == 1:
        return [work()]
    result, error = None, ""
    try:
        result = work()
    except Exception as problem:
        error = explain(problem, label, "use more ranks on more computers")
    heard = share((result, error))
    for number, (_, sentence) in enumerate(heard):
        if sentence:
            raise TrainingError(f"Rank {number}: {sentence}")
    return [result for result, _ in heard]


def tell(message: Message, *, last: bool) -> None:
    """On the first rank: tell the others something; they listen until the `last` message."""
    if ranks() > 1:
        _broadcast({**message, "last": last}, 0)


def listen() -> Message:
    """On another rank: return the first one's last message."""
    while not (message := _broadcast(None, 0))["last"]:
        time.sleep(SLEEP_SECONDS)
    return message


def _broadcast(message: Any, sender: int) -> Any:
    """Send a message from one rank, or receive it elsewhere."""
    controller = vtkMultiProcessController.GetGlobalController()
    if controller is None:
        return message
    # The ranks are one program: what they pickle for each other is their own.
    data = pickle.dumps(message) if sender == rank() else b""
    size = vtkDataArray.CreateDataArray(VTK_ID_TYPE)
    size.InsertNextTuple1(len(data))
    controller.Broadcast(size, sender)
    content = vtkDataArray.CreateDataArray(VTK_UNSIGNED_CHAR)
    content.SetNumberOfTuples(int(size.GetTuple1(0)))
    if sender == rank():
        vtk_to_numpy(content)[:] = np.frombuffer(data, dtype=np.uint8)
    controller.Broadcast(content, sender)
    return pickle.loads(vtk_to_numpy(content).tobytes())
