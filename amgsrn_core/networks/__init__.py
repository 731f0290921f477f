"""The scene representation network: adaptive feature grids (encoder) and a small MLP (decoder)."""

from amgsrn_core.networks.network import (
    SceneNetwork,
    constant_network,
    initial_network,
    network_from_state,
)
from amgsrn_core.networks.reference import decode, encode, feature_density

__all__ = [
    "SceneNetwork",
    "constant_network",
    "decode",
    "encode",
    "feature_density",
    "initial_network",
    "network_from_state",
]
