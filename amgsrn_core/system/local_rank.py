"""Which of the processes on this computer this one is, as the launcher of a parallel program says.

Each launcher tells it by environment variables of its own: Open MPI, MPICH and Intel MPI (Hydra),
MVAPICH2, PALS (Cray, Aurora), Flux, and Slurm's srun.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

# The one that started this process goes before the one whose job it is in: within a job of Slurm,
# mpiexec numbers the ranks, and Slurm's variables are those of the batch script.
_RANKS = (
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "MPI_LOCALRANKID",
    "MV2_COMM_WORLD_LOCAL_RANK",
    "PALS_LOCAL_RANKID",
    "FLUX_TASK_LOCAL_ID",
    "SLURM_LOCALID",
)
_SIZES = (
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "MPI_LOCALNRANKS",
    "MV2_COMM_WORLD_LOCAL_SIZE",
    "PALS_LOCAL_SIZE",
)
_SLURM_SIZES = ("SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE")


def local_rank(environment: Mapping[str, str] = os.environ) -> int | None:
    """Return this process's number among those on this computer, from 0; None if nobody tells."""
    return _first(environment, _RANKS)


def local_size(environment: Mapping[str, str] = os.environ) -> int | None:
    """Return how many processes of the program are on this computer; None if nobody tells."""
    size = _first(environment, _SIZES)
    if size is not None or _first(environment, _RANKS[:-1]) is not None:
        return size
    node = _first(environment, ("SLURM_NODEID",)) or 0
    for name in _SLURM_SIZES:
        sizes = _tasks_per_node(environment.get(name, ""))
        if node < len(sizes):
            return sizes[node]
    return None


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = environment.get(name, "").strip()
        if value.isdecimal():
            return int(value)
    return None


def _tasks_per_node(text: str) -> list[int]:
    """Read Slurm's list of tasks on each node, "4(x2),3" for 4, 4 and 3; empty if it is none."""
    sizes: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)(?:\(x(\d+)\))?\s*", part)
        if found is None:
            return []
        sizes += [int(found[1])] * min(int(found[2] or 1), 1 << 20)
    return sizes
