"""How well a network reproduces the block that it was fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from amgsrn_core.networks import SceneNetwork
from amgsrn_core.training.history import psnr_of
from amgsrn_core.training.sampling import TrainingData

_POINTS = 1 << 18


@dataclass(frozen=True)
class FitQuality:
    """Errors over the valid voxels of a block.

    Attributes
    ----------
    psnr : float
        In dB, relative to each component's range.
    largest : ndarray of float64 [C]
        Largest absolute error of each component, relative to its range.
    """

    psnr: float
    largest: np.ndarray


def measure(network: SceneNetwork, data: TrainingData) -> FitQuality:
    """Compare a network with its training data, slab by slab.

    Parameters
    ----------
    network : SceneNetwork
    data : TrainingData
        On the same device.
    """
    components, depth, height, width = data.values.shape
    device = data.values.device
    z, y, x = (torch.linspace(-1.0, 1.0, n, device=device) for n in (depth, height, width))
    slices = max(1, _POINTS // (height * width))
    total, count = 0.0, 0
    largest = torch.zeros(components, device=device)
    with torch.inference_mode():
        for start in range(0, depth, slices):
            slab = slice(start, start + slices)
            corners = torch.meshgrid(z[slab], y, x, indexing="ij")
            points = torch.stack(corners[::-1], -1).view(-1, 3)
            values = torch.cat([network.normalised(part) for part in points.split(_POINTS)])
            errors = (values.t() - data.values[:, slab].reshape(components, -1)).abs()
            if data.valid is not None:
                errors = errors[:, torch.from_numpy(data.valid[slab].reshape(-1)).to(device)]
            if errors.shape[1]:
                largest = torch.maximum(largest, errors.amax(1))
                # Summed on the host in double precision, which not every device has.
                total += float(errors.square().sum(1).cpu().double().sum())
                count += errors.numel()
    return FitQuality(psnr_of(total / count), largest.cpu().numpy().astype(np.float64))
