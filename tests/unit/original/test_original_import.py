"""Imported models answer what the original code answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.original_models import (
    OPTIONS,
    adaptive_tensors,
    answer,
    decoder_tensors,
    ensemble_answer,
    grid_extents,
    successor_tensors,
    write_ensemble,
    write_original,
)
from support.paths import SHARED
from torch import cos, sin

from amgsrn_core import NeuralVolume
from amgsrn_core.cli import main
from amgsrn_core.config import ImportConfig, NetworkConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.model import parameter_shapes, verify_archive
from amgsrn_core.model.shapes import levels_of
from amgsrn_core.networks import network_from_state
from amgsrn_core.networks.encoders import hash_encode
from amgsrn_core.original import import_model
from amgsrn_core.original import imported as imported_file
from amgsrn_core.rendering.field import NeuralField
from amgsrn_core.volume import GridGeometry, open_volume, write_volume

REFERENCE = SHARED / "reference"

needs_reference = pytest.mark.skipif(
    not REFERENCE.exists(), reason="the original's trained models are not here"
)


def answers(name: str) -> dict[str, np.ndarray]:
    with np.load(REFERENCE / "upstream_outputs" / f"{name}.npz") as file:
        return dict(file)


def networks(folder: Path) -> list:
    """Return the networks of an imported folder, without any geometry."""
    index, bricks = import_model(folder)
    ranges = [index.value_range(brick) for brick in index.bricks]
    return [
        network_from_state(index.network, state, torch.tensor(low), torch.tensor(high))
        for state, (low, high) in zip(bricks, ranges)
    ]


def imported(folder: Path, output: Path, *more: str, backend: str = "torch") -> NeuralVolume:
    assert main(["import", str(folder), "-o", str(output), *more]) == 0
    verify_archive(output)
    return NeuralVolume.open(output, "cpu", backend=backend)


def index_points(model: NeuralVolume, coords: np.ndarray) -> np.ndarray:
    """Return points of the original's [-1, 1]^3 in index space."""
    return model.geometry.local_to_index(coords)


@needs_reference
@pytest.mark.parametrize("name", ["apm_s64_small", "fvsrn_s64"])
def test_outputs_are_the_originals(name, tmp_path):
    expected = answers(name)
    model = imported(REFERENCE / "upstream_models" / name, tmp_path / "m.amgsrn")
    values = model.sample_index(index_points(model, expected["coords"]))
    span = model.index.value_maximum[0] - model.index.value_minimum[0]
    assert np.abs(values - expected["output"]).max() < 1e-5 * span


@needs_reference
def test_density_and_gradient_are_the_originals():
    expected = answers("apm_s64_small")
    (network,) = networks(REFERENCE / "upstream_models" / "apm_s64_small")
    points = torch.tensor(expected["coords"], requires_grad=True)
    density = network.density(points).detach().numpy()
    assert np.abs(density - expected["feature_density"][:, 0]).max() < 1e-5
    network(points).sum().backward()
    difference = np.abs(points.grad.numpy() - expected["grad_at"])
    assert difference.max() < 1e-4 * np.abs(expected["grad_at"]).max()


@needs_reference
def test_each_brick_of_an_ensemble_answers_as_the_original():
    expected = answers("apm_ens221")
    points = torch.tensor(expected["coords"])
    for number, network in enumerate(networks(REFERENCE / "upstream_models" / "apm_ens221")):
        with torch.no_grad():
            values, density = network(points), network.density(points)
        span = float(network.maximum - network.minimum)
        answer = expected[f"sub{number}_output_at_local_coords"]
        assert np.abs(values.numpy() - answer).max() < 1e-5 * span
        answer = expected[f"sub{number}_feature_density_at_local_coords"][:, 0]
        assert np.abs(density.numpy() - answer).max() < 1e-5


@needs_reference
@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_an_ensemble_answers_as_the_original_everywhere(backend, tmp_path):
    expected = answers("apm_ens221")
    folder = REFERENCE / "upstream_models" / "apm_ens221"
    model = imported(folder, tmp_path / "m.amgsrn", backend=backend)
    points = index_points(model, expected["coords"])
    span = model.index.value_maximum[0] - model.index.value_minimum[0]
    for values in (
        model.sample(model.geometry.index_to_world(points)),
        drawn_values(model, points),
    ):
        assert np.abs(values - expected["output"]).max() < 1e-5 * span


@needs_reference
def test_a_blended_ensemble_answers_as_the_original_where_no_bricks_overlap(tmp_path):
    expected = answers("apm_ens221")
    folder = REFERENCE / "upstream_models" / "apm_ens221"
    model = imported(folder, tmp_path / "m.amgsrn", "--blend")
    points = index_points(model, expected["coords"])
    values = model.sample_index(points)
    span = model.index.value_maximum[0] - model.index.value_minimum[0]
    # Bricks share voxels 29 to 34 along z and y. There the original jumps and we blend.
    shared = ((points[:, 1:] > 29) & (points[:, 1:] < 34)).any(1)
    assert 0.1 < shared.mean() < 0.3
    difference = np.abs(values - expected["output"])[:, 0]
    assert difference[~shared].max() < 1e-5 * span
    assert 0.01 * span < difference[shared].max() < 0.1 * span


def drawn_values(model: NeuralVolume, points: np.ndarray) -> np.ndarray:
    """Evaluate the field as PyTorch's renderers see it."""
    return NeuralField.of_volume(model).values(torch.from_numpy(points)).numpy()


# 63 / 3 is a voxel; 10 / 3 and 7 * 2 / 3 are neither that nor half-way between two. Without ghost
# cells bricks of the last shape begin and end outside of what they have learned.
ENSEMBLES = {
    "a third of a cube": ((8, 9, 64), (1, 2, 3), 3, adaptive_tensors),
    "not a cube": ((11, 8, 6), (3, 3, 1), 1, successor_tensors),
    "no ghost cells": ((11, 8, 6), (3, 1, 2), 0, adaptive_tensors),
    "many bricks": ((24, 5, 6), (12, 1, 1), 1, adaptive_tensors),
}


@pytest.mark.parametrize("backend", ["torch", "auto"])
@pytest.mark.parametrize("shape, grid, ghost, tensors", ENSEMBLES.values(), ids=ENSEMBLES)
def test_any_ensemble_answers_as_the_originals_formula(
    shape, grid, ghost, backend, tensors, tmp_path
):
    folder = write_ensemble(tmp_path / "e", grid_extents(shape, grid, ghost), shape, tensors)
    model = imported(folder, tmp_path / "e.amgsrn", backend=backend)
    random = torch.Generator().manual_seed(3)
    points = torch.rand(1000, 3, generator=random, dtype=torch.float64) * 2 - 1
    # The faces, the middle where two bricks may meet, and all of their corners.
    points[:500] = torch.where(points[:500].abs() > 0.4, points[:500].sign(), points[:500])
    points[:500] = torch.where(points[:500].abs() < 0.1, 0.0, points[:500])
    points.requires_grad_()
    values, density = ensemble_answer(folder, points)
    slopes = torch.autograd.grad(values.sum(), points)[0].numpy() * 2 / (np.array(shape)[::-1] - 1)
    values, at = values.detach().numpy(), index_points(model, points.detach().numpy())
    span = np.ptp(values)
    found, gradients = model.sample_with_gradient(at)
    for some in (found, model.sample(at), model.sample_index(at), drawn_values(model, at)):
        assert np.abs(some - values).max() < 1e-5 * span
    difference = np.abs(model._field.density(at)[:, 0] - density.detach().numpy())
    assert difference.max() < 1e-5 * np.ptp(density.detach().numpy())
    assert np.abs(gradients[:, 0] - slopes).max() < 1e-4 * np.abs(slopes).max()


@needs_reference
@pytest.mark.parametrize("blend", [False, True])
def test_an_imported_ensemble_is_cut_where_the_original_switches(blend):
    folder = REFERENCE / "upstream_models" / "apm_ens221"
    index, _ = import_model(folder, config=ImportConfig(blend=blend))
    assert index.dims == (64, 64, 64)
    assert [[(s.start, s.stop) for s in brick.extent] for brick in index.bricks] == [
        [z, y, (0, 64)] for z in ((0, 32), (32, 64)) for y in ((0, 32), (32, 64))
    ]
    second = index.bricks[1]
    assert second.ghosted == (slice(0, 35), slice(29, 64), slice(0, 64))
    assert second.domain == (None if blend else ((0.0, 31.5), (31.5, 63.0), (0.0, 63.0)))


def test_a_voxel_belongs_to_the_brick_that_answers_for_it(tmp_path):
    folder = write_ensemble(tmp_path / "e", grid_extents((11, 8, 6), (3, 1, 1), 1), (11, 8, 6))
    index, _ = import_model(folder)
    # The original trains the second brick for voxel 3, but switches to it at 10 / 3.
    assert [brick.extent[0] for brick in index.bricks] == [slice(0, 4), slice(4, 7), slice(7, 11)]


def test_a_volume_that_is_not_a_cube(tmp_path):
    tensors = adaptive_tensors(OPTIONS)
    model = imported(write_original(tmp_path / "a", tensors), tmp_path / "m.amgsrn")
    assert model.geometry.dims == (6, 7, 8)
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    values = model.sample_index(index_points(model, points.numpy()))
    expected, _ = answer(tensors, OPTIONS, points.double())
    assert np.abs(values - expected.numpy()).max() < 1e-5 * 8
    assert model.name == "wind" and model.index.source.bytes == 4 * 6 * 7 * 8


def test_names_units_and_places_come_from_the_volume(tmp_path):
    folder = write_original(tmp_path / "a", adaptive_tensors(OPTIONS))
    data = tmp_path / "wind.nc"
    geometry = GridGeometry.uniform((6, 7, 8), (10, 20, 30), (0.5, 0.25, 2))
    write_volume(data, np.zeros((1, 6, 7, 8)), geometry, components=("speed",), units="m/s")
    model = imported(folder, tmp_path / "m.amgsrn", "--volume", str(data))
    assert (model.name, model.units) == ("speed", ("m/s",))
    assert model.geometry == open_volume(data).geometry


def test_a_volume_of_another_shape_is_refused(tmp_path):
    folder = write_original(tmp_path / "a", adaptive_tensors(OPTIONS))
    data = tmp_path / "wind.nc"
    write_volume(data, np.zeros((1, 6, 7, 9)), GridGeometry.uniform((6, 7, 9)))
    with pytest.raises(ConfigurationError, match="6 x 7 x 8"):
        import_model(folder, open_volume(data))


def test_bricks_keep_the_ranges_they_were_scaled_by(tmp_path):
    extents = [(0, 5, 0, 7, 0, 8), (1, 6, 0, 7, 0, 8)]
    folder = write_ensemble(tmp_path / "e", extents, (6, 7, 8))
    index, _ = import_model(folder)
    assert index.value_range(index.bricks[1]) == ((-2.0,), (7.0,))
    assert index.value_maximum == (7.0,)
    assert index.bricks[0].extent[0] == slice(0, 3)


def test_maps_of_the_successor_are_rotations_scales_and_translations(tmp_path):
    random = torch.Generator().manual_seed(0)
    angle = 0.3
    rotation = torch.tensor([[0.0, 0.0, np.sin(angle / 2), np.cos(angle / 2)]])
    tensors = {
        "_scales": torch.log(torch.tensor([[0.5, 2.0, 1.0]])),
        "_rotations": 3.0 * rotation,  # its length has no meaning
        "translations": torch.tensor([[0.1, 0.2, 0.3]]),
        "feature_grids": torch.randn(1, 2, 3, 4, 5, generator=random),
        **decoder_tensors(OPTIONS, 2),
    }
    folder = write_original(tmp_path / "a", tensors, "model.ckpt", model="AMGSRN", n_grids=1)
    _, (state,) = import_model(folder)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    expected = np.concatenate([turn @ np.diag([0.5, 2.0, 1.0]), [[0.1], [0.2], [0.3]]], axis=1)
    assert np.allclose(state["transforms"][0], expected, atol=1e-6)


def fused_answer(
    weights: torch.Tensor, features: torch.Tensor, width: int, layers: int
) -> torch.Tensor:
    """Evaluate FullyFusedMLP in its own arithmetic: half precision, blocks of 16, ones around."""
    ones = torch.ones(len(features), -features.shape[1] % 16)
    hidden = torch.cat([features, ones], 1).half()
    start = 0
    for rows in [*[width] * layers, 16]:
        size = rows * hidden.shape[1]
        matrix = weights[start : start + size].half().reshape(rows, hidden.shape[1])
        hidden = (hidden.float() @ matrix.float().T).half()
        hidden = hidden if rows == 16 and start + size == len(weights) else torch.relu(hidden)
        start += size
    assert start == len(weights)
    return hidden[:, :1].float()


@pytest.mark.parametrize("grids", [3, 8])  # 6 inputs are padded, 16 are not
def test_a_decoder_of_tiny_cuda_nn_answers_as_its_arithmetic(grids, tmp_path):
    options = {**OPTIONS, "n_grids": grids, "nodes_per_layer": 32}
    tensors = adaptive_tensors(options)
    encoder = {name: value for name, value in tensors.items() if name.startswith("encoder")}
    columns = -(-2 * grids // 16) * 16
    random = torch.Generator().manual_seed(5)
    weights = 0.2 * torch.randn(32 * (columns + 32 + 16), generator=random)
    folder = write_original(
        tmp_path / "a", {**encoder, "decoder.params": weights}, n_grids=grids, nodes_per_layer=32
    )
    (network,) = networks(folder)
    points = torch.rand(300, 3, generator=random) * 2 - 1
    maps = encoder["encoder.transformation_matrices"]
    local = torch.einsum("gij,nj->gni", maps[:, :3, :3], points) + maps[:, None, :3, 3]
    grid = encoder["encoder.feature_grids"]
    features = torch.nn.functional.grid_sample(grid, local[:, None, None], align_corners=True)
    expected = fused_answer(weights, features.flatten(0, 3).T, 32, 2)
    with torch.no_grad():
        normalised = network.normalised(points)
        density = network.density(points)
    assert torch.allclose(normalised, expected, atol=3e-3 * float(expected.abs().max()))
    box = torch.exp(-0.5 * (local**20).sum(-1))
    scale = torch.linalg.det(maps[:, :3, :3]) / (2 * torch.pi) ** 1.5
    assert torch.allclose(density, scale @ box, atol=1e-5)


def test_positional_terms_of_tiny_cuda_nn_are_padded_too(tmp_path):
    random = torch.Generator().manual_seed(5)
    width, terms = 32, 2
    weights = 0.2 * torch.randn(width * (16 + 16), generator=random)
    grid = torch.randn(1, 2, 3, 4, 5, generator=random)
    folder = write_original(
        tmp_path / "a",
        {"feature_grid": grid, "decoder.params": weights},
        model="fVSRN",
        num_positional_encoding_terms=terms,
        nodes_per_layer=width,
        n_layers=1,
    )
    (network,) = networks(folder)
    points = torch.rand(300, 3, generator=random) * 2 - 1
    sampled = torch.nn.functional.grid_sample(grid, points[None, None, None], align_corners=True)
    octaves = [
        wave(2.0**octave * torch.pi * points) for octave in range(terms) for wave in (sin, cos)
    ]
    features = torch.cat([*octaves, sampled.flatten(0, 3).T], 1)
    assert features.shape[1] == 14
    expected = fused_answer(weights, features, width, 1)
    with torch.no_grad():
        normalised = network.normalised(points)
    assert torch.allclose(normalised, expected, atol=3e-3 * float(expected.abs().max()))


def test_a_hash_grid_of_tiny_cuda_nn_has_its_tables_behind_the_decoder(tmp_path):
    options = {
        "model": "NGP",
        "n_grids": 3,
        "nodes_per_layer": 16,
        "hash_log2_size": 7,
        "hash_base_resolution": 4,
        "hash_max_resolution": 9,
    }
    config = NetworkConfig(
        encoder="hash",
        grids=3,
        width=16,
        hash_log2_size=7,
        hash_base_resolution=4,
        hash_max_resolution=9,
    )
    shapes = parameter_shapes(config, 1)
    random = torch.Generator().manual_seed(5)
    tables = torch.randn(shapes["feature_grids"], generator=random)
    weights = 0.2 * torch.randn(16 * (16 + 16 + 16), generator=random)
    folder = write_original(
        tmp_path / "a", {"model.params": torch.cat([weights, tables.flatten()])}, **options
    )
    (network,) = networks(folder)
    points = torch.rand(300, 3, generator=random) * 2 - 1
    features = hash_encode(points, tables, levels_of(config))
    # Here tiny-cuda-nn fills up with zeros.
    expected = fused_answer(weights, torch.cat([features, torch.zeros(300, 10)], 1), 16, 2)
    with torch.no_grad():
        normalised = network.normalised(points)
    assert torch.allclose(normalised, expected, atol=3e-3 * float(expected.abs().max()))


def test_a_folder_is_imported_again_when_it_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = write_original(tmp_path / "a", adaptive_tensors(OPTIONS))
    first = imported_file(folder / "options.json")
    assert imported_file(folder / "options.json") == first
    assert verify_archive(first).value_maximum == (6.0,)
    write_original(folder, adaptive_tensors(OPTIONS), data_max=9.0)
    assert verify_archive(imported_file(folder / "options.json")).value_maximum == (9.0,)
