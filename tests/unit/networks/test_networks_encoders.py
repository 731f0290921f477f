"""Dense and hash encoders: the formulas, node by node, and the same training as adaptive grids."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from support.operators import Operators
from support.sample_models import small_index

from amgsrn_core import NeuralVolume
from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.kernels.backend import backend_name
from amgsrn_core.model import BrickRecord, parameter_shapes
from amgsrn_core.model.shapes import levels_of
from amgsrn_core.networks import SceneNetwork, encode, network_from_state
from amgsrn_core.rendering import RenderSettings, TransferFunction, make_marcher
from amgsrn_core.rendering.field import NeuralField
from amgsrn_core.runs import train
from amgsrn_core.volume import volume_from_array

DENSE = NetworkConfig(encoder="dense", grid_shape=(3, 4, 5), positional_terms=2, width=16)
HASH = NetworkConfig(
    encoder="hash", grids=5, hash_log2_size=10, hash_base_resolution=5, hash_max_resolution=40
)


def random_network(config: NetworkConfig) -> SceneNetwork:
    torch.manual_seed(0)
    network = SceneNetwork(config, torch.zeros(1), torch.ones(1))
    with torch.no_grad():
        network.feature_grids.normal_()
    return network


def random_points(count: int = 200) -> torch.Tensor:
    points = torch.rand(count, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    points[:8] = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)))
    return points


def naive_hash(point: np.ndarray, tables: np.ndarray, config: NetworkConfig) -> list[float]:
    """The published scheme for one point, with plain integers."""
    growth = np.float32(
        (config.hash_max_resolution / config.hash_base_resolution) ** (1 / (config.grids - 1))
    )
    features, first = [], 0
    for level in range(config.grids):
        scale = np.float32(2) ** (np.float32(level) * np.log2(growth))
        scale = scale * config.hash_base_resolution - 1
        nodes = math.ceil(scale) + 1
        size = min((nodes**3 + 7) // 8 * 8, 2**config.hash_log2_size)
        position = (point + 1) / 2 * scale + 0.5
        base = np.floor(position).astype(int)
        total = np.zeros(config.features)
        for corner in itertools.product((0, 1), repeat=3):
            x, y, z = (int(n) for n in base + corner)
            weight = np.prod(1 - np.abs(position - (x, y, z)))
            if nodes**3 <= size:
                entry = x + nodes * y + nodes**2 * z
            else:
                entry = x ^ (y * 2654435761 % 2**32) ^ (z * 805459861 % 2**32)
            total += weight * tables[first + entry % size]
        features += total.tolist()
        first += size
    assert first == len(tables)
    return features


def test_a_hash_grid_follows_the_published_scheme():
    network = random_network(HASH)
    levels = levels_of(HASH)
    assert [bool(level.strides) for level in levels] == [True, True, False, False, False]
    points = random_points()
    features = network.encode(points, network.transforms).detach().numpy()
    tables = network.feature_grids.detach().double().numpy()
    expected = [naive_hash(point, tables, HASH) for point in points.double().numpy()]
    assert np.abs(features - np.array(expected)).max() < 1e-4


def test_instant_ngps_levels_have_the_published_sizes():
    # Of the paper's defaults: 16 levels from 16 to 2048 nodes, tables of at most 2^19 entries.
    levels = levels_of(NetworkConfig(encoder="hash", hash_max_resolution=2048))
    assert levels[0].entries == 16**3 and levels[-1].entries == 2**19
    assert levels[0].scale == 15.0 and abs(levels[-1].scale - 2047) < 0.01
    assert [level.first for level in levels[:2]] == [0, 16**3]


def test_a_dense_grid_has_positional_terms_before_its_features():
    network = random_network(DENSE)
    points = random_points()
    inputs = network.encode(points, network.transforms).detach()
    assert inputs.shape[1] == DENSE.inputs == 6 * 2 + 2
    x, y, z = points.T
    pi = math.pi
    expected = [torch.sin(pi * x), torch.sin(pi * y), torch.sin(pi * z)]
    expected += [torch.cos(pi * x), torch.cos(pi * y), torch.cos(pi * z)]
    expected += [torch.sin(2 * pi * x), torch.sin(2 * pi * y), torch.sin(2 * pi * z)]
    assert torch.allclose(inputs[:, :9], torch.stack(expected, 1), atol=1e-5)
    identity = torch.eye(3, 4)[None]
    assert torch.equal(inputs[:, 12:], encode(points, network.feature_grids, identity).detach())


@pytest.mark.parametrize("config", [DENSE, HASH, NetworkConfig()], ids=lambda c: c.encoder)
def test_networks_have_the_parameters_that_an_archive_expects(config):
    network = SceneNetwork(config, torch.zeros(3), torch.ones(3))
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes == parameter_shapes(config, 3)


@pytest.mark.parametrize("config", [DENSE, HASH], ids=lambda c: c.encoder)
def test_the_kernels_decline_and_pytorch_computes(config):
    network = random_network(config)
    network.use_backend("auto")
    points = random_points()
    with torch.no_grad():
        values = network(points)
    network.use_backend("torch")
    assert torch.equal(values, network(points))
    assert backend_name("cpu", "auto", config.encoder) == "torch"
    with pytest.raises(ConfigurationError, match=config.encoder):
        network.use_backend("native")


@pytest.mark.parametrize(("encoder", "motion"), [("dense", "gradient"), ("hash", "density")])
def test_both_are_trained_like_adaptive_grids(encoder, motion, tmp_path):
    z, y, x = np.meshgrid(*[np.linspace(0, 3, n) for n in (12, 14, 16)], indexing="ij")
    values = (np.sin(2 * x) * np.cos(y) + z)[None].astype("f4")
    network = NetworkConfig(
        encoder=encoder,
        grids=4,
        grid_shape=(8, 8, 8),
        hash_base_resolution=4,
        hash_max_resolution=16,
        width=16,
    )
    training = TrainingConfig(iterations=250, batch=512, motion=motion, device="cpu")
    volume = volume_from_array(values)
    outcome = train(volume, tmp_path / "m.amgsrn", network, training)
    assert outcome.psnr > 24
    model = NeuralVolume.open(tmp_path / "m.amgsrn", "cpu")
    decoded = model.reconstruct_block().values
    assert 20 * np.log10(np.ptp(values) / np.sqrt(((decoded - values) ** 2).mean())) > 23
    # Their only map stays what it is.
    (corners,) = model.feature_corners()
    assert np.allclose(corners[0].max(0), [15, 13, 11]) and np.allclose(corners[0].min(0), 0)
    assert np.isfinite(model.density_block().values).all()


@pytest.mark.parametrize("config", [DENSE, HASH], ids=lambda c: c.encoder)
def test_bricks_are_evaluated_with_any_encoder(config):
    y, x = slice(0, 7), slice(0, 8)
    bricks = tuple(
        BrickRecord((slice(*own), y, x), (slice(*trained), y, x))
        for own, trained in (((0, 3), (0, 5)), ((3, 6), (1, 6)))
    )
    index = small_index(network=config).replace(bricks=bricks)
    states = [random_network(config).state_arrays(), random_network(config).state_arrays()]
    states[1]["decoder.0.weight"] *= 0.5
    points = np.random.default_rng(0).uniform(0, 1, (30, 3)) * (7, 6, 5)
    points[:, 2] = np.where(points[:, 2] < 2.5, points[:, 2] / 2.6, 4.5)  # beyond the overlap
    values = NeuralVolume(index, states).sample_index(points)
    for own, state, start in (
        (points[:, 2] < 2.5, states[0], 0),
        (points[:, 2] > 2.5, states[1], 1),
    ):
        network = network_from_state(config, state, torch.zeros(1), torch.tensor([10.0]))
        local = (points[own] - (0, 0, start)) * (2 / 7, 2 / 6, 2 / 4) - 1
        with torch.no_grad():
            expected = network(torch.from_numpy(local.astype("f4"))).numpy()
        assert own.sum() > 5
        assert np.allclose(values[own], expected, atol=1e-3)


@pytest.mark.parametrize("config", [DENSE, HASH], ids=lambda c: c.encoder)
def test_gradients_are_slopes(config):
    network = random_network(config).double()
    points = random_points(300)[8:].double() * 0.99
    values, gradients = network.with_gradient(points)
    assert torch.equal(values, network(points).detach())
    step = 1e-7
    slopes = [
        (network(points + step * axis) - network(points - step * axis)) / (2 * step)
        for axis in torch.eye(3, dtype=torch.float64)
    ]
    difference = (gradients - torch.stack(slopes, 2).detach()).abs().amax((1, 2))
    # A few points lie on the face of a cell.
    assert torch.quantile(difference, 0.97) < 1e-4 * gradients.abs().max()


@pytest.mark.parametrize("config", [DENSE, HASH], ids=lambda c: c.encoder)
def test_any_encoder_is_rendered_as_its_samples(config):
    index = small_index(network=config)
    model = NeuralVolume(index, [random_network(config).state_arrays()])
    field = NeuralField(model)
    points = np.random.default_rng(0).uniform(0, 5, (50, 3))
    values = field.values(torch.from_numpy(points).float())
    assert np.allclose(values.numpy(), model.sample(points), atol=1e-2)
    transfer = TransferFunction(0.0, 10.0, np.ones((2, 4), np.float32))
    marcher = make_marcher(model, transfer, RenderSettings())
    assert marcher.backend == "blocks"  # the kernels have no such encoder


def test_a_hash_grid_is_looked_up_once_and_has_one_gradient():
    network, points = random_network(HASH), random_points()
    with Operators() as operators:
        network.encode(points, network.transforms).square().mean().backward()
    found = operators.count
    assert found["aten::index_select"] == 1 and found["aten::index_add"] == 1
    # A dense gradient for every level would be as many zeroed tables.
    assert operators.outputs_of_size(network.feature_grids.numel()) <= 2


def test_hash_tables_have_the_gradients_of_their_corners():
    network = random_network(HASH).double()
    points = random_points(60).double()
    weights = torch.rand(60, HASH.inputs, dtype=torch.float64)
    (network.encode(points, network.transforms) * weights).sum().backward()
    tables = network.feature_grids.detach().numpy()
    rng = np.random.default_rng(0)
    for entry in rng.choice(np.flatnonzero(network.feature_grids.grad.abs().sum(1)), 5):
        changed = tables.copy()
        changed[entry, 0] += 1.0
        slope = sum(
            w @ (np.array(naive_hash(p, changed, HASH)) - naive_hash(p, tables, HASH))
            for p, w in zip(points.numpy(), weights.numpy())
        )
        assert network.feature_grids.grad[entry, 0] == pytest.approx(slope, rel=1e-4)


def test_many_points_are_encoded_in_parts_with_the_same_result(monkeypatch):
    network, points = random_network(HASH), random_points()
    whole = network.encode(points, network.transforms)
    for name in ("_POINTS", "_CACHED_POINTS"):
        monkeypatch.setattr(f"amgsrn_core.networks.encoders.{name}", 64)
    assert torch.equal(network.encode(points, network.transforms), whole)
    with torch.no_grad():
        assert torch.equal(network.encode(points, network.transforms), whole)
        assert network.encode(points[:0], network.transforms).shape == (0, HASH.inputs)
