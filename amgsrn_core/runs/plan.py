"""What a training is going to do: options that work together, bricks, and their networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from amgsrn_core.config import BrickConfig, NetworkConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.model.codec import refuse_incompressible
from amgsrn_core.runs.aspect import matched_network
from amgsrn_core.runs.goals import Look, look_at, needs_looks, sized
from amgsrn_core.runs.settings import Settings
from amgsrn_core.runs.sizing import measure_brick, networks_for
from amgsrn_core.training.aim import Aim
from amgsrn_core.training.records.records import with_usable_records
from amgsrn_core.training.warm_start import WarmStart
from amgsrn_core.volume.partition import Brick, brick_counts, partition
from amgsrn_core.volume.volume import Volume

T = TypeVar("T")


class Cutter:
    """How a volume is cut and looked at; processes that share one have a cutter of their own.

    Parameters
    ----------
    volume : Volume
    """

    def __init__(self, volume: Volume) -> None:
        self.volume = volume

    def cut(self, config: BrickConfig) -> Sequence[Brick]:
        """Return the volume's partition."""
        counts = brick_counts(config, self.volume.dims, self.volume.n_components)
        return partition(self.volume.dims, counts, config.ghost)

    def measure(self, bricks: Sequence[Brick]) -> Sequence[np.ndarray]:
        """Return how much each brick's values change; see :func:`measure_brick`."""
        return [measure_brick(self.volume, brick) for brick in bricks]

    def look(self, bricks: Sequence[Brick]) -> Sequence[Look]:
        """Return what a pass over each brick's values finds; see :func:`look_at`."""
        return [look_at(self.volume, brick) for brick in bricks]

    def agreed(self, check: Callable[[], T]) -> T:
        """Return what a check comes to wherever bricks are trained; it raises for all alike."""
        return check()


@dataclass(frozen=True)
class Plan:
    """See :func:`plan`.

    Parameters
    ----------
    settings : Settings
        As they are used; `network` is that of the model, and of each brick that has none of its
        own in `networks`. Where a goal says so, a network of another size is found by trying.
    bricks : tuple of Brick
        The volume's partition; one that is not cut is a single brick.
    networks : tuple of NetworkConfig
        Of each brick; empty where all have the same.
    aims : tuple of Aim
        Of each brick's training.
    """

    settings: Settings
    bricks: tuple[Brick, ...]
    networks: tuple[NetworkConfig, ...] = ()
    aims: tuple[Aim, ...] = ()

    def aim(self, number: int, settings: Settings) -> Aim:
        """Return the aim of a brick's training with these settings, perhaps of a run of before."""
        return self.aims[number] if self.aims and settings.goal == self.settings.goal else Aim()


def plan(settings: Settings, cutter: Cutter) -> Plan:
    """Return what a training is going to do.

    Raises
    ------
    ConfigurationError
        Options contradict each other, or need a package that is not here.
    VolumeError
        The data cannot be read where that is needed to choose the sizes of networks.
    """
    bricks = tuple(cutter.cut(settings.bricks))
    settings = cutter.agreed(lambda: _usable(settings, bricks))
    looks = list(cutter.look(bricks)) if needs_looks(settings.goal, len(bricks)) else []
    network, networks, aims = cutter.agreed(lambda: sized(settings, cutter.volume, bricks, looks))
    if settings.training.match_aspect and network != settings.network:
        network = matched_network(network, bricks)
    settings = dataclasses.replace(settings, network=network)
    if settings.bricks.sizes != "equal" and len(bricks) > 1 and not networks:
        networks = networks_for(network, cutter.measure(bricks))
    return Plan(settings, bricks, networks, aims)


def with_sizes_of(planned: Plan, start: WarmStart | None) -> Plan:
    """Return a plan whose networks, where nobody gives their sizes, are as large as a model's."""
    goal = planned.settings.goal
    if start is None or not goal.chooses or goal.sizes_file:
        return planned
    network, networks = start.sizes()
    if network.encoder != "adaptive":
        raise ConfigurationError(
            f"{start.path} has other networks than those whose size a goal chooses; give their "
            "sizes and network-size given, or start from another model."
        )
    settings = dataclasses.replace(planned.settings, network=network)
    aims = tuple(dataclasses.replace(aim, most_nodes=0) for aim in planned.aims)
    return dataclasses.replace(planned, settings=settings, networks=networks, aims=aims)


def _usable(settings: Settings, bricks: Sequence[Brick]) -> Settings:
    """Return settings that can be kept to, with a network that suits the bricks."""
    training, network = with_usable_records(settings.training), settings.network
    if settings.storage.compress:
        refuse_incompressible(network)
    if training.match_aspect and not settings.goal.chooses:
        network = matched_network(network, bricks)
    return dataclasses.replace(settings, training=training, network=network)
