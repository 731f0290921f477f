"""Learning rates over a run."""

from __future__ import annotations

import pytest

from amgsrn_core.config import TrainingConfig
from amgsrn_core.training.schedule import rates


def test_cosine_rises_holds_and_falls_to_zero() -> None:
    config = TrainingConfig(iterations=4000, learning_rate=0.02, decoder_rate=0.3)
    features = [rates(config, i).features for i in range(4000)]
    assert features[0] == pytest.approx(0.02 / 100)
    assert features[99:2000] == pytest.approx([0.02] * 1901)
    assert features[3000] == pytest.approx(0.01)
    assert 0 < features[-1] < 1e-7
    assert all(a >= b for a, b in zip(features[100:], features[101:]))
    assert rates(config, 500).decoder == pytest.approx(0.3 * features[500])


def test_gradient_motion_ends_after_the_first_third() -> None:
    config = TrainingConfig(iterations=1000, motion="gradient")
    moving = [i for i in range(1000) if rates(config, i).transforms > 0]
    assert moving == list(range(300))
    long = TrainingConfig(iterations=100_000, motion="gradient")
    assert rates(long, 1999).transforms > 0 == rates(long, 2000).transforms


def test_the_originals_rule() -> None:
    config = TrainingConfig(
        iterations=2000, learning_rate=0.01, schedule="constant", motion="density"
    )
    assert {rates(config, i).features for i in range(2000)} == {0.01}
    moving = [i for i in range(2000) if rates(config, i).transforms > 0]
    assert moving == list(range(501, 1600))
    assert rates(config, 1000).transforms == pytest.approx(0.05 * 0.01)


def test_resting_grids_rest() -> None:
    config = TrainingConfig(iterations=4000, motion="none")
    assert all(rates(config, i).transforms == 0 for i in range(4000))
