"""Learning rates over a run, as functions of the iteration alone: nothing to save or restore."""

from __future__ import annotations

import math
from dataclasses import dataclass

from amgsrn_core.config import TrainingConfig

_WARM_UP = 100
# The density rule of the original code: its span, and its rate relative to the features'.
_DENSITY_START, _DENSITY_END, _DENSITY_RATE = 500, 0.8, 0.05
# Motion along the reconstruction gradient. Long motion gains little over the first third of a
# run, costs up to a third more time, and leaves less of the run to features at rest.
_GRADIENT_END, _GRADIENT_CAP, _GRADIENT_RATE = 0.3, 2000, 0.15


@dataclass(frozen=True)
class Rates:
    """Learning rates of one iteration; the grids rest where `transforms` is 0."""

    features: float
    decoder: float
    transforms: float


def rates(config: TrainingConfig, iteration: int) -> Rates:
    """Return the learning rates of an iteration (the first is 0)."""
    base = config.learning_rate * _shape(config, iteration)
    return Rates(base, base * config.decoder_rate, _transform_rate(config, iteration))


def _shape(config: TrainingConfig, iteration: int) -> float:
    if config.schedule == "constant":
        return 1.0
    total = config.iterations
    warm_up = min(_WARM_UP, max(1, total // 20))
    rise = min(1.0, (iteration + 1) / warm_up)
    if config.schedule == "held":
        return rise
    done = iteration / total
    return rise * (1.0 if done < 0.5 else 0.5 * (1.0 + math.cos(math.pi * (2.0 * done - 1.0))))


def _transform_rate(config: TrainingConfig, iteration: int) -> float:
    if config.motion == "gradient":
        end = min(_GRADIENT_END * config.iterations, _GRADIENT_CAP)
        if iteration >= end:
            return 0.0
        fall = 0.5 * (1.0 + math.cos(math.pi * iteration / end))
        return config.learning_rate * _GRADIENT_RATE * fall
    if config.motion == "density":
        if _DENSITY_START < iteration < _DENSITY_END * config.iterations:
            return config.learning_rate * _DENSITY_RATE
        return 0.0
    return 0.0
