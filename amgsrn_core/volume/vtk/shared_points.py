"""Points of a mesh that several ranks have, each of which counts once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from amgsrn_core.volume.vtk.mesh import Mesh, columns, hidden, leaves
from amgsrn_core.volume.vtk.points import DatasetPoints


def keys(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return a number for each point [N, 3] with its values [N, C], uint64 [N].

    It is the same for the same point and values, on whichever rank, and hardly for any others.
    """
    rows = np.concatenate([points, values], axis=1).astype(np.float64) + 0.0  # -0 is 0
    key = np.zeros(len(rows), dtype=np.uint64)
    for column in rows.view(np.uint64).T:
        key = (key ^ column) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key


def keys_within(mesh: Mesh, boxes: Sequence[tuple[tuple[float, float], ...]]) -> np.ndarray:
    """Return the :func:`keys` of a mesh's points in any of some boxes ((low, high) along x, y, z).

    Hidden points, and those without a value, are left out.
    """
    found = [np.empty(0, np.uint64)]
    for leaf in leaves(mesh.dataset):
        if not leaf.GetNumberOfPoints():
            continue
        points = DatasetPoints(leaf)
        where, values = points[0 : points.count], columns(leaf, mesh.arrays, "point")
        shared = np.zeros(len(where), dtype=bool)
        for box in boxes:
            low, high = np.array(box).T
            shared |= ((where >= low) & (where <= high)).all(axis=1)
        shared &= np.isfinite(values).all(axis=1) & ~hidden(leaf, "point")
        found.append(keys(where[shared], values[shared]))
    return np.concatenate(found)


def shared_once(mesh: Mesh, every: Sequence[np.ndarray], rank: int) -> Mesh:
    """Return a rank's mesh with each point that several ranks have counted on the first of them.

    Parameters
    ----------
    mesh : Mesh
    every : sequence of ndarray
        Of each rank :func:`keys_within` the boxes of the others.
    rank : int
    """
    known, double = np.empty(0, np.uint64), 0
    for number, own in enumerate(every):
        if number == rank:
            mesh = dataclasses.replace(mesh, elsewhere=known)
        double += int(np.isin(own, known).sum())
        known = np.union1d(known, own)
    size = dataclasses.replace(mesh.record.size, points=mesh.record.size.points - double)
    return dataclasses.replace(mesh, record=dataclasses.replace(mesh.record, size=size))
