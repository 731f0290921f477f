"""How long and with which points a network is trained where nobody says: by size and device."""

from __future__ import annotations

import dataclasses
import math

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.execution.worker_slots import may_use_gpu
from amgsrn_core.model.shapes import parameter_shapes

# Small batches make more of a processor's time, but a GPU takes half as long for a 16th of these
# points (docs/gpu.md).
_LEAST_BATCH, _LARGE_BATCH = 4096, 65536
_PARAMETERS_PER_POINT = 64
MOST_BLOCKS = 4096
"""Importance sampling divides the cells of a brick into so many blocks at most."""

# With large batches; smaller ones are as many more as take about as long: a step also costs what
# does not depend on its batch.
_ITERATIONS, _GROWTH = 4000, 0.74


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
    iterations = training.iterations or _ITERATIONS
    if chooses and not training.iterations:
        iterations = int(round(_ITERATIONS * (_LARGE_BATCH / batch) ** _GROWTH, -2))
    return dataclasses.replace(training, iterations=iterations, batch=batch, sampling=sampling)


def foreseen(training: TrainingConfig, network: NetworkConfig) -> TrainingConfig:
    """Return what is likely to become of a configuration before it is known which device trains."""
    device = "cuda" if may_use_gpu(training.device) else "cpu"
    return resolved(dataclasses.replace(training, sampling="uniform"), network, device)


def formerly(training: TrainingConfig) -> TrainingConfig:
    """Return what the same options mean on a GPU, and meant as long as nothing was automatic."""
    return dataclasses.replace(
        training,
        iterations=training.iterations or _ITERATIONS,
        batch=training.batch or _LARGE_BATCH,
    )


def _batch_for(network: NetworkConfig) -> int:
    parameters = sum(math.prod(shape) for shape in parameter_shapes(network, 1).values())
    wanted = min(_LARGE_BATCH, max(_LEAST_BATCH, parameters // _PARAMETERS_PER_POINT))
    return 1 << (wanted.bit_length() - 1)
