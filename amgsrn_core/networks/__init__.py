"""The scene representation network: adaptive feature grids (encoder) and a small MLP (decoder)."""

from amgsrn_core.networks.network import SceneNetwork, initial_network, network_from_state
from amgsrn_core.networks.reference import decode, encode, feature_density

__all__ = [
    "SceneNetwork",
    "decode",
    "encode",
    "feature_density",
    "initial_network",
    "network_from_state",
]
