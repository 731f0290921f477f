"""What a worker publishes is what its network says, and it minds whether anybody watches."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import torch

from amgsrn_core import NeuralVolume, volume_from_array
from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.jobs import PREVIEW_POINTS, LiveResult, TrainingJob
from amgsrn_core.jobs.live import read_live, write_live
from amgsrn_core.jobs.status import LEASE_SECONDS, has_lapsed, renew_lease
from amgsrn_core.model import load_brick
from amgsrn_core.model.feature_grids import box_corners
from amgsrn_core.networks import feature_density
from amgsrn_core.runs.settings import Settings
from amgsrn_core.system.run_folder import lease_file
from amgsrn_core.volume import Axis, Block, GridGeometry, export_volume
from amgsrn_core.volume.preview import preview_geometry

UNEVEN = GridGeometry(
    (
        Axis("z", np.array([0.0, 1, 3, 7, 15, 31])),
        Axis.uniform("y", 50, 10.0, 0.5),
        Axis.uniform("x", 300),
    )
)


def masked_volume():
    z, y, x = np.meshgrid(*(axis.coordinates for axis in UNEVEN.axes), indexing="ij")
    values = np.sin(x / 30) + np.cos(y / 9) + z / 40
    values[x + 4 * y > 310] = np.nan
    return volume_from_array(values, name="field", geometry=UNEVEN)


def test_previews_know_what_is_missing_from_the_first_to_the_last(tmp_path):
    exported = export_volume(masked_volume(), tmp_path / "volume")
    live = tmp_path / "live"
    live.mkdir()
    job = TrainingJob.start(
        tmp_path / "model.amgsrn",
        {"kind": "exported", "path": str(exported)},
        Settings(
            NetworkConfig(grids=2, grid_shape=(4, 4, 4), width=8),
            TrainingConfig(iterations=300, batch=256),
        ),
        live_folder=live,
    )
    seen = []

    def note(_status):
        result = job.live()
        if result is not None:
            seen.append(result)
        return True

    assert job.wait(note, 0.05).state == "done"
    last = job.live()
    model = NeuralVolume.open(tmp_path / "model.amgsrn", device="cpu")
    geometry, block = model.decoded_preview(PREVIEW_POINTS)
    assert not block.valid.all()
    for result in (seen[0], last):
        assert result.geometry == geometry
        np.testing.assert_array_equal(result.preview.valid, block.valid)
    np.testing.assert_allclose(last.preview.values, block.values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last.corners, model.feature_corners()[0])
    assert last.iteration == 300
    assert last.history[-1, last.history_columns.index("iteration")] == 300
    # In the middle of its own box a grid adds the density that is told.
    transforms = torch.from_numpy(load_brick(tmp_path / "model.amgsrn", 0)["transforms"])
    for number, corners in enumerate(box_corners(transforms.numpy())):
        middle = torch.from_numpy(corners.mean(axis=0, keepdims=True)).float()
        density = feature_density(middle, transforms[number : number + 1])
        assert density.item() == pytest.approx(last.densities[number], rel=1e-4)


def test_a_live_result_survives_its_file(tmp_path):
    path = tmp_path / "live.npz"
    assert read_live(path) is None
    geometry = preview_geometry(UNEVEN)
    values = np.random.default_rng(0).random((2, *geometry.dims), dtype=np.float32)
    result = LiveResult(
        geometry=geometry,
        preview=Block.of_field(np.where(values[0] > 0.5, values, np.float32(np.nan))),
        corners=np.arange(48.0).reshape(2, 8, 3),
        densities=np.array([0.5, 2.0]),
        history=np.eye(2),
        history_columns=("a", "b"),
        iteration=7,
    )
    write_live(path, result)
    again = read_live(path)
    assert again.geometry == geometry
    assert (again.iteration, again.history_columns) == (7, ("a", "b"))
    for name in ("corners", "densities", "history"):
        np.testing.assert_array_equal(getattr(again, name), getattr(result, name))
    np.testing.assert_array_equal(again.preview.values, result.preview.values)
    np.testing.assert_array_equal(again.preview.valid, result.preview.valid)
    assert read_live(path, newer_than=7) is None
    path.write_bytes(path.read_bytes()[:-50])
    assert read_live(path) is None


def test_a_run_lapses_when_its_watcher_has_gone(tmp_path):
    assert not has_lapsed(tmp_path), "a run that nobody ever watched goes on"
    renew_lease(tmp_path)
    assert not has_lapsed(tmp_path)
    past = time.time() - LEASE_SECONDS - 1
    os.utime(lease_file(tmp_path), (past, past))
    assert has_lapsed(tmp_path)
    renew_lease(tmp_path)
    assert not has_lapsed(tmp_path)
    assert has_lapsed(tmp_path / "removed")
