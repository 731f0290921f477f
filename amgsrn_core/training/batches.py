"""Batches of training points and targets, drawn where the data are, brought to where they train."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import torch
from torch import Tensor

from amgsrn_core.config import TrainingConfig
from amgsrn_core.kernels.backend import native_library
from amgsrn_core.kernels.training import draw
from amgsrn_core.networks.interpolation import cubic_targets, linear_targets
from amgsrn_core.training.sampling import PointSampler, TrainingData

# So many batches may be on their way to a GPU: with a CUDA graph the host is hundreds of iterations
# ahead of it, and each batch on its way keeps pinned memory.
_LEAD = 4


class Batches(Protocol):
    """Draws the batches of a run; each depends on its number alone."""

    def draw(self, number: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return local points [N, 3] and targets [N, C] on the device that trains."""
        ...


def batches_for(
    device: torch.device, data: TrainingData, config: TrainingConfig, seed: int
) -> Batches:
    """Return what draws batches of the data for a device that trains."""
    sampler = PointSampler(data, config.batch, seed)
    if data.values.device == device:
        return DataBatches(data, sampler, config)
    return HostBatches(device, data, sampler, config)


class DataBatches:
    """Draws in PyTorch, where the data are."""

    def __init__(self, data: TrainingData, sampler: PointSampler, config: TrainingConfig) -> None:
        self._values, self._sampler = data.values, sampler
        self._cubic = config.targets == "cubic"

    def draw(self, number: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return points and targets."""
        index, local = self._sampler.draw(number)
        if self._cubic:
            return local, cubic_targets(self._values, index)
        return local, linear_targets(self._values, local)


class HostBatches:
    """Draws from data in the computer's memory, in a thread and one batch ahead.

    By the CPU kernels, where they are there and the backend is not `torch`.
    """

    def __init__(
        self,
        device: torch.device,
        data: TrainingData,
        sampler: PointSampler,
        config: TrainingConfig,
    ) -> None:
        self._device, self._data, self._sampler = device, data, sampler
        self._cubic = config.targets == "cubic"
        backend = "torch" if config.backend == "torch" else "auto"
        self._library = native_library(backend, data.values.device)
        self._plain = DataBatches(data, sampler, config)
        # One thread alone uses the sampler, whose generator has a state.
        self._thread = ThreadPoolExecutor(1, "batches")
        self._sent: deque[torch.cuda.Event] = deque()
        self._next: tuple[int, Future[tuple[Tensor, Tensor]]] | None = None

    def draw(self, number: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return points and targets, and begin with the next batch."""
        number = int(number)
        drawn = self._next[1] if self._next is not None and self._next[0] == number else None
        drawn = drawn or self._thread.submit(self._on_host, number)
        self._next = number + 1, self._thread.submit(self._on_host, number + 1)
        points, targets = drawn.result()
        # From pinned memory: the host does not wait for the copy, which keeps that memory.
        on_device = (
            points.to(self._device, non_blocking=True),
            targets.to(self._device, non_blocking=True),
        )
        if self._device.type == "cuda":
            self._wait_for_an_earlier_one()
        return on_device

    def _wait_for_an_earlier_one(self) -> None:
        """Keep the lead over the GPU within `_LEAD` batches, so that it always has some to do."""
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._device))
        self._sent.append(event)
        if len(self._sent) > _LEAD:
            self._sent.popleft().synchronize()

    def _on_host(self, number: int) -> tuple[Tensor, Tensor]:
        if self._library is None:
            points, targets = self._plain.draw(number)
        else:
            cells = self._data.cells
            drawn = draw(
                self._library,
                self._data.values.numpy(),
                None if cells is None else cells.numpy(),
                self._sampler.uniform(number).numpy(),
                cubic=self._cubic,
            )
            points, targets = map(torch.from_numpy, drawn)
        if self._device.type != "cuda":
            return points, targets
        with torch.cuda.device(self._device):
            return points.pin_memory(), targets.pin_memory()
