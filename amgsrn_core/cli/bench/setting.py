"""Under which conditions is measured: numbers of threads, and an allocator that keeps memory."""

from __future__ import annotations

import argparse
import ctypes
import os
import sys

from amgsrn_core.cli.options import whole_numbers
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.kernels import load
from amgsrn_core.system.cores import available_cores
from amgsrn_core.system.extras import is_there


def keep_freed_memory() -> None:
    """Tell glibc not to return freed memory to the system; nothing happens elsewhere."""
    if not sys.platform.startswith("linux"):
        return
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**30)


def measured_backends(*of_torch: str) -> tuple[str, ...]:
    """Return what is measured: PyTorch's backends, and the kernels', as far as they are there."""
    return (*(of_torch if is_there("torch") else ()), *(() if load() is None else ("native",)))


def use_threads(number: int) -> None:
    """Let PyTorch, where it is there, and the kernels compute with so many threads."""
    if is_there("torch"):
        import torch

        torch.set_num_threads(number)
    else:
        os.environ["OMP_NUM_THREADS"] = str(number)


def chosen_threads(text: str | None) -> tuple[int, ...]:
    """Return the numbers of threads to measure with (default: 1 and all cores)."""
    if text is None:
        return tuple(sorted({1, available_cores()}))
    try:
        numbers: tuple[int, ...] = whole_numbers(text.count(",") + 1)(text)
    except argparse.ArgumentTypeError as error:
        raise ConfigurationError(f"threads: {error}.") from error
    if min(numbers) < 1:
        raise ConfigurationError("threads must be at least 1.")
    return numbers
