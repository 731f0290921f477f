"""The exponential average of a network's parameters over the last part of a training."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from amgsrn_core.networks import SceneNetwork

_EVERY = 4
# The window grows with the run: an eighth of what is done, in iterations.
_WINDOW = 8.0
_PREFIX = "average."


class Average:
    """A network beside one that is trained, with the average of its parameters.

    The grids' maps are those of the last iteration: averages of features belong to grids at rest.

    Parameters
    ----------
    network : SceneNetwork

    Attributes
    ----------
    network : SceneNetwork
    """

    def __init__(self, network: SceneNetwork) -> None:
        self.network = copy.deepcopy(network)

    @staticmethod
    def is_due(iteration: int) -> bool:
        """Return whether to follow after so many iterations."""
        return iteration % _EVERY == 0

    @torch.no_grad()
    def follow(self, network: SceneNetwork, iteration: int) -> None:
        """Take in the parameters after so many iterations."""
        share = min(1.0, _EVERY * _WINDOW / (iteration + _WINDOW))
        new = network.state_dict()
        for name, value in self.network.state_dict().items():
            if name == "transforms" or not value.is_floating_point():
                value.copy_(new[name])
            else:
                value.lerp_(new[name], share)

    def state(self) -> dict[str, Tensor]:
        """Return the average by name."""
        return {_PREFIX + name: value for name, value in self.network.state_dict().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from :meth:`state`'s result; without one the average begins anew."""
        known = {
            name.removeprefix(_PREFIX): value
            for name, value in state.items()
            if name.startswith(_PREFIX)
        }
        self.network.load_state_dict(known or {n: state[f"network.{n}"] for n in self._names()})

    def _names(self) -> list[str]:
        return list(self.network.state_dict())
