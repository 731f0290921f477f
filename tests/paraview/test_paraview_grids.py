"""Where feature grids were while a model was trained, in ParaView: the series, and a film of it."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import covered, executable, finish
from support.paths import ROOT

from amgsrn_core import NeuralVolume, open_volume, train
from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.model import BrickRecord
from amgsrn_core.training.records.grid_series import GridSeries, series_path
from amgsrn_core.volume import GridGeometry, write_volume

SIZE = NetworkConfig(grids=3, features=1, grid_shape=(4, 4, 4), layers=1, width=8)
SCRIPT = ROOT / "scripts" / "grid_video.py"
GEOMETRY = GridGeometry.uniform((8, 9, 10), origin=(1.0, 2.0, 3.0), spacing=(0.5, 1.0, 2.0))


@pytest.fixture
def trained(tmp_path):
    values = np.random.default_rng(0).random((8, 9, 10), dtype=np.float32)
    volume = open_volume(write_volume(tmp_path / "noise.nc", values, GEOMETRY))
    config = TrainingConfig(iterations=20, batch=100, device="cpu", log_grids=10)
    train(volume, tmp_path / "m.amgsrn", SIZE, config)
    return tmp_path / "m.amgsrn"


def test_the_series_opens_with_its_times_and_boxes(paraview, trained):
    found = paraview.run("pvpython", "grid_series.py", series_path(trained)).results
    assert [time for time, _, _ in found["times"]] == [0.0, 10.0, 20.0]
    assert [boxes for _, boxes, _ in found["times"]] == [3, 3, 3]
    assert found["arrays"] == ["brick", "density", "grid", "motion"]
    corners = NeuralVolume.open(trained).feature_corners().reshape(-1, 3)
    bounds = np.stack([corners.min(0), corners.max(0)], axis=1).ravel()
    np.testing.assert_allclose(found["times"][-1][2], bounds, rtol=1e-5)


def test_the_bricks_of_a_time_are_one_data_set(paraview, tmp_path):
    halves = [(slice(0, 8), slice(0, 9), x) for x in (slice(0, 6), slice(4, 10))]
    maps = np.tile(np.eye(3, 4), (3, 1, 1))
    for number, half in enumerate(halves):
        output = tmp_path / "m.amgsrn"
        GridSeries(output, GEOMETRY, BrickRecord(half, half), number, 5).write(5, maps, maps)
    found = paraview.run("pvpython", "grid_series.py", series_path(output)).results
    ((time, boxes, bounds),) = found["times"]
    assert (time, boxes) == (5.0, 6)
    np.testing.assert_allclose(bounds, GEOMETRY.bounds)


def test_frames_are_drawn_for_each_time(paraview, trained, tmp_path):
    frames = tmp_path / "frames"
    command = [executable("pvpython"), SCRIPT, trained, tmp_path / "noise.nc", "-o", frames]
    run = finish(paraview.start([str(word) for word in [*command, "--size", "200,150"]]), 150)
    assert run.returncode == 0, run.stdout + run.stderr
    assert sorted(path.name for path in frames.iterdir()) == [
        f"grids.{i:04d}.png" for i in range(3)
    ]
    first, last = ((frames / f"grids.{i:04d}.png").read_bytes() for i in (0, 2))
    assert first != last
    share, colours = covered(frames / "grids.0002.png")
    assert 0.1 < share < 0.95
    assert colours > 20
