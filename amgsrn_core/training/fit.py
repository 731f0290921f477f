"""Fit one network to one block of data."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass

import torch

from amgsrn_core.config import TrainingConfig
from amgsrn_core.errors import DivergedError
from amgsrn_core.networks import SceneNetwork
from amgsrn_core.training.aim import Aim
from amgsrn_core.training.automatic import resolved
from amgsrn_core.training.average import Average
from amgsrn_core.training.checkpoint import Checkpoint, CheckpointFile
from amgsrn_core.training.ending import Ending
from amgsrn_core.training.history import History, row_interval
from amgsrn_core.training.progress import (
    Command,
    Observer,
    Progress,
    after_pause,
    unobserved,
)
from amgsrn_core.training.records.records import Records
from amgsrn_core.training.sampling import TrainingData
from amgsrn_core.training.schedule import Rates, rates
from amgsrn_core.training.step import make_step
from amgsrn_core.training.voxel_sample import VoxelSample

# An observer is asked at least this often, so that stopping feels immediate.
_PATIENCE_SECONDS = 0.25


@dataclass
class FitResult:
    """Outcome of :func:`fit`; `completed` is False when the observer stopped it.

    `psnr` was measured last, on a sample of voxels; NaN where nothing was. `met` says whether that
    was what the training aimed at.
    """

    completed: bool
    iterations_done: int
    seconds: float
    history: History
    psnr: float = math.nan
    met: bool = True


def fit(
    network: SceneNetwork,
    data: TrainingData,
    config: TrainingConfig,
    *,
    checkpoints: CheckpointFile | None = None,
    observer: Observer = unobserved,
    records: Records | None = None,
    aim: Aim | None = None,
    sample: VoxelSample | None = None,
) -> FitResult:
    """Train a network in place until the planned iterations are done or the observer stops it.

    Parameters
    ----------
    network : SceneNetwork
        On the device that trains.
    data : TrainingData
    config : TrainingConfig
    checkpoints : CheckpointFile, optional
        Continued from if there is one, written now and then and when the run is stopped.
    observer : callable, optional
        Asked a few times per second.
    records : Records, optional
        Told of every iteration and row of the history.
    aim : Aim, optional
        What ends the training beside its iterations.
    sample : VoxelSample, optional
        What it is measured on; default: all of the data count.

    Raises
    ------
    DivergedError
        The loss is no longer a number.
    """
    config = resolved(config, network.config, network.minimum.device.type)
    run = _Run(network, data, config)
    run.ending = Ending(config.iterations, sample or VoxelSample(data), aim)
    saved = None if checkpoints is None else checkpoints.load()
    if saved is not None and run.is_alike(saved):
        run.restore(saved)
    loop = _Loop(run, config, checkpoints, observer, records)
    if records is None:
        return loop.go()
    try:
        records.begin(run.iteration, network.transforms, run.start)
        return loop.go()
    finally:
        records.close()


class _Loop:
    """Repeats the step, and minds the observer, the history and the checkpoints in between."""

    def __init__(
        self,
        run: _Run,
        config: TrainingConfig,
        checkpoints: CheckpointFile | None,
        observer: Observer,
        records: Records | None,
    ) -> None:
        self._records = records
        self._run, self._config = run, config
        self._checkpoints, self._observer = checkpoints, observer
        self._asked = self._saved = self._resumed = time.monotonic()
        self._first_iteration = run.iteration
        self._earlier_seconds = run.seconds

    def go(self) -> FitResult:
        run, interval = self._run, row_interval(self._config.iterations)
        while not self._is_over():
            if self._is_due() and not self._may_continue():
                self._save()
                return self._result(completed=False)
            run.step()
            if run.ending.is_due(run.iteration):
                run.measure()
            last = self._is_over()
            if self._records is not None:
                self._records.step(run.iteration, run.network.transforms, run.start, last=last)
            if run.iteration % interval == 0 or last:
                run.record()
                if self._records is not None:
                    self._records.row(run.history.rows[-1])
                self._checkpoint_if_due()
        # A full observer call even for the shortest run, and a last chance to stop.
        completed = self._ask("training") is not Command.STOP
        if completed:
            if run.iteration > self._first_iteration:
                self._save_if_possible()
            run.finish()
        else:
            self._save()
        return self._result(completed)

    def _is_over(self) -> bool:
        return self._run.ending.is_over(self._run.iteration, self._seconds())

    def _seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._resumed

    def _is_due(self) -> bool:
        return time.monotonic() - self._asked >= _PATIENCE_SECONDS

    def _may_continue(self) -> bool:
        command = self._ask("training")
        if command is Command.PAUSE:
            self._save_if_possible()
            paused = time.monotonic()
            command = after_pause(command, self._ask)
            self._resumed += time.monotonic() - paused
        return command is not Command.STOP

    def _ask(self, phase: str) -> Command:
        run, ending = self._run, self._run.ending
        if phase != "paused":
            run.seconds = self._seconds()
        done = run.iteration - self._first_iteration
        elapsed = run.seconds - self._earlier_seconds
        if done:
            ending.keep_time(run.iteration, run.seconds, elapsed / done)
        total = max(ending.total, run.iteration)
        if ending.may_show(run.iteration):
            run.measure()
        loss = run.history.last_loss
        run.publish()
        command = self._observer(
            Progress(
                phase,
                run.iteration,
                total,
                loss=loss,
                psnr=ending.psnr,
                learning_rate=run.rates(run.iteration).features,
                seconds=run.seconds,
                eta_seconds=elapsed / done * (total - run.iteration) if done else None,
                network=run.shown,
                history=run.history,
                valid=run.valid,
            )
        )
        self._asked = time.monotonic()
        return command

    def _checkpoint_if_due(self) -> None:
        every = self._config.checkpoint_seconds
        if every and time.monotonic() - self._saved >= every:
            self._save_if_possible()

    def _save_if_possible(self) -> None:
        if self._checkpoints is not None:
            self._checkpoints.save_if_possible(self._checkpoint())
        self._saved = time.monotonic()

    def _save(self) -> None:
        if self._checkpoints is not None:
            self._checkpoints.save(self._checkpoint())
        self._saved = time.monotonic()

    def _checkpoint(self) -> Checkpoint:
        self._run.seconds = self._seconds()
        return self._run.checkpoint()

    def _result(self, completed: bool) -> FitResult:
        run = self._run
        ending = run.ending
        met = ending.is_met or not ending.aims_at_psnr
        return FitResult(completed, run.iteration, run.seconds, run.history, ending.psnr, met)


class _Run:
    """Everything that changes while a network is fitted."""

    def __init__(self, network: SceneNetwork, data: TrainingData, config: TrainingConfig) -> None:
        self.network, self.valid, self._config = network, data.valid, config
        self._device = network.minimum.device
        self._average = Average(network) if config.averages else None
        self.ending: Ending
        self._step = make_step(network, data, config)
        self.start = network.transforms.detach().clone()
        self._loss_sum = torch.zeros((), device=self._device)
        self._loss_count = 0
        self.iteration = 0
        self.seconds = 0.0
        self.history = History()

    def step(self) -> None:
        """Do one iteration."""
        self._loss_sum += self._step.descend(self.iteration, self.rates(self.iteration))
        self._loss_count += 1
        self.iteration += 1
        if self._average is not None and self._average.is_due(self.iteration):
            self.publish()
            self._average.follow(self.network, self.iteration)

    def rates(self, iteration: int) -> Rates:
        """Return the learning rates of an iteration of a run as long as it is planned now."""
        if self._config.iterations != self.ending.total:
            self._config = dataclasses.replace(self._config, iterations=self.ending.total)
        return rates(self._config, iteration)

    def measure(self) -> None:
        """Measure on voxels how far the training is."""
        self.publish()
        self.ending.measure(self.iteration, self.shown)

    @property
    def shown(self) -> SceneNetwork:
        """The network to look at while it is trained."""
        return self.network if self._average is None else self._average.network

    def finish(self) -> None:
        """Make the network what the training was for."""
        if self._average is not None and self._config.makes_average:
            self.network.load_state_dict(self._average.network.state_dict())

    def publish(self) -> None:
        """Bring the network up to date."""
        self._step.publish()

    def record(self) -> None:
        """Append a row to the history, over the iterations since the last one."""
        if not self._loss_count:
            return
        loss = float(self._loss_sum) / self._loss_count
        if not math.isfinite(loss):
            raise DivergedError(
                f"The training diverged at iteration {self.iteration}; lower the learning rate "
                f"(it is {self._config.learning_rate:g}) or use another seed."
            )
        with torch.no_grad():
            motion = (self.network.transforms - self.start).square().mean().sqrt().item()
        rate = self.rates(self.iteration - 1).features
        self.history.add(self.iteration, loss, rate, motion)
        self._loss_sum.zero_()
        self._loss_count = 0

    def checkpoint(self) -> Checkpoint:
        """Return everything that continues this run exactly."""
        self.publish()
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors["start"] = self.start
        tensors.update(self._step.state())
        tensors.update(self._average.state() if self._average is not None else {})
        return Checkpoint(
            tensors,
            {
                "iteration": self.iteration,
                "seconds": self.seconds,
                "loss_sum": float(self._loss_sum),
                "loss_count": self._loss_count,
                "history": [list(row) for row in self.history.rows],
                "ending": self.ending.state(),
            },
        )

    def is_alike(self, saved: Checkpoint) -> bool:
        """Return whether a checkpoint is of a network of this size."""
        return saved.tensors["network.feature_grids"].shape == self.network.feature_grids.shape

    def restore(self, saved: Checkpoint) -> None:
        """Continue from :meth:`checkpoint`'s result."""
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                value.copy_(saved.tensors[f"network.{name}"])
        self.start = saved.tensors["start"].to(self._device)
        self._step.restore(saved.tensors)
        if self._average is not None:
            self._average.restore(saved.tensors)
        self._loss_sum.fill_(saved.numbers["loss_sum"])
        self._loss_count = int(saved.numbers["loss_count"])
        self.iteration = int(saved.numbers["iteration"])
        self.seconds = float(saved.numbers["seconds"])
        self.history = History(saved.numbers["history"])
        if (known := saved.numbers.get("ending")) is not None:  # earlier versions have none
            self.ending.restore(known)
