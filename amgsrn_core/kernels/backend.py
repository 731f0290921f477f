"""Which implementation evaluates and trains networks: PyTorch, or the CPU kernels."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from amgsrn_core.config import BACKENDS
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.kernels import load

if TYPE_CHECKING:
    import torch

    from amgsrn_core.kernels import KernelLibrary


_log = logging.getLogger(__name__)


def native_library(
    backend: str, device: torch.device | str, encoder: str = "adaptive"
) -> KernelLibrary | None:
    """Return the kernels if this backend uses them on this device, None if PyTorch does the work.

    The kernels know networks with adaptive grids; `encoder` says which one a network has.

    Raises
    ------
    ConfigurationError
        `native` or `tcnn` is asked for where it cannot work, or there is no such backend.
    """
    if backend not in BACKENDS:
        raise ConfigurationError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}.")
    if backend == "tcnn" and str(device).split(":")[0] != "cuda":
        raise ConfigurationError(
            f"Backend tcnn works on CUDA only, not on {device}; use backend auto."
        )
    if backend in ("torch", "tcnn"):
        return None
    if encoder != "adaptive":
        if backend == "native":
            raise ConfigurationError(
                f"Backend native has no {encoder} encoder; use backend auto, or encoder adaptive."
            )
        _log.info("PyTorch computes: the CPU kernels have no %s encoder.", encoder)
        return None
    on_cpu = str(device).split(":")[0] == "cpu"
    library = load() if on_cpu else None
    if library is None and backend == "native":
        raise ConfigurationError(
            "The CPU kernels are not built here; build them (docs/kernels.md) or use backend auto."
            if on_cpu
            else f"Backend native works on the CPU only, not on {device}; use backend auto."
        )
    return library


def backend_name(
    device: torch.device | str, backend: str = "auto", encoder: str = "adaptive"
) -> str:
    """Return the backend that a choice leads to on a device: "torch", "native" or "tcnn"."""
    if native_library(backend, device, encoder) is not None:
        return "native"
    return "tcnn" if backend == "tcnn" else "torch"
