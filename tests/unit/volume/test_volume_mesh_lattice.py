"""How finely a mesh is sampled where nobody says it."""

from __future__ import annotations

import math

import pytest

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume.mesh_lattice import proposed_dims


def test_a_lattice_is_half_again_as_fine_as_the_mesh():
    # 40 x 20 x 10 cubes of edge 1, with a value in each.
    assert proposed_dims((40, 20, 10), 8000, 8000, 1.0) == (16, 31, 61)
    # The same in other units.
    assert proposed_dims((0.4, 0.2, 0.1), 8000, 8000, 1e-6) == (16, 31, 61)


def test_cells_that_share_points_make_no_finer_lattice():
    # Each cube cut into six tetrahedra, with values at the points.
    assert proposed_dims((40, 20, 10), 8000, 48000, 1 / 6) == (16, 31, 61)


def test_a_mesh_that_is_refined_somewhere_costs_a_bounded_number_of_samples():
    dims = proposed_dims((1.0, 1.0, 1.0), 100_000, 100_000, 1e-12)
    assert 1_200_000 < math.prod(dims) <= 1_600_000
    assert dims[0] == dims[1] == dims[2]
    assert math.prod(proposed_dims((1.0, 1e-3, 1.0), 4, 4, 1e-300)) <= 32**3


def test_a_thin_layer_has_two_samples():
    assert proposed_dims((10.0, 10.0, 0.01), 100, 100, 0.01)[0] == 2


@pytest.mark.parametrize("lengths", [(1.0, 0.0, 1.0), (1.0, math.inf, 1.0), (1.0, math.nan, 1.0)])
def test_a_flat_box_is_refused(lengths):
    with pytest.raises(VolumeError, match="longer than 0"):
        proposed_dims(lengths, 8, 8, 1.0)


def test_a_mesh_without_volume_is_refused():
    with pytest.raises(VolumeError, match="cells that have a volume"):
        proposed_dims((1.0, 1.0, 1.0), 8, 0, 0.0)
