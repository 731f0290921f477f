"""Adaptive multi-grid scene representation networks: compact neural stand-ins for large volumes.

The names below are imported on first use, so that ``import amgsrn_core`` stays cheap: a ParaView
plugin that only describes its filters never pays for PyTorch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

_EXPORTS = {
    "GoalConfig": "amgsrn_core.config",
    "ExtractionConfig": "amgsrn_core.config",
    "NetworkConfig": "amgsrn_core.config",
    "StorageConfig": "amgsrn_core.config",
    "TrainingConfig": "amgsrn_core.config",
    "NeuralVolume": "amgsrn_core.field.neural_volume",
    "SeriesExtractor": "amgsrn_core.jobs",
    "open_series": "amgsrn_core.volume",
    "open_volume": "amgsrn_core.volume",
    "volume_from_array": "amgsrn_core.volume",
    "volume_from_vtk": "amgsrn_core.volume",
    "train": "amgsrn_core.runs",
    "train_series": "amgsrn_core.runs",
}
__all__ = ["__version__", *sorted(_EXPORTS)]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
