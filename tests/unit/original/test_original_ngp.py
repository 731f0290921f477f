"""NGP models of the original's own implementation in PyTorch: tables of a level, and biases."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from support.original_models import OPTIONS, grid_extents, write_ensemble, write_original

from amgsrn_core import NeuralVolume
from amgsrn_core.cli import main
from amgsrn_core.config import NetworkConfig, from_json, to_json
from amgsrn_core.errors import ArchiveError, ConfigurationError
from amgsrn_core.model import FORMAT_VERSION, read_index, verify_archive
from amgsrn_core.original import export_model, import_model
from amgsrn_core.rendering import Camera, RenderSettings, TransferFunction, render
from amgsrn_core.rendering.field import NeuralField
from amgsrn_core.volume import open_volume

NGP = {
    **OPTIONS,
    "model": "NGP",
    "n_grids": 5,
    "n_features": 3,
    "hash_log2_size": 7,
    "hash_base_resolution": 3,
    "hash_max_resolution": 41,
}
SPAN = OPTIONS["data_max"] - OPTIONS["data_min"]


def ngp_tensors(options=NGP, seed=0) -> dict[str, torch.Tensor]:
    """Return random tensors with the names and shapes of that implementation."""
    random = torch.Generator().manual_seed(seed)
    size, width = 1 << options["hash_log2_size"], options["nodes_per_layer"]
    inputs, layers = options["n_grids"] * options["n_features"], options["n_layers"]
    tensors = {
        f"hash_grid.feature_grid.{i}.weight": torch.rand(
            size, options["n_features"], generator=random
        )
        for i in range(options["n_grids"])
    }
    sizes = [inputs, *[width] * layers, options["n_outputs"]]
    names = [f"decoder.{i}.layer.0" for i in range(layers)] + [f"decoder.{layers}"]
    for name, before, after in zip(names, sizes, sizes[1:]):
        scale = 1 / math.sqrt(before)
        tensors[f"{name}.weight"] = scale * torch.randn(after, before, generator=random)
        tensors[f"{name}.bias"] = 0.3 * torch.randn(after, generator=random)
    return tensors


def expected(tensors, options, points, number=np.float64) -> np.ndarray:
    """Evaluate the published formula at points [N, 3] of [-1, 1]^3, columns x, y, z.

    Level i has floor(base b^i) cells with b = (finest / base)^(1 / (levels - 1)), a table of
    2^log2 entries, and hashes every node: x xor 2654435761 y xor 805459861 z, modulo the table's
    size. Outside the box features are 0. Then come linear layers with biases and ReLU.
    """
    values = {name: tensor.numpy().astype(number) for name, tensor in tensors.items()}
    points = np.asarray(points, dtype=number)
    inside = (np.abs(points) <= 1).all(axis=1)
    low, high = options["hash_base_resolution"], options["hash_max_resolution"]
    features = []
    for level in range(options["n_grids"]):
        growth = math.exp((math.log(high) - math.log(low)) / (options["n_grids"] - 1))
        cells = math.floor(np.float32(low * growth**level))
        table = values[f"hash_grid.feature_grid.{level}.weight"]
        position = (points + number(1)) / number(2) * number(cells)
        first = np.floor(position)
        share = position - first
        total = np.zeros((len(points), table.shape[1]), dtype=number)
        for corner in itertools.product((0, 1), repeat=3):
            x, y, z = (first.astype(np.int64) + corner).T
            entry = (x ^ (y * 2654435761) ^ (z * 805459861)) % len(table)
            weight = np.where(corner, share, number(1) - share).prod(axis=1, dtype=number)
            total += weight[:, None] * table[entry]
        features.append(np.where(inside[:, None], total, number(0)))
    hidden = np.concatenate(features, axis=1)
    layers = options["n_layers"]
    for i in range(layers):
        weight, bias = (values[f"decoder.{i}.layer.0.{part}"] for part in ("weight", "bias"))
        hidden = np.maximum(hidden @ weight.T + bias, 0)
    hidden = hidden @ values[f"decoder.{layers}.weight"].T + values[f"decoder.{layers}.bias"]
    return hidden * number(options["data_max"] - options["data_min"]) + number(options["data_min"])


def random_points(count: int = 2000) -> np.ndarray:
    """Return points of [-1, 1]^3 in float32, the faces and corners among them."""
    points = np.random.default_rng(1).uniform(-1, 1, (count, 3)).astype("f4")
    points[:200, 0], points[200:400, 1], points[400:600, 2] = 1.0, -1.0, 1.0
    points[:8] = list(itertools.product((-1.0, 1.0), repeat=3))
    return points


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> NeuralVolume:
    folder = tmp_path_factory.mktemp("ngp")
    write_original(folder / "a", ngp_tensors(), **NGP)
    assert main(["import", str(folder / "a"), "-o", str(folder / "a.amgsrn")]) == 0
    verify_archive(folder / "a.amgsrn")
    return NeuralVolume.open(folder / "a.amgsrn", "cpu")


def test_an_imported_ngp_answers_as_the_originals_formula(model):
    points = random_points()
    wanted = expected(ngp_tensors(), NGP, points)
    assert np.ptp(wanted) > 0.5 * SPAN
    index = model.geometry.local_to_index(points)
    values = {
        "sampled": model.sample_index(index),
        "with gradient": model.sample_with_gradient(model.geometry.index_to_world(index))[0],
        "rendered": NeuralField.of_volume(model).values(torch.from_numpy(index)).numpy(),
    }
    for name, found in values.items():
        assert np.abs(found - wanted).max() < 1e-5 * SPAN, name


def test_levels_as_fine_as_the_originals_defaults_agree_in_float32(tmp_path):
    options = {**NGP, "n_grids": 16, "hash_base_resolution": 16, "hash_max_resolution": 2048}
    tensors = ngp_tensors(options)
    index, (state,) = import_model(write_original(tmp_path / "a", tensors, **options))
    points = random_points()
    found = NeuralVolume(index, [state]).sample_index(index.geometry.local_to_index(points))
    wanted = expected(tensors, options, points, np.float32)
    # Index coordinates are not float32, and a cell is 1 / 2048 of the box.
    assert np.quantile(np.abs(found - wanted), 0.99) < 1e-5 * SPAN
    assert np.abs(found - wanted).max() < 1e-4 * SPAN


def test_several_outputs_and_one_hidden_layer(tmp_path):
    options = {**NGP, "n_layers": 1, "n_outputs": 2}
    tensors = ngp_tensors(options)
    index, (state,) = import_model(write_original(tmp_path / "a", tensors, **options))
    points = random_points(100)
    found = NeuralVolume(index, [state]).sample_index(index.geometry.local_to_index(points))
    assert np.abs(found - expected(tensors, options, points)).max() < 1e-5 * SPAN


def test_it_is_reconstructed_and_drawn(model, tmp_path, capsys):
    output = tmp_path / "out.nc"
    assert main(["reconstruct", model.path, "-o", str(output)]) == 0
    corners = [np.linspace(-1, 1, n) for n in model.geometry.dims]
    z, y, x = np.meshgrid(*corners, indexing="ij")
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3).astype("f4")
    wanted = expected(ngp_tensors(), NGP, points).reshape(model.geometry.dims)
    assert np.abs(open_volume(output).read().values[0] - wanted).max() < 1e-5 * SPAN
    camera = Camera.orbit(model.geometry.bounds, width=8, height=8)
    ramp = np.linspace(0, 1, 16)[:, None] * np.array([1.0, 1.0, 1.0, 0.2])
    transfer = TransferFunction(float(wanted.min()), float(wanted.max()), ramp)
    image = render(model, camera, transfer, RenderSettings())
    assert np.isfinite(image).all() and image.max() > 0.05
    assert main(["info", model.path]) == 0
    assert "5 levels from 3 to 41 x 3 (the original's)" in capsys.readouterr().out


def test_pytorch_computes_and_the_kernels_decline(model):
    assert model.backend == "torch"
    with pytest.raises(ConfigurationError, match="Backend native has no hash encoder"):
        NeuralVolume.open(model.path, "cpu", backend="native")


def test_an_ensemble_of_them_jumps_as_the_original(tmp_path):
    shape = (8, 9, 12)
    extents = grid_extents(shape, (1, 1, 2), 0)  # no ghost cells: half a cell is outside of both
    folder = write_ensemble(
        tmp_path / "e", extents, shape, lambda options, seed: ngp_tensors(NGP, seed)
    )
    for path in [folder, *(path for path in folder.iterdir() if path.is_dir())]:
        values = json.loads((path / "options.json").read_text())
        kept = {key: NGP[key] for key in NGP if key.startswith(("n_", "hash", "model"))}
        (path / "options.json").write_text(json.dumps({**values, **kept}))
    index, states = import_model(folder)
    points = random_points()
    found = NeuralVolume(index, states).sample_index(index.geometry.local_to_index(points))[:, 0]
    wanted = np.empty(len(points))
    for seed, bounds in enumerate(extents):
        mine = (points[:, 0] >= 0) == bool(seed)
        start, stop = bounds[4], bounds[5]
        low, high = 2 * start / 11 - 1, 2 * (stop - 1) / 11 - 1
        local = points[mine].astype("f8")
        local[:, 0] = -1 + 2 * (local[:, 0] - low) / (high - low)
        # On a face rounding decides; here it counts as inside.
        local = np.where(np.abs(local) < 1 + 1e-6, np.clip(local, -1, 1), local)
        options = {**NGP, "data_max": NGP["data_max"] + seed}
        wanted[mine] = expected(ngp_tensors(NGP, seed), options, local)[:, 0]
    assert (np.abs(points[:, 0]) < 1 / 11).sum() > 50  # which neither has learned
    assert np.abs(found - wanted).max() < 1e-5 * SPAN


def test_it_goes_back_to_the_original(model, tmp_path):
    export_model(model.path, tmp_path / "back")
    stored = torch.load(tmp_path / "back" / "model.ckpt.tar", weights_only=True)["state_dict"]
    tensors = ngp_tensors()
    assert set(stored) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(stored[name], tensor)
    index, _ = import_model(tmp_path / "back")
    assert index.network == model.index.network


def test_only_such_a_model_needs_a_newer_reader(model):
    values = read_index(model.path).to_json()
    assert values["version"] == list(FORMAT_VERSION)
    assert values["network"]["hash_scheme"] == "original" and values["network"]["biases"] is True
    assert not {"hash_scheme", "biases"} & set(to_json(NetworkConfig(encoder="hash")))
    assert from_json(NetworkConfig, values["network"]) == model.index.network


@pytest.mark.parametrize(
    "values",
    [{"hash_scheme": "other"}, {"hash_scheme": 3}, {"biases": 1}, {"encoder": "adaptive"}],
)
def test_impossible_networks_are_refused(model, values):
    with pytest.raises(ConfigurationError):
        from_json(NetworkConfig, {**to_json(model.index.network), **values})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("hash_grid.feature_grid.4.weight"), "lacks .*feature_grid.4.weight"),
        (lambda t: t.pop("decoder.1.layer.0.bias"), "lacks .*decoder.1.layer.0.bias"),
        (lambda t: t.update({"decoder.3.bias": torch.zeros(1)}), "no counterpart.*decoder.3.bias"),
        (
            lambda t: t.update({"hash_grid.feature_grid.0.weight": torch.zeros(64, 3)}),
            r"\[128, 3\], but the checkpoint has \[64, 3\]",
        ),
        (lambda t: t.update({"decoder.2.bias": torch.zeros(2)}), r"decoder.2.bias.*\[1\]"),
    ],
)
def test_tensors_that_contradict_the_options_are_refused(tmp_path: Path, change, words):
    tensors = ngp_tensors()
    change(tensors)
    with pytest.raises(ArchiveError, match=words):
        import_model(write_original(tmp_path / "a", tensors, **NGP))


def test_its_option_use_bias_means_nothing(tmp_path):
    index, _ = import_model(write_original(tmp_path / "a", ngp_tensors(), **NGP, use_bias=True))
    assert index.network.biases
