"""The trainer in scripts: it returns with a complete model, or says why not, and loses nothing."""

from __future__ import annotations

import numpy as np
import pytest

from amgsrn_core import NeuralVolume
from amgsrn_core.model import read_index

WAVELET = (-6.0, 6.0, -7.0, 7.0, -8.0, 8.0)


@pytest.fixture(scope="module")
def trained(screen, tmp_path_factory):
    from conftest import ParaView

    folder = tmp_path_factory.mktemp("trained")
    run = ParaView(screen[0], folder).run("pvpython", "train.py", folder)
    return run, run.results, folder


def test_a_script_gets_the_finished_model(trained):
    _, results, folder = trained
    assert results["before"] == {"state": "idle", "message": "", "model": "", "iteration": 0}
    assert results["trained"]["state"] == "done"
    assert results["trained"]["model"] == str(folder / "wave.amgsrn")
    assert not results["torch"], "training must not load PyTorch into ParaView"
    model = NeuralVolume.open(folder / "wave.amgsrn")
    np.testing.assert_allclose(model.geometry.bounds, WAVELET)
    assert model.index.network.grid_shape == (6, 6, 6)
    assert not (folder / "wave.amgsrn.parts").exists()


def test_progress_is_told_with_words(trained):
    _, results, _ = trained
    fractions = [fraction for fraction, _ in results["progress"]]
    assert len(fractions) >= 2
    assert all(0 <= fraction <= 1 for fraction in fractions)
    assert any(text for _, text in results["progress"] if text)


def test_history_and_boxes_are_those_of_the_model(trained):
    _, results, _ = trained
    history = results["history"]
    assert {"iteration", "loss", "psnr", "learning_rate"} <= set(history)
    assert history["iteration"][-1] == 60
    assert history["loss"][-1] < history["loss"][0]
    assert [number for number, _ in results["grids"]] == [0, 1, 2, 3]
    # The file was replaced by a later training with the same seed: the same start, not the same
    # end, so that boxes are compared by order of magnitude: about the volume's own size.
    for low, high in results["boxes"]:
        assert (np.abs(np.subtract(high, low)) > 1).all()
        assert (np.abs(np.subtract(high, low)) < 60).all()
    assert all(0.01 < density < 10 for _, density in results["grids"])


def test_a_model_is_never_replaced_unasked(trained):
    _, results, folder = trained
    assert results["same"]
    assert results["kept"]
    assert "exists and was trained with other options (" in results["refused"]["message"]
    assert results["restarted"]["state"] == "done"
    assert results["restarted"]["message"] == ""
    assert read_index(folder / "wave.amgsrn").training.iterations_done == 30
    assert results["fine"] == [0, 25, 0, 29, 0, 33]


def test_a_goal_chooses_the_size(trained):
    _, results, folder = trained
    assert results["goal"]["state"] == "done" and results["goal"]["message"] == ""
    assert 0.97 * 60_000 <= (folder / "goal.amgsrn").stat().st_size <= 60_000
    assert read_index(folder / "goal.amgsrn").network.grid_shape != (32, 32, 32)


def test_uneven_axes_missing_values_and_several_arrays(trained):
    _, results, folder = trained
    assert results["both"]["state"] == "done"
    assert sorted(results["both"]["arrays"]) == ["salinity", "temperature"]
    model = NeuralVolume.open(results["both"]["model"])
    assert model.components == ("temperature", "salinity")
    assert not model.geometry.is_uniform
    np.testing.assert_allclose(model.geometry.axes[0].coordinates, np.linspace(0, 1, 9) ** 2)
    block = model.reconstruct_block()
    assert not block.valid[:2, :3].any()
    assert block.valid[2:].all()
    # Nobody named a file: it lies in the temporary folder, which is the test's here.
    assert str(folder) in results["both"]["model"]


def test_cell_vectors_lie_at_the_cells_centres(trained):
    _, results, folder = trained
    assert results["flow"]["arrays"] == ["flow"]
    assert results["flow"]["model"] == str(folder / "flow.amgsrn")
    model = NeuralVolume.open(folder / "flow.amgsrn")
    assert len(model.components) == 3
    assert model.geometry.dims == (8, 10, 12)
    assert model.geometry.bounds[0] == pytest.approx(1 / 24)


def test_a_constant_field_is_refused_in_one_sentence(trained):
    run, results, _ = trained
    assert "constant" in results["flat"]["message"]
    errors = [line for line in run.messages if "AMGSRN" in line]
    assert len(errors) == 2  # this one, and the model that was not replaced
    assert run.messages == errors


def test_interruptions_keep_the_state_and_the_next_update_goes_on(paraview, tmp_path):
    run = paraview.run("pvpython", "abort_training.py", tmp_path)
    ways = ("abort", "file", "kill", "complete")
    aborted, filed, killed, complete = (run.results[way] for way in ways)
    for stopped in (aborted, filed):
        assert stopped["state"] == stopped["shown"] == "stopped"
        assert stopped["checkpoint"]
    assert aborted["message"] == ""
    by = f"Stopped by the file {tmp_path}/wave.amgsrn.parts/stop; Resume goes on."
    assert filed["message"] == by
    assert by in run.stderr + run.stdout
    assert killed["state"] == "failed"
    assert "was killed by signal 9" in killed["message"]
    assert killed["checkpoint"]
    assert 0 < aborted["iteration"] < filed["iteration"] < killed["iteration"] < 10_000
    assert complete["state"] == complete["shown"] == "done"
    assert complete["message"] == ""
    assert complete["iteration"] == 10_000
    assert read_index(tmp_path / "wave.amgsrn").training.iterations_done == 10_000
    assert not (tmp_path / "wave.amgsrn.parts").exists()
    assert len(run.messages) == 1
    assert killed["message"] in run.messages[0]


def test_bad_volumes_are_explained_in_one_sentence(paraview, tmp_path):
    run = paraview.run("pvpython", "bad_volumes.py", tmp_path)
    said = run.results
    assert "is constant" in said["constant"]
    assert "every voxel is missing" in said["missing"]
    assert "infinite values" in said["infinite"]
    assert "fewer than 2 samples along z" in said["flat"]
    assert "There is no numeric point array 'other'" in said["unknown"]
    assert "the data set has: values (point)" in said["unknown"]
    assert "the folder" in said["folder"]
    assert "it is a folder" in said["is_folder"]
    assert "grids must be at least 1" in said["grids"]
    assert "grid-shape must be at most 1024" in said["shape"]
    assert "batch must be at least 0" in said["batch"]
    assert "device" in said["device"]
    assert "AMGSRN_PYTHON" in said["interpreter"]
    for name, sentence in said.items():
        assert "\n" not in sentence, name
    assert len(run.messages) == len(said)
    assert list(tmp_path.glob("*.amgsrn")) == []
