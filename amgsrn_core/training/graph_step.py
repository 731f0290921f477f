"""A training iteration as one launch on an NVIDIA GPU: a CUDA graph of the PyTorch one.

Its hundred or two small kernels take a GPU less time than the host needs to launch them. A graph is
launched at once, and repeats the same kernels on the same memory. So what changes from iteration to
iteration stands in tensors: the learning rates, and the number of the iteration, from which random
numbers are made on the device.

Tests marked `cuda` run the graphs; all else is also tested on the CPU, where a recording of
PyTorch's operators stands for a graph.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from amgsrn_core.config import TrainingConfig
from amgsrn_core.networks import SceneNetwork
from amgsrn_core.training.batches import Batches, DataBatches, HostBatches, batches_for
from amgsrn_core.training.sampling import HashedSampler, TrainingData
from amgsrn_core.training.schedule import Rates
from amgsrn_core.training.torch_step import TorchStep

_log = logging.getLogger(__name__)

# Iterations before one is captured: libraries start up and the optimisers make their tensors.
_WARM_UP = 3

Work = Callable[[], None]


class Graphs(Protocol):
    """Makes graphs of work on a device."""

    def warm_up(self, work: Work) -> None:
        """Do the work as it is going to be captured."""
        ...

    def capture(self, work: Work) -> Work:
        """Return what repeats the work, which is not done; RuntimeError if that cannot be."""
        ...


class CudaGraphs:
    """CUDA graphs, captured on a stream of their own as PyTorch asks for.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)

    def warm_up(self, work: Work) -> None:
        """Do the work on that stream, between what comes before and after it."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            work()
        current.wait_stream(self._stream)

    def capture(self, work: Work) -> Work:
        """Return what repeats the work."""
        graph = torch.cuda.CUDAGraph()
        # The stream of before comes back even where PyTorch fails to end a capture. Another thread
        # may pin memory meanwhile, which would spoil a capture of all threads.
        with (
            torch.cuda.device(self._device),
            torch.cuda.stream(torch.cuda.current_stream(self._device)),
            torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
        ):
            work()
        replay: Work = graph.replay
        return replay


class GraphStep(TorchStep):
    """See :class:`amgsrn_core.training.step.Step`.

    Where no graph can be captured the same iterations, with the same random numbers, are done
    without one. There are two, one after the other: with grids that move and with grids at rest.

    Parameters
    ----------
    network : SceneNetwork
        Trained in place; its parameters stay where they are in memory.
    data : TrainingData
        On the same device, or on the CPU: then points are drawn there, by PyTorch's generator.
    config : TrainingConfig
    graphs : Graphs, optional
        Default: CUDA's.

    Attributes
    ----------
    failure : str
        Why no graph could be captured; "" as long as none has failed.
    """

    def __init__(
        self,
        network: SceneNetwork,
        data: TrainingData,
        config: TrainingConfig,
        graphs: Graphs | None = None,
    ) -> None:
        super().__init__(network, data, config)
        self._graphs: Graphs | None = graphs or CudaGraphs(self._device)
        self._number = torch.zeros((), dtype=torch.int64, device=self._device)
        self._loss = torch.zeros((), device=self._device)
        self._given: tuple[Tensor, Tensor] | None = None
        self._groups = [*self._optimiser.param_groups, *self._mover.param_groups]
        for group in self._groups:
            group["lr"] = torch.zeros((), device=self._device)
        self._rates = [0.0] * len(self._groups)
        self._moving = False
        self._replay: Work | None = None
        self._warm = 0
        self.failure = ""

    def _batches_of(self, data: TrainingData) -> Batches:
        config = self._config
        if data.values.device != self._device:
            return batches_for(self._device, data, config, config.seed)
        return DataBatches(data, HashedSampler(data, config.batch, config.seed), config)

    def descend(self, iteration: int, rate: Rates) -> Tensor:
        """Do one iteration; return the mean squared error before it."""
        self._take(iteration, rate)
        if self._moving != self._moves(rate):
            self._moving = self._moves(rate)
            self._forget()
        if self._replay is None and self._warm == _WARM_UP and self._graphs is not None:
            self._replay = self._captured(self._graphs)
        if self._replay is not None:
            self._replay()
        elif self._graphs is not None:
            self._graphs.warm_up(self._work)
            self._warm += 1
        else:
            self._work()
        return self._loss.clone()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from :meth:`state`'s result."""
        super().restore(state)
        self._forget()

    def _take(self, iteration: int, rate: Rates) -> None:
        """Write what this iteration depends on into memory on the device, without waiting."""
        self._number.fill_(iteration)
        rates = [rate.features, rate.decoder, rate.transforms]
        for group, new, old in zip(self._groups, rates, self._rates):
            if new != old:
                group["lr"].fill_(new)
        self._rates = rates
        if isinstance(self._batches, HostBatches):
            batch = self._batches.draw(iteration)
            if self._given is None:
                self._given = batch
            else:
                for kept, drawn in zip(self._given, batch):
                    kept.copy_(drawn)

    def _work(self) -> None:
        batch = self._given or self._batches.draw(self._number)
        self._loss.copy_(self._learn(self._moving, *batch))

    def _captured(self, graphs: Graphs) -> Work | None:
        try:
            return graphs.capture(self._work)
        except RuntimeError as error:
            self.failure = str(error).strip().split("\n")[0]
            _log.warning("Training goes on without a CUDA graph, and slower: %s", self.failure)
            self._graphs = None
            return None

    def _forget(self) -> None:
        """Forget the graph: it updates the optimisers' tensors of before, or moves what rests."""
        self._replay, self._warm = None, 0
