"""How long and with which points a network is trained where nobody says: by size and device."""

from __future__ import annotations

import dataclasses
import math

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.execution.places import may_use_gpu
from amgsrn_core.model.shapes import parameter_shapes

# Small batches make more of a processor's time; GPUs have not been measured.
_ITERATIONS, _FEW_ITERATIONS = 12_000, 4000
_LEAST_BATCH, _LARGE_BATCH = 4096, 65536
_PARAMETERS_PER_POINT = 64


def resolved(training: TrainingConfig, network: NetworkConfig, device: str) -> TrainingConfig:
    """Return a configuration without anything automatic about its length and points.

    Parameters
    ----------
    training : TrainingConfig
    network : NetworkConfig
        That is trained.
    device : str
        Kind of the device, "cpu" or another.

    Raises
    ------
    ConfigurationError
        Importance sampling is asked for where it does not work.
    """
    chooses = not training.batch and device == "cpu" and network.encoder == "adaptive"
    sampling = training.sampling
    if sampling == "auto":
        by_errors = chooses and training.motion != "density"
        sampling = "importance" if by_errors else "uniform"
    elif sampling == "importance" and (device != "cpu" or training.motion == "density"):
        raise ConfigurationError(
            "Importance sampling works on a CPU, and not with density motion; set sampling to "
            "uniform, or the device to cpu and motion to gradient or none."
        )
    batch = training.batch or (_batch_for(network) if chooses else _LARGE_BATCH)
    iterations = training.iterations or (_ITERATIONS if chooses else _FEW_ITERATIONS)
    return dataclasses.replace(training, iterations=iterations, batch=batch, sampling=sampling)


def foreseen(training: TrainingConfig) -> TrainingConfig:
    """Return what is likely to become of a configuration, as far as it is known beforehand."""
    device = "cuda" if may_use_gpu(training.device) else "cpu"
    return resolved(dataclasses.replace(training, sampling="uniform"), NetworkConfig(), device)


def _batch_for(network: NetworkConfig) -> int:
    parameters = sum(math.prod(shape) for shape in parameter_shapes(network, 1).values())
    wanted = max(_LEAST_BATCH, parameters // _PARAMETERS_PER_POINT)
    return 1 << (wanted.bit_length() - 1)
