"""A training iteration in PyTorch, on any device: the reference of every faster one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from amgsrn_core.config import TrainingConfig
from amgsrn_core.networks import SceneNetwork
from amgsrn_core.training.motion import density_loss
from amgsrn_core.training.optimisers import (
    MOVER_BETAS,
    Adam,
    betas,
    optimiser_state,
    restore_optimiser,
)
from amgsrn_core.training.regularisation import is_regularised, penalty
from amgsrn_core.training.sampling import (
    PointSampler,
    TrainingData,
    cubic_targets,
    linear_targets,
)
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
        self._network, self._data, self._config = network, data, config
        self._sampler = PointSampler(data, config.batch, config.seed)
        self._is_regularised = is_regularised(network.config, config)
        self._device = network.minimum.device
        groups: list[dict[str, Any]] = [
            {"params": [network.feature_grids]},
            {"params": network.weights},
        ]
        self._optimiser = Adam(groups, betas(config.schedule))
        self._mover = Adam([{"params": [network.transforms]}], MOVER_BETAS)

    def descend(self, iteration: int, rate: Rates) -> Tensor:
        """Do one iteration; return the mean squared error before it."""
        index, local = self._sampler.draw(iteration)
        if self._config.targets == "cubic":
            target = cubic_targets(self._data.values, index)
        else:
            target = linear_targets(self._data.values, local)
        local, target = local.to(self._device), target.to(self._device)
        network = self._network
        moves = rate.transforms > 0.0 and network.config.encoder == "adaptive"
        by_gradient = moves and self._config.motion == "gradient"
        self._optimiser.zero_grad()
        self._mover.zero_grad()
        transforms = network.transforms if by_gradient else network.transforms.detach()
        values = network.decoded(network.encode(local, transforms))
        errors = (values - target).square().mean(1)
        loss = errors.mean()
        if self._is_regularised:
            loss = loss + penalty(network.feature_grids, self._config.tv, self._config.l1)
        loss.backward()
        errors = errors.detach()
        if moves and not by_gradient:
            density_loss(local, network.transforms, errors).backward()
        features, decoder = self._optimiser.param_groups
        features["lr"], decoder["lr"] = rate.features, rate.decoder
        self._optimiser.step()
        if moves:
            self._mover.param_groups[0]["lr"] = rate.transforms
            self._mover.step()
        return errors.mean()

    def publish(self) -> None:
        """Do nothing: the network is always up to date."""

    def state(self) -> dict[str, Tensor]:
        """Return the optimisers' state by name."""
        return {
            **optimiser_state(self._optimiser, "main"),
            **optimiser_state(self._mover, "mover"),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from :meth:`state`'s result."""
        restore_optimiser(self._optimiser, "main", state)
        restore_optimiser(self._mover, "mover", state)
