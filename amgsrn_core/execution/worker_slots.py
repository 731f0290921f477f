"""Which workers train the bricks of a run."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

from amgsrn_core.config import DispatchConfig, TrainingConfig
from amgsrn_core.execution.local import LocalExecutor, WorkerSlot
from amgsrn_core.system.cores import available_cores
from amgsrn_core.system.devices import may_have_gpu
from amgsrn_core.system.memory import physical_memory
from amgsrn_core.system.run_folder import RunFolder

# What a worker on the CPU takes beside its brick: PyTorch, the volume's library, temporaries.
_WORKER_BYTES = 1 << 30


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
        from amgsrn_core.execution.cluster import cluster_executor

        with cluster_executor(dispatch.scheduler) as cluster:
            yield cluster
        return
    executor = LocalExecutor(
        worker_slots(training.device, dispatch.workers, bricks), RunFolder(folder).log_file
    )
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def worker_slots(device: str, workers: int, bricks: int) -> list[WorkerSlot]:
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
    devices = device_names(device)
    if devices == ["auto"]:
        devices = _all_devices()
    gpus = [name for name in devices if name != "cpu"][:bricks]
    cores, count = available_cores(), 0
    if "cpu" in devices:
        memory = max(1, physical_memory() // _WORKER_BYTES)
        count = min(workers or min(cores, memory), bricks - len(gpus))
    # A worker on a GPU needs cores as well: to read, to draw points and to find macro-cells.
    threads = max(1, cores // max(1, len(gpus) + count))
    return [WorkerSlot(name, threads) for name in [*gpus, *["cpu"] * count]]


def device_names(text: str) -> list[str]:
    """Return the names in a list of devices, "cuda:0,cuda:1"; ["auto"] where there is none."""
    return [name.strip() for name in text.split(",") if name.strip()] or ["auto"]


def may_use_gpu(device: str) -> bool:
    """Return whether these devices are likely to be GPUs; PyTorch is not asked."""
    names = device_names(device)
    if names == ["auto"]:
        return sys.platform == "linux" and may_have_gpu()  # elsewhere nothing tells
    return any(name != "cpu" for name in names)


def _all_devices() -> list[str]:
    """Return every GPU, or the CPU; without loading PyTorch where there is none."""
    if not may_have_gpu():
        return ["cpu"]
    from amgsrn_core.networks.devices import cuda_devices, select_device

    return [str(device) for device in cuda_devices()] or [select_device("auto", training=True).type]
