"""A training iteration in PyTorch, on any device: the reference of every faster one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from amgsrn_core.config import TrainingConfig
from amgsrn_core.networks import SceneNetwork
from amgsrn_core.networks.products import products
from amgsrn_core.training.batches import Batches, batches_for
from amgsrn_core.training.importance import ImportanceSampler
from amgsrn_core.training.motion import density_loss
from amgsrn_core.training.optimisers import (
    MOVER_BETAS,
    Adam,
    betas,
    optimiser_state,
    restore_optimiser,
)
from amgsrn_core.training.regularisation import is_regularised, penalty
from amgsrn_core.training.sampling import TrainingData
from amgsrn_core.training.schedule import Rates


class TorchStep:
    """See :class:`amgsrn_core.training.step.Step`.

    Parameters
    ----------
    network : SceneNetwork
        Trained in place.
    data : TrainingData
        On the same device, or on the CPU: then points are drawn there.
    config : TrainingConfig
    """

    def __init__(self, network: SceneNetwork, data: TrainingData, config: TrainingConfig) -> None:
        self._network, self._config = network, config
        self._device = network.minimum.device
        self._importance: ImportanceSampler | None = None
        if config.sampling == "importance":
            self._importance = ImportanceSampler(data, config)
        self._batches = self._importance or self._batches_of(data)
        self._is_regularised = is_regularised(network.config, config)
        groups: list[dict[str, Any]] = [
            {"params": [network.feature_grids]},
            {"params": network.weights},
        ]
        self._optimiser = Adam(groups, betas(config.schedule))
        self._mover = Adam([{"params": [network.transforms]}], MOVER_BETAS)

    def descend(self, iteration: int, rate: Rates) -> Tensor:
        """Do one iteration; return the mean squared error before it."""
        batch = self._batches.draw(iteration)
        features, decoder = self._optimiser.param_groups
        features["lr"], decoder["lr"] = rate.features, rate.decoder
        self._mover.param_groups[0]["lr"] = rate.transforms
        return self._learn(self._moves(rate), *batch)

    def _batches_of(self, data: TrainingData) -> Batches:
        return batches_for(self._device, data, self._config, self._config.seed)

    def _moves(self, rate: Rates) -> bool:
        return rate.transforms > 0.0 and self._network.config.encoder == "adaptive"

    def _learn(
        self, moves: bool, points: Tensor, targets: Tensor, counts: Tensor | None = None
    ) -> Tensor:
        """Update the parameters at the optimisers' rates; return the mean squared error."""
        network, config = self._network, self._config
        by_gradient = moves and config.motion == "gradient"
        self._optimiser.zero_grad()
        self._mover.zero_grad()
        transforms = network.transforms if by_gradient else network.transforms.detach()
        with products(fast=config.precision == "fast"):
            values = network.decoded(network.encode(points, transforms))
            errors = (values - targets).square().mean(1)
            loss = error = errors.mean() if counts is None else (errors * counts).mean()
            if self._is_regularised:
                loss = loss + penalty(network.feature_grids, config.tv, config.l1)
            loss.backward()
        errors = errors.detach()
        if self._importance is not None:
            self._importance.learn(errors.numpy())
        if moves and not by_gradient:
            with products():
                density_loss(points, network.transforms, errors).backward()
        self._optimiser.step()
        if moves:
            self._mover.step()
        return error.detach()

    def publish(self) -> None:
        """Do nothing: the network is always up to date."""

    def state(self) -> dict[str, Tensor]:
        """Return the optimisers' state by name."""
        return {
            **optimiser_state(self._optimiser, "main"),
            **optimiser_state(self._mover, "mover"),
            **(self._importance.state() if self._importance is not None else {}),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from :meth:`state`'s result."""
        restore_optimiser(self._optimiser, "main", state)
        restore_optimiser(self._mover, "mover", state)
        if self._importance is not None:
            self._importance.restore(state)
