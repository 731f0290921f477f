"""What a training would come to, by short trials: nothing is written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.execution.worker_slots import device_names
from amgsrn_core.model import BrickRecord, parameter_shapes
from amgsrn_core.runs.goals import about_bytes
from amgsrn_core.runs.plan import Cutter, Plan, plan
from amgsrn_core.runs.settings import Settings
from amgsrn_core.system.extras import expect
from amgsrn_core.volume.volume import Volume

if TYPE_CHECKING:
    from amgsrn_core.training.pilots import Choice

# Copies of a network's numbers in memory while it is trained, and bytes for each point of a batch.
_COPIES, _POINT = 6, 1200


@dataclass(frozen=True)
class Forecast:
    """What is going to be trained, and about what comes of it.

    Attributes
    ----------
    network : NetworkConfig
        Of the model; of several bricks, of the one that was tried.
    training : TrainingConfig
        With the iterations and the batch that are planned.
    bricks, steps : int
    bytes, seconds, memory, psnr : float
        Of the model file, of the training of all bricks one after another, in bytes of memory for
        one brick, and in dB. About; NaN where it is not known.
    """

    network: NetworkConfig
    training: TrainingConfig
    bricks: int
    steps: int
    bytes: float
    seconds: float
    memory: float
    psnr: float


def forecast(volumes: Sequence[Volume], settings: Settings) -> Forecast:
    """Return what a training of these time steps would come to.

    Parameters
    ----------
    volumes : sequence of Volume
        One, or the steps of a series, of which the first is looked at.
    settings : Settings

    Raises
    ------
    ConfigurationError, VolumeError
        As :func:`amgsrn_core.runs.train` would.
    """
    expect("torch", "Training")
    volume = volumes[0]
    planned = plan(settings, Cutter(volume))
    voxels = [math.prod(s.stop - s.start for s in brick.ghosted) for brick in planned.bricks]
    number = voxels.index(max(voxels))
    network = planned.networks[number] if planned.networks else planned.settings.network
    each, choice, psnr = _tried(volume, planned, number, network)
    network, training, bricks = choice.network, choice.training, len(planned.bricks)
    points = training.iterations * training.batch
    networks = planned.networks or (network,) * bricks
    one = about_bytes(planned.settings, volume, planned.bricks, networks)
    return Forecast(
        network,
        training,
        bricks,
        len(volumes),
        bytes=len(volumes) * one,
        seconds=len(volumes) * bricks * (points * each + choice.seconds),
        memory=_memory(volume, voxels[number], network, training),
        psnr=psnr,
    )


def _tried(
    volume: Volume, planned: Plan, number: int, network: NetworkConfig
) -> tuple[float, Choice, float]:
    """Return for a brick the seconds for a point, what would be trained, and about its PSNR."""
    # PyTorch: a matter of seconds.
    from amgsrn_core.networks.devices import select_device
    from amgsrn_core.training.automatic import resolved
    from amgsrn_core.training.bound import Bound
    from amgsrn_core.training.brick import trial_on
    from amgsrn_core.training.pilots import chosen, foretold, seconds_per_point
    from amgsrn_core.training.total_bytes import TotalBytes

    brick, aim, training = planned.bricks[number], planned.aims[number], planned.settings.training
    block = volume.scanned(brick.ghosted)
    summary = block.summary()
    volume.refuse_unfit(summary)
    device = select_device(device_names(training.device)[0], training=True)
    record = BrickRecord(brick.extent, brick.ghosted)
    trial = trial_on(block, summary.learned_range(), record, training, device, aim=aim)
    storage, span = planned.settings.storage, np.subtract(*summary.learned_range()[::-1])
    bound = Bound.of(volume, storage, volume.survey()) if storage.is_bounded else None
    total = TotalBytes.of(bound, storage, span, block.values[0].size)
    choice = chosen(dataclasses.replace(trial, total=total), network, training, aim)
    assert choice is not None  # nobody stops it
    training = resolved(choice.training, choice.network, device.type)
    each = seconds_per_point(trial, choice.network, training)
    if choice.aim.seconds and not aim.psnr:
        steps = max(1, round(choice.aim.seconds / (each * training.batch)))
        training = dataclasses.replace(training, iterations=steps)
    psnr = aim.psnr or foretold(trial, choice.network, training)
    return each, dataclasses.replace(choice, training=training), psnr


def _memory(volume: Volume, voxels: int, network: NetworkConfig, training: TrainingConfig) -> int:
    numbers = sum(math.prod(s) for s in parameter_shapes(network, volume.n_components).values())
    values = voxels * volume.n_components * (volume.dtype.itemsize + 4)
    return values + 4 * _COPIES * numbers + _POINT * training.batch
