"""How well a network reproduces the block that it was fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from amgsrn_core.networks import SceneNetwork
from amgsrn_core.training.sampling import TrainingData
from amgsrn_core.volume.geometry import Extent
from amgsrn_core.volume.psnr import psnr_of

_POINTS = 1 << 18

Watch = Callable[[Extent, np.ndarray, "np.ndarray | None"], None]


@dataclass(frozen=True)
class FitQuality:
    """Errors over the valid voxels of a block, relative to each component's range.

    Attributes
    ----------
    squares : ndarray of float64 [C]
        Sums of the squared errors of each component.
    count : int
        How many voxels these are.
    largest : ndarray of float64 [C]
        Largest absolute error of each component.
    """

    squares: np.ndarray
    count: int
    largest: np.ndarray

    @property
    def mean_square(self) -> float:
        """Mean squared error."""
        return float(self.squares.mean() / self.count)

    @property
    def psnr(self) -> float:
        """In dB."""
        return psnr_of(self.mean_square)


def measure(
    network: SceneNetwork,
    data: TrainingData,
    region: Extent | None = None,
    pause: Callable[[], None] = lambda: None,
    watch: Watch | None = None,
) -> FitQuality:
    """Compare a network with its training data, slab by slab.

    Parameters
    ----------
    network : SceneNetwork
    data : TrainingData
    region : tuple of three slices, optional
        The voxels z, y, x of the block to look at; default: all.
    pause : callable, optional
        Called between slabs; what it raises ends the measurement.
    watch : callable, optional
        Called with each slab's voxels z, y, x in the block, their absolute errors [C, z, y, x]
        relative to the range, and which of them have a value (None: all).
    """
    components, *sizes = data.values.shape
    rz, ry, rx = region or (slice(0, sizes[0]), slice(0, sizes[1]), slice(0, sizes[2]))
    device = network.minimum.device
    z, y, x = (torch.linspace(-1.0, 1.0, n, device=device) for n in sizes)
    y, x = y[ry], x[rx]
    slices = max(1, _POINTS // (len(y) * len(x)))
    squares, count = torch.zeros(components, dtype=torch.float64), 0
    largest = torch.zeros(components, device=device)
    with torch.inference_mode():
        for start in range(rz.start, rz.stop, slices):
            pause()
            slab = slice(start, min(start + slices, rz.stop))
            corners = torch.meshgrid(z[slab], y, x, indexing="ij")
            points = torch.stack(corners[::-1], -1).view(-1, 3)
            values = torch.cat([network.normalised(part) for part in points.split(_POINTS)])
            wanted = data.values[:, slab, ry, rx].reshape(components, -1).to(device)
            errors = (values.t() - wanted).abs()
            if watch is not None:
                part = slab, ry, rx
                shape = (components, *corners[0].shape)
                known = None if data.valid is None else data.valid[part]
                watch(part, errors.view(shape).cpu().numpy(), known)
            if data.valid is not None:
                there = torch.from_numpy(np.ascontiguousarray(data.valid[slab, ry, rx]))
                errors = errors[:, there.view(-1).to(device)]
            if errors.shape[1]:
                largest = torch.maximum(largest, errors.amax(1))
                # Summed on the host in double precision, which not every device has.
                squares += errors.square().sum(1).cpu().double()
                count += errors.shape[1]
    return FitQuality(squares.numpy(), count, largest.cpu().numpy().astype(np.float64))
