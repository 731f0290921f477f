"""The parts of a picture: each pixel is in one of them, none is left out where a box is seen."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("vtkmodules")

from amgsrn_core.rendering import Camera
from amgsrn_core.vtk.parts import Parts, covered


@pytest.mark.parametrize(
    "rectangle", [(3, 5, 101, 77), (0, 0, 1, 300), (2, 1, 64, 1), (7, 7, 0, 9)]
)
def test_each_pixel_is_in_one_part(rectangle):
    x, y, columns, rows = rectangle
    counts = np.zeros((400, 200), dtype=int)
    parts, random = Parts(rectangle), np.random.default_rng(0)
    assert parts.left == parts.pixels == columns * rows
    while parts.left:
        left = parts.left
        a, b, width, height = parts.take(float(random.integers(1, 3000)))
        assert width > 0 and height > 0 and parts.left == left - width * height
        counts[b : b + height, a : a + width] += 1
    assert counts[y : y + rows, x : x + columns].all() and counts.max(initial=0) <= 1
    assert counts.sum() == columns * rows


def test_parts_are_about_as_large_as_wanted():
    parts = Parts((0, 0, 640, 480))
    assert parts.take(100_000)[2:] == (640, 156)
    assert parts.take(1000)[2:] == (31, 32)


def test_a_box_is_seen_where_its_points_are():
    bounds, view = (0.0, 2.0, -1.0, 1.0, 5.0, 8.0), (40, 30, 96, 72)
    camera = Camera.orbit(bounds, width=96, height=72, azimuth=30, polar=60)
    x, y, columns, rows = covered(camera.world_to_clip, bounds, view)
    low, high = np.reshape(bounds, (3, 2)).T
    points = np.random.default_rng(0).uniform(low, high, (1000, 3))
    clip = np.column_stack([points, np.ones(1000)]) @ camera.world_to_clip.T
    pixels = (clip[:, :2] / clip[:, 3:] + 1) / 2 * view[2:] + view[:2]
    assert (pixels >= (x, y)).all() and (pixels <= (x + columns, y + rows)).all()
    assert columns * rows < 0.9 * 96 * 72
    inside = Camera.orbit(bounds, width=96, height=72, azimuth=30, polar=60)
    far = inside.world_to_clip @ np.diag([1e3, 1e3, 1e3, 1.0])
    assert covered(far, bounds, view) == view  # the eye is in the box
