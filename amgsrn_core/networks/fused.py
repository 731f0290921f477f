"""The decoder by tiny-cuda-nn's FullyFusedMLP, in half precision on CUDA.

Weights stay the network's own float32 matrices; :func:`amgsrn_core.networks.decode` is the
reference. tiny-cuda-nn is described by Müller et al., "Real-time Neural Radiance Caching for Path
Tracing", ACM TOG 40(4), 2021, section 4.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.networks import reference

_WIDTHS = (16, 32, 64, 128)
_BLOCK = 16
# What the sizes of an output's gradients add up to over a batch when they go into tiny-cuda-nn,
# which takes them times 128: a weight's gradient is at most that times the largest activation.
_SUM = 16.0


class FusedDecoder:
    """See :func:`amgsrn_core.networks.decode`, which has the same arguments and result.

    Parameters
    ----------
    config : NetworkConfig
    outputs : int
    device : torch.device
        The GPU that computes, or the CPU.

    Raises
    ------
    ConfigurationError
        tiny-cuda-nn is not installed, or has no kernel for this width.
    """

    def __init__(self, config: NetworkConfig, outputs: int, device: torch.device) -> None:
        if config.width not in _WIDTHS:
            raise ConfigurationError(
                f"Backend tcnn has decoders of width {', '.join(map(str, _WIDTHS))}, not "
                f"{config.width}; use backend auto."
            )
        # Import and module take the current GPU, which elsewhere they would start up as well.
        with _current(device):
            self._network = _tinycudann().Network(
                config.inputs,
                outputs,
                {
                    "otype": "FullyFusedMLP",
                    "activation": "ReLU",
                    "output_activation": "None",
                    "n_neurons": config.width,
                    "n_hidden_layers": config.layers,
                },
            )

    def __call__(self, features: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Return float32 values [N, outputs] for features [N, inputs]."""
        values: Tensor = _Decode.apply(self._network, features, weight_list(weights))
        return values


def _tinycudann() -> Any:
    try:
        import tinycudann
    # Where it finds no GPU its own error is an OSError; earlier versions raise a NameError where
    # they were not built for this one.
    except (ImportError, OSError, NameError) as error:
        raise ConfigurationError(
            f"Backend tcnn needs tiny-cuda-nn, which cannot be imported ({error}); install its "
            "PyTorch extension (docs/gpu.md) or use backend auto."
        ) from error
    return tinycudann


def _current(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Make a GPU the current one."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


class _Decode(torch.autograd.Function):
    """Runs a network of tiny-cuda-nn with given weights, and keeps gradients within half's range.

    Half numbers go from 6e-8 to 65504. Gradients of a mean over a batch are smaller; those of the
    weights, which are sums over the batch and are half as well, can be larger: see `_SUM`.
    """

    @staticmethod
    def forward(ctx: Any, network: torch.nn.Module, features: Tensor, weights: Tensor) -> Tensor:
        differentiated = any(ctx.needs_input_grad)
        inputs = tuple(t.detach().requires_grad_(differentiated) for t in (features, weights))
        with torch.set_grad_enabled(differentiated), torch.cuda.device_of(features):
            output = torch.func.functional_call(network, {"params": inputs[1]}, (inputs[0],))
        ctx.inputs, ctx.output = inputs, output
        return output.detach().float()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        largest = gradient.abs().sum(0).amax()
        scale = (largest / _SUM).clamp(min=torch.finfo(torch.float32).tiny)
        with torch.cuda.device_of(gradient):
            found = torch.autograd.grad(
                ctx.output, ctx.inputs, (gradient / scale).to(ctx.output.dtype), retain_graph=True
            )
        return None, *(g.float() * scale for g in found)


def difference(
    decoder: FusedDecoder, config: NetworkConfig, outputs: int, device: torch.device
) -> float:
    """Return how far values and gradients are from the reference's, relative to their norms.

    The largest of them: of the values, and of the gradients by features and weights of a mean.
    """
    random = torch.Generator().manual_seed(0)
    sizes = [config.inputs, *[config.width] * config.layers, outputs]
    features = torch.randn(1000, config.inputs, generator=random)
    weights = [
        torch.randn(after, before, generator=random) / math.sqrt(before)
        for before, after in zip(sizes, sizes[1:])
    ]
    given = [t.to(device).requires_grad_() for t in (features, *weights)]
    results = []
    for decode in (reference.decode, decoder):
        values = decode(given[0], given[1:])
        loss = 1e-3 * values.square().mean()  # gradients as small as those of a large batch
        gradients = torch.autograd.grad(loss, given)
        results.append([values.detach(), *gradients])
    pairs = zip(*results)
    return max(float((ours - theirs).norm() / ours.norm()) for ours, theirs in pairs)


def weight_list(weights: Sequence[Tensor]) -> Tensor:
    """Return matrices [out, in] as tiny-cuda-nn's list; gradients find the way back.

    Columns of the first matrix and rows of the last are padded with zeros to multiples of 16; see
    :func:`amgsrn_core.original.decoder.list_from_matrices`.
    """
    first, last = weights[0], weights[-1]
    first = functional.pad(first, (0, _missing(first.shape[1])))
    last = functional.pad(last, (0, 0, 0, _missing(len(last))))
    return torch.cat([matrix.reshape(-1) for matrix in (first, *weights[1:-1], last)])


def _missing(count: int) -> int:
    return math.ceil(count / _BLOCK) * _BLOCK - count
