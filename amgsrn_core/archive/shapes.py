"""The tensors that a network of a given configuration must have."""

from __future__ import annotations

from amgsrn_core.config import NetworkConfig


def parameter_shapes(network: NetworkConfig, outputs: int) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every parameter of a network.

    Parameters
    ----------
    network : NetworkConfig
        Size of the network: G grids of C features with D x H x W nodes, `layers` hidden layers.
    outputs : int
        Number of components of the volume.

    Returns
    -------
    dict
        `feature_grids` [G, C, D, H, W], `transforms` [G, 3, 4] and the decoder's matrices
        `decoder.0.weight` [width, G*C], ..., `decoder.<layers>.weight` [outputs, width].
    """
    shapes: dict[str, tuple[int, ...]] = {
        "feature_grids": (network.grids, network.features, *network.grid_shape),
        "transforms": (network.grids, 3, 4),
    }
    widths = [network.grids * network.features, *[network.width] * network.layers, outputs]
    for layer, (before, after) in enumerate(zip(widths, widths[1:])):
        shapes[f"decoder.{layer}.weight"] = (after, before)
    return shapes
