"""How many threads the kernels compute with; results do not depend on it."""

from __future__ import annotations

import os
import sys

from amgsrn_core.system.cores import available_cores


def thread_count() -> int:
    """Return PyTorch's number of threads where it is in use; else OMP_NUM_THREADS, or all cores."""
    if (torch := sys.modules.get("torch")) is not None:
        return int(torch.get_num_threads())
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(wanted) if wanted.isdecimal() and int(wanted) > 0 else available_cores()
