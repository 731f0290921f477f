"""What is tried after a failure."""

from __future__ import annotations

import dataclasses

from amgsrn_core.config import TrainingConfig
from amgsrn_core.errors import DivergedError, OutOfMemoryError, WorkerLostError
from amgsrn_core.training.easing import eased

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
