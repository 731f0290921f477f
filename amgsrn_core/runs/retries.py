"""What is tried after a training failed: the one policy for one network and for many bricks.

How often is for the configuration's `retries` to say. The tries of bricks are counted and spaced
out by :class:`amgsrn_core.execution.runner.Runner`.
"""

from __future__ import annotations

import dataclasses

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.errors import (
    ConfigurationError,
    DeviceError,
    DivergedError,
    OutOfMemoryError,
)
from amgsrn_core.runs.parts import PartsFolder
from amgsrn_core.training.automatic import foreseen

_SMALLEST_BATCH, _LARGEST_BATCH = 64, 65536


def next_try(
    training: TrainingConfig,
    planned: TrainingConfig,
    error: BaseException,
    parts: PartsFolder,
    number: int = 0,
) -> TrainingConfig | None:
    """Return how to train a brick after an error, see :func:`eased`, and make ready for it.

    None where another try could only fail alike. After a device's fault the same is tried, perhaps
    on another one.
    """
    if isinstance(error, ConfigurationError) and not isinstance(error, DeviceError):
        return None
    following = eased(training, planned, error)
    if following is not None and isinstance(error, DivergedError):
        parts.forget_checkpoint(number)  # of the training that went wrong
    return following


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
