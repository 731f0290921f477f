"""Models in any scene of VTK (9.2 or later): plain VTK, PyVista, trame's remote view.

A stock vtkVolume draws the network by the fragment shader of :mod:`amgsrn_core.shader`; nothing is
compiled, and PyTorch is not needed. VTK is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "NeuralVolumeProp": "amgsrn_core.vtk.prop",
    "add_neural_volume": "amgsrn_core.vtk.plotter",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
