"""Macro-cells bound the decoded field, and only where there is something to be seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.rendering_cases import models
from support.sample_models import small_brick, small_index

from amgsrn_core import NetworkConfig, NeuralVolume, TrainingConfig, train, volume_from_array
from amgsrn_core.errors import ArchiveError
from amgsrn_core.field.macro_cells import macro_cells, network_cells
from amgsrn_core.model import BrickRecord, load_brick, write_archive
from amgsrn_core.model.cell_codes import cell_shape, decode_table, encode_cells
from amgsrn_core.rendering import TransferFunction
from amgsrn_core.rendering.occupancy import MacroCells


def check_bounds(volume: NeuralVolume, count: int = 100_000, least_use: float = 0.0) -> None:
    """Random points' values lie within the bounds of their cell, which are not absurdly wide."""
    cells = MacroCells.of_volume(volume)
    last = np.array(volume.geometry.dims[::-1]) - 1.0
    points = np.random.default_rng(0).random((count, 3)) * last
    points[: count // 10] = np.round(points[: count // 10] * 4) / 4  # borders of cells and bricks
    values = volume.sample_index(points)
    known = ~np.isnan(values[:, 0])
    x, y, z = (
        np.minimum(points // cells.edge, np.array(cells.minima.shape[:0:-1]) - 1).astype(int).T
    )
    values = np.concatenate([values, np.linalg.norm(values, axis=1)[:, None]], axis=1)
    assert known.any()
    for number, value in enumerate(values.T):
        low, high = cells.minima[number][z, y, x], cells.maxima[number][z, y, x]
        assert (low[known] <= value[known]).all()
        assert (high[known] >= value[known]).all()
    if not least_use:
        return
    widths = cells.maxima[0] - cells.minima[0]
    finite = np.isfinite(widths)
    lowest, highest = np.full(widths.shape, np.inf), np.full(widths.shape, -np.inf)
    np.minimum.at(lowest, (z[known], y[known], x[known]), values[known, 0])
    np.maximum.at(highest, (z[known], y[known], x[known]), values[known, 0])
    used = (highest - lowest)[finite] / widths[finite]
    assert np.median(used) > least_use


@pytest.mark.parametrize("kind", ["plain", "uneven", "masked", "vectors", "bricks"])
def test_random_networks_stay_within_their_bounds(tmp_path, kind):
    check_bounds(models(tmp_path)[kind])


def test_bricks_with_domains_stay_within_their_bounds(tmp_path):
    whole = models(tmp_path)["bricks"]
    cuts = (0.0, 3.3, 9.0)
    bricks = tuple(
        replace(brick, domain=((0.0, 8.0), (0.0, 7.0), pair))
        for brick, pair in zip(whole.index.bricks, zip(cuts, cuts[1:]))
    )
    states = [small_brick(whole.index, seed) for seed in range(2)]
    check_bounds(NeuralVolume(whole.index.replace(bricks=bricks), states))
    assert cell_shape(bricks[0], whole.index.dims) == (2, 2, 1)


@pytest.mark.parametrize("seed", range(3))
def test_networks_with_more_details_than_voxels_stay_within_their_bounds(tmp_path, seed):
    network = NetworkConfig(grids=4, features=2, grid_shape=(24, 24, 24), layers=2, width=32)
    index = small_index((20, 23, 26), network=network)
    brick = small_brick(index, seed)
    brick["transforms"] *= np.random.default_rng(seed).uniform(0.8, 1.6, (4, 1, 1)).astype("f4")
    write_archive(tmp_path / "m.amgsrn", index, [brick])
    check_bounds(NeuralVolume.open(tmp_path / "m.amgsrn", "cpu"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "wave.amgsrn"
    z, y, x = np.meshgrid(*(np.linspace(0, 3, n) for n in (33, 36, 40)), indexing="ij")
    wave = np.sin(4 * x) * np.cos(3 * y + z) + (np.hypot(x - 1.5, y - 1.5) < 0.8)
    network = NetworkConfig(grids=8, features=2, grid_shape=(12, 12, 12), layers=2, width=32)
    training = TrainingConfig(iterations=60, batch=2048, device="cpu")
    train(volume_from_array(wave.astype("f4")), path, network=network, training=training)
    return path


def test_training_stores_them(trained):
    volume = NeuralVolume.open(trained, "cpu")
    record = volume.index.bricks[0]
    stored = load_brick(trained, 0)["macro_cells"]
    assert stored.shape == (2, 1, 8, 9, 10)
    (brick,) = volume.bricks()
    index = volume.index
    again = network_cells(brick.evaluator, record, index.dims)
    assert np.array_equal(stored, again)
    check_bounds(volume, least_use=0.4)


def test_those_of_a_hasty_training_bound_the_field_as_well(trained, tmp_path, monkeypatch):
    index, state = NeuralVolume.open(trained, "cpu").index, load_brick(trained, 0)
    (brick,) = NeuralVolume.open(trained, "cpu").bricks()
    points = []

    class Counted:
        minimum, maximum = brick.evaluator.minimum, brick.evaluator.maximum

        def values(self, local):
            points.append(len(local))
            return brick.evaluator.values(local)

    few = network_cells(Counted(), index.bricks[0], index.dims, hasty=True)
    assert np.array_equal(few, load_brick(trained, 0)["macro_cells"])
    points.clear()
    monkeypatch.setattr("amgsrn_core.field.macro_cells._HASTY_VOXELS", 1000)
    state["macro_cells"] = network_cells(Counted(), index.bricks[0], index.dims, hasty=True)
    assert sum(points) < 1.3 * np.prod(index.dims)
    write_archive(tmp_path / "hasty.amgsrn", index, [state])
    check_bounds(NeuralVolume.open(tmp_path / "hasty.amgsrn", "cpu"), least_use=0.25)


def test_a_file_without_them_gets_them_when_it_is_rendered(trained, tmp_path):
    volume = NeuralVolume.open(trained, "cpu")
    state = load_brick(trained, 0)
    del state["macro_cells"]
    write_archive(tmp_path / "old.amgsrn", volume.index, [state])
    old, new = (
        MacroCells.of_volume(v) for v in (NeuralVolume.open(tmp_path / "old.amgsrn", "cpu"), volume)
    )
    assert np.allclose(old.minima, new.minima, atol=0.02)
    assert MacroCells.of_volume(volume) is new


def test_a_lonely_spike_between_samples_is_covered():
    """A kink in the middle of two lattice points, where no sample sees its peak."""
    index = small_index((9, 9, 9))

    def tent(points):
        return np.maximum(0, 1 - np.abs(points[:, :1] - 4.25) * 2)

    codes = macro_cells(tent, index.bricks[0], index.dims)
    peak = decode_table()[1][codes[1]].max()
    assert peak >= 1.0


def test_values_far_from_the_range_are_unbounded_rather_than_wrong():
    codes = encode_cells(np.array([-9.0, 0.2, 1.0]), np.array([0.5, 9.0, 0.0]))
    low, high = (table[code] for table, code in zip(decode_table(), codes))
    assert low[0] == -np.inf and 0.5 <= high[0] < 0.51
    assert 0.19 < low[1] <= 0.2 and high[1] == np.inf
    assert low[2] > high[2]


def test_masked_cells_are_empty(tmp_path):
    index = small_index((17, 9, 9))
    brick = small_brick(index)
    brick["mask"] = np.ones((17, 9, 9), dtype=bool)
    brick["mask"][:12] = False
    write_archive(tmp_path / "m.amgsrn", index, [brick])
    cells = MacroCells.of_volume(NeuralVolume.open(tmp_path / "m.amgsrn", "cpu"))
    empty = (cells.minima > cells.maxima).all(axis=(0, 2, 3))
    # Voxel 12's region begins at 11.5, in the third layer of cells.
    assert empty.tolist() == [True, True, False, False]
    everything = TransferFunction(-1e9, 1e9, [[1, 1, 1, 1]] * 2)
    assert cells.occupied(everything).any(axis=(1, 2)).tolist() == [False, False, True, True]


def test_occupied_is_conservative_and_not_more(trained):
    volume = NeuralVolume.open(trained, "cpu")
    cells = MacroCells.of_volume(volume)
    points = np.random.default_rng(1).random((50_000, 3)) * (
        np.array(volume.geometry.dims[::-1]) - 1
    )
    values = volume.sample_index(points)[:, 0]
    x, y, z = (
        np.minimum(points // cells.edge, np.array(cells.minima.shape[:0:-1]) - 1).astype(int).T
    )
    high = float(np.quantile(values, 0.95))
    table = np.zeros((64, 4))
    table[50:, 3] = 0.5
    transfer = TransferFunction(float(values.min()), high, table)
    visible = transfer(values)[:, 3] > 0
    occupied = cells.occupied(transfer)
    assert visible.any()
    assert occupied[z, y, x][visible].all()
    assert not occupied.all()
    assert not cells.occupied(TransferFunction(0, 1, [[1, 1, 1, 0]] * 2)).any()


def test_a_transfer_function_shows_what_it_interpolates():
    transfer = TransferFunction(0, 4, [[0, 0, 0, a] for a in (0, 0, 1, 0, 0)])
    low = np.array([0.0, 0.0, 1.2, 1.6, 3.0, 3.1, -9.0, 5.0])
    high = np.array([0.9, 1.1, 1.3, 9.9, 3.0, 9.9, -8.0, 4.0])
    shown = [False, True, True, True, False, False, False, False]
    assert transfer.shows(low, high).tolist() == shown


def test_cells_of_the_wrong_size_are_refused(tmp_path):
    index = small_index()
    brick = {**small_brick(index), "macro_cells": np.zeros((2, 1, 1, 1, 1), dtype=np.uint8)}
    with pytest.raises(ArchiveError, match="macro-cells"):
        write_archive(tmp_path / "m.amgsrn", index, [brick])


def test_large_bricks_have_larger_cells():
    whole = (slice(0, 300), slice(0, 20), slice(0, 129))
    assert cell_shape(BrickRecord(whole, whole), (300, 20, 129)) == (19, 2, 8)


def test_volumes_from_arrays_get_them_too(tmp_path):
    values = np.random.default_rng(0).normal(size=(9, 10, 11)).astype("f4")
    network = NetworkConfig(grids=2, grid_shape=(4, 4, 4), width=8)
    training = TrainingConfig(iterations=5, batch=256, device="cpu", backend="torch")
    train(volume_from_array(values), tmp_path / "m.amgsrn", network=network, training=training)
    assert load_brick(tmp_path / "m.amgsrn", 0)["macro_cells"].shape == (2, 1, 2, 3, 3)
