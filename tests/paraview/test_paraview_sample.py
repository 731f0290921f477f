"""AMGSRN Sample: a model at the points of lines, surfaces, grids, meshes and blocks."""

from __future__ import annotations

import numpy as np
import pytest
from support.sample_models import write_small_model, write_two_bricks

from amgsrn_core import NetworkConfig, NeuralVolume, TrainingConfig, train_series, volume_from_array
from amgsrn_core.volume import Axis, GridGeometry, TimeAxis

EVEN = GridGeometry.uniform((6, 7, 8), origin=(1.0, 2.0, 3.0), spacing=(0.5, 1.0, 2.0))
UNEVEN = GridGeometry(
    (
        Axis("z", np.array([-1.0, 0.5, 1.0, 2.0, 4.0, 6.0])),
        Axis.uniform("y", 7, -2.0, 1.0),
        Axis.uniform("x", 8, -3.0, 0.75),
    )
)
CLOSE = {"rtol": 1e-4, "atol": 1e-4, "equal_nan": True}


@pytest.fixture
def models(tmp_path):
    wind, scalar = tmp_path / "wind.amgsrn", tmp_path / "scalar.amgsrn"
    write_two_bricks(wind, geometry=EVEN, components=("u", "v", "w"))
    write_small_model(scalar, geometry=UNEVEN, mask=True)
    random, series = np.random.default_rng(0), tmp_path / "series.amgsrn"
    volumes = [
        volume_from_array(random.random((4, 4, 4)), time=TimeAxis((5.0, 7.5), index=i))
        for i in range(2)
    ]
    network = NetworkConfig(grids=2, grid_shape=(3, 3, 3), width=8)
    train_series(volumes, series, network, TrainingConfig(iterations=5, device="cpu"))
    return wind, scalar, series


def sampled(paraview, program, models, *more, **options):
    run = paraview.run(program, "sample.py", *models, *more, **options)
    (saved,) = paraview.folder.glob("sample-*.json.npz")
    with np.load(saved) as file:
        return run, dict(file)


def test_values_are_the_networks_at_the_very_points(paraview, models):
    run, arrays = sampled(paraview, "pvpython", models)
    wind, scalar, series = (NeuralVolume.open(path, device="cpu") for path in models)
    places = {"line": wind, "sphere": wind}
    names = ("line", "sphere", "image", "turned", "blocks", "blocks1", "cells")
    for name in names:
        points = arrays[f"{name}/points"].astype(float)
        expected = places.get(name, scalar).sample(points)
        values = arrays[f"{name}/density"]
        np.testing.assert_allclose(values.reshape(expected.shape), expected, **CLOSE)
        assert np.isfinite(values).any(), name
    # What the data set has already is not replaced.
    assert np.array_equal(
        arrays["rectilinear/density"], arrays["rectilinear/density_network"], equal_nan=True
    )
    assert "image/RTData" in arrays

    points = arrays["sphere/points"].astype(float)
    assert len(points) > 1000
    _, slopes = wind.sample_with_gradient(points)
    gradient = arrays["sphere/density_gradient"].reshape(-1, 3, 3)
    np.testing.assert_allclose(gradient, slopes, **CLOSE)
    curl = np.stack([slopes[:, i, j] - slopes[:, j, i] for i, j in ((2, 1), (0, 2), (1, 0))], 1)
    np.testing.assert_allclose(arrays["sphere/density_vorticity"], curl, **CLOSE)
    assert set(arrays) >= {"sphere/density_divergence", "sphere/density_q_criterion"}
    assert arrays["image/density_gradient"].shape[1] == 3

    outside = np.isnan(arrays["image/density"]).sum()
    assert 0 < outside < 7 * 7 * 5
    message = run.results["image"]
    assert message.startswith(f"{outside} of {7 * 7 * 5} points are outside the model")
    assert run.results["line"] == ""
    assert "no array of three components, which vorticity needs" in run.results["refused"]
    assert "The input carries no model" in run.results["nothing"]

    # The line has no time of its own: the model's is asked for.
    for number in range(2):
        expected = series.at(number).sample(arrays[f"step{number}/points"].astype(float))
        np.testing.assert_allclose(arrays[f"step{number}/data"], expected[:, 0], **CLOSE)
    assert not np.allclose(arrays["step0/data"], arrays["step1/data"])


def test_each_rank_samples_its_own_part(paraview, models):
    run, arrays = sampled(paraview, "pvbatch", models, "ranks", ranks=2)
    assert min(run.results["by_rank"]) > 100
    model = NeuralVolume.open(models[0], device="cpu")
    expected = model.sample(arrays["sphere/points"].astype(float))
    np.testing.assert_allclose(arrays["sphere/density"], expected, **CLOSE)
