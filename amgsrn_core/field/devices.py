"""On which device models are evaluated; PyTorch is loaded for others than the CPU alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amgsrn_core.system import extras
from amgsrn_core.system.devices import Device, can_have_gpu

if TYPE_CHECKING:
    import torch


def chosen_device(name: str | torch.device = "auto") -> Device:
    """Return the device of that name; see :func:`amgsrn_core.networks.devices.select_device`.

    Raises
    ------
    DeviceError
        There is no such device here.
    ConfigurationError
        It lacks an operator, or PyTorch is not there, which every other device than the CPU needs.
    """
    if str(name) == "cpu" or (str(name) == "auto" and not can_have_gpu()):
        return Device("cpu")
    extras.require("torch", f"The device {name}")
    from amgsrn_core.networks.devices import select_device

    return Device(select_device(name))
