"""What a training is going to do: options that work together, bricks, and their networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from amgsrn_core.config import BrickConfig, NetworkConfig, StorageConfig, TrainingConfig
from amgsrn_core.model.codec import refuse_incompressible
from amgsrn_core.runs.aspect import matched_network
from amgsrn_core.runs.sizing import measure_brick, networks_for
from amgsrn_core.training.records.records import with_usable_records
from amgsrn_core.volume.partition import Brick, brick_counts, partition
from amgsrn_core.volume.volume import Volume

Measure = Callable[[Sequence[Brick]], Sequence[np.ndarray]]
"""From bricks to what :func:`measure_brick` returns of each, in their order."""


@dataclass(frozen=True)
class Plan:
    """See :func:`plan`.

    Parameters
    ----------
    network : NetworkConfig
        Of the model, and of each brick that has none of its own in `networks`.
    training, storage : configurations
    bricks : tuple of Brick
        The volume's partition; one that is not cut is a single brick.
    networks : tuple of NetworkConfig
        Of each brick; empty where all have `network`.
    """

    network: NetworkConfig
    training: TrainingConfig
    storage: StorageConfig
    bricks: tuple[Brick, ...]
    networks: tuple[NetworkConfig, ...]


def plan(
    volume: Volume,
    network: NetworkConfig | None,
    training: TrainingConfig | None,
    storage: StorageConfig | None,
    bricks: BrickConfig | None,
) -> Plan:
    """Return what a training on this volume, or on its like, is going to do.

    Raises
    ------
    ConfigurationError
        Options contradict each other, or need a package that is not here.
    VolumeError
        The data cannot be read where that is needed to choose the sizes of networks.
    """
    bricks = bricks or BrickConfig()
    cut = partition(
        volume.dims, brick_counts(bricks, volume.dims, volume.n_components), bricks.ghost
    )
    planned = plan_for(cut, network, training, storage)
    return sized(planned, bricks, lambda cut: [measure_brick(volume, brick) for brick in cut])


def plan_for(
    cut: Sequence[Brick],
    network: NetworkConfig | None,
    training: TrainingConfig | None,
    storage: StorageConfig | None,
) -> Plan:
    """Return the plan for a partition, with networks of one size; no data are looked at.

    Raises
    ------
    ConfigurationError
        Options contradict each other, or need a package that is not here.
    """
    network, training = (
        network or NetworkConfig(),
        with_usable_records(training or TrainingConfig()),
    )
    storage = storage or StorageConfig()
    if storage.compress:
        refuse_incompressible(network)
    if training.match_aspect:
        network = matched_network(network, cut)
    return Plan(network, training, storage, tuple(cut), ())


def sized(planned: Plan, bricks: BrickConfig, measure: Measure) -> Plan:
    """Return a plan of :func:`plan_for` with the sizes of networks that are asked for.

    Parameters
    ----------
    measure : callable
        Called where the sizes depend on the data; see :data:`Measure`.
    """
    if bricks.sizes == "equal" or len(planned.bricks) == 1:
        return planned
    networks = networks_for(planned.network, measure(planned.bricks))
    return dataclasses.replace(planned, networks=tuple(networks))
