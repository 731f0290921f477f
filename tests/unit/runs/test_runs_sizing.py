"""Networks follow the complexity of their bricks, together no larger than equal ones."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from amgsrn_core import NeuralVolume, volume_from_array
from amgsrn_core.config import BrickConfig, DispatchConfig, NetworkConfig, TrainingConfig
from amgsrn_core.errors import ArchiveError, ConfigurationError
from amgsrn_core.model import read_index
from amgsrn_core.runs import train, train_series
from amgsrn_core.runs.sizing import measure_brick, networks_for
from amgsrn_core.volume.partition import partition

NETWORK = NetworkConfig(grids=4, grid_shape=(6, 6, 6), layers=1, width=16)


def uneven(n: int = 24) -> np.ndarray:
    """Return a field whose lower half is calm but not constant, and whose upper half is not."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n)] * 3, indexing="ij")
    waves = np.sin(14 * x + 3 * z) * np.cos(11 * y) * np.sin(9 * z)
    return (0.01 * x + waves * (z > 0)).astype(np.float32)


@pytest.mark.parametrize("spread", [1.0, 1e3, 1e9])
def test_the_budget_of_equal_networks_is_held_and_used(spread: float) -> None:
    changes = [np.array([value]) for value in np.geomspace(1.0, spread, 20)] + [np.zeros(1)] * 7
    networks = networks_for(NETWORK, changes)
    nodes = [math.prod(network.grid_shape) for network in networks]
    assert sum(nodes[:20]) <= 20 * 216
    assert sum(nodes[:20]) > 0.7 * 20 * 216
    assert nodes[:20] == sorted(nodes[:20]) and set(nodes[20:]) == {8}
    assert all(dataclasses.replace(n, grid_shape=(6, 6, 6)) == NETWORK for n in networks)


def test_components_count_by_their_share_whatever_their_units() -> None:
    one = networks_for(NETWORK, [np.array([1.0, 5.0]), np.array([99.0, 95.0])])
    other = networks_for(NETWORK, [np.array([1e12, 5.0]), np.array([99e12, 95.0])])
    assert one == other and one[0].grid_shape < one[1].grid_shape


def test_a_sample_stands_for_a_large_brick() -> None:
    values = np.random.default_rng(0).random((20, 90, 140)).astype(np.float32)
    (brick,) = partition(values.shape, (1, 1, 1), 0)
    measured = measure_brick(volume_from_array(values), brick)
    whole = sum((np.diff(values.astype(float), axis=axis) ** 2).sum() for axis in range(3))
    assert measured == pytest.approx(whole, rel=0.05)


def test_missing_values_do_not_count() -> None:
    values = np.ones((8, 8, 8), dtype=np.float32)
    values[4] = np.nan
    (brick,) = partition(values.shape, (1, 1, 1), 0)
    assert measure_brick(volume_from_array(values), brick) == 0


def test_a_hash_grid_has_nothing_to_share_out() -> None:
    network = dataclasses.replace(NETWORK, encoder="hash")
    with pytest.raises(ConfigurationError, match="sizes equal"):
        networks_for(network, [np.ones(1)])


def test_the_model_is_better_and_no_larger(tmp_path) -> None:
    volume = volume_from_array(uneven())
    found = {}
    for sizes in ("equal", "complexity"):
        path = tmp_path / f"{sizes}.amgsrn"
        train(
            volume,
            path,
            NETWORK,
            TrainingConfig(iterations=150, batch=1024, device="cpu"),
            None,
            BrickConfig((2, 1, 2), ghost=1, sizes=sizes),
            DispatchConfig(workers=1),
        )
        model = NeuralVolume.open(path, device="cpu", verify=True)
        error = np.abs(model.reconstruct_block().values[0] - uneven())
        found[sizes] = (path.stat().st_size, model.n_parameters, float((error**2).mean()))
    (bytes_equal, numbers_equal, error_equal), (size, numbers, error) = found.values()
    assert size <= 1.01 * bytes_equal and numbers <= numbers_equal
    assert error < 0.8 * error_equal
    index = read_index(tmp_path / "complexity.amgsrn")
    calm, lively = (index.network_of(index.bricks[i]).grid_shape for i in (0, 2))
    assert calm < NETWORK.grid_shape < lively

    # Networks of several shapes are evaluated together as one by one.
    model = NeuralVolume.open(tmp_path / "complexity.amgsrn", device="cpu")
    reference = NeuralVolume.open(tmp_path / "complexity.amgsrn", device="cpu", backend="torch")
    points = np.random.default_rng(1).random((300, 3)) * 23
    np.testing.assert_allclose(
        model.sample_index(points), reference.sample_index(points), atol=1e-5
    )


def test_a_brick_differs_in_its_nodes_only(tmp_path) -> None:
    volume = volume_from_array(uneven(8))
    path = tmp_path / "m.amgsrn"
    training = TrainingConfig(iterations=1, batch=64, device="cpu")
    train(volume, path, NETWORK, training)
    index = read_index(path)
    other = dataclasses.replace(index.bricks[0], network=dataclasses.replace(NETWORK, width=8))
    with pytest.raises(ArchiveError, match="more than its 'grid_shape'"):
        index.replace(bricks=(other,))


def test_the_sizes_of_a_series_are_those_of_its_first_step(tmp_path) -> None:
    steps = [volume_from_array(uneven() * (1 + step), name="v") for step in range(2)]
    train_series(
        steps,
        tmp_path / "m.amgsrn",
        NETWORK,
        TrainingConfig(iterations=20, batch=512, device="cpu"),
        bricks=BrickConfig(bricks=(2, 1, 1), sizes="complexity"),
        dispatch=DispatchConfig(workers=1),
    )
    index = read_index(tmp_path / "m.amgsrn")
    first, second = ([b.network for b in index.at(step).bricks] for step in range(2))
    assert first == second and first[0] != first[1]
