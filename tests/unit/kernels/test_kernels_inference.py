"""The kernels evaluate a network like the torch reference, at every point there is."""

from __future__ import annotations

import copy
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
from amgsrn_core.networks import decode, encode

pytestmark = needs_kernels
__all__ = ["library", "threads"]


def expected(net, at) -> torch.Tensor:
    """What the reference computes in float64."""
    weights = [weight.double() for weight in net.weights]
    features = encode(at.double(), net.feature_grids.double(), net.transforms.double())
    return decode(features, weights).detach()


def evaluated(kernels, net, at) -> torch.Tensor:
    return torch.from_numpy(kernel_network(kernels, net).normalised(at.numpy()))


@pytest.mark.parametrize(("size", "outputs"), CASES, ids=NAMES)
def test_values_are_the_references(library, size, outputs):
    net = network(size, outputs)
    at = points(1003)
    values = expected(net, at)
    assert evaluated(library, net, at).shape == (1003, outputs)
    assert values.abs().max() > 0.005
    torch.testing.assert_close(evaluated(library, net, at).double(), values, atol=1e-5, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 7)] * 3),
    features=st.integers(1, 9),
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
    values = expected(net, at)
    torch.testing.assert_close(evaluated(load(), net, at).double(), values, atol=2e-5, rtol=2e-5)


def test_points_on_and_across_every_border_of_a_grid(library):
    size = NetworkConfig(grids=1, features=2, grid_shape=(3, 4, 6), layers=1, width=16)
    net = network(size)
    with torch.no_grad():
        net.transforms.copy_(torch.eye(3, 4))
    # Nodes, cells' middles, borders, the zero layer's far side, and a little off each of them.
    lines = []
    for nodes in (6, 4, 3):
        last = nodes - 1
        index = torch.tensor([-1.5, -1, -0.5, 0, 0.5, 1, last - 0.5, last, last + 0.5, last + 1])
        line = -1 + 2 * index / last
        lines.append(torch.cat([line, line * (1 + 1e-6), line * (1 - 1e-6)]))
    at = torch.cartesian_prod(*lines)
    values = expected(net, at)
    assert (values == 0).any() and (values != 0).any()
    torch.testing.assert_close(evaluated(library, net, at).double(), values, atol=1e-5, rtol=1e-5)


def test_absurd_points_are_as_harmless_as_in_the_reference(library):
    net = network(NetworkConfig(grids=3, grid_shape=(4, 4, 4), width=16))
    odd = [math.nan, math.inf, -math.inf, 1e10, -1e10, 3e38, 1e-40, 0.25]
    at = torch.tensor(list(itertools.product(odd, repeat=3)))
    with torch.no_grad():
        values = net.normalised(at)
    got = evaluated(library, net, at)
    assert torch.isfinite(got).all()
    torch.testing.assert_close(got, values, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("reach", [1.4, 0.0], ids=["scattered", "together"])
def test_the_order_of_the_points_changes_nothing(library, reach):
    net = network(NetworkConfig(grids=3, grid_shape=(20, 9, 12), width=16), 2)
    at = points(5000, reach=reach)
    at[::50] = torch.tensor([math.nan, -math.inf, 1e30])
    alone = torch.cat([evaluated(library, net, part) for part in at.split(100)])
    assert torch.equal(evaluated(library, net, at), alone)


def test_more_points_than_are_ordered_at_once(threads):
    kernels = load()
    torch.set_num_threads(1)
    net = network(NetworkConfig(grids=1, features=1, grid_shape=(2, 2, 2), layers=1, width=16))
    at = points((1 << 20) + 4500)
    values = evaluated(kernels, net, at)
    for place in (0, 1 << 19, (1 << 20) - 100, (1 << 20) + 4000):
        part = slice(place, place + 500)
        assert torch.equal(values[part], evaluated(kernels, net, at[part]))


def test_broken_features_show_in_the_values(library):
    net = network(NetworkConfig(grids=1, grid_shape=(4, 4, 4), width=16))
    with torch.no_grad():
        net.feature_grids.fill_(math.nan)
    assert evaluated(library, net, torch.zeros(1, 3)).isnan().all()


@pytest.mark.parametrize("number", [1, 2, 7])
def test_the_number_of_threads_changes_nothing(library, threads, number):
    net = network(NetworkConfig(grids=3, grid_shape=(6, 6, 6), width=32), 2)
    at = points(5000)
    torch.set_num_threads(1)
    alone = evaluated(library, net, at)
    torch.set_num_threads(number)
    for _ in range(5):
        assert torch.equal(evaluated(library, net, at), alone)


def test_a_network_uses_the_kernels_only_where_it_needs_no_gradient():
    net = network(NetworkConfig(grids=2, grid_shape=(4, 4, 4), width=16))
    at = points(100)
    with_gradient = net(at)
    net.use_backend("native")
    assert net(at).requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(net(at), with_gradient.detach(), atol=1e-5, rtol=1e-5)
        # Points that do not lie side by side in memory.
        torch.testing.assert_close(net(at.t().contiguous().t()), net(at))
    assert net.double().normalised(at.double()).dtype == torch.float64


def test_changed_features_are_noticed():
    net = network(NetworkConfig(grids=2, grid_shape=(4, 4, 4), width=16))
    net.use_backend("native")
    at = points(100, reach=0.9)
    with torch.no_grad():
        before = net(at)
        net.feature_grids.mul_(-2)
        changed = net(at)
        net.use_backend("torch")
        torch.testing.assert_close(changed, net(at), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(before, changed)
        net.use_backend("native")
        net.load_state_dict({k: v * 0 for k, v in net.state_dict().items()})
        assert (net(at) == 0).all()


def test_a_copied_network_is_independent():
    net = network(NetworkConfig(grids=2, grid_shape=(4, 4, 4), width=16))
    net.use_backend("native")
    at = points(50, reach=0.9)
    with torch.no_grad():
        before = net(at)
        other = copy.deepcopy(net)
        other.feature_grids.zero_()
        assert (other(at) == 0).all()
        assert torch.equal(net(at), before)


def test_a_model_is_the_same_field_with_every_backend():
    index = small_index(components=("u", "v"))
    state = small_brick(index, seed=3, mask=True)
    native, reference = (
        NeuralVolume(index, [state], device="cpu", backend=name) for name in ("native", "torch")
    )
    assert (native.backend, reference.backend) == ("native", "torch")
    assert NeuralVolume(index, [state], device="cpu").backend == "native"
    a, b = native.reconstruct_block(), reference.reconstruct_block()
    assert (a.valid == b.valid).all()
    np.testing.assert_allclose(a.values, b.values, atol=1e-4, rtol=1e-5)
