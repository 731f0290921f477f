"""What one iteration of a run does, whichever backend does it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from amgsrn_core.config import TrainingConfig
from amgsrn_core.kernels.backend import native_library
from amgsrn_core.networks import SceneNetwork
from amgsrn_core.training.automatic import resolved
from amgsrn_core.training.graph_step import GraphStep
from amgsrn_core.training.native_step import NativeStep
from amgsrn_core.training.sampling import TrainingData
from amgsrn_core.training.schedule import Rates
from amgsrn_core.training.torch_step import TorchStep

_log = logging.getLogger(__name__)


class Step(Protocol):
    """Draws points and updates a network's parameters from them.

    Iteration number i depends on the state, the seed and i only. The states of all backends mean
    the same and have the same names: a run may go on with another one.
    """

    def descend(self, iteration: int, rate: Rates) -> Tensor:
        """Do one iteration; return the mean squared error before it, without dimensions."""
        ...

    def publish(self) -> None:
        """Bring the network up to date: until then its feature grids may be those of earlier."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return the optimisers' state by name."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from :meth:`state`'s result, and from the network as it is now."""
        ...


@functools.cache
def _say_that_nothing_is_faster() -> None:
    _log.info("Precision fast trains in float32 here: there are no products of bfloat16 numbers.")


def make_step(network: SceneNetwork, data: TrainingData, config: TrainingConfig) -> Step:
    """Return the configured backend's step for a network and data.

    The data may stay in the computer's memory (`data_device`) where the network is elsewhere.
    """
    config = resolved(config, network.config, network.minimum.device.type)
    library = native_library(config.backend, network.minimum.device, network.config.encoder)
    on_cuda = network.minimum.device.type == "cuda"
    if config.precision == "fast" and not (on_cuda or (library is not None and library.has_fast)):
        _say_that_nothing_is_faster()
    if library is not None:
        return NativeStep(library, network, data, config)
    if on_cuda and config.backend == "auto":
        return GraphStep(network, data, config)
    return TorchStep(network, data, config)
