"""One brick as a task: it names everything that it needs, and doing it twice does no harm."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import math
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amgsrn_core.config import TrainingConfig
from amgsrn_core.errors import NoRoomError, VolumeError
from amgsrn_core.execution.local import DEVICE_VARIABLE
from amgsrn_core.execution.termination import termination
from amgsrn_core.model import BrickRecord, write_archive
from amgsrn_core.runs.parts import PartsFolder
from amgsrn_core.runs.settings import Settings
from amgsrn_core.system.spare import keep_elsewhere
from amgsrn_core.training.aim import Aim
from amgsrn_core.training.bound import Bound
from amgsrn_core.training.progress import Command
from amgsrn_core.training.warm_start import WarmStart
from amgsrn_core.volume.source import open_source
from amgsrn_core.volume.volume import Volume

if TYPE_CHECKING:
    from amgsrn_core.training import Progress
    from amgsrn_core.training.brick import FittedBrick

_STATUS_SECONDS = 0.5


@dataclass(frozen=True)
class BrickTask:
    """What a worker has to know about a brick; it pickles, whatever the executor.

    Attributes
    ----------
    number : int
    record : BrickRecord
        The brick's extents.
    source : dict
        See :func:`amgsrn_core.volume.source.source_of`.
    folder : str
        The run's folder of parts, which every worker must see under this name.
    run : str
        Identity of the run that the workers obey.
    fingerprint : str
        Of data and configuration.
    settings : Settings
        With the brick's own network.
    start : WarmStart, optional
        See :func:`amgsrn_core.training.brick.fit_brick`.
    aim : Aim, optional
        What the brick's training is for.
    bound : Bound, optional
        How large errors may be.
    host : str
        The computer that collects the bricks.
    """

    number: int
    record: BrickRecord
    source: dict[str, Any]
    folder: str
    run: str
    fingerprint: str
    settings: Settings
    start: WarmStart | None = None
    aim: Aim | None = None
    bound: Bound | None = None
    host: str = ""

    @property
    def parts(self) -> PartsFolder:
        """The run's folder."""
        return PartsFolder(Path(self.folder))

    def trained_with(self, training: TrainingConfig) -> BrickTask:
        """Return the task with another way to train."""
        return dataclasses.replace(
            self, settings=dataclasses.replace(self.settings, training=training)
        )


def train_brick(task: BrickTask, volume: Volume | None = None) -> str:
    """Train a brick and leave it in the run's folder; return "done", or "stopped" when told to.

    Parameters
    ----------
    task : BrickTask
    volume : Volume, optional
        Where this process has the values already; default: opened as the task says.

    Raises
    ------
    AmgsrnError
        It cannot be trained.
    """
    parts = task.parts
    if parts.finished(task.number, task.fingerprint, verify=True) is not None:
        return "done"
    if parts.commanded(task.run) is Command.STOP or termination.is_set():
        return "stopped"
    parts.make_brick(task.number)
    reporter = _Reporter(task)
    # PyTorch is loaded here, while others may be reading already.
    from amgsrn_core.execution.own_device import own_device
    from amgsrn_core.system.run_folder import model_of
    from amgsrn_core.training.brick import fit_brick, memory_errors
    from amgsrn_core.training.checkpoint import CheckpointFile
    from amgsrn_core.training.records.records import Records

    settings = task.settings
    device = own_device(os.environ.get(DEVICE_VARIABLE) or settings.training.device)
    reporter.device = str(device)
    with memory_errors(settings.training, device):
        if volume is None:
            volume = _opened(json.dumps(task.source, sort_keys=True))
        if volume.dims != tuple(task.source["dims"]):
            raise VolumeError(
                f"The volume '{volume.name}' has changed to {list(volume.dims)} voxels since the "
                "training began; restart it."
            )
        reporter.beat("reading")
        block = volume.scanned(task.record.ghosted)
        if reporter.answer() is Command.STOP:
            return "stopped"
        summary = block.summary()
        fills = [dataclasses.asdict(f) for f in summary.fills.findings(volume.components)]
        reporter.beat("preparing")
        fitted = fit_brick(
            block,
            task.record,
            volume.dims,
            settings.network,
            settings.training,
            device,
            storage=settings.storage,
            bound=task.bound,
            number=task.number,
            start=task.start,
            checkpoints=CheckpointFile(parts.checkpoint(task.number), task.fingerprint),
            observer=reporter,
            records=Records(
                settings.training, model_of(parts.path), volume.geometry, task.record, task.number
            ),
            aim=task.aim,
        )
    if not fitted.result.completed:
        return "stopped"
    _write(task, volume, fitted, fills, reporter)
    parts.forget_checkpoint(task.number)
    parts.forget_status(task.number)
    return "done"


def _write(
    task: BrickTask,
    volume: Volume,
    fitted: FittedBrick,
    fills: list[dict[str, Any]],
    reporter: _Reporter,
) -> None:
    """Write a finished brick, with what a run has to know of it, to the run's folder."""
    import numpy as np

    from amgsrn_core.runs.outcome import model_index, training_record

    parts, settings = task.parts, task.settings
    record = fitted.record
    if fitted.count:
        largest = float(fitted.largest.max())
        record = dataclasses.replace(record, max_error=largest)
    low = np.array(record.value_minimum or [0.0] * len(fitted.squares))
    high = np.array(record.value_maximum or [0.0] * len(fitted.squares))
    about = training_record(
        settings.training, task.fingerprint, fitted.result.seconds, fitted.result.iterations_done
    )
    about.config.update(
        squares=fitted.squares.tolist(),
        count=fitted.count,
        phases=reporter.phases,
        device=reporter.device,
    )
    if fills:
        about.config.update(fills=fills)
    network = fitted.network or settings.network
    index = model_index(volume, low, high, network, settings.storage)
    index = index.replace(bricks=(record,), training=about)
    try:
        write_archive(parts.done(task.number), index, [fitted.state])
    except NoRoomError as error:
        # Trained is trained: whoever collects the bricks on this computer finds it elsewhere, too.
        place = None
        if task.host == socket.gethostname():
            place = keep_elsewhere(
                parts.done(task.number), lambda path: write_archive(path, index, [fitted.state])
            )
        if place is None:
            raise
        logging.warning("Brick %d is kept as %s. %s", task.number, place, error)


@functools.lru_cache(maxsize=2)
def _opened(source: str) -> Volume:
    """Open a volume, whose bricks one worker usually does several of."""
    return open_source(json.loads(source))


class _Reporter:
    """Observes the training of a brick: publishes how far it is, and passes commands on."""

    def __init__(self, task: BrickTask) -> None:
        self._task, self._parts = task, task.parts
        self._written = -math.inf
        self._beats = 0
        self.phases: dict[str, float] = {}  # when each began, in seconds since 1970
        self.device = ""
        self.beat("starting")

    def beat(self, phase: str) -> None:
        """Show that this process is alive."""
        self.phases.setdefault(phase, time.time())
        self._publish({"phase": phase, "iteration": 0})

    def __call__(self, progress: Progress) -> Command:
        self.phases.setdefault(progress.phase, time.time())
        if time.monotonic() - self._written >= _STATUS_SECONDS or progress.phase == "saving":
            span = None
            if progress.network is not None:
                low, high = progress.network.value_range
                span = (high - low).tolist()
            self._publish(
                {
                    "phase": progress.phase,
                    "iteration": progress.iteration,
                    "loss": None if progress.loss != progress.loss else progress.loss,
                    "psnr": None if progress.psnr != progress.psnr else progress.psnr,
                    "seconds": progress.seconds,
                    "eta": progress.eta_seconds,
                    "span": span,
                }
            )
        return self.answer()

    def answer(self) -> Command:
        """Return what this process, or the run's workers, are told to do."""
        if termination.is_set():
            return Command.STOP
        return self._parts.commanded(self._task.run)

    def _publish(self, values: dict[str, Any]) -> None:
        self._beats += 1
        values.update(
            beat=self._beats,
            pid=os.getpid(),
            run=self._task.run,
            phases=self.phases,
            device=self.device,
        )
        self._parts.write_status(self._task.number, values)
        self._written = time.monotonic()
