"""What passes between a picture and a marcher that writes to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

    from amgsrn_core.rendering.camera import PixelRays


class RestartPicture(Exception):
    """There is no room for what a picture was begun with: it begins again, coarser."""


class NoRoomError(Exception):
    """What is decoded ahead does not fit into the memory beside what is shown."""


@runtime_checkable
class Painter(Protocol):
    """A marcher that writes straight to a picture."""

    def paint(self, rays: PixelRays, rgba: np.ndarray) -> None:
        """Write the colours of rays to their places in float32 [height, width, 4]."""


@dataclass(frozen=True)
class Decoded:
    """What decoded blocks there are.

    Attributes
    ----------
    spacing : float
        Voxels from a lattice point of the finest level in use to the next.
    blocks, nbytes : int
        How many, of all levels, and their memory.
    total : int
        Blocks of that level.
    """

    spacing: float
    blocks: int
    nbytes: int
    total: int

    @classmethod
    def together(cls, parts: Iterable[Decoded]) -> Decoded:
        """Return what processes have that show one volume together."""
        finest = min(parts := list(parts), key=lambda part: part.spacing)
        blocks, nbytes = sum(p.blocks for p in parts), sum(p.nbytes for p in parts)
        return cls(finest.spacing, blocks, nbytes, finest.total)

    def __str__(self) -> str:
        cells = f"{1 / self.spacing:g} cell{'' if self.spacing == 1 else 's'} per voxel"
        share = min(1.0, self.blocks / self.total)
        return f"{cells}, {self.blocks} blocks, {self.nbytes / 1e6:.3g} MB, {share:.0%} decoded"


@runtime_checkable
class Decoding(Protocol):
    """A marcher that keeps what it decoded."""

    status: str
    decoded: Decoded | None

    def paint(self, rays: PixelRays, rgba: np.ndarray) -> None:
        """Write the colours of rays to their places in float32 [height, width, 4]."""

    def coarsen(self, levels: int) -> int:
        """Draw from now on so many levels coarser, as far as there are; returns how many."""

    def stay_beside(self, shown: Decoding) -> None:
        """Take no memory from now on that another marcher's blocks are in."""

    def forget(self) -> None:
        """Begin anew, with nothing decoded."""
