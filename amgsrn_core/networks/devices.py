"""Which device computes, and whether it has what that takes."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import torch

from amgsrn_core.errors import ConfigurationError, DeviceError, first_sentence, is_out_of_memory
from amgsrn_core.system.local_rank import local_rank

_log = logging.getLogger(__name__)

_COMPLETE = ("cpu", "cuda")
"""Kinds of devices that have every operator of PyTorch."""


def select_device(name: str | torch.device = "auto", *, training: bool = False) -> torch.device:
    """Return the torch device of that name.

    "auto" is cuda where there is one; else mps for a training, if it has the operators for that;
    else the CPU. Models are evaluated on the CPU rather than with mps, because its kernels are fast
    and rendering needs double precision, which mps lacks. Of several CUDA devices, each rank of a
    parallel program takes its own, see :func:`amgsrn_core.system.local_rank.local_rank`.

    Parameters
    ----------
    name : str or torch.device
    training : bool, default: False
        Whether the device has to train, and not only to evaluate models.

    Raises
    ------
    DeviceError
        When there is no such device here, or PyTorch cannot compute on it.
    ConfigurationError
        When it lacks an operator.
    """
    if str(name) == "auto":
        device = _own_cuda_device() or torch.device("cpu")
        mps = torch.device("mps")
        if device.type == "cpu" and training and torch.backends.mps.is_available():
            device = device if missing_operator(mps, training=True) else mps
        return device
    device = _usable(name)
    require_operators(device, training=training)
    return device


def cuda_devices() -> list[torch.device]:
    """Return the CUDA devices that this PyTorch has code for; each other one is logged.

    It is told from their properties, so that no memory is taken on any of them.
    """
    if not torch.cuda.is_available():
        return []
    found = []
    built = torch.cuda.get_arch_list()
    for number in range(torch.cuda.device_count()):
        capability = torch.cuda.get_device_capability(number)
        if has_code_for(capability, built):
            found.append(torch.device("cuda", number))
        else:
            _log.warning(
                "cuda:%d (%s) is left out: PyTorch %s has no code for its compute capability "
                "%d.%d; install a PyTorch that has.",
                number,
                torch.cuda.get_device_name(number),
                torch.__version__,
                *capability,
            )
    return found


def has_code_for(capability: tuple[int, int], built: Sequence[str]) -> bool:
    """Tell whether a PyTorch that was built for some architectures runs on a CUDA device.

    Machine code ("sm_86") runs on devices of the same major version that are as new or newer; PTX
    ("compute_90") is compiled by the driver for every newer one. CUDA C++ programming guide,
    chapter 3.1, "Compilation with NVCC".
    """
    for name in built:
        kind, _, digits = name.partition("_")
        digits = digits.rstrip("af")
        if not digits.isdecimal():
            continue
        major, minor = divmod(int(digits), 10)
        if kind == "sm" and major == capability[0] and minor <= capability[1]:
            return True
        if kind == "compute" and (major, minor) <= capability:
            return True
    # A build for AMD's GPUs names them otherwise, and one that names nothing says nothing.
    return not any(name.startswith(("sm_", "compute_")) for name in built)


def _own_cuda_device() -> torch.device | None:
    """Return the CUDA device of this process that works, from its own on; None without any."""
    found = cuda_devices()
    first = (local_rank() or 0) % len(found) if found else 0
    for device in found[first:] + found[:first]:
        try:
            return _usable(device)
        except DeviceError as error:
            _log.warning("%s", error)
    return None


def _usable(name: str | torch.device) -> torch.device:
    """Return a device on which PyTorch has computed something."""
    try:
        device = torch.device(name)
        # An empty tensor would need memory, but no kernel.
        (torch.ones(2, device=device) + 1).sum().item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise DeviceError(
                f"The device {str(name)!r} has no memory left ({first_sentence(error)}); end the "
                "programs that use it, or choose another device."
            ) from error
        raise DeviceError(
            f"There is no device {str(name)!r} here that PyTorch {torch.__version__} can use "
            f"({first_sentence(error)}); use auto, cpu, cuda, cuda:N or mps."
        ) from error
    return device


def require_operators(device: torch.device, *, training: bool) -> None:
    """Raise :class:`ConfigurationError` if a device lacks an operator, and say which."""
    if lacking := missing_operator(device, training=training):
        raise ConfigurationError(
            f"PyTorch {torch.__version__} lacks {lacking} on the device {device}; {REMEDY}."
        )


REMEDY = (
    "install a newer PyTorch, set PYTORCH_ENABLE_MPS_FALLBACK=1 in the environment to let the CPU "
    "do it, or use --device cpu"
)
"""What helps where an operator is missing."""


def missing_operator(device: torch.device, *, training: bool) -> str:
    """Return what a device lacks to evaluate models or to train them; "" when nothing.

    That is tried out: what MPS has differs from release to release. Sampling in three dimensions,
    ``aten::grid_sampler_3d``, came late, and its backward pass later still.
    """
    if device.type in _COMPLETE:
        return ""
    try:
        _try_operators(device, training)
    except (NotImplementedError, RuntimeError, TypeError) as error:
        operator = re.search(r"aten::\w+(\.\w+)?", str(error))
        return operator[0] if operator else str(error).split("\n")[0].rstrip(".")
    return ""


def _try_operators(device: torch.device, training: bool) -> None:
    """Do on a few points what evaluation and training do."""
    from amgsrn_core.networks import decode, encode
    from amgsrn_core.networks.interpolation import cubic_targets

    grids = torch.ones(2, 1, 2, 2, 2, device=device, requires_grad=training)
    maps = torch.eye(3, 4, device=device).repeat(2, 1, 1).requires_grad_(training)
    weights = [torch.ones(*shape, device=device) for shape in ((4, 2), (1, 4))]
    points = torch.zeros(3, 3, device=device)
    if training:
        points = torch.rand((3, 3), generator=torch.Generator(device).manual_seed(1), device=device)
    values = decode(encode(points, grids, maps), weights)
    if training:
        targets = cubic_targets(torch.ones(1, 3, 3, 3, device=device), points)
        (values - targets).square().mean().backward()
        grids.grad.cpu()  # type: ignore[union-attr]
    values.detach().cpu()
