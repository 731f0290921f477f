"""Adam as every backend uses it, and its state by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-14
MOVER_BETAS = (0.9, 0.99)
"""For the grids' affine maps."""


def betas(schedule: str) -> tuple[float, float]:
    """Return the decay rates for features and decoder.

    Fast forgetting suits features that a batch touches rarely; the original code's suits its
    constant learning rate.
    """
    return {"cosine": (0.9, 0.95), "constant": (0.9, 0.99)}[schedule]


def adam(groups: list[dict[str, Any]], decay: tuple[float, float]) -> torch.optim.Adam:
    """Return Adam with one fused kernel per step where this torch and device have it."""
    try:
        return torch.optim.Adam(groups, lr=0.0, betas=decay, eps=EPSILON, fused=True)
    except RuntimeError:
        return torch.optim.Adam(groups, lr=0.0, betas=decay, eps=EPSILON)


def optimiser_state(optimiser: torch.optim.Optimizer, kind: str, first: int = 0) -> dict[str, Any]:
    """Return an optimiser's tensors as ``KIND.NUMBER.NAME``, parameters counted from `first`."""
    return {
        f"{kind}.{number}.{name}": torch.as_tensor(value)
        for number, parameter in enumerate(_parameters(optimiser), first)
        for name, value in optimiser.state.get(parameter, {}).items()
    }


def restore_optimiser(
    optimiser: torch.optim.Optimizer, kind: str, state: Mapping[str, Tensor], first: int = 0
) -> None:
    """Continue from :func:`optimiser_state`'s result."""
    for number, parameter in enumerate(_parameters(optimiser), first):
        prefix = f"{kind}.{number}."
        mine = {
            # torch keeps a fused optimiser's step count beside its parameter.
            name[len(prefix) :]: value.to(parameter.device)
            for name, value in state.items()
            if name.startswith(prefix)
        }
        if mine:
            optimiser.state[parameter] = mine


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
