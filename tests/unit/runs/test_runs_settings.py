"""One object for all options of a training, whose digests are those that they have always been."""

from __future__ import annotations

import dataclasses
import json

import numpy as np

from amgsrn_core import volume_from_array
from amgsrn_core.config import (
    BrickConfig,
    GoalConfig,
    NetworkConfig,
    SeriesConfig,
    StorageConfig,
    TrainingConfig,
)
from amgsrn_core.model import BrickRecord
from amgsrn_core.runs import brick_run, series, single
from amgsrn_core.runs.plan import Cutter, plan
from amgsrn_core.runs.settings import Settings
from amgsrn_core.training.automatic import formerly

SETTINGS = Settings(
    NetworkConfig(grids=2, features=2, grid_shape=(3, 4, 5), layers=1, width=8),
    TrainingConfig(iterations=7, seed=3),
    StorageConfig(compress=True),
    BrickConfig(bricks=(1, 1, 2), ghost=1),
    series=SeriesConfig(warm_iterations=9),
)
VOLUME = volume_from_array(np.arange(120, dtype="f4").reshape(4, 5, 6), name="ramp")


def test_runs_that_were_begun_before_there_were_settings_go_on():
    """The digests are those of the version before, in whose runs and models they are written."""
    settings = dataclasses.replace(SETTINGS, training=formerly(SETTINGS.training))
    planned = plan(settings, Cutter(VOLUME))
    records = [BrickRecord(brick.extent, brick.ghosted) for brick in planned.bricks]
    assert single._fingerprint(VOLUME, VOLUME.read(), settings, None) == (
        "25633322235f336501e22488612d912ce74dad168d20076294a18925d6afc922"
    )
    assert brick_run._fingerprint(VOLUME, records, planned.settings, None) == (
        "f1276cda4acd8927862cc1c71ebe065d671593a01a25cd769c3927348f51d632"
    )
    assert series._fingerprint([VOLUME, VOLUME], planned, None) == (
        "a06f2e08e733eca832a831a5dd99c19a0c01c652032e7c3caaae118f487f9b21"
    )


def test_settings_survive_json():
    assert Settings.from_json(json.loads(json.dumps(SETTINGS.to_json()))) == SETTINGS


def test_what_is_not_given_is_the_default():
    chosen = dataclasses.replace(Settings(), goal=GoalConfig(network_size="chosen"))
    assert Settings.of(None, None, None) == chosen
    given = dataclasses.replace(Settings(), goal=GoalConfig(network_size="given"))
    assert Settings.of(NetworkConfig(), None, None) == given
    assert Settings.of(SETTINGS.network).network == SETTINGS.network


def test_differences_are_named_where_a_goal_chooses():
    chosen = Settings.of(None, TrainingConfig(iterations=20))
    assert chosen.goal.chooses
    longer = dataclasses.replace(chosen, training=TrainingConfig(iterations=30))
    assert longer.differences(chosen) == ["iterations 20, now 30"]
    aimed = dataclasses.replace(longer, goal=GoalConfig(target_psnr=40.0, network_size="chosen"))
    assert "target-psnr 0.0, now 40.0" in aimed.differences(longer)
