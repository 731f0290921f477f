"""What the tests of the CPU kernels share: the library, and networks of many sizes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from amgsrn_core.config import NetworkConfig
from amgsrn_core.kernels import KernelLibrary, load
from amgsrn_core.kernels.inference import KernelNetwork
from amgsrn_core.networks import SceneNetwork, initial_network

needs_kernels = pytest.mark.skipif(load() is None, reason="the CPU kernels are not built")

SIZES = [
    NetworkConfig(grids=4, grid_shape=(8, 9, 10), width=64),
    NetworkConfig(grids=3, features=1, grid_shape=(4, 6, 5), layers=1, width=20),
    NetworkConfig(grids=5, features=3, grid_shape=(4, 5, 6), layers=3, width=33),
    NetworkConfig(grids=2, features=4, grid_shape=(6, 5, 4), layers=2, width=32),
    NetworkConfig(grids=3, features=8, grid_shape=(3, 2, 4), layers=1, width=128),
    NetworkConfig(grids=1, features=6, grid_shape=(2, 2, 2), layers=8, width=16),
    NetworkConfig(grids=7, features=2, grid_shape=(5, 3, 2), layers=2, width=5),
]
OUTPUTS = [1, 3, 2, 1, 17, 1, 2]
CASES = list(zip(SIZES, OUTPUTS))
NAMES = [f"{s.features}-features-{s.layers}x{s.width}-to-{n}" for s, n in CASES]


@pytest.fixture(params=load().isas if load() else ["none"])
def library(request: pytest.FixtureRequest) -> Iterator[KernelLibrary]:
    """The library, once with each instruction set that this processor has."""
    kernels = load()
    assert kernels is not None
    before = kernels.isa
    kernels.use_isa(request.param)
    yield kernels
    kernels.use_isa(before)


def network(size: NetworkConfig, outputs: int = 1, seed: int = 0) -> SceneNetwork:
    """A network whose features all matter."""
    made = initial_network(size, torch.zeros(outputs), torch.ones(outputs), seed)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        made.feature_grids.uniform_(-1, 1, generator=random)
    return made


def points(count: int, seed: int = 0, reach: float = 1.4) -> torch.Tensor:
    """Points inside the brick and around it."""
    random = torch.Generator().manual_seed(seed)
    return reach * (2 * torch.rand(count, 3, generator=random) - 1)


@pytest.fixture
def threads() -> Iterator[None]:
    """Restores torch's number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def arrays(*tensors: torch.Tensor) -> list[np.ndarray]:
    """Return the tensors' numbers as the kernels take them."""
    return [tensor.detach().numpy() for tensor in tensors]


def kernel_network(kernels, net) -> KernelNetwork:
    grids, transforms, *weights = arrays(net.feature_grids, net.transforms, *net.weights)
    return KernelNetwork(kernels, grids, transforms, weights)
