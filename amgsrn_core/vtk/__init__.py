"""Models in any scene of VTK (9.2 or later): plain VTK, PyVista, trame's remote view.

A stock vtkVolume draws the network by the fragment shader of :mod:`amgsrn_core.shader`; nothing is
compiled, and PyTorch is not needed. VTK is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.system import extras

_EXPORTS = {
    "NeuralVolumeProp": "amgsrn_core.vtk.prop",
    "StandIn": "amgsrn_core.vtk.stand_in",
    "add_neural_volume": "amgsrn_core.vtk.plotter",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        if not extras.is_there("vtkmodules"):
            raise ConfigurationError(
                "A model in a scene of VTK needs VTK, which is not installed here; "
                "install amgsrn[vtk]."
            )
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
