"""Where feature grids lie, and how dense they are: boxes sent onto [-1, 1]^3 by affine maps."""

from __future__ import annotations

import itertools
import math

import numpy as np


def box_corners(transforms: np.ndarray) -> np.ndarray:
    """Return the corners of each grid's box in brick-local coordinates.

    Parameters
    ----------
    transforms : array [G, 3, 4]
        Affine maps from brick-local to grid-local coordinates.

    Returns
    -------
    float64 array [G, 8, 3]
        Columns x, y, z; the corners run through x fastest, z slowest. NaN where a map squeezes
        space flat, which has no box.
    """
    corners = np.array([p[::-1] for p in itertools.product((-1.0, 1.0), repeat=3)])
    boxes = np.full((len(transforms), 8, 3), np.nan)
    for box, transform in zip(boxes, np.asarray(transforms, dtype=np.float64)):
        linear, shift = transform[:, :3], transform[:, 3]
        if np.isfinite(transform).all() and abs(np.linalg.det(linear)) > 1e-12:
            box[:] = np.linalg.solve(linear, (corners - shift).T).T
    return boxes


def box_volumes(corners: np.ndarray) -> np.ndarray:
    """Return the volume of each box, float64 [G], from its corners [G, 8, 3].

    On uneven axes a box has bent faces; then it is that of the six tetrahedra between its corners
    along one diagonal.
    """
    first, last = corners[:, 0], corners[:, 7]
    round_about = (1, 3, 2, 6, 4, 5, 1)  # along edges, without the two
    total = np.zeros(len(corners))
    for one, other in zip(round_about, round_about[1:]):
        edges = np.stack([corners[:, one], corners[:, other], last], axis=1) - first[:, None]
        total += np.abs(np.linalg.det(edges)) / 6.0
    return total


def box_densities(transforms: np.ndarray) -> np.ndarray:
    """Return what each grid adds to the feature density inside its box, float64 [G].

    That is det(A) / (2 pi)^1.5, the paper's density where the soft box is 1.
    """
    linear = np.asarray(transforms, dtype=np.float64)[:, :, :3]
    return np.linalg.det(linear) / (2.0 * math.pi) ** 1.5
