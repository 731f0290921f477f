"""The average of a network's parameters over the last part of a training."""

from __future__ import annotations

import numpy as np
import torch

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.networks import SceneNetwork, initial_network
from amgsrn_core.training.average import Average
from amgsrn_core.training.fit import fit
from amgsrn_core.training.progress import Command, Progress
from amgsrn_core.training.sampling import TrainingData

SIZE = NetworkConfig(grids=2, grid_shape=(4, 4, 4), width=16)


def network() -> SceneNetwork:
    return initial_network(SIZE, torch.zeros(1), torch.ones(1), seed=0)


def fill(net: SceneNetwork, value: float) -> None:
    with torch.no_grad():
        for parameter in [net.feature_grids, net.transforms, *net.weights]:
            parameter.fill_(value)


def test_an_average_looks_back_over_an_eighth_of_the_run() -> None:
    net = network()
    average, expected = Average(net), 0.0
    for iteration in range(4, 1001, 4):
        fill(net, float(iteration))
        average.follow(net, iteration)
        share = min(1.0, 32.0 / (iteration + 8.0))
        expected += share * (iteration - expected)
    features = average.network.feature_grids.detach()
    np.testing.assert_allclose(features.numpy(), expected, rtol=1e-4)
    assert 850 < expected < 900
    assert (average.network.transforms == 1000.0).all()  # features belong to maps of now


def test_an_average_goes_on_from_its_state_and_begins_anew_without_one() -> None:
    net = network()
    first, second = Average(net), Average(net)
    fill(net, 3.0)
    first.follow(net, 100)
    state = {**first.state(), **{f"network.{k}": v for k, v in net.state_dict().items()}}
    second.restore({k: v.clone() for k, v in state.items()})
    assert torch.equal(first.network.feature_grids, second.network.feature_grids)
    second.restore({k: v for k, v in state.items() if k.startswith("network.")})
    assert torch.equal(second.network.feature_grids, net.feature_grids)


def test_previews_show_the_average_and_a_constant_rate_ends_with_it() -> None:
    values = torch.rand(1, 9, 9, 9, generator=torch.Generator().manual_seed(0))
    ends = {}
    for schedule in ("constant", "cosine"):
        for averaging in (False, True):
            net, shown = network(), []

            def observe(progress: Progress, shown: list[SceneNetwork] = shown) -> Command:
                shown.append(progress.network)
                return Command.CONTINUE

            config = TrainingConfig(
                iterations=40, batch=500, schedule=schedule, averaging=averaging, device="cpu"
            )
            fit(net, TrainingData(values, None), config, observer=observe)
            ends[schedule, averaging] = net.feature_grids.detach().clone()
            assert (shown[-1] is net) is not averaging
            if averaging:
                same = torch.equal(shown[-1].feature_grids, net.feature_grids)
                assert same is (schedule == "constant")
    assert torch.equal(ends["cosine", False], ends["cosine", True])
    assert not torch.equal(ends["constant", False], ends["constant", True])
