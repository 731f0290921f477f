"""Gradients by the point are those of the reference, and the slope of the field in the world."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.kernel_cases import (
    CASES,
    NAMES,
    kernel_network,
    library,
    needs_kernels,
    network,
    points,
    threads,
)
from support.sample_models import small_brick, small_index

from amgsrn_core import NeuralVolume
from amgsrn_core.config import NetworkConfig
from amgsrn_core.kernels import load
from amgsrn_core.networks.reference import values_and_gradients
from amgsrn_core.volume import Axis, GridGeometry

__all__ = ["library", "threads"]


def expected(net, at) -> tuple[torch.Tensor, torch.Tensor]:
    """What the reference computes in float64."""
    weights = [weight.double() for weight in net.weights]
    return values_and_gradients(
        at.double(), net.feature_grids.double(), net.transforms.double(), weights
    )


def evaluated(kernels, net, at) -> tuple[torch.Tensor, torch.Tensor]:
    values, gradients = kernel_network(kernels, net).with_gradient(at.numpy())
    return torch.from_numpy(values), torch.from_numpy(gradients)


def assert_gradients(got: torch.Tensor, wanted: torch.Tensor) -> None:
    """Compare all but the few points where rounding puts a neuron on the other side of its ReLU."""
    scale = wanted.abs().max()
    wrong = (got.double() - wanted).abs().amax(dim=(1, 2)) > 1e-4 * scale
    assert wrong.sum() <= max(1, len(wrong) // 100)


@needs_kernels
@pytest.mark.parametrize(("size", "outputs"), CASES, ids=NAMES)
def test_gradients_are_the_references(library, size, outputs):
    net = network(size, outputs)
    at = points(1003)
    values, gradients = expected(net, at)
    got_values, got_gradients = evaluated(library, net, at)
    assert got_gradients.shape == (1003, outputs, 3)
    assert gradients.abs().max() > 0.005
    torch.testing.assert_close(got_values.double(), values, atol=1e-5, rtol=1e-5)
    assert_gradients(got_gradients, gradients)
    alone = kernel_network(library, net).normalised(at.numpy())
    torch.testing.assert_close(got_values, torch.from_numpy(alone), atol=1e-6, rtol=1e-6)


@needs_kernels
@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 7)] * 3),
    features=st.sampled_from([1, 2, 3, 4, 8]),
    grids=st.integers(1, 5),
    layers=st.integers(1, 4),
    width=st.integers(1, 70),
    outputs=st.integers(1, 4),
    count=st.integers(0, 200),
    seed=st.integers(0, 1000),
)
def test_any_size_of_network_and_batch(shape, features, grids, layers, width, outputs, count, seed):
    size = NetworkConfig(
        grids=grids, features=features, grid_shape=shape, layers=layers, width=width
    )
    net = network(size, outputs, seed)
    at = points(count, seed)
    got = evaluated(load(), net, at)[1]
    assert got.shape == (count, outputs, 3)
    if count:
        assert_gradients(got, expected(net, at)[1])


@needs_kernels
def test_the_layer_of_zeros_slopes_and_beyond_it_nothing_does(library):
    size = NetworkConfig(grids=1, features=2, grid_shape=(3, 4, 6), layers=1, width=16)
    net = network(size)
    with torch.no_grad():
        net.transforms.copy_(torch.eye(3, 4))
    lines = []
    for nodes in (6, 4, 3):
        last = nodes - 1
        index = torch.tensor([-1.5, -0.9, -0.4, 0.3, 1.4, last - 0.5, last + 0.4, last + 1.1])
        lines.append(-1 + 2 * index / last)
    at = torch.cartesian_prod(*lines)
    wanted = expected(net, at)[1]
    beyond = ((at[:, 0] < -1.4) | (at[:, 2] > 2.05)).nonzero()[:, 0]
    assert len(beyond) and (wanted != 0).any()
    got = evaluated(library, net, at)[1]
    assert (got[beyond] == 0).all()
    assert_gradients(got, wanted)


@needs_kernels
def test_absurd_points_have_finite_gradients(library):
    net = network(NetworkConfig(grids=3, grid_shape=(4, 4, 4), width=16))
    odd = [math.nan, math.inf, -math.inf, 1e10, -1e10, 3e38, 1e-40, 0.25]
    at = torch.tensor(list(itertools.product(odd, repeat=3)))
    got = evaluated(library, net, at)[1]
    assert torch.isfinite(got).all()
    far = ~torch.isfinite(at).all(dim=1) | (at.abs() > 1e9).any(dim=1)
    assert (got[far] == 0).all() and (got[~far] != 0).any()


@needs_kernels
@pytest.mark.parametrize("number", [2, 7])
def test_the_number_of_threads_changes_nothing(library, threads, number):
    net = network(NetworkConfig(grids=3, grid_shape=(6, 6, 6), width=32), 2)
    at = points(5000)
    torch.set_num_threads(1)
    alone = evaluated(library, net, at)[1]
    torch.set_num_threads(number)
    assert torch.equal(evaluated(library, net, at)[1], alone)


@needs_kernels
def test_wrong_arguments_are_errors_not_crashes():
    net = network(NetworkConfig(grids=2, grid_shape=(4, 5, 6), width=16))
    with pytest.raises(ValueError, match=r"points.*\[5, 3\]"):
        evaluated(load(), net, torch.zeros(5, 2))
    with pytest.raises(TypeError, match=r"points.*float32"):
        evaluated(load(), net, torch.zeros(5, 3, dtype=torch.float64))


BENT = GridGeometry(
    (
        Axis("z", np.array([1000.0, 850.0, 700.0, 500.0, 250.0, 100.0])[::-1]),
        Axis("y", np.array([-90.0, -60.0, -20.0, 0.0, 5.0, 45.0, 80.0])),
        Axis.uniform("x", 8, 10.0, 0.25),
    ),
    np.array([[0.6, -0.8, 0.0], [0.8, 0.6, 0.1], [0.0, 0.0, -1.0]]),
)


@pytest.mark.parametrize("backend", ["torch", pytest.param("native", marks=needs_kernels)])
@pytest.mark.parametrize("geometry", [GridGeometry.uniform((6, 7, 8)), BENT], ids=["even", "bent"])
def test_a_models_gradient_is_its_slope_in_the_world(backend, geometry):
    index = small_index(components=("u", "v"), geometry=geometry)
    model = NeuralVolume(index, [small_brick(index, seed=4, mask=True)], backend=backend)
    random = np.random.default_rng(0)
    at = geometry.index_to_world(random.uniform(0.01, 0.99, (400, 3)) * [7, 6, 5])
    values, gradients = model.sample_with_gradient(at)
    assert values.dtype == gradients.dtype == np.float32
    np.testing.assert_allclose(values, model.sample(at), rtol=1e-5, atol=1e-5)
    known = ~np.isnan(values[:, 0])
    assert 0 < known.sum() < len(at)
    assert np.isnan(gradients[~known]).all()
    # Central differences along the index axes, whose world length and direction vary.
    differ = 0
    for axis in np.eye(3):
        inside = geometry.world_to_index(at)
        ahead, behind = (geometry.index_to_world(inside + s * 2e-3 * axis) for s in (1, -1))
        change = model.sample(ahead).astype(float) - model.sample(behind)
        along = np.einsum("nci,ni->nc", gradients, ahead - behind)
        scale = np.nanmax(np.abs(along))
        differ += (np.abs(change - along) > 0.02 * scale)[known].any(axis=1).sum()
    # Where the differences straddle the edge of a cell they mix two slopes.
    assert differ < 0.1 * known.sum()


def test_a_missing_voxel_and_the_outside_have_no_gradient():
    index = small_index()
    model = NeuralVolume(index, [small_brick(index)])
    at = np.array([[-1.0, 0.0, 0.0], [3.3, 2.2, 1.1], [np.nan, 0.0, 0.0]])
    values, gradients = model.sample_with_gradient(at)
    assert np.isnan(values[[0, 2]]).all() and np.isnan(gradients[[0, 2]]).all()
    assert np.isfinite(values[1]).all() and (gradients[1] != 0).any()
