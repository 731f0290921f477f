"""A training iteration by the CPU kernels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from amgsrn_core.config import TrainingConfig
from amgsrn_core.kernels import KernelLibrary
from amgsrn_core.kernels.nodes import inside, nodes_from_grids
from amgsrn_core.kernels.training import GradientKernel, draw
from amgsrn_core.networks import SceneNetwork
from amgsrn_core.training.importance import ImportanceSampler
from amgsrn_core.training.optimisers import (
    EPSILON,
    MOVER_BETAS,
    Adam,
    betas,
    optimiser_state,
    restore_optimiser,
)
from amgsrn_core.training.regularisation import add_penalty_gradient, is_regularised
from amgsrn_core.training.sampling import PointSampler, TrainingData
from amgsrn_core.training.schedule import Rates


class NativeStep:
    """See :class:`amgsrn_core.training.step.Step`; points are those of the torch reference.

    The features live in the kernels' layout and are copied into the network by :meth:`publish`;
    maps and decoder, which are small, stay in the network. Results depend on PyTorch's number of
    threads when this is made.

    Parameters
    ----------
    library : KernelLibrary
    network : SceneNetwork
        On the CPU; trained in place.
    data : TrainingData
        On the CPU.
    config : TrainingConfig
    """

    def __init__(
        self,
        library: KernelLibrary,
        network: SceneNetwork,
        data: TrainingData,
        config: TrainingConfig,
    ) -> None:
        self._library, self._network, self._data, self._config = library, network, data, config
        self._sampler = PointSampler(data, config.batch, config.seed)
        self._importance: ImportanceSampler | None = None
        if config.sampling == "importance":
            self._importance = ImportanceSampler(data, config, library)
        self._is_regularised = is_regularised(network.config, config)
        shape = network.feature_grids.shape
        grids, features, *sides = shape
        self._kernel = GradientKernel(
            library, shape, torch.get_num_threads(), fast=config.precision == "fast"
        )
        self._nodes = nodes_from_grids(network.feature_grids.detach().numpy())
        self._mean = torch.zeros(grids, *sides, features)
        self._square = torch.zeros_like(self._mean)
        self._steps = 0
        self._betas = betas(config.schedule)
        self._optimiser = Adam([{"params": network.weights}], self._betas)
        self._mover = Adam([{"params": [network.transforms]}], MOVER_BETAS)

    def descend(self, iteration: int, rate: Rates) -> Tensor:
        """Do one iteration; return the mean squared error before it."""
        network = self._network
        points, targets, counts = self._draw(iteration)
        transforms = network.transforms.detach().numpy()
        moves = rate.transforms > 0.0
        by_gradient = moves and self._config.motion == "gradient"
        loss, errors, weight_gradients, transform_gradient = self._kernel.gradients(
            self._nodes,
            transforms,
            [weight.detach().numpy() for weight in network.weights],
            points,
            targets,
            moving=by_gradient,
            counts=counts,
        )
        if self._importance is not None:
            self._importance.learn(errors)
        for weight, gradient in zip(network.weights, weight_gradients):
            weight.grad = torch.from_numpy(gradient)
        if moves and not by_gradient:
            transform_gradient = self._kernel.density_gradient(transforms, points, errors, loss)
        network.transforms.grad = (
            None if transform_gradient is None else torch.from_numpy(transform_gradient)
        )
        self._update(rate)
        return torch.tensor(loss)

    def _draw(self, iteration: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        if self._importance is not None:
            batch = self._importance.draw(iteration)
            return batch[0].numpy(), batch[1].numpy(), batch[2].numpy()
        cells = self._data.cells
        points, targets = draw(
            self._library,
            self._data.values.numpy(),
            None if cells is None else cells.numpy(),
            self._sampler.uniform(iteration).numpy(),
            cubic=self._config.targets == "cubic",
        )
        return points, targets, None

    def _update(self, rate: Rates) -> None:
        self._steps += 1
        if self._is_regularised:
            shape = self._network.feature_grids.shape
            features = torch.from_numpy(inside(self._nodes, shape))
            gradient = torch.from_numpy(self._kernel.gradient_view())
            add_penalty_gradient(gradient, features, self._config.tv, self._config.l1)
        self._kernel.update(
            self._nodes,
            self._mean.numpy(),
            self._square.numpy(),
            rate=rate.features,
            betas=self._betas,
            epsilon=EPSILON,
            step=self._steps,
        )
        self._optimiser.param_groups[0]["lr"] = rate.decoder
        self._optimiser.step()
        if rate.transforms > 0.0:
            self._mover.param_groups[0]["lr"] = rate.transforms
            self._mover.step()

    def publish(self) -> None:
        """Copy the features into the network."""
        grids = self._network.feature_grids
        with torch.no_grad():
            grids.copy_(torch.from_numpy(inside(self._nodes, grids.shape)))

    def state(self) -> dict[str, Tensor]:
        """Return the optimisers' state by name."""
        state = {
            **optimiser_state(self._optimiser, "main", first=1),
            **optimiser_state(self._mover, "mover"),
            **(self._importance.state() if self._importance is not None else {}),
        }
        if self._steps:
            state["main.0.step"] = torch.tensor(float(self._steps))
            state["main.0.exp_avg"] = self._mean.permute(0, 4, 1, 2, 3).contiguous()
            state["main.0.exp_avg_sq"] = self._square.permute(0, 4, 1, 2, 3).contiguous()
        return state

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from :meth:`state`'s result, and from the network's features."""
        nodes_from_grids(self._network.feature_grids.detach().numpy(), out=self._nodes)
        if "main.0.step" in state:
            self._steps = int(state["main.0.step"])
            self._mean.copy_(state["main.0.exp_avg"].permute(0, 2, 3, 4, 1))
            self._square.copy_(state["main.0.exp_avg_sq"].permute(0, 2, 3, 4, 1))
        restore_optimiser(self._optimiser, "main", state, first=1)
        restore_optimiser(self._mover, "mover", state)
        if self._importance is not None:
            self._importance.restore(state)
