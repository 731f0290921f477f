"""Typed configurations refuse what they cannot mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amgsrn_core.config import (
    GoalConfig,
    NetworkConfig,
    StorageConfig,
    TrainingConfig,
    from_json,
    to_json,
)
from amgsrn_core.errors import ConfigurationError


@pytest.mark.parametrize(
    ("kind", "field", "value", "words"),
    [
        (NetworkConfig, "grids", 0, "at least 1"),
        (NetworkConfig, "grids", 2.5, "whole number"),
        (NetworkConfig, "grids", True, "whole number"),
        (NetworkConfig, "grid_shape", (4, 4), "3 numbers"),
        (NetworkConfig, "grid_shape", 8, "3 numbers"),
        (NetworkConfig, "grid_shape", (4, 4, 1), "at least 2"),
        (TrainingConfig, "batch", -1, "at least 0"),
        (TrainingConfig, "learning_rate", float("nan"), "a number"),
        (TrainingConfig, "learning_rate", 2.0, "at most 1"),
        (TrainingConfig, "motion", "sideways", "gradient, none, density"),
        (TrainingConfig, "device", 3, "a word"),
        (StorageConfig, "dtype", "int8", "float32, float16"),
    ],
)
def test_impossible_values_are_named(kind: Any, field: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        kind(**{field: value})
    assert field.replace("_", "-") in str(caught.value)


def test_a_whole_number_may_stand_for_a_float() -> None:
    assert TrainingConfig(checkpoint_seconds=30).checkpoint_seconds == 30


@pytest.mark.parametrize("kind", [NetworkConfig, TrainingConfig, StorageConfig])
def test_configurations_survive_json(kind: Any) -> None:
    config = kind()
    assert from_json(kind, json.loads(json.dumps(to_json(config)))) == config


def test_unknown_options_are_named() -> None:
    with pytest.raises(ConfigurationError, match="grid_shpae"):
        from_json(NetworkConfig, {"grid_shpae": [4, 4, 4]})


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("500000", 500_000),
        ("500kB", 500_000),
        ("1.5 MB", 1_500_000),
        ("2MiB", 2 * 1024**2),
        ("3k", 3000),
        (500_000, 500_000),
    ],
)
def test_bytes_may_have_units(text: Any, count: int) -> None:
    assert GoalConfig(target_size=text).target_bytes == count


@pytest.mark.parametrize("text", ["0", "-5", "kB", "5 apples", "ib", "1e6"])
def test_what_is_no_number_of_bytes_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="must be bytes such as"):
        GoalConfig(target_size=text)


def test_a_goal_counts_in_a_run_s_identity_only_where_it_decides() -> None:
    given = GoalConfig().for_network(NetworkConfig(), is_given=True)
    assert given.substance() == {} and not given.chooses
    chosen = GoalConfig().for_network(NetworkConfig(), is_given=False)
    assert chosen.substance() == {"network_size": "chosen"} and chosen.chooses
    assert GoalConfig(target_psnr=40.0).for_network(NetworkConfig(), True).substance() == {
        "target_psnr": 40.0
    }
    assert not GoalConfig().for_network(NetworkConfig(encoder="hash"), False).chooses
