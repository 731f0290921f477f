"""Penalties on the features: total variation and L1, with weights, and their gradient.

As in AMGSRN++, except that its total variation also compares each grid with the next one. With
f [G, C, D, H, W] the features, every mean over all its terms::

    penalty = tv * sum over axes z, y, x of mean (f[i + 1] - f[i])^2  +  l1 * mean |f|

It is added to the mean squared error of the values, which count from 0 to 1 over the brick's range.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.errors import ConfigurationError

_NODE_AXES = (2, 3, 4)


def is_regularised(network: NetworkConfig, training: TrainingConfig) -> bool:
    """Tell whether a training has penalties.

    Raises
    ------
    ConfigurationError
        Total variation is asked for where nodes have no neighbours: in a hash grid.
    """
    if training.tv and network.encoder == "hash":
        raise ConfigurationError(
            "A hash grid's entries have no neighbours, so it has no total variation; set tv to 0 "
            "or use encoder adaptive or dense."
        )
    return training.tv > 0.0 or training.l1 > 0.0


def penalty(features: Tensor, tv: float, l1: float) -> Tensor:
    """Return the weighted penalties of features [G, C, D, H, W] (without `tv`: of any shape)."""
    total = l1 * features.abs().mean()
    for axis in _NODE_AXES if tv else ():
        total = total + tv * features.diff(dim=axis).square().mean()
    return total


def add_penalty_gradient(gradient: Tensor, features: Tensor, tv: float, l1: float) -> None:
    """Add the gradient of :func:`penalty` by the features to a tensor like them, in place."""
    with torch.no_grad():
        if l1:
            gradient.add_(features.sign(), alpha=l1 / features.numel())
        for axis in _NODE_AXES if tv else ():
            steps = features.diff(dim=axis)
            slope = 2.0 * tv / steps.numel()
            count = steps.shape[axis]
            gradient.narrow(axis, 1, count).add_(steps, alpha=slope)
            gradient.narrow(axis, 0, count).sub_(steps, alpha=slope)
