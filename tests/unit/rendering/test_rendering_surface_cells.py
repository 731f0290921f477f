"""Cells of several sizes along an isosurface: closed, close to it, and large where it is flat."""

from __future__ import annotations

import numpy as np
import pytest

from amgsrn_core.rendering.surface_cells import FieldLattices, SurfaceCells

EDGE = 0.5  # of the finest cells


def surface(evaluate, cells=(44, 37, 41), *, isovalue=0.0, tolerance=0.25, levels=2):
    """Return the triangles of a function of points [N, 3] (x, y, z) in units of length."""
    lattices = FieldLattices(
        lambda points: evaluate(points * EDGE), np.array(cells), levels, np.dtype(np.float64)
    )
    count = lattices.count(levels)
    tree = SurfaceCells(
        lattices,
        isovalue,
        scale=np.full(3, EDGE),
        tolerance=tolerance,
        candidates=np.indices(count).reshape(3, -1),
        rows=range(int(count[0])),
    )
    return tree.triangles()


def waves(seed, highest=1.6):
    """Return a random smooth field, with kinks: surfaces of all sorts, thin and thick."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(12, 3)) * random.uniform(0.1, highest, (12, 1))
    phases, kink = random.uniform(0, 7, 12), random.normal(size=3)

    def evaluate(points):
        return np.sin(points @ vectors.T + phases).sum(axis=1) + np.abs(points @ kink - 9) / 5 - 1

    return evaluate


def distance(points):
    """Return the distance from a point near the middle."""
    return np.linalg.norm(points - [10.1, 9.2, 11.3], axis=1)


def open_edges(found):
    """Return the ends [2, N, 3] of the edges that one triangle has; none has more than two."""
    corners = found.corners
    pairs = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    edges, counts = np.unique(np.sort(pairs, axis=1), axis=0, return_counts=True)
    assert counts.max() <= 2
    ends = edges[counts == 1]
    return np.stack([middles(found)[ends[:, side]] for side in (0, 1)])


def middles(found):
    return (found.low + found.high) / 2


@pytest.mark.parametrize("levels", [1, 2, 4])
@pytest.mark.parametrize("seed", range(12))
def test_every_edge_is_of_two_triangles_but_on_the_faces(seed, levels):
    cells = np.random.default_rng(seed).integers(9, 50, 3)
    found = surface(waves(seed), cells, tolerance=0.1 * (1 + seed % 4), levels=levels)
    low, high = open_edges(found)
    last = cells[::-1]
    on_face = ((low == high) & ((low == 0) | (low == last))).any(axis=1)
    assert on_face.all()
    assert len(found.corners) > 50


def test_cells_are_of_several_sizes_where_neighbours_differ():
    def ball_on_a_plane(points):
        plane = points @ [0.31, 0.217, 0.913] - 5.1234
        return np.minimum(plane, distance(points) - 5.0)

    found = surface(ball_on_a_plane, tolerance=0.1)
    open_edges(found)
    sizes, counts = np.unique((found.high - found.low).max(axis=1), return_counts=True)
    assert list(sizes) == [1, 2, 4]
    assert counts.min() > 20


def test_flat_surfaces_have_large_triangles_and_round_ones_small():
    def plane(points):
        return points @ [0.31, 0.217, 0.913] - 9.1234

    flat = surface(plane, (44, 36, 40))
    assert (flat.high - flat.low).max(axis=1).min() == 4
    edges = []
    for isovalue in (2.0, 8.0):
        found = surface(distance, isovalue=isovalue, tolerance=0.06)
        edges.append((found.high - found.low).max(axis=1).mean())
    assert edges[0] < 1.1 and edges[1] > 1.5


def test_a_finer_tolerance_is_closer_to_the_surface():
    errors, counts = [], []
    for tolerance in (0.4, 0.1, 0.02):
        found = surface(distance, isovalue=8.0, tolerance=tolerance)
        share = (8.0 - found.values[:, :1]) / np.diff(found.values, axis=1)
        points = (found.low + share * (found.high - found.low)) * EDGE
        centres = points[found.corners].mean(axis=1)
        errors.append(np.abs(distance(centres) - 8.0).max())
        counts.append(len(found.corners))
        assert errors[-1] <= tolerance
    assert errors == sorted(errors, reverse=True)
    assert counts == sorted(counts)


def test_a_surface_is_followed_where_nobody_has_looked():
    def tube(points):
        return np.hypot(points[:, 0] - 9.3, points[:, 1] - 8.4) - 3.3

    whole = surface(tube)
    lattices = FieldLattices(
        lambda points: tube(points * EDGE), np.array((44, 37, 41)), 2, np.dtype(np.float64)
    )
    few = np.indices(lattices.count(2)).reshape(3, -1)
    tree = SurfaceCells(
        lattices,
        0.0,
        scale=np.full(3, EDGE),
        tolerance=0.25,
        candidates=few[:, few[0] == 0],
        rows=range(11),
    )
    found = tree.triangles()
    low, high = open_edges(found)
    assert ((low == high) & ((low == 0) | (low == [41, 37, 44]))).any(axis=1).all()
    assert found.high[:, 2].max() == whole.high[:, 2].max()


def test_missing_values_have_no_surface():
    def half(points):
        values = points @ [0.3, 0.9, 0.2] - 9.1
        return np.where(points[:, 0] > 9.9, np.nan, values)

    found = surface(half)
    assert len(found.corners) > 100
    assert found.high[:, 0].max() * EDGE <= 9.9
    assert np.isfinite(found.values).all()
