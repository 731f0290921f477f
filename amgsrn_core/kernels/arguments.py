"""Arguments of the C functions: checked here, because there they could only crash."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from amgsrn_core.kernels.loader import Network
from amgsrn_core.kernels.nodes import node_count


def pointer(tensor: Tensor, name: str, shape: Sequence[int], dtype: torch.dtype) -> int:
    """Return the address of a tensor's numbers.

    Raises
    ------
    TypeError
        Its type or its device is wrong.
    ValueError
        Its shape is wrong, or its numbers do not lie side by side.
    """
    if tensor.device.type != "cpu" or tensor.dtype != dtype:
        raise TypeError(
            f"{name} must be {dtype} on the CPU, not {tensor.dtype} on {tensor.device}."
        )
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(f"{name} must have the shape {list(shape)}, not {list(tensor.shape)}.")
    if not tensor.is_contiguous():
        raise ValueError(f"{name} must be contiguous.")
    return tensor.data_ptr()


def floats(tensor: Tensor, name: str, shape: Sequence[int]) -> int:
    """Return the address of a float32 tensor's numbers; see :func:`pointer`."""
    return pointer(tensor, name, shape, torch.float32)


def pointers(tensors: Sequence[Tensor], shapes: Sequence[Sequence[int]], name: str) -> ctypes.Array:
    """Return the addresses of several float32 tensors as a C array."""
    if len(tensors) != len(shapes):
        raise ValueError(f"{name} must be {len(shapes)} matrices, not {len(tensors)}.")
    kind = ctypes.c_void_p * len(tensors)
    return kind(*(floats(t, f"{name}[{i}]", s) for i, (t, s) in enumerate(zip(tensors, shapes))))


def network_argument(
    nodes: Tensor, shape: Sequence[int], transforms: Tensor, weights: Sequence[Tensor]
) -> Network:
    """Describe a network to the kernels.

    Parameters
    ----------
    nodes : Tensor
        Of :func:`amgsrn_core.kernels.nodes.nodes_from_grids`.
    shape : sequence of int
        Shape of the feature grids, G, F, D, H, W.
    transforms : Tensor [G, 3, 4]
    weights : sequence of Tensor [out, in]
        The tensors must outlive the result.
    """
    if len(shape) != 5 or min(shape[2:]) < 2:
        raise ValueError(f"Feature grids must have the shape [G, F, D, H, W], not {list(shape)}.")
    grids, features, depth, height, width = shape
    if len(weights) < 2 or any(weight.dim() != 2 for weight in weights):
        raise ValueError("The decoder must be at least two matrices [out, in].")
    hidden, outputs = weights[0].shape[0], weights[-1].shape[0]
    sizes = [grids * features, *[hidden] * (len(weights) - 1), outputs]
    shapes = [(after, before) for before, after in zip(sizes, sizes[1:])]
    return Network(
        grids=grids,
        features=features,
        depth=depth,
        height=height,
        width=width,
        hidden_layers=len(weights) - 1,
        hidden_width=hidden,
        outputs=outputs,
        nodes=floats(nodes, "nodes", (node_count(grids, features, (depth, height, width)),)),
        transforms=floats(transforms, "transforms", (grids, 3, 4)),
        weights=pointers(weights, shapes, "weights"),
    )
