"""What to change about a training that failed, so that another try may succeed."""

from __future__ import annotations

import dataclasses

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.errors import DivergedError, OutOfMemoryError
from amgsrn_core.training.automatic import foreseen

_SMALLEST_BATCH, _LARGEST_BATCH = 64, 65536


def eased(
    training: TrainingConfig, planned: TrainingConfig, error: BaseException
) -> TrainingConfig | None:
    """Return what to try after an error; None where nothing is left that may help.

    Parameters
    ----------
    training : TrainingConfig
        Of the try that failed.
    planned : TrainingConfig
        Of the first try.
    error : Exception
        Out of memory: half the batch, and from the second time on the data in the computer's
        memory instead of the device's. Diverged: PyTorch's decoder instead of tiny-cuda-nn's, whose
        half precision may be the reason; then float32; then half the learning rate. Another error:
        the same again.
    """
    change = dataclasses.replace
    if isinstance(error, OutOfMemoryError):
        if not training.batch:
            training = planned = change(
                training,
                iterations=foreseen(training, NetworkConfig()).iterations,
                batch=_LARGEST_BATCH,
            )
        if training.batch <= _SMALLEST_BATCH and training.data_device == "cpu":
            return None
        batch = min(training.batch, max(_SMALLEST_BATCH, training.batch // 2))
        smaller = change(training, batch=batch)
        return (
            smaller
            if batch < training.batch == planned.batch
            else change(smaller, data_device="cpu")
        )
    if isinstance(error, DivergedError):
        if training.backend == "tcnn":
            return change(training, backend="torch")
        if training.precision != "float32":
            return change(training, precision="float32")
        return change(training, learning_rate=training.learning_rate / 2)
    return training


def changes(before: TrainingConfig, after: TrainingConfig) -> str:
    """Return which options differ, and how, for people: "batch 512, data_device cpu"."""
    first, second = dataclasses.asdict(before), dataclasses.asdict(after)
    return ", ".join(f"{name} {value}" for name, value in second.items() if value != first[name])
