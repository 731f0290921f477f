"""What a training is going to do: options that work together, bricks, and their networks."""

from __future__ import annotations

from dataclasses import dataclass

from amgsrn_core.archive.compression import refuse_incompressible
from amgsrn_core.bricks import Brick, partition
from amgsrn_core.config import BrickConfig, NetworkConfig, StorageConfig, TrainingConfig
from amgsrn_core.sizing import measure_brick, networks_for
from amgsrn_core.training.aspect import matched_network
from amgsrn_core.training.records import with_usable_records
from amgsrn_core.volume.volume import Volume


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
    network, training = (
        network or NetworkConfig(),
        with_usable_records(training or TrainingConfig()),
    )
    storage, bricks = storage or StorageConfig(), bricks or BrickConfig()
    if storage.compress:
        refuse_incompressible(network)
    cut = partition(volume.dims, bricks.counts(volume.dims, volume.n_components), bricks.ghost)
    if training.match_aspect:
        network = matched_network(network, cut)
    networks: tuple[NetworkConfig, ...] = ()
    if bricks.sizes == "complexity" and len(cut) > 1:
        networks = tuple(networks_for(network, [measure_brick(volume, brick) for brick in cut]))
    return Plan(network, training, storage, cut, networks)
