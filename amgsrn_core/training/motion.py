"""The original's rule of motion: a loss that draws grid density to where the errors are."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from amgsrn_core.networks import feature_density

_TINY = 1e-16


def density_loss(local: Tensor, transforms: Tensor, errors: Tensor) -> Tensor:
    """Return the paper's loss of the maps; only the density carries a gradient.

    KL divergence of the normalised density and its target ~ density^(mean error / error), over
    the points of a batch.

    Parameters
    ----------
    local : Tensor [N, 3]
        Brick-local points x, y, z.
    transforms : Tensor [G, 3, 4]
    errors : Tensor [N]
        Squared errors at the points.
    """
    density = feature_density(local, transforms)
    density = density / density.sum().detach()
    log_density = torch.log(density + _TINY)
    target = torch.exp(log_density.detach() * (errors.mean() / (errors + _TINY)))
    log_target = torch.log(target / target.sum() + _TINY)
    # The mean is taken here, because torch is about to redefine its own.
    divergence = functional.kl_div(log_density, log_target, reduction="none", log_target=True)
    return divergence.mean()
