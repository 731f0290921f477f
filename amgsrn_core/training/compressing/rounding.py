"""A network's trained numbers, rounded as in a compressed file, and what their size costs.

All of this is PyTorch on the device that trains; :mod:`amgsrn_core.model.codec` is what
files are written and read with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from amgsrn_core.model.codec import BANDS, coarseness, cosine_matrix, frequency_bands
from amgsrn_core.networks import SceneNetwork
from amgsrn_core.networks.products import products

# Below this mean size of rounded numbers the estimate of their entropy grows no steeper.
_SMALLEST = 0.02
# The slope of a number's size is that of |n| rounded off to the root of this around zero.
_ROUNDED_OFF = 0.1

Steps = dict[str, np.ndarray]


class Rounding:
    """How a network's numbers are rounded, up to one factor over all steps, the scale.

    Whole numbers stand for the frequencies of the grids. What is called numbers here, [G, F, D, H,
    W], is these before they are rounded.

    Parameters
    ----------
    network : SceneNetwork
        With feature grids.
    unit : dict of ndarray
        Of :func:`amgsrn_core.training.compressing.compression.unit_steps`.
    reference : dict of ndarray, optional
        Parameters that the numbers are stored as differences from: the size of these counts then.
    """

    def __init__(
        self,
        network: SceneNetwork,
        unit: Steps,
        reference: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        device = network.minimum.device
        depth, height, width = network.feature_grids.shape[2:]
        shape = (depth, height, width)
        steps = unit["feature_grids"][:, :, None, None, None]
        self._widths = torch.from_numpy((steps * coarseness(shape)).astype(np.float32)).to(device)
        self._matrices = [
            torch.from_numpy(cosine_matrix(n).astype(np.float32)).to(device) for n in shape
        ]
        self._bands = torch.from_numpy(frequency_bands(shape).ravel()).to(device)
        self._in_band = torch.bincount(self._bands, minlength=BANDS).clamp(min=1)
        self._steps = [float(unit[f"decoder.{i}.weight"][0]) for i in range(len(network.weights))]
        count = network.feature_grids.numel() + sum(w.numel() for w in network.weights)
        # A step s rounds with the variance s^2 / 12, of which a bit saves 2 ln 2; all numbers
        # together have the error scale^2.
        self._bit = 2.0 * math.log(2.0) / count
        self._expected: Tensor | None = None
        self._expected_weights: list[Tensor] = []
        if reference is not None:
            grids = torch.from_numpy(reference["feature_grids"]).to(device)
            self._expected = self.numbers(grids, 1.0)
            self._expected_weights = [
                torch.from_numpy(reference[f"decoder.{i}.weight"]).to(device)
                for i in range(len(network.weights))
            ]

    def numbers(self, grids: Tensor, scale: float) -> Tensor:
        """Return the numbers of feature grids."""
        return self._transformed(grids, inverse=False) / (self._widths * scale)

    def grids(self, numbers: Tensor, scale: float) -> Tensor:
        """Return feature grids of their numbers."""
        return self._transformed(numbers * (self._widths * scale), inverse=True)

    def gradient_by_numbers(self, by_grids: Tensor, scale: float) -> Tensor:
        """Return a gradient by the numbers from one by the grids."""
        return self._transformed(by_grids, inverse=False) * (self._widths * scale)

    def gradient_by_grids(self, by_numbers: Tensor, scale: float) -> Tensor:
        """Return a gradient by the grids from one by the numbers."""
        return self._transformed(by_numbers / (self._widths * scale), inverse=True)

    def weights(self, weights: list[Tensor], scale: float) -> list[Tensor]:
        """Return the decoder's matrices rounded."""
        steps = [step * scale for step in self._steps]
        return [(weight / step).round() * step for weight, step in zip(weights, steps)]

    def bit_price(self, scale: float) -> float:
        """Return what a bit saves of the mean squared error if it makes the steps smaller."""
        return self._bit * scale**2

    def bits_by_numbers(self, numbers: Tensor, scale: float) -> Tensor:
        """Return the gradient of the size in bits by the numbers.

        The size is that of numbers with a Laplace distribution, whose mean size is known for each
        feature and band of frequencies.
        """
        if self._expected is not None:
            numbers = numbers - (self._expected / scale).round()
        rows = numbers.abs().view(-1, len(self._bands))
        means = torch.zeros(len(rows), BANDS, device=rows.device)
        means.index_add_(1, self._bands, rows)
        means = means / self._in_band + _SMALLEST
        slopes = numbers / (numbers.square() + _ROUNDED_OFF).sqrt()
        return slopes / means[:, self._bands].view_as(numbers) / math.log(2.0)

    def bits_by_weights(self, weights: list[Tensor], scale: float) -> list[Tensor]:
        """Return the gradients of the decoder's size in bits, as that of the numbers."""
        slopes = []
        if self._expected_weights:
            expected = self.weights(self._expected_weights, scale)
            weights = [weight - rounded for weight, rounded in zip(weights, expected)]
        for weight, step in zip(weights, self._steps):
            mean = weight.abs().mean() + _SMALLEST * step * scale
            slopes.append(weight.sign() / mean / math.log(2.0))
        return slopes

    def _transformed(self, values: Tensor, inverse: bool) -> Tensor:
        for axis, matrix in enumerate(self._matrices, start=2):
            other = matrix if inverse else matrix.t()
            with products():
                values = torch.tensordot(values, other, dims=([axis], [0])).movedim(-1, axis)
        return values.contiguous()
