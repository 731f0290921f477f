"""Short trainings on a GPU, for `amgsrn doctor`: what only shows after some steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from amgsrn_core.cli.doctor.findings import NOTE, OK, Finding
from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.networks import SceneNetwork, initial_network
from amgsrn_core.networks.fused import FusedDecoder
from amgsrn_core.training.automatic import formerly
from amgsrn_core.training.graph_step import CudaGraphs, Graphs, GraphStep, Work
from amgsrn_core.training.sampling import TrainingData
from amgsrn_core.training.schedule import rates
from amgsrn_core.training.torch_step import TorchStep

_STEPS = 50
# Sums on a GPU differ from run to run, and half precision from float32.
_GRAPH_TOLERANCE, _TCNN_TOLERANCE = 0.02, 0.1
_SIDE = 48


def check_graph(device: torch.device, graphs: Graphs | None = None) -> Finding:
    """Train some steps with CUDA graphs and without; others may stand for CUDA's."""
    name, remedy = "cuda graph", "Train without: amgsrn train --backend torch"
    network, data, config = _training(device)
    try:
        step = GraphStep(network, data, config, graphs or CudaGraphs(device))
        loss, seconds = _loss_and_seconds(step, config)
        network, data, config = _training(device)
        plain = GraphStep(network, data, config, _NoGraphs())
        expected, plain_seconds = _loss_and_seconds(plain, config)
    except RuntimeError as error:
        return Finding(name, NOTE, f"training does not work here ({error})", remedy)
    if step.failure:
        detail = f"none can be made ({step.failure}); training works without, but is slower"
        return Finding(
            name, NOTE, detail, "Try a newer driver or PyTorch: pip install --upgrade torch"
        )
    if not math.isclose(loss, expected, rel_tol=_GRAPH_TOLERANCE):
        detail = f"training with it comes to a loss of {loss:.3g}, without it {expected:.3g}"
        return Finding(name, NOTE, detail, remedy)
    times = f"{1e3 * seconds:.2f} ms, without it {1e3 * plain_seconds:.2f} ms"
    return Finding(name, OK, f"a step of training takes {times}")


def check_tcnn(device: torch.device) -> Finding:
    """Train some steps at the default batch with tiny-cuda-nn's decoder and with PyTorch's."""
    name, remedy = "tiny-cuda-nn in training", "Leave the choice to it: amgsrn train --backend auto"
    losses = []
    try:
        for fused in (True, False):
            network, data, config = _training(device)
            if fused:
                network.decode = FusedDecoder(network.config, 1, device)
            losses.append(_loss_and_seconds(TorchStep(network, data, config), config)[0])
    except RuntimeError as error:
        return Finding(name, NOTE, f"does not work here ({error})", remedy)
    loss, expected = losses
    detail = f"the loss after {_STEPS} steps is {loss:.3g}, PyTorch's {expected:.3g}"
    if not math.isclose(loss, expected, rel_tol=_TCNN_TOLERANCE):
        return Finding(name, NOTE, detail, remedy)
    return Finding(name, OK, detail)


class _NoGraphs:
    """Repeats work by doing it again."""

    def warm_up(self, work: Work) -> None:
        work()

    def capture(self, work: Work) -> Work:
        return work


def _training(device: torch.device) -> tuple[SceneNetwork, TrainingData, TrainingConfig]:
    """Return a network and waves to be learned, with the default batch."""
    z, y, x = torch.meshgrid(*[torch.linspace(-1.0, 1.0, _SIDE)] * 3, indexing="ij")
    waves = 0.5 + 0.25 * (torch.sin(9.0 * x * y + 2.0 * z) + torch.cos(7.0 * z * x))
    size = NetworkConfig(grids=4, grid_shape=(8, 8, 8))
    network = initial_network(size, torch.zeros(1), torch.ones(1), seed=0)
    config = formerly(TrainingConfig(iterations=_STEPS, device=str(device)))
    return network.to(device), TrainingData(waves[None].to(device), None), config


def _loss_and_seconds(step: TorchStep, config: TrainingConfig) -> tuple[float, float]:
    """Return the mean loss of a training's second half, and how long a step of it took."""
    half = config.iterations // 2
    _total(step.descend, config, range(half))
    begun = time.perf_counter()
    loss = _total(step.descend, config, range(half, config.iterations))
    count = config.iterations - half
    return loss / count, (time.perf_counter() - begun) / count


def _total(descend: Callable[..., Tensor], config: TrainingConfig, iterations: range) -> float:
    losses = [descend(i, rates(config, i)) for i in iterations]
    return float(torch.stack(losses).sum())
