"""The trainer cuts a volume into bricks: trained in several processes, or by ParaView's ranks."""

from __future__ import annotations

import numpy as np
import pytest

from amgsrn_core import NeuralVolume, train, volume_from_vtk
from amgsrn_core.config import BrickConfig, DispatchConfig, NetworkConfig, TrainingConfig
from amgsrn_core.volume.partition import partition

NETWORK = NetworkConfig(grids=4, grid_shape=(5, 5, 5), width=16)
TRAINING = TrainingConfig(iterations=60, batch=1024, device="cpu")


def test_a_volume_in_bricks_becomes_one_model(paraview, tmp_path):
    results = paraview.run("pvpython", "bricks.py", tmp_path).results
    assert (results["state"], results["message"]) == ("done", "")
    model = NeuralVolume.open(results["model"], device="cpu")
    # ParaView's order is x, y, z, the library's z, y, x.
    assert sorted({b.extent[2].start for b in model.index.bricks}) == [0, 6]
    assert sorted({b.extent[1].start for b in model.index.bricks}) == [0, 7]
    assert len(model.index.bricks) == 4
    assert model.index.bricks[0].ghosted[2] == slice(0, 7)
    np.testing.assert_allclose(model.geometry.bounds, (-6, 6, -7, 7, -8, 8))
    assert results["blocks"] == 4 * 4
    assert model.index.training.config["psnr"] > 20
    assert not (tmp_path / "bricks.amgsrn.parts").exists()
    # While others are in training, those that are done are shown, and holes beside them.
    assert results["live"]["done"] == [True] * 6 + [False] * 7


@pytest.mark.mpi
def test_ranks_train_their_own_pieces(paraview, tmp_path):
    run = paraview.run("pvbatch", "bricks_ranks.py", tmp_path, ranks=3, timeout=600)
    results = run.results
    for name in ("good", "again", "cells"):
        assert (results[name]["state"], results[name]["message"]) == ("done", "")
    assert results["boxes"] == 6 * 4

    # Three pieces, two of which meet at the third one's side, have two bricks each: as large as
    # asked for, but no grid. Nothing was lost at their borders.
    model = NeuralVolume.open(results["good"]["model"], device="cpu")
    volume = wavelet()
    assert model.geometry == volume.geometry
    bricks = model.index.bricks
    assert len(bricks) == 6
    covered = np.zeros(volume.dims, dtype=int)
    for brick in bricks:
        covered[brick.extent] += 1
    assert (covered == 1).all()
    grid = [brick.extent for brick in partition(volume.dims, (1, 2, 2), 1)]
    assert not any(brick.extent in grid for brick in bricks)
    for brick in bricks:
        for own, ghosted, size in zip(brick.extent, brick.ghosted, volume.dims):
            assert ghosted == slice(max(0, own.start - 1), min(size, own.stop + 1))

    # As good as the same in one process, and as smooth across the bricks.
    serial = tmp_path / "serial.amgsrn"
    config, dispatch = BrickConfig((1, 2, 2), ghost=1), DispatchConfig(workers=1)
    train(volume, serial, NETWORK, TRAINING, bricks=config, dispatch=dispatch)
    alone = NeuralVolume.open(serial, device="cpu")
    values = volume.read().values
    error, other = (np.abs(m.reconstruct_block().values - values) for m in (model, alone))
    assert error.mean() < 1.25 * other.mean()
    assert largest_jump(model) < 0.02 * error.mean()
    psnr = -20 * np.log10(np.sqrt((error.astype(float) ** 2).mean()) / np.ptp(values))
    assert model.index.training.config["psnr"] == pytest.approx(psnr, abs=0.01)

    cells = NeuralVolume.open(results["cells"]["model"], device="cpu")
    assert cells.geometry.dims == (16, 14, 12)
    np.testing.assert_allclose(cells.geometry.bounds, (-5.5, 5.5, -6.5, 6.5, -7.5, 7.5))

    # What goes wrong on one rank ends all of them, with one sentence.
    assert results["steep"]["state"] == "failed"
    assert results["steep"]["message"].startswith("The values of 'f' go from 0 to")
    # What cannot be is told before the training, as it is elsewhere.
    assert results["hash"]["state"] == "failed"
    assert "Networks with a hash grid cannot be compressed" in results["hash"]["message"]
    assert not (tmp_path / "hash.amgsrn.parts").exists()
    assert results["failing"]["state"] == "failed"
    assert "Brick 5: Rank 2: Cannot write" in results["failing"]["message"]
    assert sum("Cannot write" in line for line in run.messages) == 1
    assert results["mended"]["kept"] == [True] * 5
    assert results["mended"]["state"] == "done"
    assert not NeuralVolume.open(results["mended"]["model"], device="cpu").index.holes

    # A stop file reaches them all, and their work is kept.
    parts = tmp_path / "endless.amgsrn.parts"
    by = f"Stopped by the file {parts / 'stop'}; Resume goes on."
    assert (results["stopped"]["state"], results["stopped"]["message"]) == ("stopped", by)
    kept = [int(p.parent.name[-1]) for p in parts.glob("brick-*/checkpoint.safetensors")]
    assert sorted(number // 2 for number in kept) == [0, 1, 2]  # one of each rank's two
    assert not (parts / "stop").exists()


def wavelet():
    """Return the data of the program."""
    imaging = pytest.importorskip("vtkmodules.vtkImagingCore")
    source = imaging.vtkRTAnalyticSource()
    source.SetWholeExtent(-6, 6, -7, 7, -8, 8)
    source.Update()
    return volume_from_vtk(source.GetOutput(), "RTData")


def largest_jump(model: NeuralVolume) -> float:
    """Return the largest difference over 1e-4 voxels where two bricks' own voxels meet."""
    random = np.random.default_rng(0)
    last = np.array(model.geometry.dims[::-1]) - 1.0
    found = 0.0
    for brick in model.index.bricks:
        for axis, own in enumerate(reversed(brick.extent)):
            points = random.random((2000, 3)) * last
            points[:, axis] = max(own.start - 0.5, 0.1)
            move = np.eye(3)[axis] * 5e-5
            change = model.sample_index(points + move) - model.sample_index(points - move)
            found = max(found, float(np.abs(change).max()))
    return found
