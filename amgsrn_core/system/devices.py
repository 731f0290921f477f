"""The name of a device, and whether there may be a GPU; without PyTorch, which takes long."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from typing import Any

# Of the drivers of NVIDIA, of NVIDIA within Windows, and of AMD.
_GPU_SIGNS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


class Device(str):
    """The name of a device, as PyTorch takes it: "cpu", "mps", "cuda:0"."""

    __slots__ = ()

    @property
    def type(self) -> str:
        """Its kind: "cpu", "mps" or "cuda"."""
        return self.partition(":")[0]


def may_have_gpu() -> bool:
    """Tell whether a GPU may be here; PyTorch has the last word."""
    return sys.platform != "linux" or any(os.path.exists(sign) for sign in _GPU_SIGNS)


def can_have_gpu() -> bool:
    """Tell whether it is worth loading PyTorch to look for a GPU that it can use."""
    if sys.modules.get("torch") is not None:
        return True
    return may_have_gpu() and importlib.util.find_spec("torch") is not None


def give_back_memory(device: Any = "") -> None:
    """Give back memory that PyTorch keeps for later, so that other programs on a GPU have it.

    Parameters
    ----------
    device : str or torch.device, optional
        Default: all devices that this process has used.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return
    kind = str(device).partition(":")[0]
    with contextlib.suppress(RuntimeError):  # of a device that is lost, which has nothing to give
        if kind in ("", "cuda") and torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        if kind in ("", "mps") and torch.backends.mps.is_available():
            torch.mps.empty_cache()
