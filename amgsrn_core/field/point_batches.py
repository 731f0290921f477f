"""Points in batches: how many fit, and fewer of them once memory has run out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import EvaluationMemoryError, is_out_of_memory
from amgsrn_core.system.devices import give_back_memory

if TYPE_CHECKING:
    import torch

# Points of one evaluation. On a CPU larger batches fall out of the cache and are slower; a GPU
# needs many to be busy. Both shrink for wide networks, to about 256 MiB (CPU) of temporaries.
# The CPU kernels need no temporaries, and order scattered points the better the more there are.
CPU_POINTS, KERNEL_POINTS, GPU_POINTS = 1 << 14, 1 << 17, 1 << 18
_BATCH_BYTES = 256 << 20

# What is kept for a gradient is about so many times what an evaluation needs at once.
_GRADIENT_FACTOR = 3

# Points whose bricks are looked up together: many, so that each of many bricks gets some.
ROUTED_POINTS = 1 << 20

# Where a batch of so few points does not fit, no smaller one is tried.
LEAST_POINTS = 256

T = TypeVar("T")
_log = logging.getLogger(__name__)


def network_points(
    config: NetworkConfig,
    device: str | torch.device,
    *,
    by_kernels: bool = False,
    gradients: bool = False,
) -> int:
    """Return how many points a network evaluates together on a device."""
    per_point = 4 * (config.grids * (3 + 2 * config.features) + 3 * config.width)
    most = CPU_POINTS if str(device) == "cpu" else GPU_POINTS
    if by_kernels:
        most = KERNEL_POINTS
    if gradients:
        per_point *= _GRADIENT_FACTOR
    return max(LEAST_POINTS, min(most, _BATCH_BYTES // per_point))


class PointBatches:
    """Evaluates points in batches; from a batch on that did not fit, in smaller ones.

    Parameters
    ----------
    size : int
        Points of a batch at first.
    device : str or torch.device

    Attributes
    ----------
    size : int
        Points of a batch now.
    """

    def __init__(self, size: int, device: str | torch.device) -> None:
        self.size = self._first_size = size
        self._device = device

    @property
    def share(self) -> float:
        """What is left of the size at first, at most 1."""
        return self.size / self._first_size

    def run(self, count: int, evaluate: Callable[[slice], T]) -> list[T]:
        """Return what `evaluate` makes of slices that together are `count` points, in order.

        It is called again with a part of a slice whose evaluation ran out of memory.

        Raises
        ------
        EvaluationMemoryError
            Not even a small batch fits.
        """
        results: list[T] = []
        start = 0
        while start < count:
            part = slice(start, min(start + self.size, count))
            try:
                results.append(evaluate(part))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._make_smaller(part.stop - part.start, error)
            else:
                start = part.stop
                continue
            # Only now is nothing left of the failed call, whose frames the error held.
            give_back_memory(self._device)
        return results

    def _make_smaller(self, points: int, error: Exception) -> None:
        if points <= LEAST_POINTS:
            raise EvaluationMemoryError(
                f"The device {self._device} has not enough memory to evaluate a model even at "
                f"{points} points or rays; end other programs that use it, or choose another one."
            ) from error
        self.size = max(LEAST_POINTS, points // 2)
        _log.info("Memory ran out on %s: %d points a batch from now on.", self._device, self.size)
