"""Bricks are an exact partition of the voxels, and ghost cells stay inside the volume."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.volume.partition import counts_for, partition

DIMS = st.tuples(*[st.integers(2, 40)] * 3)


@st.composite
def cases(draw):
    dims = draw(DIMS)
    ghost = draw(st.integers(0, 5))
    most = [n // 2 if ghost == 0 else n for n in dims]
    return dims, tuple(draw(st.integers(1, min(m, 12))) for m in most), ghost


@given(cases())
@settings(deadline=None, max_examples=150)
def test_every_voxel_belongs_to_exactly_one_brick(case):
    dims, counts, ghost = case
    bricks = partition(dims, counts, ghost)
    owners = np.zeros(dims, int)
    for brick in bricks:
        owners[brick.extent] += 1
    assert (owners == 1).all()
    assert len(bricks) == math.prod(counts)
    sizes = np.array([[s.stop - s.start for s in brick.extent] for brick in bricks])
    assert (np.ptp(sizes, axis=0) <= 1).all()


@given(cases())
@settings(deadline=None, max_examples=150)
def test_ghost_cells_reach_as_far_as_asked_but_not_out_of_the_volume(case):
    dims, counts, ghost = case
    for brick in partition(dims, counts, ghost):
        for own, ghosted, n in zip(brick.extent, brick.ghosted, dims):
            assert ghosted.start == max(0, own.start - ghost)
            assert ghosted.stop == min(n, own.stop + ghost)
            assert ghosted.stop - ghosted.start >= 2


@given(DIMS, st.integers(1, 70_000))
@settings(deadline=None, max_examples=150)
def test_a_budget_of_voxels_is_kept_and_used(dims, voxels):
    counts = counts_for(dims, voxels)
    bricks = partition(dims, counts, ghost=1)

    def largest(counts):
        return math.prod(-(-n // c) for n, c in zip(dims, counts))

    own = [math.prod(s.stop - s.start for s in brick.extent) for brick in bricks]
    assert max(own) <= voxels
    for axis in range(3):
        if counts[axis] > 1:
            fewer = list(counts)
            fewer[axis] -= 1
            assert largest(fewer) > voxels


def test_a_flat_volume_is_cut_where_it_is_long():
    assert counts_for((4, 1000, 1000), 64**3) == (1, 4, 4)
    assert counts_for((512, 512, 512), 10**9) == (1, 1, 1)
    assert counts_for((2, 2, 9000), 8) == (1, 1, 4500)


@pytest.mark.parametrize(
    ("dims", "counts", "ghost", "words"),
    [
        ((4, 4, 4), (5, 1, 1), 1, "along z must be from 1 to its 4 voxels, not 5"),
        ((4, 4, 4), (1, 0, 1), 1, "along y"),
        ((4, 4, 5), (1, 1, 3), 0, "single voxel"),
        ((4, 4, 4), (1, 1, 1), -1, "ghost must be at least 0"),
    ],
)
def test_an_impossible_grid_is_explained(dims, counts, ghost, words):
    with pytest.raises(ConfigurationError, match=words):
        partition(dims, counts, ghost)


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(ConfigurationError, match="brick-voxels"):
        counts_for((4, 4, 4), 0)
