"""Which workers train the bricks of a run."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

from amgsrn_core.config import DispatchConfig, TrainingConfig
from amgsrn_core.dispatch.local import LocalExecutor, Place
from amgsrn_core.memory import physical_memory

LOG_FILE = "workers.log"

# What a worker on the CPU takes beside its brick: PyTorch, the volume's library, temporaries.
_WORKER_BYTES = 1 << 30
_GPU_SIGNS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


@contextlib.contextmanager
def executor_for(
    dispatch: DispatchConfig, training: TrainingConfig, bricks: int, folder: Path
) -> Iterator[Executor]:
    """Yield the executor that a configuration asks for.

    Raises
    ------
    ConfigurationError
        The cluster's scheduler cannot be reached.
    """
    if dispatch.scheduler:
        from amgsrn_core.dispatch.cluster import cluster_executor

        with cluster_executor(dispatch.scheduler) as cluster:
            yield cluster
        return
    executor = LocalExecutor(places(training.device, dispatch.workers, bricks), folder / LOG_FILE)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def places(device: str, workers: int, bricks: int) -> list[Place]:
    """Return where workers compute: one on each GPU, or several that share the cores.

    Several single threads train more bricks in the same time than one brick with several.

    Parameters
    ----------
    device : str
        As in :class:`~amgsrn_core.config.TrainingConfig`.
    workers : int
        On the CPU; 0 for as many as there are cores and memory allows.
    bricks : int
        There are no more workers than bricks.
    """
    devices = [name.strip() for name in device.split(",") if name.strip()] or ["auto"]
    if devices == ["auto"]:
        devices = _all_devices()
    found = [Place(name) for name in devices if name != "cpu"]
    if "cpu" in devices:
        cores = available_cores()
        memory = max(1, physical_memory() // _WORKER_BYTES)
        count = min(workers or min(cores, memory), bricks)
        found += [Place("cpu", max(1, cores // count))] * count
    return found[:bricks]


def available_cores() -> int:
    """Return the processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _all_devices() -> list[str]:
    """Return every GPU, or the CPU; without loading PyTorch where there is none."""
    if sys.platform == "linux" and not any(os.path.exists(sign) for sign in _GPU_SIGNS):
        return ["cpu"]
    import torch

    from amgsrn_core.devices import select_device

    if torch.cuda.is_available():
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [select_device("auto", training=True).type]
