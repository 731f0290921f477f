"""The size of a network by trying: short trainings of small ones tell what a goal takes.

A pilot of an eighth of the points predicts what its size comes to, and the decibels that a
doubling of the parameters brings say which size to try next. Nothing cheaper predicts: neither the
smallest sizes nor statistics of the data (docs/targets.md).
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.networks import SceneNetwork
from amgsrn_core.training.aim import Aim
from amgsrn_core.training.automatic import resolved
from amgsrn_core.training.checkpoint import Checkpoint, CheckpointFile
from amgsrn_core.training.ending import DOUBLING
from amgsrn_core.training.fit import FitResult, fit
from amgsrn_core.training.progress import Observer, unobserved
from amgsrn_core.training.sampling import TrainingData
from amgsrn_core.training.schedule import rates
from amgsrn_core.training.step import make_step
from amgsrn_core.training.total_bytes import TotalBytes
from amgsrn_core.training.voxel_sample import VoxelSample

POINTS = 16_000_000
"""What a run towards a PSNR is expected to take, and how many times that it takes at most."""
_LONGEST = 3

# A pilot takes an eighth of the points, and the whole brings so many decibels more.
_SHARE, _GAIN = 8, 3.5
_PILOTS, _FIRST = 4, 12
# Decibels that a doubling of the parameters brings: as long as it is not known, and within which
# it is believed. A size must reach a little more than the target.
_SLOPE, _FLATTEST, _STEEPEST, _RESERVE = 1.7, 0.9, 2.6, 0.3
# Doublings of the parameters between a pilot and the size that is wanted: near enough to go on
# with, too near for a pilot of its own, and the same size.
_NEAR, _KNOWN, _SAME = 0.5, 0.2, 0.2
_SMALLEST = 4
# Pilots that look for the fewest bytes of network and corrections.
_TOTALS = 2
# A size that did not reach the target is followed by one larger by this an axis at least.
_TRIES, _GROWTH = 2, 1.2

# With a limit of time a parameter gets so many points, and so many voxels.
_TIMED_STEPS, _TIMED_SIDE, _WARM_UP = 20, 16, 3
_USED = 0.9
# Of what is only estimated, a trial has so many points at most, and so many doublings pay.
_TRIED_POINTS, _PAYING = 2_000_000, 4.0
_POINTS_EACH, _VOXELS_EACH = 12, 8

Begin = Callable[[NetworkConfig], SceneNetwork]


@dataclass(frozen=True)
class Trial:
    """Where and on what networks are tried.

    Attributes
    ----------
    begin : callable
        Makes a network of a size as a training begins with it.
    data : TrainingData
    sample : VoxelSample
    device : str
        Kind of the device that trains.
    checkpoints : CheckpointFile or None
        Of the training itself; pilots and what is chosen are kept beside it.
    observer : callable
    total : TotalBytes or None
        Where errors are bounded.
    """

    begin: Begin
    data: TrainingData
    sample: VoxelSample
    device: str
    checkpoints: CheckpointFile | None = None
    observer: Observer = unobserved
    total: TotalBytes | None = None


@dataclass(frozen=True)
class Choice:
    """What is to be trained: how large, how long, and with which aim."""

    network: NetworkConfig
    training: TrainingConfig
    aim: Aim
    seconds: float = 0.0  # that the choice took
    tries: int = 1


def open_ended(
    training: TrainingConfig, network: NetworkConfig, aim: Aim, device: str
) -> tuple[TrainingConfig, Aim]:
    """Return how to train towards a PSNR, of which nobody knows when it is reached.

    Iterations that are given are the most that there will be, also where seconds are the aim.
    """
    planned = training.iterations
    if not aim.psnr:
        return training, dataclasses.replace(aim, most=planned) if aim.seconds else aim
    iterations = planned or _expected(training, network, device)
    most = planned or (0 if aim.seconds else _LONGEST * iterations)
    training = dataclasses.replace(training, iterations=iterations, schedule="held")
    return training, dataclasses.replace(aim, most=most)


def _expected(training: TrainingConfig, network: NetworkConfig, device: str) -> int:
    """Return the iterations that a run towards a PSNR is expected to take."""
    return max(1, POINTS // resolved(training, network, device).batch)


def chosen(
    trial: Trial, network: NetworkConfig, training: TrainingConfig, aim: Aim
) -> Choice | None:
    """Return what to train for an aim; the size by trying, where it is to be chosen so.

    Returns None when the observer stopped it; what was tried is kept then.
    """
    device = trial.device
    if aim.pays:  # what is measured meanwhile is not to be the noise of a rate that is held
        training = dataclasses.replace(training, averaging=True)
    if not aim.most_nodes:
        return Choice(network, *open_ended(training, network, aim, device))
    file = None if trial.checkpoints is None else trial.checkpoints.of_choice()
    known = None if file is None else file.load()
    if known is not None:
        side, used = int(known.numbers["side"]), float(known.numbers["seconds"])
        tries = int(known.numbers["tries"])
    else:
        begun = time.monotonic()
        by = _by_pilots if aim.psnr else _by_total if aim.smallest else _by_time
        found = by(trial, network, training, aim)
        if found is None:
            return None
        side, used, tries = found, time.monotonic() - begun, 1
        _keep(trial.checkpoints, side, used, tries)
    if aim.seconds:
        aim = dataclasses.replace(aim, seconds=max(1e-3, aim.seconds - used))
    network = _cubic(network, side)
    training, aim = open_ended(training, network, aim, device)
    grows = tries < _TRIES and side**3 < aim.most_nodes and aim.psnr > 0.0 and not aim.seconds
    return Choice(network, training, dataclasses.replace(aim, grows=grows), used, tries)


def grown(choice: Choice, result: FitResult, checkpoints: CheckpointFile | None) -> Choice:
    """Return a larger network to train, after one that did not reach its PSNR."""
    aim, side, tries = choice.aim, choice.network.grid_shape[0], choice.tries + 1
    still = DOUBLING * max(0.0, math.log2(choice.training.iterations / result.iterations_done))
    missing = aim.psnr + _RESERVE - result.psnr - still
    larger = max(side + 1, round(side * max(_GROWTH, 2.0 ** (missing / _SLOPE / 3.0))))
    side = min(larger, _side(aim.most_nodes))
    _keep(checkpoints, side, result.seconds, tries)
    grows = tries < _TRIES and side**3 < aim.most_nodes
    return dataclasses.replace(
        choice,
        network=_cubic(choice.network, side),
        aim=dataclasses.replace(aim, grows=grows),
        seconds=result.seconds,
        tries=tries,
    )


def _keep(checkpoints: CheckpointFile | None, side: int, seconds: float, tries: int) -> None:
    """Note what was chosen, so that a run that goes on does not choose again."""
    if checkpoints is not None:
        numbers = {"iteration": 0, "side": side, "seconds": seconds, "tries": tries}
        tensors = {"side": torch.tensor(side)}
        checkpoints.of_choice().save_if_possible(Checkpoint(tensors, numbers))


def _by_pilots(
    trial: Trial, network: NetworkConfig, training: TrainingConfig, aim: Aim
) -> int | None:
    """Return the side of the smallest grids that should reach a PSNR; None when stopped."""
    largest = _side(aim.most_nodes)
    side, seen = min(_FIRST, largest), list[tuple[float, float]]()
    for number in range(_PILOTS):
        pilot = None
        if trial.checkpoints is not None:
            pilot = trial.checkpoints.of_pilot(side)
        model = _pilot(trial, _cubic(network, side), training, pilot)
        if model is None:
            return None
        seen.append((_size(side), trial.sample.psnr(model) + _GAIN))
        wanted = _wanted(seen, aim.psnr)
        step = wanted - _size(side)
        wanted_side = min(max(round(2.0 ** (wanted / 3.0)), _SMALLEST), largest)
        near = any(abs(_size(wanted_side) - size) < _KNOWN for size, _ in seen[:-1])
        if abs(_size(wanted_side) - _size(side)) < _SAME:
            if pilot is not None and trial.checkpoints is not None:
                _go_on(pilot, trial.checkpoints)
            return side
        if abs(step) < _NEAR or near or number == _PILOTS - 1:
            return wanted_side
        side = wanted_side
    return side


def _wanted(seen: list[tuple[float, float]], psnr: float) -> float:
    """Return the logarithm of the nodes that should reach a PSNR."""
    size, predicted = seen[-1]
    slope = _SLOPE
    if len(seen) > 1:
        (a, low), (b, high) = sorted(seen)[-2:] if predicted < psnr else sorted(seen)[:2]
        slope = min(_STEEPEST, max(_FLATTEST, (high - low) / (b - a))) if b > a else _SLOPE
    return size + (psnr + _RESERVE - predicted) / slope


def _pilot(
    trial: Trial,
    network: NetworkConfig,
    training: TrainingConfig,
    checkpoints: CheckpointFile | None,
) -> SceneNetwork | None:
    """Return a network of a size after its share of the points; None when stopped."""
    model = trial.begin(network)
    iterations = training.iterations or _expected(training, network, trial.device)
    training = dataclasses.replace(training, iterations=iterations, schedule="held")
    short = Aim(most=max(1, iterations // _SHARE))
    result = fit(
        model,
        trial.data,
        training,
        checkpoints=checkpoints,
        observer=trial.observer,
        aim=short,
        sample=trial.sample,
    )
    return model if result.completed else None


def _by_total(
    trial: Trial, network: NetworkConfig, training: TrainingConfig, aim: Aim
) -> int | None:
    """Return the side of the grids that have the fewest bytes with their corrections.

    A pilot's errors at voxels, made smaller or larger by what a size is going to bring, say how
    many bits corrections take. None when the observer stopped it.
    """
    total, largest = trial.total, _side(aim.most_nodes)
    assert total is not None
    side = min(_FIRST, largest)
    for _ in range(_TOTALS):
        pilot = None if trial.checkpoints is None else trial.checkpoints.of_pilot(side)
        model = _pilot(trial, _cubic(network, side), training, pilot)
        if model is None:
            return None
        errors, tried = trial.sample.errors(model), _size(side)

        def whole(side: int, errors: np.ndarray = errors, tried: float = tried) -> float:
            gain = _GAIN + _SLOPE * (_size(side) - tried)
            left = errors * 10.0 ** (-gain / 20.0)
            return total.of_network(_cubic(network, side), left)

        best = min(range(_SMALLEST, largest + 1), key=whole)
        if abs(_size(best) - tried) < _NEAR:
            return best
        side = best
    return side


def foretold(trial: Trial, network: NetworkConfig, training: TrainingConfig) -> float:
    """Return about what PSNR a training comes to, by a short one."""
    model = trial.begin(network)
    steps = min(training.iterations // _SHARE, _TRIED_POINTS // training.batch)
    held = dataclasses.replace(training, schedule="held")
    fit(model, trial.data, held, aim=Aim(most=max(1, steps)), sample=trial.sample)
    doublings = math.log2(training.iterations / max(1, steps))
    return trial.sample.psnr(model) + DOUBLING * min(doublings, _PAYING)


def _go_on(pilot: CheckpointFile, training: CheckpointFile) -> None:
    """Let the training begin where a pilot ended."""
    saved = pilot.load()
    if saved is not None:
        numbers = {k: v for k, v in saved.numbers.items() if k != "ending"}
        training.save_if_possible(Checkpoint(saved.tensors, {**numbers, "seconds": 0.0}))


def _by_time(
    trial: Trial, network: NetworkConfig, training: TrainingConfig, aim: Aim
) -> int | None:
    """Return the side of the grids that the seconds are enough for."""
    each = seconds_per_point(trial, _cubic(network, _TIMED_SIDE), training)
    points = _USED * aim.seconds / each
    voxels = trial.data.values[0].numel()
    numbers = min(points / _POINTS_EACH, voxels / _VOXELS_EACH)
    nodes = min(aim.most_nodes, numbers / (network.grids * network.features))
    return max(_SMALLEST, _side(nodes))


def seconds_per_point(trial: Trial, network: NetworkConfig, training: TrainingConfig) -> float:
    """Return how long training takes for a point, by some steps of it."""
    model = trial.begin(network)
    training = resolved(training, network, trial.device)
    step = make_step(model, trial.data, training)

    def seconds(first: int, last: int) -> float:
        begun = time.monotonic()
        for number in range(first, last):
            float(step.descend(number, rates(training, number)))
        return time.monotonic() - begun

    seconds(0, _WARM_UP)
    return seconds(_WARM_UP, _WARM_UP + _TIMED_STEPS) / (_TIMED_STEPS * training.batch)


def _size(side: int) -> float:
    return 3.0 * math.log2(side)


def _side(nodes: float) -> int:
    return max(2, math.floor(nodes ** (1.0 / 3.0) + 1e-6))


def _cubic(network: NetworkConfig, side: int) -> NetworkConfig:
    return dataclasses.replace(network, grid_shape=(side, side, side))
