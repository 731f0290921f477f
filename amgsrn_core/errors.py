"""Errors with a message for people: one sentence that says what is wrong and what to do.

Every class also inherits the builtin that a caller would expect, so that ``except
FileNotFoundError`` works without knowing this module.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AmgsrnError(Exception):
    """Base of all errors that this package raises on purpose."""

    def __str__(self) -> str:
        # KeyError and OSError format their arguments; people want the bare sentence.
        return str(self.args[0]) if self.args else self.__class__.__name__


class ConfigurationError(AmgsrnError, ValueError):
    """An option has an impossible value, or two options contradict each other."""


class VolumeError(AmgsrnError, ValueError):
    """A volume cannot be used as it is (dimensions, values, axes)."""


class VolumeNotFoundError(VolumeError, FileNotFoundError):
    """The volume's file does not exist or cannot be opened."""


class VariableNotFoundError(VolumeError, KeyError):
    """The named variable is not in the file; the message lists those that are."""


class ArchiveError(AmgsrnError, ValueError):
    """A model file is damaged, foreign, or contradicts itself."""


class ArchiveNotFoundError(ArchiveError, FileNotFoundError):
    """The model file does not exist (any more)."""


class ArchiveVersionError(ArchiveError):
    """The model file was written by a newer major version of the format."""


class ChecksumError(ArchiveError):
    """A brick's bytes differ from the checksum that was stored with them."""


class BoundError(AmgsrnError, ValueError):
    """A model's errors are larger than it promises."""


class OutputError(AmgsrnError, OSError):
    """A result cannot be written (folder missing, no permission, disk full)."""


class NoRoomError(OutputError):
    """The disk takes no more: it is full, its quota is used up, or it has become read-only."""


class ResumeError(AmgsrnError, RuntimeError):
    """Unfinished work at the output belongs to another configuration or is in use."""


class TrainingError(AmgsrnError, RuntimeError):
    """Training failed (out of memory, diverged, worker lost)."""


class OutOfMemoryError(TrainingError):
    """Training needs more memory than there is on its device."""


class EvaluationMemoryError(AmgsrnError, MemoryError):
    """Evaluating a model needs more memory than there is on its device."""


class DivergedError(TrainingError):
    """The loss of a training is no longer a number."""


class WorkerLostError(TrainingError):
    """The process that trained a brick has died, or did not answer any more."""


class DeviceError(ConfigurationError):
    """A device cannot be used here: there is none of that name, or PyTorch cannot compute on it."""


class DeviceLostError(WorkerLostError):
    """A GPU failed in a way after which this process cannot use it any more."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence that names what a mistyped word may stand for; "" if nothing."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=1)
    return f"; did you mean {names[close[0]]}?" if close else ""


# The words of PyTorch, of cuBLAS, and of tiny-cuda-nn, which asks CUDA's driver for memory itself.
_MEMORY_WORDS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "alloc_failed",
    "error_out_of_memory",
    "erroroutofmemory",
    "errormemoryallocation",
)
_DEVICE_WORDS = ("cuda error", "hip error", "cuda driver error")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out: the computer's or a GPU's.

    PyTorch's allocator for the CPU says so in a plain RuntimeError, and so do cuBLAS and
    tiny-cuda-nn.
    """
    return isinstance(error, MemoryError) or _says(error, _MEMORY_WORDS)


def is_device_lost(error: BaseException) -> bool:
    """Tell whether a GPU failed (illegal access, ECC error, time-out of a kernel).

    After most such errors its context is dead: every further call in this process fails as well.
    """
    if is_out_of_memory(error):
        return False
    names = {kind.__name__ for kind in type(error).__mro__}
    return "AcceleratorError" in names or _says(error, _DEVICE_WORDS)


def first_sentence(error: BaseException) -> str:
    """Return the first sentence of what an error says, without its full stop; else its name."""
    text = str(error).strip().split("\n")[0].split(". ")[0].strip().rstrip(".")
    return text or type(error).__name__


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(each in text for each in words)
