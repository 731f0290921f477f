"""A volume of which each rank of a parallel program holds a piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume.geometry import Extent, GridGeometry
from amgsrn_core.volume.volume import Loaded, Volume


class PieceVolume(Volume):
    """A whole volume of which a part can be read here, and the rest elsewhere.

    Parameters
    ----------
    piece : Volume or None
        The values that are here; None if there are none.
    place : tuple of three slices (z, y, x)
        Which voxels of the whole these are.
    identity : sequence
        What changes with the values of any piece, in plain JSON types.
    span : two ndarrays of float64 [C]
        Lowest and highest value of the whole.
    geometry : GridGeometry
        Of the whole.
    **metadata
        As for :class:`Volume`; the same wherever a piece is.
    """

    def __init__(
        self,
        piece: Volume | None,
        place: Extent,
        identity: Sequence[Any],
        span: tuple[np.ndarray, np.ndarray],
        *,
        geometry: GridGeometry,
        **metadata: Any,
    ) -> None:
        super().__init__(geometry=geometry, **metadata)
        self.identity, self.span = list(identity), span
        self._piece, self._place = piece, place

    def _load(self, extent: Extent) -> Iterator[Loaded]:
        inside = all(p.start <= e.start and e.stop <= p.stop for e, p in zip(extent, self._place))
        if self._piece is None or not inside:
            raise VolumeError(
                f"The values of '{self.name}' at {_listed(extent)} are on another rank; this one "
                f"has {_listed(self._place)}."
            )
        z, y, x = (slice(e.start - p.start, e.stop - p.start) for e, p in zip(extent, self._place))
        return self._piece._load((z, y, x))


def _listed(extent: Extent) -> str:
    return ", ".join(f"{axis} {s.start}-{s.stop - 1}" for axis, s in zip("zyx", extent))
