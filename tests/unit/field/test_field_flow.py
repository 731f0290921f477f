"""Vorticity, divergence and Q criterion of flows whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from amgsrn_core.field.flow import divergence, q_criterion, vorticity


def gradients(matrix):
    return np.array(matrix, dtype=np.float64)[None]


@pytest.mark.parametrize("axis", range(3))
def test_a_turning_body_has_twice_its_rate_as_vorticity(axis):
    rate = np.zeros(3)
    rate[axis] = 1.5
    # v = rate x r, so that dv/dr is the matrix of that cross product.
    flow = gradients(np.cross(rate, np.eye(3)).T)
    assert np.allclose(vorticity(flow), 2 * rate)
    assert np.allclose(divergence(flow), 0)
    # Q of a rotation is the square of its rate.
    assert np.allclose(q_criterion(flow), 1.5**2)


def test_strain_does_not_turn_and_has_a_negative_q():
    flow = gradients(np.diag([2.0, -2.0, 0.0]))
    assert np.allclose(vorticity(flow), 0)
    assert np.allclose(divergence(flow), 0)
    assert np.allclose(q_criterion(flow), -4)


def test_swelling_has_a_divergence():
    assert np.allclose(divergence(gradients(np.diag([1.0, 2.0, 3.5]))), 6.5)
