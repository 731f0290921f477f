"""How well a network in training reproduces the voxels, by a sample of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from amgsrn_core.networks import SceneNetwork
from amgsrn_core.training.quality import measure
from amgsrn_core.training.sampling import TrainingData
from amgsrn_core.volume.geometry import Extent
from amgsrn_core.volume.psnr import psnr_of

_VOXELS = 1 << 16
_TRIES = 8


class VoxelSample:
    """Voxels of a brick with a value, the same ones for as long as a training takes.

    Parameters
    ----------
    data : TrainingData
    region : tuple of three slices, optional
        The brick's own voxels z, y, x in the data; default: all.
    weights : sequence of float, optional
        By which each component's mean squared error counts; default: alike.

    Attributes
    ----------
    data : TrainingData
    region : tuple of three slices
    """

    def __init__(
        self,
        data: TrainingData,
        region: Extent | None = None,
        weights: Sequence[float] = (),
    ) -> None:
        components, *sizes = data.values.shape
        whole = (slice(0, sizes[0]), slice(0, sizes[1]), slice(0, sizes[2]))
        self.data, self.region = data, region or whole
        self._weights = np.array(weights or [1.0] * components)
        places = _places(data.valid, self.region)
        device = data.values.device
        index = torch.from_numpy(places).to(device)
        self._targets = data.values[:, index[:, 0], index[:, 1], index[:, 2]].t()
        half = 0.5 * (torch.tensor(sizes, device=device) - 1.0).clamp(min=0.5)
        self._points = ((index - half) / half).to(torch.float32).flip(1).contiguous()

    def psnr(self, network: SceneNetwork) -> float:
        """Return the PSNR in dB over the sample."""
        if not len(self._points):
            return float("nan")
        return self._psnr(np.square(self.errors(network)).mean(0))

    def errors(self, network: SceneNetwork) -> np.ndarray:
        """Return network minus data float64 [N, C] at the sample, relative to the data's range."""
        device = network.minimum.device
        with torch.inference_mode():
            errors = network.normalised(self._points.to(device)) - self._targets.to(device)
        return errors.cpu().double().numpy()

    def exact(self, network: SceneNetwork) -> float:
        """Return the PSNR in dB over all voxels."""
        quality = measure(network, self.data, self.region)
        return self._psnr(quality.squares / quality.count)

    def limit(self, psnr: float) -> float:
        """Return the mean squared error as :func:`measure` counts it that stands for a PSNR."""
        return 10.0 ** (-psnr / 10.0) / float(self._weights.mean())

    def _psnr(self, squares: np.ndarray) -> float:
        return psnr_of(float((squares * self._weights).mean()))


def _places(valid: np.ndarray | None, region: Extent) -> np.ndarray:
    """Return random voxels z, y, x [N, 3] with a value, or all where they are few."""
    starts = np.array([part.start for part in region])
    sizes = [part.stop - part.start for part in region]
    random = np.random.default_rng(0)
    whole = int(np.prod(sizes))

    def known(flat: np.ndarray) -> np.ndarray:
        places = np.stack(np.unravel_index(flat, sizes), 1) + starts
        return places if valid is None else places[valid[tuple(places.T)]]

    if whole > _TRIES * _VOXELS:
        places = known(random.integers(0, whole, _TRIES * _VOXELS))
        if len(places) >= _VOXELS:
            return places[:_VOXELS]
    places = known(np.arange(whole))
    if len(places) > _VOXELS:
        places = places[np.sort(random.choice(len(places), _VOXELS, replace=False))]
    return places
