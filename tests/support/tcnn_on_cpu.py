"""A model of tiny-cuda-nn's arithmetic on the CPU, written from its sources.

Of FullyFusedMLP (src/fully_fused_mlp.cu) and of the PyTorch module around it
(bindings/torch/tinycudann/modules.py).
"""

from __future__ import annotations

import sys
import types
from unittest import mock

import torch
import torch.nn.functional as functional
from torch import Tensor

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.networks import initial_network
from amgsrn_core.networks.fused import FusedDecoder
from amgsrn_core.training.sampling import TrainingData
from amgsrn_core.training.schedule import rates
from amgsrn_core.training.torch_step import TorchStep

LOSS_SCALE = 128.0
# Weights' gradients are sums over slices of so many points, and these are added up.
_SLICE = 4096
# A tensor core adds up the products of so many points before it rounds.
_CHUNK = 16

# The largest sum over a batch so far, before it is divided by the scale of the loss.
largest_sum = 0.0


def module(accumulation: str = "float32") -> types.SimpleNamespace:
    """Return what stands for the module `tinycudann`.

    `accumulation` says how gradients of weights are summed over a batch: in float32 and rounded
    once, which is kinder than the hardware, or in half after every 16 points, as CUTLASS does
    there.
    """

    def network(inputs: int, outputs: int, config: dict) -> FullyFusedMLP:
        return FullyFusedMLP(inputs, outputs, config, accumulation)

    return types.SimpleNamespace(Network=network)


class FullyFusedMLP(torch.nn.Module):
    """What tiny-cuda-nn's module of that name computes: half precision in blocks of 16.

    Inputs of padding are 1, sums are float32, what a layer writes is half, and so are gradients.
    These are scaled by 128 on the way in, and back on the way out.
    """

    def __init__(self, inputs: int, outputs: int, config: dict, accumulation: str) -> None:
        super().__init__()
        assert config["otype"] == "FullyFusedMLP" and config["output_activation"] == "None"
        width, layers = config["n_neurons"], config["n_hidden_layers"]
        columns, rows = -(-inputs // 16) * 16, -(-outputs // 16) * 16
        self.shapes = [(width, columns), *[(width, width)] * (layers - 1), (rows, width)]
        self.outputs, self.accumulation = outputs, accumulation
        self.params = torch.nn.Parameter(torch.rand(sum(a * b for a, b in self.shapes)))

    def forward(self, x: Tensor) -> Tensor:
        padded = functional.pad(x, (0, self.shapes[0][1] - x.shape[1]), value=1.0)
        values = _Fused.apply(padded, self.params.half(), self.shapes, self.accumulation)
        return values[:, : self.outputs]


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, params, shapes, accumulation):
        sizes = [rows * columns for rows, columns in shapes]
        matrices = [m.view(s) for m, s in zip(params.split(sizes), shapes)]
        hidden = [x.half()]
        for number, matrix in enumerate(matrices):
            values = (hidden[-1].float() @ matrix.float().T).half()
            hidden.append(values.relu() if number < len(shapes) - 1 else values)
        ctx.matrices, ctx.hidden, ctx.accumulation = matrices, hidden, accumulation
        return hidden[-1]

    @staticmethod
    def backward(ctx, gradient):
        global largest_sum
        assert gradient.dtype == torch.float16
        delta, found = gradient * LOSS_SCALE, []
        for number in reversed(range(len(ctx.matrices))):
            before = ctx.hidden[number]
            sums = _half_sums if ctx.accumulation == "half" else _single_sums
            found.insert(0, sums(delta, before).reshape(-1))
            largest_sum = max(largest_sum, float(found[0].abs().max()))
            delta = (delta.float() @ ctx.matrices[number].float()).half()
            if number:
                delta = torch.where(before > 0, delta, torch.zeros_like(delta))
        return delta.float() / LOSS_SCALE, torch.cat(found) / LOSS_SCALE, None, None


def _single_sums(delta: Tensor, before: Tensor) -> Tensor:
    return (delta.float().T @ before.float()).half()


def _half_sums(delta: Tensor, before: Tensor) -> Tensor:
    missing = -len(delta) % _SLICE
    delta, before = (
        functional.pad(t.float(), (0, 0, 0, missing)).view(-1, _SLICE // _CHUNK, _CHUNK, t.shape[1])
        for t in (delta, before)
    )
    total = torch.zeros(len(delta), delta.shape[3], before.shape[3])
    for chunk in range(_SLICE // _CHUNK):
        products = delta[:, chunk].transpose(1, 2) @ before[:, chunk]
        total = (total + products).half().float()
    result = total[0]
    for part in total[1:]:
        result = (result + part).half().float()
    return result.half()


def _field(kind: str) -> Tensor:
    z, y, x = torch.meshgrid(*[torch.linspace(-1.0, 1.0, 24)] * 3, indexing="ij")
    if kind == "waves":
        return 0.5 + 0.5 * torch.sin(9.0 * x + 4.0 * y) * torch.cos(7.0 * z)
    if kind == "blob":
        return torch.exp(-6.0 * (x * x + 2.0 * y * y + (z - 0.2) ** 2))
    return torch.rand(x.shape, generator=torch.Generator().manual_seed(0))


FIELDS = ("waves", "blob", "noise")


def losses(field: str, kind: str, batch: int, iterations: int) -> list[float]:
    """Train a small network; `kind` says how.

    "reference", or how weights' gradients are summed; "nudged" is the reference from a start that
    is rounded to half, which shows by how much a training differs for no reason.
    """
    network_config = NetworkConfig(grids=4, grid_shape=(8, 8, 8), width=32)
    config = TrainingConfig(iterations=iterations, batch=batch, device="cpu", backend="torch")
    network = initial_network(network_config, torch.zeros(1), torch.ones(1), seed=2)
    if kind == "nudged":
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(parameter.half())
    elif kind != "reference":
        with mock.patch.dict(sys.modules, tinycudann=module(kind)):
            network.decode = FusedDecoder(network_config, 1, torch.device("cpu"))
    step = TorchStep(network, TrainingData(_field(field)[None], None), config)
    return [float(step.descend(i, rates(config, i))) for i in range(iterations)]
