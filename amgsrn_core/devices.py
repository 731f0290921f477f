"""Which device computes."""

from __future__ import annotations

import torch

from amgsrn_core.errors import ConfigurationError


def select_device(name: str | torch.device = "auto") -> torch.device:
    """Return the torch device of that name; "auto" is the first of cuda, mps, cpu that works.

    Raises
    ------
    ConfigurationError
        When there is no such device here.
    """
    if str(name) == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and torch.backends.mps.is_available():
            name = "mps"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigurationError(
            f"There is no device {str(name)!r} here; use auto, cpu, cuda, cuda:N or mps."
        ) from error
    return device
