"""A model is one field in world coordinates, with the data's axes, mask and bricks."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from support.sample_models import small_brick, small_index, write_small_model

from amgsrn_core import NeuralVolume
from amgsrn_core.errors import ArchiveError, ArchiveNotFoundError, ConfigurationError, VolumeError
from amgsrn_core.field.blended_field import BlendedField
from amgsrn_core.model import BrickRecord, read_index
from amgsrn_core.networks import network_from_state
from amgsrn_core.volume import Axis, GridGeometry
from amgsrn_core.volume.preview import even_geometry

UNEVEN = GridGeometry(
    (
        Axis("depth", np.array([-400.0, -150.0, -50.0, -20.0, -5.0, 0.0]), negated=True),
        Axis.uniform("latitude", 7, -30.0, 10.0),
        Axis("x", np.array([0, 1, 3, 4, 8, 9, 20, 21.5])),
    )
)
TURNED = GridGeometry(
    UNEVEN.axes, np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ np.diag([1, 1, -1])
)


def field_of(model: NeuralVolume, state: dict[str, np.ndarray]):
    """Return the network itself, from local points [N, 3] to values [N, C]."""
    index = model.index
    network = network_from_state(
        index.network, state, torch.tensor(index.value_minimum), torch.tensor(index.value_maximum)
    )

    def evaluate(local: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network(torch.tensor(local, dtype=torch.float32)).numpy()

    return evaluate


def made(geometry: GridGeometry | None = None, mask: bool = False, components=("density",)):
    index = small_index(geometry=geometry, components=components)
    state = small_brick(index, seed=3, mask=mask)
    return NeuralVolume(index, [state], device="cpu"), state


def local_samples(dims) -> np.ndarray:
    """Return the samples of a grid in local coordinates, z slowest, columns x, y, z."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in dims], indexing="ij")
    return np.stack([x, y, z], axis=-1).reshape(-1, 3)


@pytest.mark.parametrize("geometry", [None, UNEVEN, TURNED], ids=["even", "uneven", "turned"])
def test_the_networks_corners_are_the_first_and_last_samples(geometry):
    model, state = made(geometry, components=("u", "v"))
    block = model.reconstruct_block()
    expected = field_of(model, state)(local_samples((6, 7, 8))).T.reshape(2, 6, 7, 8)
    np.testing.assert_allclose(block.values, expected, atol=1e-4)
    assert np.ptp(expected) > 0.5
    assert block.values.dtype == np.float32
    assert block.valid is None


@pytest.mark.parametrize("geometry", [None, UNEVEN, TURNED], ids=["even", "uneven", "turned"])
def test_points_slabs_and_blocks_are_the_same_field(geometry):
    model, _ = made(geometry, mask=True)
    whole = model.reconstruct_block()
    points = local_samples((6, 7, 8))
    sampled = model.sample(model.geometry.local_to_world(points))[:, 0].reshape(6, 7, 8)
    np.testing.assert_array_equal(np.isnan(sampled), ~whole.valid)
    np.testing.assert_allclose(sampled[whole.valid], whole.values[0][whole.valid], atol=1e-3)
    slabs = list(model.reconstruct(max_bytes=2 * 7 * 8 * 4))
    assert [extent[0] for extent, _ in slabs] == [slice(0, 2), slice(2, 4), slice(4, 6)]
    np.testing.assert_array_equal(
        np.concatenate([block.values for _, block in slabs], axis=1), whole.values
    )


def test_between_uneven_samples_the_field_goes_by_index():
    model, state = made(UNEVEN)
    middle_of_cells = np.array([[14.25, 5.0, -275.0]])  # x cell 5-6 at 9..20 goes 5.25 up
    local = np.array([[-1 + 2 * (5 + 5.25 / 11) / 7, -1 + 2 * 3.5 / 6, -1 + 2 * 0.5 / 5]])
    np.testing.assert_allclose(
        model.sample(middle_of_cells), field_of(model, state)(local), atol=1e-5
    )


def test_masked_voxels_come_back_missing():
    model, state = made(mask=True)
    np.testing.assert_array_equal(model.reconstruct_block().valid, state["mask"])
    missing = np.isnan(model.reconstruct_block().values[0])
    np.testing.assert_array_equal(missing, ~state["mask"])


def test_a_point_is_missing_when_its_nearest_voxel_is():
    index = small_index()
    state = small_brick(index)
    state["mask"] = np.ones(index.dims, bool)
    state["mask"][2, 3, 4] = False
    model = NeuralVolume(index, [state], device="cpu")
    offsets = np.array([[0.4, 0, 0], [-0.4, 0.4, 0], [0.6, 0, 0], [0, -0.6, 0], [0, 0, 0.6]])
    values = model.sample_index(np.array([[4.0, 3.0, 2.0]]) + offsets)
    assert np.isnan(values[:, 0]).tolist() == [True, True, False, False, False]


def test_outside_there_is_no_value():
    model, _ = made()
    points = np.array([[0, 0, 0], [7, 6, 5], [7.1, 0, 0], [0, -0.1, 0], [np.nan, 0, 0], [1e30] * 3])
    assert np.isnan(model.sample(points)[:, 0]).tolist() == [False, False, True, True, True, True]


@pytest.mark.parametrize("geometry", [None, UNEVEN, TURNED], ids=["even", "uneven", "turned"])
def test_points_may_lie_in_memory_in_any_order(geometry):
    model, _ = made(geometry)
    index = local_samples((3, 4, 5)) + 2.5
    for points in (index, model.geometry.index_to_world(index)):
        sample = model.sample_index if points is index else model.sample
        for other in (np.asfortranarray(points), np.repeat(points, 2, axis=0)[::2]):
            np.testing.assert_array_equal(sample(other), sample(points))


def test_rounding_does_not_push_the_face_outside():
    origin, spacing = 1234.567, 0.0123
    geometry = GridGeometry.uniform((6, 7, 8), (origin,) * 3, (spacing,) * 3)
    model, _ = made(geometry)
    corner = np.array([[origin + 7 * spacing, origin + 6 * spacing, origin + 5 * spacing]])
    assert np.isfinite(model.sample(corner * (1 + 1e-12))).all()
    assert np.isfinite(model.sample(geometry.index_to_world(np.array([[7.0, 6, 5]])))).all()


def test_any_resolution_and_region():
    model, _ = made(UNEVEN)
    fine = UNEVEN.resampled((11, 13, 15))
    np.testing.assert_allclose(
        model.reconstruct_block(fine).values[:, ::2, ::2, ::2],
        model.reconstruct_block().values,
        atol=1e-4,
    )
    part = (slice(2, 5), slice(1, 4), slice(3, 9))
    np.testing.assert_array_equal(
        model.reconstruct_block(fine, part).values,
        model.reconstruct_block(fine).values[(slice(None), *part)],
    )


def test_a_grid_that_reaches_beyond_the_volume_is_missing_there():
    model, _ = made()
    larger = GridGeometry.uniform((6, 7, 10), origin=(-1, 0, 0))
    block = model.reconstruct_block(larger)
    assert not block.valid[:, :, 0].any()
    assert not block.valid[:, :, 9].any()
    np.testing.assert_array_equal(block.values[..., 1:9], model.reconstruct_block().values)


def test_with_one_ghost_cell_each_brick_answers_alone_for_its_own_voxels():
    z, y = slice(0, 6), slice(0, 7)
    records = (
        BrickRecord((z, y, slice(0, 4)), (z, y, slice(0, 5))),
        BrickRecord((z, slice(0, 3), slice(4, 8)), (z, slice(0, 4), slice(3, 8))),
        BrickRecord((z, slice(3, 7), slice(4, 8)), (z, slice(2, 7), slice(3, 8))),
    )
    index = small_index().replace(bricks=records)
    states = [small_brick(index, seed) for seed in (1, 2, 3)]
    whole = NeuralVolume(index, states, device="cpu").reconstruct_block().values[0]
    for record, state in zip(records, states):
        alone = field_of(NeuralVolume(index, states), state)(local_samples(record.ghosted_dims))
        alone = alone[:, 0].reshape(record.ghosted_dims)
        inner = tuple(
            slice(e.start - g.start, e.stop - g.start)
            for e, g in zip(record.extent, record.ghosted)
        )
        np.testing.assert_allclose(whole[record.extent], alone[inner], atol=1e-5)


def test_the_preview_is_even_in_the_world_and_small():
    model, _ = made(UNEVEN)
    geometry, block = model.decoded_preview(max_points=100)
    assert geometry.is_uniform
    assert geometry.n_points <= 100
    assert block.values.shape[1:] == geometry.dims
    np.testing.assert_allclose(geometry.bounds, UNEVEN.bounds)
    assert block.valid is None


def test_a_preview_keeps_the_direction():
    geometry = even_geometry(TURNED, (3, 4, 5))
    np.testing.assert_allclose(geometry.bounds, TURNED.bounds)
    np.testing.assert_array_equal(geometry.direction, TURNED.direction)


def test_results_do_not_depend_on_batches(monkeypatch):
    model, _ = made(UNEVEN, mask=True)
    whole = model.reconstruct_block().values
    monkeypatch.setattr(BlendedField, "batch", 17)
    np.testing.assert_allclose(model.reconstruct_block().values, whole, atol=1e-5)


def test_density_follows_the_grids():
    index = small_index()
    state = small_brick(index)
    state["transforms"][0] *= 2  # covers the middle half, twice as dense along each axis
    density = NeuralVolume(index, [state], device="cpu").density_block()
    unit = 1 / (2 * math.pi) ** 1.5
    assert density.values[0, 3, 3, 4] == pytest.approx(9 * unit, rel=1e-3)
    assert density.values[0, 3, 1, 1] == pytest.approx(1 * unit, rel=0.1)
    assert density.valid is None


def test_feature_grids_have_places_in_the_world():
    index = small_index(geometry=GridGeometry.uniform((6, 7, 8), (100, 0, 0), (2, 1, 1)))
    state = small_brick(index)
    state["transforms"][0, 0, :] = [2, 0, 0, 1]  # x: -1..1 of the grid is -1..0 of the brick
    state["transforms"][1] = 0
    corners = NeuralVolume(index, [state], device="cpu").feature_corners()
    assert corners.shape == (1, 2, 8, 3)
    np.testing.assert_allclose(corners[0, 0, 0], [100, 0, 0])
    np.testing.assert_allclose(corners[0, 0, 1], [107, 0, 0])
    np.testing.assert_allclose(corners[0, 0, 7], [107, 6, 5])
    assert np.isnan(corners[0, 1]).all()


def test_parameters_are_counted():
    model, state = made()
    assert model.n_parameters == sum(
        tensor.size for name, tensor in state.items() if name != "history"
    )


def test_opening_reads_everything_that_is_needed(tmp_path):
    path = tmp_path / "model.amgsrn"
    written = write_small_model(path, mask=True, components=("u", "v"))
    model = NeuralVolume.open(path, device="cpu", verify=True)
    before = model.reconstruct_block().values
    path.unlink()
    np.testing.assert_array_equal(model.reconstruct_block().values, before)
    assert (model.name, model.components, model.units) == ("density", ("u", "v"), ("K", "K"))
    assert model.index.to_json() == written.to_json()
    assert len(model.checksum) == 64
    with pytest.raises(ArchiveNotFoundError, match=r"model\.amgsrn"):
        NeuralVolume.open(path)


def test_opening_a_foreign_file_is_an_archive_error(tmp_path):
    path = tmp_path / "model.amgsrn"
    path.write_text("hello")
    with pytest.raises(ArchiveError, match="not a model file"):
        NeuralVolume.open(path)


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta0"])
def test_an_unknown_device_is_named(tmp_path, device):
    path = tmp_path / "model.amgsrn"
    write_small_model(path)
    with pytest.raises(ConfigurationError, match=device):
        NeuralVolume.open(path, device=device)


def test_points_of_another_shape_are_refused():
    model, _ = made()
    for points in (np.zeros(4), np.zeros((2, 2))):
        with pytest.raises(VolumeError, match=r"\[N, 3\]"):
            model.sample(points)
    assert model.sample(np.zeros((0, 3))).shape == (0, 1)


def test_float16_storage_changes_little(tmp_path):
    values = []
    for dtype in ("float32", "float16"):
        path = tmp_path / f"{dtype}.amgsrn"
        write_small_model(path, dtype=dtype)
        assert read_index(path).storage.dtype == dtype
        values.append(NeuralVolume.open(path, "cpu").reconstruct_block().values)
    np.testing.assert_allclose(values[1], values[0], atol=0.05)
    assert dataclasses.is_dataclass(read_index(path))
