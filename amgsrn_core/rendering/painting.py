"""What passes between a picture and a marcher that writes to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

    from amgsrn_core.rendering.camera import PixelRays


class RestartPicture(Exception):
    """There is no room for what a picture was begun with: it begins again, coarser."""


@runtime_checkable
class Painter(Protocol):
    """A marcher that writes straight to a picture."""

    def paint(self, rays: PixelRays, rgba: np.ndarray) -> None:
        """Write the colours of rays to their places in float32 [height, width, 4]."""


@runtime_checkable
class Decoding(Protocol):
    """A marcher that keeps what it decoded."""

    status: str

    def paint(self, rays: PixelRays, rgba: np.ndarray) -> None:
        """Write the colours of rays to their places in float32 [height, width, 4]."""

    def coarsen(self, levels: int) -> int:
        """Draw from now on so many levels coarser, as far as there are; returns how many."""

    def forget(self) -> None:
        """Begin anew, with nothing decoded."""
