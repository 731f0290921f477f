"""Streamlines through fields whose paths are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.field.streamlines import (
    OUT_OF_DOMAIN,
    OUT_OF_LENGTH,
    OUT_OF_STEPS,
    STAGNATION,
    Steps,
    streamlines,
)
from amgsrn_core.volume import Axis, GridGeometry

GRID = GridGeometry.uniform((21, 21, 21), origin=(-10.0, -10.0, -10.0))


def whirl(points):
    """Turn about the z axis once in 2 pi, rising; nothing outside |z| < 2."""
    x, y, z = points.T
    velocity = np.stack([-y, x, np.full_like(x, 0.1)], axis=1)
    velocity[np.abs(z) >= 2.0] = np.nan
    return velocity


def line(result, number):
    part = slice(result.offsets[number], result.offsets[number + 1])
    return result.points[part], result.times[part]


def test_a_helix_is_followed_to_the_faces_of_the_volume():
    seeds = np.array([[3.0, 0.0, 0.0], [0.0, 5.0, 1.0], [0.0, 1.0, 3.0]])
    result = streamlines(whirl, GRID, seeds)
    assert result.seeds.tolist() == [0, 0, 1, 1]  # the third has no velocity
    assert result.reasons.tolist() == [OUT_OF_DOMAIN] * 4
    for number, (seed, sign) in enumerate((s, d) for s in seeds[:2] for d in (1, -1)):
        points, times = line(result, number)
        assert np.array_equal(points[0], seed) and times[0] == 0.0
        assert (np.diff(sign * times) > 0).all()
        radius, angle = np.hypot(*seed[:2]), np.arctan2(seed[1], seed[0]) + times
        expected = np.stack(
            [radius * np.cos(angle), radius * np.sin(angle), seed[2] + 0.1 * times], axis=1
        )
        # Each of some hundred steps may err by 1e-4 of a cell.
        assert np.abs(points - expected).max() < 5e-3
        assert 0 <= 2.0 - sign * points[-1, 2] < 0.01
        lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
        assert lengths.max() <= 0.5 * np.sqrt(3) + 1e-9


def test_smaller_errors_come_closer():
    seeds = np.array([[3.0, 0.0, 0.0]])
    gaps = []
    for error in (1e-2, 1e-7):
        steps = Steps(error=error, longest=2.0, max_length=30.0)
        points, times = line(streamlines(whirl, GRID, seeds, direction="forward", steps=steps), 0)
        gaps.append(abs(np.hypot(*points[-1, :2]) - 3.0))
        length = np.hypot(3.0, 0.1) * times[-1]
        assert length == pytest.approx(30.0, rel=1e-3)
    assert gaps[1] < 1e-5 < gaps[0]


def test_lines_end_for_the_reason_that_is_told():
    seeds = np.array([[1.0, 0.0, 0.0]])

    def reason(field, **steps):
        found = streamlines(field, GRID, seeds, direction="forward", steps=Steps(**steps))
        return found.reasons.tolist()

    assert reason(whirl, max_length=4.0) == [OUT_OF_LENGTH]
    assert reason(whirl, max_steps=7) == [OUT_OF_STEPS]
    assert reason(lambda p: -p, terminal_speed=0.05) == [STAGNATION]
    assert reason(whirl) == [OUT_OF_DOMAIN]
    assert reason(lambda p: 0.0 * p) == []  # nowhere to go
    assert reason(lambda p: p * np.nan) == []


def test_steps_are_in_the_cells_of_uneven_axes():
    uneven = Axis("x", np.array([0.0, 0.1, 0.2, 1.2, 2.2]))
    even = Axis.uniform("y", 3, 0.0, 0.1)
    grid = GridGeometry((Axis.uniform("z", 3, 0.0, 0.1), even, uneven))
    along = streamlines(
        lambda p: np.where((p < 2.2).all(axis=1)[:, None], [1.0, 0.0, 0.0], np.nan),
        grid,
        np.array([[0.0, 0.1, 0.1]]),
        direction="forward",
    )
    x = along.points[:, 0]
    lengths = np.diff(x)
    assert lengths[x[:-1] < 0.2].max() <= 0.5 * np.sqrt(0.03) + 1e-9
    assert lengths.max() > 0.4


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigurationError, match="ascend"):
        Steps(initial=0.7)
    with pytest.raises(ConfigurationError, match="error of a step"):
        Steps(error=0.0)
    with pytest.raises(ConfigurationError, match="one of forward, backward, both"):
        streamlines(whirl, GRID, np.zeros((1, 3)), direction="up")


def test_they_may_be_cut_short():
    calls = []

    def goes_on(done):
        calls.append(done)
        return len(calls) < 4

    result = streamlines(whirl, GRID, np.ones((2, 3)), progress=goes_on)
    assert result.reasons.tolist() == [0] * 4
    assert len(result.points) == 4 * 4
