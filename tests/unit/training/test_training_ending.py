"""When a training ends, and what is measured meanwhile."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from amgsrn_core.config import NetworkConfig
from amgsrn_core.networks import SceneNetwork, initial_network
from amgsrn_core.training.aim import Aim
from amgsrn_core.training.ending import Ending
from amgsrn_core.training.sampling import TrainingData
from amgsrn_core.training.voxel_sample import VoxelSample

SIZE = NetworkConfig(grids=2, grid_shape=(3, 3, 3), width=8)


def network() -> SceneNetwork:
    return initial_network(SIZE, torch.zeros(1), torch.ones(1), 0)


class Told(VoxelSample):
    """Says what it is told."""

    def __init__(self, exact: float = 0.0) -> None:
        self.told, self.all = 0.0, exact

    def psnr(self, network: SceneNetwork) -> float:
        return self.told

    def exact(self, network: SceneNetwork) -> float:
        return self.told + self.all


def measured(ending: Ending, sample: Told, rows: list[tuple[int, float]]) -> None:
    net = network()
    for iteration, psnr in rows:
        sample.told = psnr
        ending.measure(iteration, net)


def test_a_sample_is_what_all_voxels_are_where_they_are_few() -> None:
    values = torch.rand(1, 6, 7, 8, generator=torch.Generator().manual_seed(1))
    net = network()
    sample = VoxelSample(TrainingData(values, None))
    assert sample.psnr(net) == pytest.approx(sample.exact(net), abs=1e-3)


def test_missing_voxels_and_those_of_other_bricks_are_not_measured() -> None:
    values = torch.rand(1, 6, 7, 8, generator=torch.Generator().manual_seed(1))
    valid = np.ones((6, 7, 8), bool)
    valid[2] = False
    region = (slice(1, 5), slice(0, 7), slice(0, 8))
    spoiled = values.clone()
    spoiled[0, [0, 2, 5]] = 1e6
    net = network()
    good, bad = (VoxelSample(TrainingData(v, None, valid), region) for v in (values, spoiled))
    assert good.psnr(net) == bad.psnr(net) and good.psnr(net) < 100


def test_errors_count_relative_to_the_range_of_the_whole() -> None:
    values = torch.rand(1, 6, 7, 8)
    net = network()
    plain = VoxelSample(TrainingData(values, None))
    tenth = VoxelSample(TrainingData(values, None), None, [0.01])
    assert tenth.psnr(net) == pytest.approx(plain.psnr(net) + 20.0)
    assert 10 * math.log10(tenth.limit(30.0) / plain.limit(30.0)) == pytest.approx(20.0)


def test_it_ends_when_all_voxels_have_the_psnr_and_not_when_the_sample_has() -> None:
    sample = Told(exact=-0.2)
    ending = Ending(1000, sample, Aim(psnr=40.0, most=3000))
    measured(ending, sample, [(100, 39.9), (120, 40.1)])
    assert not ending.is_met and not ending.is_over(120, 0.0)
    sample.all = 0.0  # it is not asked again before the sample is as much better
    measured(ending, sample, [(140, 40.15)])
    assert not ending.is_met
    measured(ending, sample, [(160, 40.25)])
    assert ending.is_met and ending.is_over(160, 0.0)


def test_it_goes_on_beyond_the_plan_but_not_for_ever() -> None:
    ending = Ending(1000, Told(), Aim(psnr=40.0, most=3000))
    assert not ending.is_over(2999, 1e9) and ending.is_over(3000, 0.0)
    assert Ending(1000, Told()).is_over(1000, 0.0)


def test_a_size_that_will_not_do_is_given_up() -> None:
    sample = Told()
    ending = Ending(1000, sample, Aim(psnr=40.0, most=3000, grows=True))
    measured(ending, sample, [(400, 36.0)])
    assert not ending.gives_up  # too early to tell
    measured(ending, sample, [(500, 38.0)])
    assert not ending.gives_up
    measured(ending, sample, [(600, 37.9)])
    assert ending.gives_up and ending.is_over(600, 0.0)
    ending = Ending(1000, sample, Aim(psnr=40.0, most=3000))
    measured(ending, sample, [(600, 37.9)])
    assert not ending.gives_up


def test_a_run_is_shortened_where_more_does_not_pay() -> None:
    sample = Told()
    ending = Ending(10_000, sample, Aim(pays=True))
    measured(ending, sample, [(100, 30.0), (200, 33.0), (400, 35.0), (800, 36.0)])
    assert ending.total == 10_000
    measured(ending, sample, [(1600, 36.2), (1700, 36.2)])
    assert ending.total == 3400 and not ending.is_over(3399, 0.0) and ending.is_over(3400, 0.0)


def test_seconds_end_it_and_the_plan_follows_the_pace() -> None:
    ending = Ending(1000, Told(), Aim(seconds=20.0))
    ending.keep_time(100, 5.0, 0.05)
    assert ending.total == 400 and not ending.is_over(400, 19.9) and ending.is_over(10, 20.0)
    ending = Ending(300, Told(), Aim(seconds=20.0, most=300))
    ending.keep_time(100, 5.0, 0.05)
    assert ending.total == 300 and ending.is_over(300, 15.0)


def test_it_goes_on_from_its_state() -> None:
    sample = Told(exact=-0.2)
    ending = Ending(1000, sample, Aim(psnr=40.0, most=3000))
    measured(ending, sample, [(100, 39.9), (120, 40.1)])
    other = Ending(7, sample, Aim(psnr=40.0, most=3000))
    other.restore(ending.state())
    assert other.state() == ending.state() and other.total == 1000
    assert next(n for n in range(100, 200) if other.is_due(n)) == 140


def test_measurements_that_decide_come_at_the_same_iterations_whoever_looks() -> None:
    plain, aimed = Ending(1200, Told()), Ending(1200, Told(), Aim(psnr=40.0, most=3000))
    assert plain.may_show(100) and not plain.is_due(100)
    assert aimed.is_due(100) and not aimed.may_show(100)
    assert dataclasses.asdict(Aim()) == dataclasses.asdict(Aim(psnr=0.0))
