"""How long and with which points a network is trained where nobody says."""

from __future__ import annotations

import pytest

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.training.automatic import foreseen, resolved


def small(side: int) -> NetworkConfig:
    return NetworkConfig(grid_shape=(side,) * 3)


@pytest.mark.parametrize(
    ("side", "batch", "iterations"),
    [(8, 4096, 31100), (16, 4096, 31100), (32, 16384, 11200), (41, 32768, 6700), (64, 65536, 4000)],
)
def test_a_cpu_takes_batches_by_the_size_of_the_network(
    side: int, batch: int, iterations: int
) -> None:
    found = resolved(TrainingConfig(), small(side), "cpu")
    assert (found.batch, found.iterations, found.sampling) == (batch, iterations, "importance")


@pytest.mark.parametrize(
    ("training", "network", "device"),
    [
        (TrainingConfig(batch=65536), small(32), "cpu"),
        (TrainingConfig(), small(32), "cuda"),
        (TrainingConfig(), small(32), "mps"),
        (TrainingConfig(), NetworkConfig(encoder="hash"), "cpu"),
    ],
)
def test_otherwise_all_is_as_it_was(
    training: TrainingConfig, network: NetworkConfig, device: str
) -> None:
    found = resolved(training, network, device)
    assert (found.batch, found.iterations, found.sampling) == (65536, 4000, "uniform")


def test_what_is_said_stays() -> None:
    training = TrainingConfig(iterations=7, batch=99, sampling="importance")
    assert resolved(training, small(32), "cpu") == training
    assert resolved(TrainingConfig(iterations=7), small(8), "cpu").iterations == 7
    density = resolved(TrainingConfig(motion="density"), small(8), "cpu")
    assert (density.batch, density.sampling) == (4096, "uniform")
    uniform = resolved(TrainingConfig(sampling="uniform"), small(8), "cpu")
    assert (uniform.batch, uniform.sampling) == (4096, "uniform")


@pytest.mark.parametrize(("device", "motion"), [("cuda", "gradient"), ("cpu", "density")])
def test_importance_sampling_is_refused_where_it_does_not_work(device: str, motion: str) -> None:
    training = TrainingConfig(sampling="importance", motion=motion)
    with pytest.raises(ConfigurationError, match="Importance sampling works on a CPU"):
        resolved(training, small(8), device)


def test_what_is_foreseen_goes_by_the_devices_names() -> None:
    assert foreseen(TrainingConfig(device="cpu"), small(32)).iterations == 11200
    assert foreseen(TrainingConfig(device="cuda:0,cuda:1"), small(32)).iterations == 4000
    assert foreseen(TrainingConfig(device="cpu", batch=100), small(32)).iterations == 4000


def test_runs_of_before_have_the_fingerprints_of_before() -> None:
    """What later options add to a configuration is left out where they change nothing."""
    before = {"iterations": 4000, "batch": 65536, "learning_rate": 0.02, "decoder_rate": 0.3}
    before |= {"schedule": "cosine", "targets": "cubic", "placement": "auto", "motion": "gradient"}
    before |= {"precision": "float32", "tv": 0.0, "l1": 0.0, "match_aspect": False, "seed": 0}
    given = TrainingConfig(iterations=4000, batch=65536)
    assert given.substance() == before
    assert resolved(given, small(32), "cpu").substance() == before
    averaged = TrainingConfig(iterations=4000, batch=65536, averaging=True)
    assert averaged.substance() == before  # only previews change
    held = TrainingConfig(schedule="constant", averaging=True, sampling="importance").substance()
    assert held["averaging"] is True and held["sampling"] == "importance"
