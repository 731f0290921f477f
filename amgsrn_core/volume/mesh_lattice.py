"""How finely a mesh is sampled where nobody says it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from amgsrn_core.errors import VolumeError

# Sampling twice loses less between the samples the closer these are.
_FINER = 1.5

# A lattice has at most so many samples for each of the mesh's, however small refined cells are,
# but need not have fewer than some.
_MOST_PER_SAMPLE = 16
_FEW = 32**3
_MOST = 1 << 29


def proposed_dims(
    lengths: Sequence[float], samples: int, cells: int, cell_volume: float
) -> tuple[int, int, int]:
    """Return the dims (z, y, x) of a lattice that is somewhat finer than a mesh.

    A mesh's sample, where the cells are of typical size, has a volume to itself: cell volume times
    cells per sample. (Six tetrahedra that share the points of a hexahedron make no finer lattice
    than this.) The spacing is the edge of a cube of that volume, divided by 1.5.

    Parameters
    ----------
    lengths : three floats (x, y, z)
        Of the mesh's bounding box, each above 0.
    samples : int
        Values of the mesh: its points or its cells.
    cells : int
        Its cells of three dimensions.
    cell_volume : float
        Of a typical cell, such as the median.

    Raises
    ------
    VolumeError
        The mesh has no extent in one of the directions, or no cells.
    """
    if not all(length > 0 and math.isfinite(length) for length in lengths):
        raise VolumeError("A lattice needs a box that is longer than 0 in three directions.")
    if samples < 1 or cells < 1 or not cell_volume > 0:
        raise VolumeError("A lattice needs a mesh with cells that have a volume.")
    spacing = (cell_volume * cells / samples) ** (1 / 3) / _FINER
    most = min(max(_MOST_PER_SAMPLE * samples, _FEW), _MOST)
    while math.prod(dims := _dims(lengths, spacing)) > most:
        spacing *= max(1.01, (math.prod(dims) / most) ** (1 / 3))
    z, y, x = reversed(dims)
    return z, y, x


def _dims(lengths: Sequence[float], spacing: float) -> list[int]:
    # (A spacing that is far too small must not overflow.)
    return [max(2, round(min(length / spacing, 1e9)) + 1) for length in lengths]
