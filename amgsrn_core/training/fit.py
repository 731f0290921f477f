"""Fit one network to one block of data."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from amgsrn_core.config import TrainingConfig
from amgsrn_core.errors import OutputError, TrainingError
from amgsrn_core.networks import SceneNetwork, decode, encode, feature_density
from amgsrn_core.training.checkpoint import Checkpoint, CheckpointFile
from amgsrn_core.training.history import History, psnr_of, row_interval
from amgsrn_core.training.progress import Command, Observer, Progress, unobserved
from amgsrn_core.training.sampling import (
    PointSampler,
    TrainingData,
    cubic_targets,
    linear_targets,
)
from amgsrn_core.training.schedule import Rates, rates

_log = logging.getLogger(__name__)

_EPSILON = 1e-14
_TINY = 1e-16
# An observer is asked at least this often, so that stopping feels immediate.
_PATIENCE_SECONDS = 0.25
# Fast forgetting suits features that a batch touches rarely; the original code's suits its
# constant learning rate.
_BETAS = {"cosine": (0.9, 0.95), "constant": (0.9, 0.99)}


@dataclass
class FitResult:
    """Outcome of :func:`fit`; `completed` is False when the observer stopped it."""

    completed: bool
    iterations_done: int
    seconds: float
    history: History


def fit(
    network: SceneNetwork,
    data: TrainingData,
    config: TrainingConfig,
    *,
    checkpoints: CheckpointFile | None = None,
    observer: Observer = unobserved,
) -> FitResult:
    """Train a network in place until the planned iterations are done or the observer stops it.

    Parameters
    ----------
    network : SceneNetwork
        On the device of the data.
    data : TrainingData
    config : TrainingConfig
    checkpoints : CheckpointFile, optional
        Continued from if there is one, written now and then and when the run is stopped.
    observer : callable, optional
        Asked a few times per second.

    Raises
    ------
    TrainingError
        The loss is no longer a number.
    """
    run = _Run(network, data, config)
    if checkpoints is not None and (saved := checkpoints.load()) is not None:
        run.restore(saved)
    return _Loop(run, config, checkpoints, observer).go()


class _Loop:
    """Repeats the step, and minds the observer, the history and the checkpoints in between."""

    def __init__(
        self,
        run: _Run,
        config: TrainingConfig,
        checkpoints: CheckpointFile | None,
        observer: Observer,
    ) -> None:
        self._run, self._config = run, config
        self._checkpoints, self._observer = checkpoints, observer
        self._asked = self._saved = self._resumed = time.monotonic()
        self._first_iteration = run.iteration
        self._earlier_seconds = run.seconds

    def go(self) -> FitResult:
        run, total = self._run, self._config.iterations
        interval = row_interval(total)
        while run.iteration < total:
            if self._is_due() and not self._may_continue():
                self._save()
                return self._result(completed=False)
            run.step()
            if run.iteration % interval == 0 or run.iteration == total:
                run.record()
                self._checkpoint_if_due()
        # A full observer call even for the shortest run, and a last chance to stop.
        completed = self._ask("training") is not Command.STOP
        if completed:
            self._save_if_possible()
        else:
            self._save()
        return self._result(completed)

    def _is_due(self) -> bool:
        return time.monotonic() - self._asked >= _PATIENCE_SECONDS

    def _may_continue(self) -> bool:
        command = self._ask("training")
        if command is Command.PAUSE:
            self._save_if_possible()
            paused = time.monotonic()
            while command is Command.PAUSE:
                time.sleep(_PATIENCE_SECONDS)
                command = self._ask("paused")
            self._resumed += time.monotonic() - paused
        return command is not Command.STOP

    def _ask(self, phase: str) -> Command:
        run, total = self._run, self._config.iterations
        if phase != "paused":
            run.seconds = self._earlier_seconds + time.monotonic() - self._resumed
        done = run.iteration - self._first_iteration
        elapsed = run.seconds - self._earlier_seconds
        loss = run.history.last_loss
        command = self._observer(
            Progress(
                phase,
                run.iteration,
                total,
                loss,
                psnr_of(loss),
                rates(self._config, run.iteration).features,
                run.seconds,
                elapsed / done * (total - run.iteration) if done else None,
                run.network,
                run.history,
            )
        )
        self._asked = time.monotonic()
        return command

    def _checkpoint_if_due(self) -> None:
        every = self._config.checkpoint_seconds
        if every and time.monotonic() - self._saved >= every:
            self._save_if_possible()

    def _save_if_possible(self) -> None:
        """Save a checkpoint; a full disk costs the checkpoint, not the run in memory."""
        try:
            self._save()
        except OutputError as error:
            _log.warning("Going on without a checkpoint. %s", error)
            self._saved = time.monotonic()

    def _save(self) -> None:
        if self._checkpoints is not None:
            self._run.seconds = self._earlier_seconds + time.monotonic() - self._resumed
            self._checkpoints.save(self._run.checkpoint())
        self._saved = time.monotonic()

    def _result(self, completed: bool) -> FitResult:
        run = self._run
        return FitResult(completed, run.iteration, run.seconds, run.history)


class _Run:
    """Everything that changes while a network is fitted."""

    def __init__(self, network: SceneNetwork, data: TrainingData, config: TrainingConfig) -> None:
        self.network, self._data, self._config = network, data, config
        self._sampler = PointSampler(data, config.batch, config.seed)
        betas = _BETAS[config.schedule]
        groups: list[dict[str, Any]] = [
            {"params": [network.feature_grids]},
            {"params": network.weights},
        ]
        self._optimiser = _adam(groups, betas)
        self._mover = _adam([{"params": [network.transforms]}], (0.9, 0.99))
        self._start = network.transforms.detach().clone()
        self._loss_sum = torch.zeros((), device=data.values.device)
        self._loss_count = 0
        self.iteration = 0
        self.seconds = 0.0
        self.history = History()

    def step(self) -> None:
        """Do one iteration."""
        rate = rates(self._config, self.iteration)
        index, local = self._sampler.draw(self.iteration)
        if self._config.targets == "cubic":
            target = cubic_targets(self._data.values, index)
        else:
            target = linear_targets(self._data.values, local)
        errors = self._descend(local, target, rate)
        self._loss_sum += errors.mean()
        self._loss_count += 1
        self.iteration += 1

    def _descend(self, local: Tensor, target: Tensor, rate: Rates) -> Tensor:
        """Update the parameters; return the squared errors [N], the mean over components."""
        network = self.network
        moves = rate.transforms > 0.0
        by_gradient = moves and self._config.motion == "gradient"
        self._optimiser.zero_grad(set_to_none=True)
        self._mover.zero_grad(set_to_none=True)
        transforms = network.transforms if by_gradient else network.transforms.detach()
        values = decode(encode(local, network.feature_grids, transforms), network.weights)
        errors = (values - target).square().mean(1)
        errors.mean().backward()
        errors = errors.detach()
        if moves and not by_gradient:
            _density_loss(local, network.transforms, errors).backward()
        features, decoder = self._optimiser.param_groups
        features["lr"], decoder["lr"] = rate.features, rate.decoder
        self._optimiser.step()
        if moves:
            self._mover.param_groups[0]["lr"] = rate.transforms
            self._mover.step()
        return errors

    def record(self) -> None:
        """Append a row to the history, over the iterations since the last one."""
        if not self._loss_count:
            return
        loss = float(self._loss_sum) / self._loss_count
        if not math.isfinite(loss):
            raise TrainingError(
                f"The training diverged at iteration {self.iteration}; lower the learning rate "
                f"(it is {self._config.learning_rate:g}) or use another seed."
            )
        with torch.no_grad():
            motion = (self.network.transforms - self._start).square().mean().sqrt().item()
        rate = rates(self._config, self.iteration - 1).features
        self.history.add(self.iteration, loss, rate, motion)
        self._loss_sum.zero_()
        self._loss_count = 0

    def checkpoint(self) -> Checkpoint:
        """Return everything that continues this run exactly."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors["start"] = self._start
        for kind, optimiser in (("main", self._optimiser), ("mover", self._mover)):
            for number, parameter in enumerate(_parameters(optimiser)):
                for name, value in optimiser.state.get(parameter, {}).items():
                    tensors[f"{kind}.{number}.{name}"] = torch.as_tensor(value)
        return Checkpoint(
            tensors,
            {
                "iteration": self.iteration,
                "seconds": self.seconds,
                "loss_sum": float(self._loss_sum),
                "loss_count": self._loss_count,
                "history": [list(row) for row in self.history.rows],
            },
        )

    def restore(self, saved: Checkpoint) -> None:
        """Continue from :meth:`checkpoint`'s result."""
        device = self._data.values.device
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                value.copy_(saved.tensors[f"network.{name}"])
        self._start = saved.tensors["start"].to(device)
        for kind, optimiser in (("main", self._optimiser), ("mover", self._mover)):
            for number, parameter in enumerate(_parameters(optimiser)):
                prefix = f"{kind}.{number}."
                state = {
                    name[len(prefix) :]: value
                    for name, value in saved.tensors.items()
                    if name.startswith(prefix)
                }
                if state:
                    # torch keeps a fused optimiser's step count beside its parameter.
                    optimiser.state[parameter] = {k: v.to(device) for k, v in state.items()}
        self._loss_sum.fill_(saved.numbers["loss_sum"])
        self._loss_count = int(saved.numbers["loss_count"])
        self.iteration = int(saved.numbers["iteration"])
        self.seconds = float(saved.numbers["seconds"])
        self.history = History(saved.numbers["history"])


def _density_loss(local: Tensor, transforms: Tensor, errors: Tensor) -> Tensor:
    """Return the paper's loss that draws grid density to where the errors are.

    KL divergence of the normalised density and its target ~ density^(mean error / error), over
    the points of a batch; only the density carries a gradient.
    """
    density = feature_density(local, transforms)
    density = density / density.sum().detach()
    log_density = torch.log(density + _TINY)
    target = torch.exp(log_density.detach() * (errors.mean() / (errors + _TINY)))
    log_target = torch.log(target / target.sum() + _TINY)
    return functional.kl_div(log_density, log_target, reduction="mean", log_target=True)


def _adam(groups: list[dict[str, Any]], betas: tuple[float, float]) -> torch.optim.Adam:
    """Return Adam with one fused kernel per step where this torch and device have it."""
    try:
        return torch.optim.Adam(groups, lr=0.0, betas=betas, eps=_EPSILON, fused=True)
    except RuntimeError:
        return torch.optim.Adam(groups, lr=0.0, betas=betas, eps=_EPSILON)


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
