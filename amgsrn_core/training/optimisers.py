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
    return {"constant": (0.9, 0.99)}.get(schedule, (0.9, 0.95))


class Adam:
    """Adam (Kingma and Ba, ICLR 2015) by PyTorch's fused kernel where the device has it.

    It does what ``torch.optim.Adam`` does, without loading PyTorch's compiler on its first use:
    that takes as long as loading the rest of PyTorch.

    Parameters
    ----------
    groups : list of dict
        Parameters as `params`; each group has a learning rate `lr` of its own: a number, or a
        tensor [] beside its parameters, which a CUDA graph reads anew each time.
    decay : two floats
        Of the means of gradients and of their squares.

    Attributes
    ----------
    param_groups : list of dict
        Set `lr` before a step.
    state : dict
        For each parameter with a gradient so far `step`, `exp_avg` and `exp_avg_sq`.
    """

    def __init__(self, groups: list[dict[str, Any]], decay: tuple[float, float]) -> None:
        self.param_groups = [{"lr": 0.0, **group} for group in groups]
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self._decay = decay

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in _parameters(self):
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters that have a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._update(parameters, group["lr"])

    def _update(self, parameters: list[Tensor], rate: float | Tensor) -> None:
        states = [self.state.setdefault(p, {}) for p in parameters]
        for parameter, state in zip(parameters, states):
            if not state:
                state["step"] = torch.zeros((), device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        means, squares, steps = (
            [state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step")
        )
        torch._foreach_add_(steps, 1)
        gradients = [p.grad for p in parameters if p.grad is not None]
        first, second = self._decay
        try:
            torch._fused_adam_(
                parameters,
                gradients,
                means,
                squares,
                [],
                steps,
                lr=rate,
                beta1=first,
                beta2=second,
                weight_decay=0.0,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )
        except NotImplementedError:  # this torch has no such kernel for the device
            for parameter, gradient, state in zip(parameters, gradients, states):
                _plain_update(parameter, gradient, state, rate, self._decay)


def _plain_update(
    parameter: Tensor,
    gradient: Tensor,
    state: dict[str, Tensor],
    rate: float | Tensor,
    decay: tuple[float, float],
) -> None:
    first, second = decay
    state["exp_avg"].lerp_(gradient, 1.0 - first)
    state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1.0 - second)
    mean = state["exp_avg"] / (1.0 - first ** state["step"])
    square = state["exp_avg_sq"] / (1.0 - second ** state["step"])
    parameter.sub_(rate * mean / (square.sqrt() + EPSILON))


def optimiser_state(optimiser: Adam, kind: str, first: int = 0) -> dict[str, Any]:
    """Return an optimiser's tensors as ``KIND.NUMBER.NAME``, parameters counted from `first`."""
    return {
        f"{kind}.{number}.{name}": torch.as_tensor(value)
        for number, parameter in enumerate(_parameters(optimiser), first)
        for name, value in optimiser.state.get(parameter, {}).items()
    }


def restore_optimiser(
    optimiser: Adam, kind: str, state: Mapping[str, Tensor], first: int = 0
) -> None:
    """Continue from :func:`optimiser_state`'s result."""
    for number, parameter in enumerate(_parameters(optimiser), first):
        prefix = f"{kind}.{number}."
        mine = {
            # The fused kernel wants the step count beside its parameter.
            name[len(prefix) :]: value.to(parameter.device)
            for name, value in state.items()
            if name.startswith(prefix)
        }
        if mine:
            optimiser.state[parameter] = mine


def _parameters(optimiser: Adam) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
