"""Feature grids with the proportions of a brick have about as many nodes as others."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amgsrn_core import volume_from_array
from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.model import read_index
from amgsrn_core.runs import train
from amgsrn_core.runs.aspect import matched_network, matched_shape
from amgsrn_core.volume.partition import partition


@pytest.mark.parametrize(
    ("shape", "dims", "expected"),
    [
        ((16, 16, 16), (50, 100, 200), (8, 16, 32)),
        ((8, 8, 8), (64, 64, 64), (8, 8, 8)),
        ((4, 8, 16), (30, 30, 30), (8, 8, 8)),
        ((16, 16, 16), (2, 200, 200), (2, 45, 46)),
        ((2, 2, 2), (2, 3, 900), (2, 2, 2)),
    ],
)
def test_shapes_follow_the_volume(shape, dims, expected):
    matched = matched_shape(shape, dims)
    assert sorted(matched) == sorted(expected)
    assert [n for n, d in sorted(zip(matched, dims), key=lambda p: p[1])] == sorted(matched)


@given(st.tuples(*[st.integers(4, 64)] * 3), st.tuples(*[st.integers(2, 3000)] * 3))
def test_nodes_are_about_as_many(shape, dims):
    matched = matched_shape(shape, dims)
    assert min(matched) >= 2
    assert 0.6 < math.prod(matched) / math.prod(shape) < 1.7


def test_bricks_decide_over_a_networks_grids():
    bricks = partition((6, 12, 24), (1, 1, 4), ghost=1)  # the larger ones have 6 x 12 x 8 voxels
    network = matched_network(NetworkConfig(grid_shape=(6, 6, 6), width=8), bricks)
    assert network == NetworkConfig(grid_shape=(4, 9, 6), width=8)


def test_a_model_is_trained_with_them(tmp_path):
    network = NetworkConfig(grids=2, features=1, grid_shape=(6, 6, 6), layers=1, width=8)
    config = TrainingConfig(iterations=5, batch=200, match_aspect=True, device="cpu")
    train(volume_from_array(blob(24)[:6, :12]), tmp_path / "m.amgsrn", network, config)
    assert read_index(tmp_path / "m.amgsrn").network.grid_shape == (3, 6, 12)


def blob(n: int) -> np.ndarray:
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n)] * 3, indexing="ij")
    return np.exp(-3 * (x * x + 2 * y * y + (z - 0.2) ** 2)).astype(np.float32)
