"""Which device computes, and whether it has what that takes."""

from __future__ import annotations

import re

import torch

from amgsrn_core.errors import ConfigurationError

_COMPLETE = ("cpu", "cuda")
"""Kinds of devices that have every operator of PyTorch."""


def select_device(name: str | torch.device = "auto", *, training: bool = False) -> torch.device:
    """Return the torch device of that name.

    "auto" is cuda where there is one; else mps for a training, if it has the operators for that;
    else the CPU. Models are evaluated on the CPU rather than with mps, because its kernels are fast
    and rendering needs double precision, which mps lacks.

    Parameters
    ----------
    name : str or torch.device
    training : bool, default: False
        Whether the device has to train, and not only to evaluate models.

    Raises
    ------
    ConfigurationError
        When there is no such device here, or it lacks an operator.
    """
    if str(name) == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        mps = torch.device("mps")
        if name == "cpu" and training and torch.backends.mps.is_available():
            name = "cpu" if missing_operator(mps, training=True) else mps
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigurationError(
            f"There is no device {str(name)!r} here; use auto, cpu, cuda, cuda:N or mps."
        ) from error
    require_operators(device, training=training)
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
    from amgsrn_core.training.sampling import cubic_targets

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
