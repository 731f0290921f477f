"""The tensors that a network of a given configuration must have."""

from __future__ import annotations

import functools

from amgsrn_core.config import NetworkConfig
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
    return dict(_shapes(network, outputs))


@functools.lru_cache(maxsize=16)
def _shapes(network: NetworkConfig, outputs: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes, which thousands of bricks ask for."""
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


def levels_of(network: NetworkConfig) -> tuple[HashLevel, ...]:
    """Return the levels of a network's hash grid."""
    return hash_levels(
        network.grids,
        network.hash_log2_size,
        network.hash_base_resolution,
        network.hash_max_resolution,
        network.hash_scheme,
    )
