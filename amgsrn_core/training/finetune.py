"""Training on with rounded numbers and a price on their size, before a network is compressed.

Numbers that are rounded after training carry noise that costs bytes and buys nothing. Here the loss
and its gradient are those of the rounded network, and are applied to the exact numbers behind it
(the straight-through estimator: Bengio et al., arXiv:1308.3432). To them comes the gradient of an
estimate of the numbers' entropy, so that those which hardly matter become zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from amgsrn_core.archive.compression import coarseness, cosine_matrix
from amgsrn_core.backends import native_library
from amgsrn_core.config import TrainingConfig
from amgsrn_core.kernels.nodes import inside, nodes_from_grids
from amgsrn_core.kernels.training import GradientKernel, draw
from amgsrn_core.networks import SceneNetwork, decode
from amgsrn_core.training.optimisers import Adam, betas
from amgsrn_core.training.sampling import (
    PointSampler,
    TrainingData,
    cubic_targets,
    linear_targets,
)

# The peak learning rate relative to the training's; it is held for a while and falls to zero.
_RATE, _HELD, _WARM_UP = 0.25, 0.3, 20
# The price of a bit relative to what it saves at the steps in use, to first order.
_PRICE = 4.0
# Frequencies whose numbers share an estimate of their size.
_BANDS = 16
# Below this mean size of rounded numbers the estimate of their entropy grows no steeper.
_SMALLEST = 0.02

# From the number of an iteration, grids and weights on to the loss's gradients by both.
Gradients = Callable[[int, Tensor, "list[Tensor]"], "tuple[Tensor, list[Tensor]]"]


def finetune(
    network: SceneNetwork,
    data: TrainingData,
    config: TrainingConfig,
    unit: dict[str, np.ndarray],
    scale: float,
    iterations: range,
    go_on: Callable[[int], bool],
) -> bool:
    """Train a network in place so that it loses little when it is rounded.

    Parameters
    ----------
    network : SceneNetwork
        Trained; its maps stay as they are.
    data : TrainingData
    config : TrainingConfig
    unit : dict of ndarray
        Of :func:`amgsrn_core.training.compression.unit_steps`.
    scale : float
        The steps that it gets used to, in those units.
    iterations : range
        Their numbers, which decide over the random points.
    go_on : callable
        Asked before each iteration, with its number; False stops.

    Returns
    -------
    bool
        False when it was stopped; the network is then as it was.
    """
    state = _Rounded(network, unit, scale)
    gradients = _gradients(network, data, config)
    parameters = [state.grids, *state.weights]
    optimiser = Adam(
        [{"params": parameters[:1]}, {"params": parameters[1:]}], betas(config.schedule)
    )
    for iteration in iterations:
        if not go_on(iteration):
            return False
        with torch.no_grad():
            by_grids, by_weights = gradients(iteration, *state.rounded())
            prices = state.prices()
            for parameter, gradient, price in zip(parameters, [by_grids, *by_weights], prices):
                # Laid out as the parameter, which the fused optimiser takes for granted.
                parameter.grad = (gradient + price).contiguous()
        rate = config.learning_rate * _RATE * _shape(iteration - iterations.start, len(iterations))
        for group, factor in zip(optimiser.param_groups, (1.0, config.decoder_rate)):
            group["lr"] = rate * factor
        optimiser.step()
    with torch.no_grad():
        network.feature_grids.copy_(state.grids)
        for weight, trained in zip(network.weights, state.weights):
            weight.copy_(trained)
    return True


def _shape(iteration: int, iterations: int) -> float:
    """Return the learning rate of an iteration relative to its peak."""
    done = max(0.0, iteration / iterations - _HELD) / (1.0 - _HELD)
    return min(1.0, (iteration + 1) / _WARM_UP) * 0.5 * (1.0 + math.cos(math.pi * done))


class _Rounded:
    """The exact numbers of a network, and what they are when they are rounded."""

    def __init__(self, network: SceneNetwork, unit: dict[str, np.ndarray], scale: float) -> None:
        device = network.minimum.device
        self.grids = network.feature_grids.detach().clone().requires_grad_()
        self.weights = [w.detach().clone().requires_grad_() for w in network.weights]
        count = self.grids.numel() + sum(w.numel() for w in self.weights)
        # A step s rounds with the variance s^2 / 12, of which a bit saves 2 ln 2; all numbers
        # together have the error scale^2.
        self._price = _PRICE * 2.0 * math.log(2.0) / count
        self._scale = scale
        depth, height, width = self.grids.shape[2:]
        steps = unit["feature_grids"][:, :, None, None, None]
        widths = (steps * coarseness((depth, height, width))).astype(np.float32)
        self._widths = torch.from_numpy(widths).to(device)
        self._matrices = [
            torch.from_numpy(cosine_matrix(n).astype(np.float32)).to(device)
            for n in (depth, height, width)
        ]
        frequency = [torch.arange(n, device=device) / n for n in (depth, height, width)]
        total = frequency[0][:, None, None] + frequency[1][:, None] + frequency[2]
        self._bands = (total * (_BANDS / 3.0)).long().view(-1)
        self._in_band = torch.bincount(self._bands, minlength=_BANDS).clamp(min=1)
        self._steps = [float(unit[f"decoder.{i}.weight"][0]) for i in range(len(self.weights))]

    def rounded(self) -> tuple[Tensor, list[Tensor]]:
        """Return grids and weights as they would come out of a file."""
        widths, steps = self._widths * self._scale, [step * self._scale for step in self._steps]
        self._numbers = self._transformed(self.grids, inverse=False) / widths
        grids = self._transformed(self._numbers.round() * widths, inverse=True)
        weights = [(w / step).round() * step for w, step in zip(self.weights, steps)]
        return grids, weights

    def prices(self) -> list[Tensor]:
        """Return the gradients of the size in bits, times its price; after :meth:`rounded`.

        The size is that of numbers with a Laplace distribution, whose mean size is known for each
        feature and band of frequencies, and for each of the decoder's matrices.
        """
        numbers = self._numbers
        rows = numbers.abs().view(-1, len(self._bands))
        means = torch.zeros(len(rows), _BANDS, device=rows.device)
        means.index_add_(1, self._bands, rows)
        means = means / self._in_band + _SMALLEST
        slopes = numbers / (numbers.square() + 0.1).sqrt() / means[:, self._bands].view_as(numbers)
        price = self._price * self._scale**2 / math.log(2.0)
        grids = self._transformed(slopes / (self._widths * self._scale), inverse=True) * price
        weights = []
        for weight, step in zip(self.weights, self._steps):
            mean = float(weight.abs().mean()) + _SMALLEST * step * self._scale
            weights.append(weight.sign() * (price / mean))
        return [grids, *weights]

    def _transformed(self, values: Tensor, inverse: bool) -> Tensor:
        for axis, matrix in enumerate(self._matrices, start=2):
            other = matrix if inverse else matrix.t()
            values = torch.tensordot(values, other, dims=([axis], [0])).movedim(-1, axis)
        return values.contiguous()


def _gradients(network: SceneNetwork, data: TrainingData, config: TrainingConfig) -> Gradients:
    """Return what computes gradients at points of their own, with the configured backend."""
    sampler = PointSampler(data, config.batch, (config.seed + 1) % 2**31)
    library = native_library(config.backend, network.minimum.device, network.config.encoder)
    cubic = config.targets == "cubic"
    transforms = network.transforms.detach()

    def by_torch(number: int, grids: Tensor, weights: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        index, local = sampler.draw(number)
        target = cubic_targets(data.values, index) if cubic else linear_targets(data.values, local)
        # The values may be in the computer's memory (`data_device`).
        local, target = local.to(transforms.device), target.to(transforms.device)
        with torch.enable_grad():
            leaves = [grids.requires_grad_(), *(w.requires_grad_() for w in weights)]
            values = decode(network.encode_with(local, grids, transforms), leaves[1:])
            loss = (values - target).square().mean()
            by_grids, *by_weights = torch.autograd.grad(loss, leaves)
        return by_grids, by_weights

    if library is None:
        return by_torch
    shape = network.feature_grids.shape
    kernel = GradientKernel(
        library, shape, torch.get_num_threads(), fast=config.precision == "fast"
    )
    nodes = nodes_from_grids(network.feature_grids)

    def by_kernels(
        number: int, grids: Tensor, weights: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        nodes_from_grids(grids, out=nodes)
        uniform = sampler.uniform(number)
        points, targets = draw(library, data.values, data.cells, uniform, cubic=cubic)
        _, _, by_weights, _ = kernel.gradients(
            nodes, transforms, weights, points, targets, moving=False
        )
        # The kernels' order of the numbers in memory is not that of the grids.
        return inside(kernel.taken_gradients(), shape).contiguous(), by_weights

    return by_kernels
