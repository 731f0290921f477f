"""What a training run tells its observer, and what the observer may answer."""

from __future__ import annotations

import dataclasses
import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from amgsrn_core.model import ModelIndex
    from amgsrn_core.networks import SceneNetwork
    from amgsrn_core.training.history import History


# How often an observer is asked whether it still wants a pause.
_PAUSE_SECONDS = 0.25
# How often it is asked between the parts of something that takes long.
_ASK_SECONDS = 0.25


class Command(enum.Enum):
    """An observer's answer."""

    CONTINUE = "continue"
    PAUSE = "pause"
    STOP = "stop"

    @classmethod
    def of(cls, word: str) -> Command:
        """Return what a word in a file says; one that is unknown says to go on.

        So do "go" and "run", as other versions write it.
        """
        return {command.value: command for command in cls}.get(word, cls.CONTINUE)


class Stopped(Exception):
    """An observer ended a run, in a place from which what is kept can be continued."""


@dataclass(frozen=True)
class BrickProgress:
    """A brick that is being trained.

    Attributes
    ----------
    number : int
    phase : str
        As in :class:`Progress`, or before that "starting" or "preparing".
    iteration : int
    loss : float
        Relative to the brick's own range; NaN before the first.
    eta_seconds : float or None
    span : tuple of float
        The brick's own range of each component; empty while unknown.
    psnr : float
        In dB, measured on its voxels, relative to its own range; NaN before.
    """

    number: int
    phase: str
    iteration: int
    loss: float
    eta_seconds: float | None
    span: tuple[float, ...] = ()
    psnr: float = float("nan")


@dataclass(frozen=True)
class PartialModel:
    """The bricks that are done, as a model with holes.

    Attributes
    ----------
    index : ModelIndex
    load_brick : callable
        Returns the tensors of a brick by its number; see :meth:`amgsrn_core.model.Archive`.
    """

    index: ModelIndex
    load_brick: Callable[[int], dict[str, np.ndarray]]


@dataclass(frozen=True)
class BricksProgress:
    """How many bricks there are, are done and were given up, and those that are on.

    `partial` returns what is done so far.
    """

    total: int
    done: int
    failed: int
    running: tuple[BrickProgress, ...] = ()
    partial: Callable[[], PartialModel] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Progress:
    """State of a run.

    Attributes
    ----------
    phase : str
        "reading", "training", "paused", "measuring", "compressing" or "saving".
    iteration, iterations : int
        Done and planned, of all bricks together.
    loss : float
        Recent mean squared error of the normalised values; NaN before the first.
    psnr : float
        In dB, measured on some of the voxels a while ago; NaN before the first time.
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
    bricks : BricksProgress or None
        Of a run over several bricks, which has no one network.
    step, steps : int
        Of a series: the time step, from 0, that everything else is about, and how many there are.
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
    bricks: BricksProgress | None = None
    step: int = 0
    steps: int = 1


Observer = Callable[[Progress], Command]


def ask(observer: Observer, progress: Progress, *, pause: bool = True) -> None:
    """Tell an observer how far a run is, and wait for as long as it wants a pause.

    Without `pause` that has time: before its first iteration a run has nothing to hold.

    Raises
    ------
    Stopped
        It wants the run to stop.
    """

    def again(phase: str) -> Command:
        return observer(dataclasses.replace(progress, phase=phase))

    command = observer(progress)
    if pause:
        command = after_pause(command, again)
    if command is Command.STOP:
        raise Stopped


class Asking:
    """Asks an observer in the middle of work, but not more often than it needs to be.

    Parameters
    ----------
    question : callable
        Asks, as :func:`ask` does.
    """

    def __init__(self, question: Callable[[], None]) -> None:
        self._question, self._asked = question, time.monotonic()

    def __call__(self) -> None:
        """Ask if the last time was a while ago."""
        if time.monotonic() - self._asked >= _ASK_SECONDS:
            self._question()
            self._asked = time.monotonic()


def after_pause(command: Command, ask: Callable[[str], Command]) -> Command:
    """Return the first answer that is not to pause; `ask` is told the phase meanwhile."""
    while command is Command.PAUSE:
        time.sleep(_PAUSE_SECONDS)
        command = ask("paused")
    return command


def unobserved(progress: Progress) -> Command:
    """Let the run go on."""
    return Command.CONTINUE
