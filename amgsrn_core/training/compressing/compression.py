"""Compression of a trained network: as coarse as an error budget allows.

All numbers of a network share one price: the rounding of each, weighed by how much it moves the
output, may cost the same (reverse water-filling). So one number decides over all steps, and it is
found by measuring.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from amgsrn_core.config import StorageConfig, TrainingConfig
from amgsrn_core.errors import TrainingError
from amgsrn_core.model.codec import COMPRESSED, pack, rounded
from amgsrn_core.networks import SceneNetwork
from amgsrn_core.networks.reference import transform_points
from amgsrn_core.training.checkpoint import CheckpointFile
from amgsrn_core.training.compressing.finetune import Candidate, Finetuning
from amgsrn_core.training.compressing.rounding import Steps
from amgsrn_core.training.sampling import TrainingData

_POINTS = 1 << 16
_ROUNDS = 10
# The search ends when this share of the budget is used.
_ENOUGH = 0.85
# A feature that hardly matters still gets a step, within this factor of the most important one's.
_SMALLEST = 1e-6
# Steps that make a network fit into its room are looked for within so many doublings, until this
# share of the room is used; its macro-cells change with it, which takes some rounds.
_DOUBLINGS, _HALVINGS, _FULL, _FITS = 8, 16, 0.995, 6
Packed = dict[str, np.ndarray]


def compressed(
    network: SceneNetwork,
    data: TrainingData,
    config: TrainingConfig,
    storage: StorageConfig,
    error: Callable[[], float],
    before: float,
    limit: float,
    go_on: Callable[[int], bool] = lambda iteration: True,
    checkpoints: CheckpointFile | None = None,
    reference: Mapping[str, np.ndarray] | None = None,
    pause: Callable[[], None] = lambda: None,
    room: Callable[[], int] | None = None,
) -> Packed | None:
    """Round a network's parameters as coarsely as its error may grow, in place; return them packed.

    Parameters
    ----------
    network : SceneNetwork
        With feature grids (not a hash grid).
    data : TrainingData
        What it was trained on, for fine-tuning.
    config : TrainingConfig
    storage : StorageConfig
        Says for how long the network is fine-tuned first. Where that does not end within the
        limit, it is as if there had been none.
    error : callable
        Returns the network's mean squared error as it is now.
    before, limit : float
        That, and what it may be at most.
    go_on : callable, optional
        Asked before each iteration of fine-tuning; False stops.
    checkpoints : CheckpointFile, optional
        Fine-tuning is continued from it, and saved there now and then and when it is stopped.
    reference : dict of ndarray, optional
        Parameters of the time step before, from which fine-tuning is to differ by little.
    pause : callable, optional
        Called before each measurement after fine-tuning; what it raises ends the search.
    room : callable, optional
        Returns the bytes that there are for the network as it is now. They decide then, and not the
        limit, how coarsely the parameters are rounded.

    Returns
    -------
    dict or None
        Of :func:`amgsrn_core.model.codec.pack`; None when it was stopped.
    """
    unit, trained = unit_steps(network), network.state_arrays()

    def rounded_error(candidate: Candidate) -> float:
        set_parameters(network, rounded(candidate.parameters, candidate.steps(unit)))
        return error()

    def searched_error(candidate: Candidate) -> float:
        pause()
        return rounded_error(candidate)

    found: Candidate | None = None
    others: list[Candidate] = []
    if storage.compress_finetune:
        tuning = Finetuning(
            network,
            data,
            config,
            unit,
            storage.compress_finetune,
            rounded_error,
            before=before,
            limit=limit,
            reference=reference,
        )
        if not _finetuned(tuning, go_on, checkpoints, config.checkpoint_seconds):
            return None
        found = tuning.settled
        others += [each for each in (found, tuning.shrunk) if each is not None]
        if found is None and (shrunk := tuning.shrunk) is not None:
            set_parameters(network, shrunk.parameters)
            found = _searched(shrunk.parameters, shrunk.scale, searched_error, error(), limit)
    scale = math.sqrt(max(limit - before, 0.01 * limit))
    if found is None:
        found = _searched(trained, scale, searched_error, before, limit)
    if room is not None:
        plain = Candidate(trained, scale, scale)
        found = _of_size([*others, plain], unit, room, searched_error)
    if found is None:
        raise TrainingError(
            f"The network cannot be compressed at a loss of {storage.compress_loss:g} dB; allow a "
            "larger one (compress-loss)."
        )
    steps = found.steps(unit)
    set_parameters(network, rounded(found.parameters, steps))
    return pack(found.parameters, steps)


def _finetuned(
    tuning: Finetuning,
    go_on: Callable[[int], bool],
    checkpoints: CheckpointFile | None,
    every: float,
) -> bool:
    """Fine-tune to the end, from a checkpoint if there is one; False when it was stopped."""
    if checkpoints is not None and (saved := checkpoints.load()) is not None:
        tuning.restore(saved)
    written = time.monotonic()
    while not tuning.is_done:
        stopped = not go_on(tuning.iteration)
        if stopped and checkpoints is not None:
            checkpoints.save(tuning.checkpoint())
        if stopped:
            return False
        if checkpoints is not None and every and time.monotonic() - written >= every:
            checkpoints.save_if_possible(tuning.checkpoint())
            written = time.monotonic()
        tuning.step()
    if checkpoints is not None:  # a run may still be stopped in what follows
        checkpoints.save_if_possible(tuning.checkpoint())
    return True


def _searched(
    exact: dict[str, np.ndarray],
    scale: float,
    rounded_error: Callable[[Candidate], float],
    before: float,
    limit: float,
) -> Candidate | None:
    """Return parameters with the largest steps that keep to the limit; None if none do."""
    best, low, high = 0.0, 0.0, math.inf
    for _ in range(_ROUNDS):
        now = rounded_error(Candidate(exact, scale, scale))
        if now <= limit:
            best = low = scale
            if now - before >= _ENOUGH * (limit - before):
                break
        else:
            high = scale
        # The error grows with the square of the steps.
        growth = 0.97 * (limit - before) / max(now - before, 1e-30)
        guess = scale * min(max(math.sqrt(max(growth, 0.0)), 0.4), 1.5)
        scale = guess if low < guess < high else 0.5 * (low + high)
    return Candidate(exact, best, best) if best else None


def _of_size(
    candidates: list[Candidate],
    unit: Steps,
    room: Callable[[], int],
    rounded_error: Callable[[Candidate], float],
) -> Candidate:
    """Return the best of some parameters, with steps by which they just fit into the room.

    Raises
    ------
    TrainingError
        No steps make them so small.
    """
    budget = room()
    for _ in range(_FITS):
        fitting = [_with_bytes(each, unit, budget) for each in candidates]
        found = min(fitting, key=rounded_error)
        rounded_error(found)  # which leaves the network like that
        excess = len(_packed(found, unit)) - room()
        if excess <= 0:
            return found
        budget -= excess
    raise TrainingError(
        "The network cannot be compressed to the size that is asked for; give a larger target-size."
    )


def _with_bytes(candidate: Candidate, unit: Steps, budget: int) -> Candidate:
    """Return a candidate with the smallest steps with which it has no more than so many bytes."""

    def scaled(factor: float) -> Candidate:
        return Candidate(
            candidate.parameters, candidate.scale * factor, candidate.decoder_scale * factor
        )

    fine, coarse = 2.0**-_DOUBLINGS, 2.0**_DOUBLINGS
    for _ in range(_HALVINGS):
        middle = math.sqrt(fine * coarse)
        size = len(_packed(scaled(middle), unit))
        if size > budget:
            fine = middle
        else:
            coarse = middle
            if size > _FULL * budget:
                break
    return scaled(coarse)


def _packed(candidate: Candidate, unit: Steps) -> np.ndarray:
    return pack(candidate.parameters, candidate.steps(unit))[COMPRESSED]


def set_parameters(network: SceneNetwork, values: dict[str, np.ndarray]) -> None:
    """Copy parameters into a network."""
    with torch.no_grad():
        for name, parameter in network.state_dict().items():
            parameter.copy_(torch.from_numpy(values[name]))


def unit_steps(network: SceneNetwork) -> Steps:
    """Return steps for all parameters with which rounding adds a mean squared error of about 1.

    A number whose rounding error e moves the output by s e gets a step in proportion to 1 / s: to
    first order that gives the smallest file for an error.
    """
    features, layers = _influence(network)
    nodes = math.prod(network.feature_grids.shape[2:])
    count = network.feature_grids.numel() + sum(w.numel() for w in network.weights)
    # A rounding error has the mean square step^2 / 12.
    share = 12.0 / count
    floor = max(float(features.max()) * _SMALLEST, 1e-30)
    unit = {"feature_grids": np.sqrt(share * nodes / features.clip(floor))}
    for number, (weight, influence) in enumerate(zip(network.weights, layers)):
        each = max(influence, 1e-30) / weight.numel()
        unit[f"decoder.{number}.weight"] = np.array([math.sqrt(share / each)])
    return unit


def _influence(network: SceneNetwork) -> tuple[np.ndarray, list[float]]:
    """Return what errors of variance 1 add to the mean squared error, to first order.

    Returns
    -------
    features : float64 [G, F]
        In all nodes of a feature together, at the lowest frequency.
    layers : list of float
        In all numbers of each of the decoder's matrices together.
    """
    device = network.minimum.device
    random = torch.Generator().manual_seed(0)
    points = (torch.rand((_POINTS, 3), generator=random) * 2.0 - 1.0).to(device)
    with torch.no_grad():
        inputs = network.encode(points, network.transforms)
    values = inputs.detach().requires_grad_()
    entering, leaving = [values], []
    with torch.enable_grad():
        for weight in network.weights:
            leaving.append(torch.nn.functional.linear(entering[-1], weight.detach()))
            entering.append(torch.relu(leaving[-1]))
        outputs = leaving[-1].shape[1]
        squares: list[Tensor] = [torch.zeros_like(values)]
        squares += [torch.zeros_like(out) for out in leaving]
        for output in range(outputs):
            gradients = torch.autograd.grad(
                leaving[-1][:, output].sum(), [values, *leaving], retain_graph=True
            )
            for total, gradient in zip(squares, gradients):
                total += gradient.square() / outputs
    layers = [
        float((square.sum(1) * before.detach().square().sum(1)).mean())
        for square, before in zip(squares[1:], entering)
    ]
    grids, count = network.feature_grids.shape[:2]
    own = squares[0][:, -grids * count :].view(-1, grids, count)
    with torch.no_grad():
        local = transform_points(points, network.transforms)
        inside = (local.abs() <= 1.0).all(-1).t()
        features = (own * inside[:, :, None]).mean(0)
    return features.cpu().numpy().astype(np.float64), layers
