"""What is tried after a failure."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from amgsrn_core import volume_from_array
from amgsrn_core.config import DispatchConfig, NetworkConfig, TrainingConfig
from amgsrn_core.errors import (
    ConfigurationError,
    DeviceError,
    DivergedError,
    OutOfMemoryError,
    WorkerLostError,
)
from amgsrn_core.model import read_index
from amgsrn_core.runs import single, train
from amgsrn_core.runs.parts import PartsFolder
from amgsrn_core.runs.retries import eased, next_try

MEMORY = OutOfMemoryError("no memory")
NO_NUMBER = DivergedError("not a number")


def test_memory_is_saved_in_the_batch_first_and_then_in_the_data():
    planned = TrainingConfig(batch=512)
    tries = [planned]
    while (following := eased(tries[-1], planned, MEMORY)) is not None:
        tries.append(following)
    assert [(t.batch, t.data_device) for t in tries] == [
        (512, "auto"),
        (256, "auto"),
        (128, "cpu"),
        (64, "cpu"),
    ]


def test_a_batch_that_cannot_shrink_leaves_the_data_to_move():
    for batch in (64, 16):
        planned = TrainingConfig(batch=batch)
        following = eased(planned, planned, MEMORY)
        assert following == dataclasses.replace(planned, data_device="cpu")
        assert eased(following, planned, MEMORY) is None


def test_divergence_goes_back_to_exact_arithmetic_before_the_rate_falls():
    planned = TrainingConfig(backend="tcnn", precision="fast", learning_rate=0.02)
    tries = [planned]
    for _ in range(4):
        tries.append(eased(tries[-1], planned, NO_NUMBER))
    assert [(t.backend, t.precision, t.learning_rate) for t in tries] == [
        ("tcnn", "fast", 0.02),
        ("torch", "fast", 0.02),
        ("torch", "float32", 0.02),
        ("torch", "float32", 0.01),
        ("torch", "float32", 0.005),
    ]


def test_a_lost_worker_is_no_reason_to_change_anything():
    planned = TrainingConfig()
    assert eased(planned, planned, WorkerLostError("gone")) is planned


@pytest.mark.parametrize(
    ("error", "name", "expected"),
    [
        (MEMORY, "batch", 256),
        (NO_NUMBER, "learning_rate", 0.01),
        (WorkerLostError("gone"), "batch", 512),
        (DeviceError("no such device here"), "batch", 512),
        (ConfigurationError("no such option"), "batch", None),
    ],
)
def test_the_next_try_is_made_ready(tmp_path, error, name, expected):
    planned, parts = TrainingConfig(batch=512, learning_rate=0.02), PartsFolder(tmp_path)
    parts.make_brick(3)
    parts.checkpoint(3).write_text("state")
    following = next_try(planned, planned, error, parts, 3)
    assert (following and getattr(following, name)) == expected
    # A diverged network must not be continued.
    assert parts.checkpoint(3).exists() != isinstance(error, DivergedError)


def test_no_retries_are_none_for_a_single_network_too(tmp_path, failing):
    failing += [MEMORY]
    training = TrainingConfig(iterations=30, batch=512, device="cpu")
    with pytest.raises(OutOfMemoryError, match="no memory"):
        trained(tmp_path / "m.amgsrn", training, retries=0)


@pytest.fixture
def failing(monkeypatch):
    """Let the first tries of a training fail, each after it has overwritten its values."""
    errors: list[Exception] = []
    fit_brick = single.fit_brick

    def fit(block, *arguments, **options):
        if errors:
            block.values[:] = np.nan
            raise errors.pop(0)
        return fit_brick(block, *arguments, **options)

    monkeypatch.setattr(single, "fit_brick", fit)
    return errors


def trained(path, training, **dispatch):
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, 8)] * 3, indexing="ij")
    volume = volume_from_array((x * y + z).astype(np.float32))
    network = NetworkConfig(grids=2, grid_shape=(4, 4, 4), width=16)
    return train(volume, path, network, training, dispatch=DispatchConfig(**dispatch))


def test_a_single_network_is_tried_again_with_less_memory(tmp_path, failing, caplog):
    training = TrainingConfig(iterations=30, batch=512, device="cpu")
    failing += [MEMORY, MEMORY]
    outcome = trained(tmp_path / "m.amgsrn", training)
    assert outcome.completed and np.isfinite(outcome.psnr)
    config = read_index(tmp_path / "m.amgsrn").training.config
    assert (config["batch"], config["data_device"]) == (128, "cpu")
    assert "Trying again with batch 256." in caplog.text
    assert "Trying again with batch 128, data_device cpu." in caplog.text


def test_memory_that_never_suffices_is_told_after_some_tries(tmp_path, failing):
    failing += [MEMORY] * 10
    with pytest.raises(OutOfMemoryError, match="no memory"):
        trained(tmp_path / "m.amgsrn", TrainingConfig(iterations=30, batch=4096, device="cpu"))
    assert len(failing) == 6


def test_a_rate_that_diverges_is_told_at_once(tmp_path, failing):
    failing += [NO_NUMBER] * 10
    with pytest.raises(DivergedError):
        trained(tmp_path / "m.amgsrn", TrainingConfig(iterations=30, batch=512, device="cpu"))
    assert len(failing) == 9
