"""The device of one worker among others on the same computer, each of which takes its own GPU."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from amgsrn_core.errors import DeviceError
from amgsrn_core.execution.worker_slots import device_names
from amgsrn_core.networks.devices import cuda_devices, select_device
from amgsrn_core.system.run_folder import try_lock

_log = logging.getLogger(__name__)

_held: list[int] = []  # open files, whose locks are held until this process ends


@functools.lru_cache(maxsize=4)
def own_device(names: str) -> torch.device:
    """Return the device that this process trains on; the same for the whole of its life.

    Of several CUDA devices it is one that fewest other workers of this user have taken, which they
    tell by locked files in the folder for temporary files. That works under every launcher, also
    where one process starts several workers.

    Parameters
    ----------
    names : str
        As in :class:`~amgsrn_core.config.TrainingConfig`: "auto", a device, or a list with commas
        between, which is that of all workers together.

    Raises
    ------
    DeviceError
        None of them can be used.
    """
    listed = device_names(names)
    if listed == ["auto"]:
        listed = [str(device) for device in cuda_devices()] or listed
    if len(listed) == 1:
        return select_device(listed[0], training=True)
    for name in _least_taken(listed):
        try:
            device = select_device(name, training=True)
        except DeviceError as error:
            _log.warning("%s", error)
            continue
        _log.info("This worker (process %d) trains on %s.", os.getpid(), device)
        return device
    raise DeviceError(f"None of the devices {names!r} can be used here; see the log.")


def _least_taken(names: Sequence[str]) -> list[str]:
    """Take the first device that fewest others have; return all, that one first."""
    for share in itertools.count():
        for position, name in enumerate(names):
            if _lock(f"{_identity(name)}-{share}"):
                return [*names[position:], *names[:position]]
    raise AssertionError  # itertools.count does not end


def _lock(name: str) -> bool:
    """Take a lock for the life of this process; False if another one has it."""
    path = Path(tempfile.gettempdir(), f"amgsrn-{_user()}-{name}.lock")
    try:
        file = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except OSError as error:  # no such folder: then nobody can tell, and the first one does
        _log.info("The device's lock %s cannot be made: %s", path, error)
        return True
    if not try_lock(file):
        os.close(file)
        return False
    _held.append(file)
    return True


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")


def _identity(name: str) -> str:
    """Return what tells a device from the others of this computer, whatever number it has here."""
    device = torch.device(name)
    if device.type == "cuda":
        try:
            name = str(torch.cuda.get_device_properties(device).uuid)
        except (AttributeError, RuntimeError, AssertionError):
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
            number = device.index or 0
            name = f"cuda-{visible[number] if number < len(visible) and visible[0] else number}"
    return re.sub(r"[^\w-]", "-", name)
