"""Arguments of the C functions: checked here, because there they could only crash."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from amgsrn_core.kernels.loader import Network
from amgsrn_core.kernels.nodes import node_count


def pointer(array: np.ndarray, name: str, shape: Sequence[int], dtype: type[np.generic]) -> int:
    """Return the address of an array's numbers.

    Raises
    ------
    TypeError
        Its type is wrong.
    ValueError
        Its shape is wrong, or its numbers do not lie side by side.
    """
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        kind = getattr(array, "dtype", type(array).__name__)
        raise TypeError(f"{name} must be an array of {dtype.__name__}, not of {kind}.")
    if array.shape != tuple(shape):
        raise ValueError(f"{name} must have the shape {list(shape)}, not {list(array.shape)}.")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} must be contiguous.")
    return int(array.ctypes.data)


def floats(array: np.ndarray, name: str, shape: Sequence[int]) -> int:
    """Return the address of a float32 array's numbers; see :func:`pointer`."""
    return pointer(array, name, shape, np.float32)


def pointers(
    arrays: Sequence[np.ndarray], shapes: Sequence[Sequence[int]], name: str
) -> ctypes.Array:
    """Return the addresses of several float32 arrays as a C array."""
    if len(arrays) != len(shapes):
        raise ValueError(f"{name} must be {len(shapes)} matrices, not {len(arrays)}.")
    kind = ctypes.c_void_p * len(arrays)
    return kind(*(floats(a, f"{name}[{i}]", s) for i, (a, s) in enumerate(zip(arrays, shapes))))


def network_argument(
    nodes: np.ndarray,
    shape: Sequence[int],
    transforms: np.ndarray,
    weights: Sequence[np.ndarray],
) -> Network:
    """Describe a network to the kernels.

    Parameters
    ----------
    nodes : ndarray
        Of :func:`amgsrn_core.kernels.nodes.nodes_from_grids`.
    shape : sequence of int
        Shape of the feature grids, G, F, D, H, W.
    transforms : ndarray [G, 3, 4]
    weights : sequence of ndarray [out, in]
        The arrays must outlive the result.
    """
    if len(shape) != 5 or min(shape[2:]) < 2:
        raise ValueError(f"Feature grids must have the shape [G, F, D, H, W], not {list(shape)}.")
    grids, features, depth, height, width = shape
    if len(weights) < 2 or any(weight.ndim != 2 for weight in weights):
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
