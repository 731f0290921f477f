"""The original's decoders as matrices: layers of PyTorch, or one list of tiny-cuda-nn.

tiny-cuda-nn's FullyFusedMLP keeps its weights in one list: the matrices [out, in] one after the
other, row by row. It computes in blocks of 16, so the first matrix has that many more columns and
the last that many more rows. Inputs beyond the encoder's are 1, which makes their columns a bias;
outputs beyond the volume's are thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from amgsrn_core.errors import ArchiveError

_BLOCK = 16


def padded(count: int) -> int:
    """Return the next multiple of 16."""
    return -(-count // _BLOCK) * _BLOCK


def matrices_from_list(
    weights: np.ndarray, inputs: int, width: int, layers: int, outputs: int
) -> list[np.ndarray]:
    """Cut tiny-cuda-nn's list of weights into matrices.

    Parameters
    ----------
    weights : array [N]
        Beginning with the decoder's weights; what follows is not looked at.
    inputs, width, layers, outputs : int
        Size of the decoder, without padding.

    Returns
    -------
    list of array [out, in]
        The first with its columns of padding, the last without its rows.

    Raises
    ------
    ArchiveError
        The list is too short.
    """
    shapes = [(width, padded(inputs)), *[(width, width)] * (layers - 1), (padded(outputs), width)]
    matrices, start = [], 0
    for rows, columns in shapes:
        stop = start + rows * columns
        if stop > len(weights):
            raise ArchiveError(
                f"the decoder's {len(weights)} weights are too few for its layers and width"
            )
        matrices.append(weights[start:stop].reshape(rows, columns))
        start = stop
    matrices[-1] = matrices[-1][:outputs]
    return matrices


def list_size(inputs: int, width: int, layers: int, outputs: int) -> int:
    """Return how many weights tiny-cuda-nn keeps for a decoder."""
    return width * (padded(inputs) + (layers - 1) * width + padded(outputs))


def list_from_matrices(matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Return matrices [out, in] as tiny-cuda-nn's list of weights, padded with zeros."""
    first, last = np.asarray(matrices[0]), np.asarray(matrices[-1])
    first = np.pad(first, ((0, 0), (0, padded(first.shape[1]) - first.shape[1])))
    last = np.pad(last, ((0, padded(len(last)) - len(last)), (0, 0)))
    return np.concatenate([m.ravel() for m in (first, *matrices[1:-1], last)])


def matrices_from_layers(tensors: Mapping[str, np.ndarray], layers: int) -> list[np.ndarray]:
    """Return the matrices of a decoder that consists of PyTorch's layers.

    Raises
    ------
    ArchiveError
        A layer is missing.
    """
    names = layer_names(layers)
    for name in names:
        if name not in tensors:
            raise ArchiveError(f"it lacks the tensor '{name}', which its options ask for")
    return [tensors[name] for name in names]


def layer_names(layers: int) -> list[str]:
    """Return the names of a decoder's matrices in the original."""
    return [f"decoder.{i}.linear.weight" for i in range(layers)] + [f"decoder.{layers}.weight"]


def biased_layer_names(layers: int) -> list[tuple[str, str]]:
    """Return the names of each layer's matrix and biases in the original's NGP of PyTorch."""
    names = [f"decoder.{i}.layer.0" for i in range(layers)] + [f"decoder.{layers}"]
    return [(f"{name}.weight", f"{name}.bias") for name in names]


def table_names(levels: int) -> list[str]:
    """Return the names of the hash tables there."""
    return [f"hash_grid.feature_grid.{i}.weight" for i in range(levels)]
