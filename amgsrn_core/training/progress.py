"""What a training run tells its observer, and what the observer may answer."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from amgsrn_core.networks import SceneNetwork
    from amgsrn_core.training.history import History


class Command(enum.Enum):
    """An observer's answer."""

    CONTINUE = "continue"
    PAUSE = "pause"
    STOP = "stop"


@dataclass(frozen=True)
class Progress:
    """State of a run.

    Attributes
    ----------
    phase : str
        "reading", "training", "paused", "measuring" or "saving".
    iteration, iterations : int
        Done and planned.
    loss : float
        Recent mean squared error of the normalised values; NaN before the first.
    psnr : float
        Estimate in dB from that loss.
    learning_rate : float
    seconds : float
        Time spent training, earlier runs that this one continues included.
    eta_seconds : float or None
        Estimated time to the end of the training.
    network : SceneNetwork or None
        As it is now.
    history : History or None
    valid : ndarray of bool [D, H, W], or None
        The voxels that have a value; None when all have.
    """

    phase: str
    iteration: int
    iterations: int
    loss: float = float("nan")
    psnr: float = float("nan")
    learning_rate: float = 0.0
    seconds: float = 0.0
    eta_seconds: float | None = None
    network: SceneNetwork | None = field(default=None, repr=False, compare=False)
    history: History | None = field(default=None, repr=False, compare=False)
    valid: np.ndarray | None = field(default=None, repr=False, compare=False)


Observer = Callable[[Progress], Command]


def unobserved(progress: Progress) -> Command:
    """Let the run go on."""
    return Command.CONTINUE
