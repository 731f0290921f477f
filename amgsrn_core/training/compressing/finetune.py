"""Fine-tuning with rounded coefficients and a penalty on their size, before compression.

Numbers that are rounded after training carry noise that costs bytes and buys nothing. Two thirds of
the iterations take that out of them: the loss and its gradient are those of the rounded network,
and are applied to the exact numbers behind it (the straight-through estimator: Bengio et al.,
arXiv:1308.3432). To them comes the gradient of an estimate of the numbers' entropy, so that those
which hardly matter become zero. Meanwhile the steps grow to what the allowed error permits.

The last third rounds for good, one group of numbers after another, while the others, still exact,
learn to make up for it (as Zhou et al., arXiv:1702.03044, do with weights). That allows steps some
forty per cent coarser. It is done in rounds, each with steps corrected by the outcome of the last.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amgsrn_core.config import TrainingConfig
from amgsrn_core.kernels.backend import native_library
from amgsrn_core.kernels.nodes import inside, nodes_from_grids
from amgsrn_core.kernels.training import GradientKernel, draw
from amgsrn_core.networks import SceneNetwork
from amgsrn_core.networks.products import products
from amgsrn_core.training.automatic import formerly
from amgsrn_core.training.batches import Batches, batches_for
from amgsrn_core.training.checkpoint import Checkpoint
from amgsrn_core.training.compressing.rounding import Rounding, Steps
from amgsrn_core.training.optimisers import (
    Adam,
    betas,
    optimiser_state,
    restore_optimiser,
)
from amgsrn_core.training.sampling import PointSampler, TrainingData

# The share of the iterations before numbers are rounded for good, into how many rounds at most the
# others are divided, how long one must be, and in how many groups it rounds.
_SHRINKING, _ROUNDS, _SHORTEST_ROUND, _GROUPS = 2.0 / 3.0, 3, 480, 4
# So many further rounds may follow if none kept to the limit.
_MORE_ROUNDS = 2
# While shrinking: the learning rate is held and then falls to zero. Its height is the training's,
# or less in a shorter time, in which the network would not recover from so much.
_HELD, _WARM_UP = 0.3, 20
# The price of a bit relative to what it saves if it makes the steps smaller: while numbers are
# still to change much, and afterwards.
_PRICE, _LAST_PRICE = 3.0, 0.3
# The allowed error is exceeded by this share at the full learning rate, whose noise will go.
_EXCESS = 0.7
# The steps follow the error of recent iterations now and then, by so much of its logarithm, until
# this share of the time, so that the network gets used to the last ones.
_RECENT, _FOLLOW_EVERY, _FOLLOW, _MOST, _FOLLOWED = 0.03, 10, 0.5, 0.5, 0.85
# At first the steps add this share to the error.
_FIRST_SHARE = 0.05
# The loss at random points is compared with the error at voxels at first, over so many batches, and
# once more near the end, since the one may fall faster than the other. (More often is worse: steps
# that were too coarse for a while leave a network that never recovers.)
_CALIBRATION, _AGAIN_AFTER = 20, 0.75
# While rounding for good: the learning rate in steps, falling over a round and within each group;
# by how much the steps grow in the first round, after one within the limit and after one beyond
# it; how they are corrected beside that: of the error scale^2 that steps add by themselves this
# share is left in a round; which share of the limit is aimed at between one within and one beyond.
_RATE, _FALLS_TO, _GROUP_FALLS_TO = 0.05, 0.3, 0.2
_GROWTH, _FURTHER, _BACK = 1.15, 1.08, 0.93
_LEFT, _MOST_CORRECTION, _MARGIN = 0.3, 4.0, 0.997
_DECAY = (0.9, 0.99)

# From the number of an iteration, grids and weights on to the loss and its gradients by both.
Gradients = Callable[[int, Tensor, "list[Tensor]"], "tuple[Tensor, Tensor, list[Tensor]]"]


@dataclass(frozen=True)
class Candidate:
    """A network's parameters, and the scales of the steps to round grids and decoder with."""

    parameters: dict[str, np.ndarray]
    scale: float
    decoder_scale: float

    def steps(self, unit: Steps) -> Steps:
        """Return the steps."""
        return {
            name: (steps * self._scale_of(name)).astype(np.float32) for name, steps in unit.items()
        }

    def _scale_of(self, name: str) -> float:
        return self.scale if name == "feature_grids" else self.decoder_scale


class Finetuning:
    """Fine-tunes a network in place, iteration by iteration.

    Parameters
    ----------
    network : SceneNetwork
        Trained; its maps stay as they are.
    data : TrainingData
    config : TrainingConfig
    unit : dict of ndarray
        Of :func:`amgsrn_core.training.compressing.compression.unit_steps`.
    iterations : int
        A few more are done where these do not end within the limit.
    error : callable
        Returns the mean squared error of a candidate, rounded, and leaves the network like that.
    before, limit : float
        The network's mean squared error as it is, and what that may be at most.
    reference : dict of ndarray, optional
        Parameters whose differences the network is going to be stored as.
    """

    def __init__(
        self,
        network: SceneNetwork,
        data: TrainingData,
        config: TrainingConfig,
        unit: Steps,
        iterations: int,
        error: Callable[[Candidate], float],
        before: float,
        limit: float,
        reference: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        # Small batches pull the numbers about more than they are rounded: files get twice as large.
        config = formerly(config)
        self._network, self._config = network, config
        self._total = self._planned = iterations
        self._error, self._before, self._limit = error, before, limit
        self._gradients = _gradients(network, data, config)
        self._rounding = Rounding(network, unit, reference)
        self._grids = network.feature_grids.detach().clone().requires_grad_()
        self._weights = [w.detach().clone().requires_grad_() for w in network.weights]
        shrinking = round(iterations * _SHRINKING)
        rounds = min(_ROUNDS, round((iterations - shrinking) / _SHORTEST_ROUND))
        if not rounds:
            shrinking = iterations
        count = rounds * _GROUPS
        self._starts = [shrinking + (iterations - shrinking) * g // count for g in range(count)]
        self._starts.append(iterations)
        self._shrinking = shrinking
        self._calibrated_again = round(_AGAIN_AFTER * shrinking)
        # Of a fit that is nearly perfect the limit is what counts.
        self._least = math.sqrt(max(_FIRST_SHARE * before, limit - before))
        self._scale = self._decoder_scale = self._least
        self._recent = torch.full((), before, device=self._grids.device)
        self._loss_per_error = 0.0
        self._frozen: Tensor | None = None
        # Scales of rounds, and the logarithms of their errors: the last within the limit, the last
        # beyond it.
        self._inside, self._outside = (0.0, 0.0), (math.inf, 0.0)
        self.iteration = 0
        self._optimiser = self._new_optimiser()
        self.shrunk: Candidate | None = None
        self.settled: Candidate | None = None

    @property
    def is_done(self) -> bool:
        """Whether all iterations are done; then the results stand in `shrunk` and `settled`.

        `shrunk` is the network after two thirds of them, not rounded. `settled` is the smallest
        one that was within the limit after a round, None if there was none.
        """
        return self.iteration >= self._total

    def step(self) -> None:
        """Do one iteration."""
        if not self._loss_per_error:
            loss = self._mean_loss(self._grids, self._weights)
            self._loss_per_error = loss / max(self._before, 1e-30)
        with torch.no_grad():
            if self.iteration < self._shrinking:
                self._shrink()
            else:
                self._settle()
        self.iteration += 1
        if self.iteration == self._shrinking:
            self._end_shrinking()
        elif self.iteration in self._starts[_GROUPS::_GROUPS]:
            self._end_round()

    # --- The two phases --------------------------------------------------------------------------

    def _shrink(self) -> None:
        rounding, scale = self._rounding, self._scale
        numbers = rounding.numbers(self._grids, scale)
        loss, by_grids, by_weights = self._gradients(
            self.iteration,
            rounding.grids(numbers.round(), scale),
            rounding.weights(self._weights, scale),
        )
        price = _PRICE * rounding.bit_price(scale)
        bits = rounding.gradient_by_grids(rounding.bits_by_numbers(numbers, scale), scale)
        # Laid out as the parameter, which the fused optimiser takes for granted.
        self._grids.grad = (by_grids + price * bits).contiguous()
        prices = rounding.bits_by_weights(self._weights, scale)
        for weight, gradient, bit in zip(self._weights, by_weights, prices):
            weight.grad = (gradient + price * bit).contiguous()
        shape = self._rate_shape()
        features, decoder = self._optimiser.param_groups
        features["lr"] = self._config.learning_rate * shape
        decoder["lr"] = features["lr"] * self._config.decoder_rate
        self._optimiser.step()
        self._follow(loss, self._limit * (1.0 + _EXCESS * shape))

    def _rate_shape(self) -> float:
        done = max(0.0, self.iteration / self._shrinking - _HELD) / (1.0 - _HELD)
        height = min(
            1.0, self._shrinking / self._config.iterations, (self.iteration + 1) / _WARM_UP
        )
        return height * 0.5 * (1.0 + math.cos(math.pi * done))

    def _follow(self, loss: Tensor, aim: float) -> None:
        """Let the steps grow or shrink towards the error that is aimed at."""
        if self.iteration == self._calibrated_again:
            error = max(self._error(self._candidate(self._grids)), 1e-30)
            numbers = self._rounding.numbers(self._grids, self._scale).round()
            self._loss_per_error = (
                self._mean_loss(
                    self._rounding.grids(numbers, self._scale),
                    self._rounding.weights(self._weights, self._decoder_scale),
                )
                / error
            )
            self._recent = torch.full_like(self._recent, error)
        loss = (loss / self._loss_per_error).to(self._recent)
        self._recent = torch.lerp(self._recent, loss, _RECENT)
        meant = 1.0 / _RECENT < self.iteration < _FOLLOWED * self._shrinking
        if meant and self.iteration % _FOLLOW_EVERY == 0:
            distance = math.log(aim / max(float(self._recent), 1e-30))
            factor = math.exp(_FOLLOW * max(-_MOST, min(_MOST, distance)))
            # While the learning rate is high, most of the error is not that of the steps.
            self._scale = self._decoder_scale = max(self._scale * factor, self._least)

    def _end_shrinking(self) -> None:
        self.shrunk = self._candidate(self._grids)
        if self._shrinking == self._total:
            return
        error = self._error(self.shrunk)
        self._scale = _GROWTH * self._scale_for(self._limit - error)
        with torch.no_grad():
            # The decoder is used to these steps, and stays. The grids are numbers from here on.
            rounded = self._rounding.weights(self._weights, self._decoder_scale)
            for weight, value in zip(self._weights, rounded):
                weight.copy_(value)
            self._grids = self._rounding.numbers(self._grids.detach(), self._scale)
        self._grids.requires_grad_()

    def _settle(self) -> None:
        if self.iteration in self._starts:
            self._freeze()
        rounding, scale = self._rounding, self._scale
        numbers = self._grids
        _, by_grids, _ = self._gradients(
            self.iteration, rounding.grids(numbers, scale), self._weights
        )
        price = _LAST_PRICE * rounding.bit_price(scale)
        gradient = rounding.gradient_by_numbers(by_grids, scale)
        gradient += price * rounding.bits_by_numbers(numbers, scale)
        # A number without any gradient since its optimiser began stays where it is.
        numbers.grad = gradient.masked_fill_(self._frozen_now(), 0.0)
        self._optimiser.param_groups[0]["lr"] = self._settling_rate()
        self._optimiser.step()

    def _group(self) -> int:
        """Return the group in hand, over all rounds."""
        return bisect.bisect_right(self._starts, self.iteration) - 1

    def _settling_rate(self) -> float:
        group = self._group()
        start, stop = self._starts[group : group + 2]
        begun = 1.0 - (1.0 - _FALLS_TO) * (group % _GROUPS) / _GROUPS
        return _RATE * begun * _GROUP_FALLS_TO ** ((self.iteration - start) / (stop - start))

    def _frozen_now(self) -> Tensor:
        """Return which numbers are rounded for good: the same ones whenever this run is resumed."""
        if self._frozen is None:
            group = self._group()
            seed = (self._config.seed + 1 + group // _GROUPS) % 2**31
            random = torch.Generator().manual_seed(seed)
            rank = torch.rand(self._grids.shape, generator=random)
            share = (group % _GROUPS + 1.0) / (_GROUPS + 0.5)
            self._frozen = (rank < share).to(self._grids.device)
        return self._frozen

    def _freeze(self) -> None:
        self._frozen = None
        frozen = self._frozen_now()
        self._grids.copy_(torch.where(frozen, self._grids.round(), self._grids))
        self._optimiser = self._new_optimiser()

    def _end_round(self) -> None:
        scale = self._scale
        with torch.no_grad():
            found = self._candidate(self._rounding.grids(self._grids.round(), scale))
            error = self._error(found)
            if error <= self._limit and (self.settled is None or scale > self.settled.scale):
                self.settled = found
            self._scale = self._next_scale(error)
            self._grids.mul_(scale / self._scale)
        more = self._total - self._planned < _MORE_ROUNDS * self._round_length()
        if self.iteration == self._total and self.settled is None and more:
            self._append_round()

    def _round_length(self) -> int:
        return self._starts[_GROUPS] - self._starts[0]

    def _append_round(self) -> None:
        """Add a round beyond what was planned: without one within the limit all was in vain."""
        start, length = self._total, self._round_length()
        self._starts += [start + length * (g + 1) // _GROUPS for g in range(_GROUPS)]
        self._total = start + length

    def _next_scale(self, error: float) -> float:
        """Return the scale of the next round: where the limit will be reached, as far as known."""
        inside = error <= self._limit
        known = self._scale, math.log(max(error, 1e-30))
        if inside:
            self._inside = known
        else:
            self._outside = known
        (below, low), (above, high) = self._inside, self._outside
        if 0.0 < below < above < math.inf:
            share = (math.log(_MARGIN * self._limit) - low) / (high - low)
            return below * (above / below) ** max(0.1, min(0.9, share))
        return (_FURTHER if inside else _BACK) * self._scale_for(self._limit - error)

    def _scale_for(self, slack: float) -> float:
        """Return a scale that adds so much to the error, or takes it away."""
        square = self._scale**2
        lowest, highest = square / _MOST_CORRECTION**2, square * _MOST_CORRECTION**2
        return math.sqrt(max(lowest, min(highest, square + slack / _LEFT)))

    # --- Helpers ---------------------------------------------------------------------------------

    def _new_optimiser(self) -> Adam:
        grids = {"params": [self._grids]}
        if self.iteration >= self._shrinking:
            return Adam([grids], _DECAY)
        return Adam([grids, {"params": self._weights}], betas(self._config.schedule))

    def _mean_loss(self, grids: Tensor, weights: list[Tensor]) -> float:
        """Return the loss of random batches that are used for nothing else."""
        total = self._planned
        with torch.no_grad():
            losses = [self._gradients(total + i, grids, weights)[0] for i in range(_CALIBRATION)]
        return max(float(sum(losses)) / _CALIBRATION, 1e-30)

    def _candidate(self, grids: Tensor) -> Candidate:
        """Return what there is now, and put it into the network."""
        with torch.no_grad():
            self._network.feature_grids.copy_(grids)
            for weight, trained in zip(self._network.weights, self._weights):
                weight.copy_(trained)
        return Candidate(self._network.state_arrays(), self._scale, self._decoder_scale)

    def checkpoint(self) -> Checkpoint:
        """Return everything that continues this exactly."""
        tensors = {"grids": self._grids.detach()}
        tensors.update({f"weight.{i}": w.detach() for i, w in enumerate(self._weights)})
        tensors.update(optimiser_state(self._optimiser, "main"))
        tensors["recent"] = self._recent
        numbers: dict[str, Any] = {
            "iteration": self.iteration,
            "scale": self._scale,
            "decoder_scale": self._decoder_scale,
            "total": self._total,
            "loss_per_error": self._loss_per_error,
            "inside": self._inside,
            "outside": self._outside if math.isfinite(self._outside[0]) else None,
        }
        for name, candidate in self._candidates():
            if candidate is not None:
                numbers[name] = [candidate.scale, candidate.decoder_scale]
                for key, value in candidate.parameters.items():
                    tensors[f"{name}.{key}"] = torch.from_numpy(value)
        return Checkpoint(tensors, numbers)

    def restore(self, saved: Checkpoint) -> None:
        """Continue from :meth:`checkpoint`'s result."""
        tensors, numbers, device = saved.tensors, saved.numbers, self._grids.device
        self.iteration = int(numbers["iteration"])
        self._scale, self._decoder_scale = numbers["scale"], numbers["decoder_scale"]
        self._loss_per_error = numbers["loss_per_error"]
        while self._total < numbers["total"]:
            self._append_round()
        self._inside = tuple(numbers["inside"])
        self._outside = tuple(numbers["outside"] or (math.inf, 0.0))
        self._grids = tensors["grids"].to(device).requires_grad_()
        with torch.no_grad():
            for number, weight in enumerate(self._weights):
                weight.copy_(tensors[f"weight.{number}"])
        self._optimiser = self._new_optimiser()
        restore_optimiser(self._optimiser, "main", tensors)
        self._recent = tensors["recent"].to(device)
        found = {
            name: Candidate(
                {
                    key[len(name) + 1 :]: value.numpy()
                    for key, value in tensors.items()
                    if key.startswith(name + ".")
                },
                *numbers[name],
            )
            for name, _ in self._candidates()
            if name in numbers
        }
        self.shrunk, self.settled = found.get("shrunk"), found.get("settled")

    def _candidates(self) -> Iterator[tuple[str, Candidate | None]]:
        yield "shrunk", self.shrunk
        yield "settled", self.settled


def _gradients(network: SceneNetwork, data: TrainingData, config: TrainingConfig) -> Gradients:
    """Return what computes gradients at points of their own, with the configured backend."""
    seed = (config.seed + 1) % 2**31
    library = native_library(config.backend, network.minimum.device, network.config.encoder)
    transforms = network.transforms.detach()
    if library is None:
        batches = batches_for(transforms.device, data, config, seed)
        return _by_torch(network, transforms, batches, config)
    sampler = PointSampler(data, config.batch, seed)
    cubic = config.targets == "cubic"
    shape = network.feature_grids.shape
    kernel = GradientKernel(
        library, shape, torch.get_num_threads(), fast=config.precision == "fast"
    )
    nodes = nodes_from_grids(network.feature_grids.detach().numpy())
    values, maps = data.values.numpy(), transforms.numpy()
    cells = None if data.cells is None else data.cells.numpy()

    def by_kernels(
        number: int, grids: Tensor, weights: list[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        nodes_from_grids(grids.detach().numpy(), out=nodes)
        uniform = sampler.uniform(number).numpy()
        points, targets = draw(library, values, cells, uniform, cubic=cubic)
        decoder = [weight.detach().numpy() for weight in weights]
        loss, _, by_weights, _ = kernel.gradients(
            nodes, maps, decoder, points, targets, moving=False
        )
        # The kernels' order of the numbers in memory is not that of the grids.
        by_grids = torch.from_numpy(inside(kernel.taken_gradients(), shape)).contiguous()
        return torch.tensor(loss), by_grids, [torch.from_numpy(each) for each in by_weights]

    return by_kernels


def _by_torch(
    network: SceneNetwork, transforms: Tensor, batches: Batches, config: TrainingConfig
) -> Gradients:
    def gradients(
        number: int, grids: Tensor, weights: list[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        points, targets = batches.draw(number)
        with torch.enable_grad(), products(fast=config.precision == "fast"):
            leaves = [leaf.detach().requires_grad_() for leaf in (grids, *weights)]
            features = network.encode_with(points, leaves[0], transforms)
            # By the network's own decoder, as what it is measured with.
            values = network.decode(features, leaves[1:])
            loss = (values - targets).square().mean()
            by_grids, *by_weights = torch.autograd.grad(loss, leaves)
        return loss.detach(), by_grids, by_weights

    return gradients
