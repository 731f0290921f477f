"""Volume rendering: camera, transfer function, settings, ray marchers and progressive images.

The names below are imported on first use, so that a camera costs no PyTorch.
"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "CallCost": "amgsrn_core.rendering.cost",
    "Camera": "amgsrn_core.rendering.camera",
    "Marcher": "amgsrn_core.rendering.marcher",
    "ProgressiveImage": "amgsrn_core.rendering.image",
    "Rays": "amgsrn_core.rendering.camera",
    "RenderSettings": "amgsrn_core.rendering.settings",
    "TransferFunction": "amgsrn_core.rendering.transfer",
    "display_scale": "amgsrn_core.rendering.proportions",
    "look_transfer": "amgsrn_core.rendering.colormap",
    "make_marcher": "amgsrn_core.rendering.marcher",
    "render": "amgsrn_core.rendering.image",
    "suggestion": "amgsrn_core.rendering.looks",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
