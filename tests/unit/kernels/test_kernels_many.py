"""Several networks in one call of the kernels: the same values as one after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from amgsrn_core.config import NetworkConfig
from amgsrn_core.kernels import load
from amgsrn_core.kernels.inference import evaluate_many
from amgsrn_core.networks import SceneNetwork, constant_network, initial_network

pytestmark = pytest.mark.skipif(load() is None, reason="the kernels are not built")

SIZES = (
    NetworkConfig(grids=3, features=2, grid_shape=(4, 5, 6), layers=2, width=16),
    NetworkConfig(grids=1, features=1, grid_shape=(2, 2, 2), layers=1, width=1),
    NetworkConfig(grids=5, features=4, grid_shape=(3, 3, 7), layers=3, width=33),
)


def networks(outputs: int) -> list[SceneNetwork]:
    low, high = torch.zeros(outputs), torch.ones(outputs)
    made = [initial_network(size, low, high, seed) for seed, size in enumerate(SIZES)]
    for network in made:
        with torch.no_grad():
            network.feature_grids.uniform_(-1, 1)
    made.append(constant_network(high))
    for network in made:
        network.use_backend("native")
    return made


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("points", [(0, 0, 0, 0), (1, 0, 3, 200), (500, 64, 0, 1), (900,) * 4])
def test_each_network_answers_for_its_own_points(threads, count, outputs, points):
    torch.set_num_threads(count)
    made = networks(outputs)
    places = torch.from_numpy(np.random.default_rng(0).uniform(-1.3, 1.3, (sum(points), 3))).float()
    starts = torch.tensor([0, *np.cumsum(points)])
    library = load()
    assert library is not None
    kept = [network.kernel_network(library) for network in made]
    values = evaluate_many(library, [n.argument for n in kept], starts.numpy(), places.numpy())
    with torch.inference_mode():
        expected = [
            network.normalised(places[first:last])
            for network, first, last in zip(made, starts, starts[1:])
        ]
    # The order of a batch's points decides over the rounding.
    torch.testing.assert_close(torch.from_numpy(values), torch.cat(expected), atol=1e-5, rtol=1e-5)


def test_contradicting_arguments_are_refused():
    library, made = load(), networks(1)
    assert library is not None
    kept = [network.kernel_network(library) for network in [*made, networks(2)[0]]]
    *arguments, other = [network.argument for network in kept]
    points = np.zeros((8, 3), dtype=np.float32)
    for starts in ([0, 2, 4, 6, 7], [1, 2, 4, 6, 8], [0, 4, 2, 6, 8]):
        with pytest.raises(ValueError, match="ascend from 0"):
            evaluate_many(library, arguments, np.array(starts), points)
    with pytest.raises(ValueError, match="shape"):
        evaluate_many(library, arguments, np.array([0, 2, 8]), points)
    with pytest.raises(ValueError, match="same number of outputs"):
        mixed = [*arguments[:3], other]
        evaluate_many(library, mixed, np.array([0, 2, 4, 6, 8]), points)
