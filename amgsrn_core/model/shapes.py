"""The tensors that a network of a given configuration must have."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import ArchiveError
from amgsrn_core.model.hash_levels import HashLevel, hash_levels


def parameter_shapes(network: NetworkConfig, outputs: int) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every parameter of a network.

    Parameters
    ----------
    network : NetworkConfig
        Size of the network: G grids of C features with D x H x W nodes, `layers` hidden layers.
        A dense encoder has one grid; a hash grid lists the entries of all its levels.
    outputs : int
        Number of components of the volume.

    Returns
    -------
    dict
        `feature_grids` [G, C, D, H, W] (hash: [entries, C]), `transforms` [G, 3, 4] (others than
        adaptive: the identity [1, 3, 4]) and the decoder's matrices `decoder.0.weight`
        [width, inputs], ..., `decoder.<layers>.weight` [outputs, width]; where the network has
        biases, also `decoder.0.bias` [width] and so on.
    """
    grids = network.grids if network.encoder == "adaptive" else 1
    shapes: dict[str, tuple[int, ...]] = {
        "feature_grids": (grids, network.features, *network.grid_shape),
        "transforms": (grids, 3, 4),
    }
    if network.encoder == "hash":
        entries = sum(level.entries for level in levels_of(network))
        shapes["feature_grids"] = (entries, network.features)
    widths = [network.inputs, *[network.width] * network.layers, outputs]
    for layer, (before, after) in enumerate(zip(widths, widths[1:])):
        shapes[f"decoder.{layer}.weight"] = (after, before)
        if network.biases:
            shapes[f"decoder.{layer}.bias"] = (after,)
    return shapes


def checked_parameters(
    network: NetworkConfig, outputs: int, state: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return copies of a network's parameters, float32, by name.

    Raises
    ------
    ArchiveError
        If a parameter is missing or its shape contradicts the configuration.
    """
    found = {}
    for name, shape in parameter_shapes(network, outputs).items():
        if name not in state:
            raise ArchiveError(f"The model lacks the parameter {name}; train or import it again.")
        value = np.array(state[name], dtype=np.float32, order="C")
        if value.shape != shape:
            raise ArchiveError(
                f"The model's parameter {name} has shape {value.shape} where its "
                f"configuration asks for {shape}; the file is inconsistent."
            )
        found[name] = value
    return found


def levels_of(network: NetworkConfig) -> tuple[HashLevel, ...]:
    """Return the levels of a network's hash grid."""
    return hash_levels(
        network.grids,
        network.hash_log2_size,
        network.hash_base_resolution,
        network.hash_max_resolution,
        network.hash_scheme,
    )
