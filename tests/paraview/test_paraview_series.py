"""The trainer learns every time step of its input, wherever the data come from."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ParaView

from amgsrn_core import NeuralVolume
from amgsrn_core.jobs import PREVIEW_POINTS
from amgsrn_core.model import read_index

TIMES = (0.0, 2.0, 5.0)
# The steps that the program looks at: each, and the one that is nearest to 1.8.
LOOKED_AT = {5.0: 2, 0.0: 0, 2.0: 1, 1.8: 1}


def wave(time):
    """Return the program's field [z, y, x]."""
    z, y, x = np.meshgrid(*(0.25 * np.arange(n) for n in (11, 10, 9)), indexing="ij")
    return (1 + time) * np.sin(2 * x + y - time) + z


@pytest.fixture(scope="module")
def trained(screen, tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    run = ParaView(screen[0], folder).run("pvpython", "train_series.py", folder, timeout=300)
    (saved,) = folder.glob("train_series-*.json.npz")
    with np.load(saved) as arrays:
        return run, folder, dict(arrays)


def check_steps(path, previews, key):
    """Compare a model with the data, and what was shown of it with the model."""
    model = NeuralVolume.open(path, "cpu")
    assert model.series.times == TIMES
    errors = np.array(
        [
            [np.abs(model.at(step).reconstruct_block().values[0] - wave(t)).mean() for t in TIMES]
            for step in range(3)
        ]
    )
    assert errors.argmin(axis=1).tolist() == [0, 1, 2]
    for time, step in LOOKED_AT.items():
        wanted = model.at(step).decoded_preview(PREVIEW_POINTS)[1].values[0]
        shown = previews[f"{key}/{time:g}"][..., 0]
        wanted = wanted.clip(model.index.value_minimum[0], model.index.value_maximum[0])
        np.testing.assert_allclose(shown, wanted, rtol=1e-4, atol=1e-4)
    return model


def names_of_steps(path, checksum):
    """Return what the outputs say of the model, step by step as the program looks at them."""
    names = {step: [str(path), checksum, *([str(step)] if step else [])] for step in range(3)}
    return [names[step] for step in LOOKED_AT.values()]


def test_data_of_the_pipeline_alone_become_one_model(trained):
    run, folder, previews = trained
    found = run.results["in_the_pipeline"]
    path = folder / "wave.amgsrn"
    assert found["trained"] == {"state": "done", "message": "", "model": str(path)}
    model = check_steps(path, previews, "pipeline")
    assert found["models"] == names_of_steps(path, model.checksum)
    about = read_index(path).training
    assert [step["iterations_done"] for step in about.config["steps"]] == [60, 20, 20]
    assert found["history"] == 20  # of a later step
    assert {f"Reading time step {number} of 3" for number in (1, 2, 3)} <= set(found["texts"])
    assert not (folder / "wave.amgsrn.parts").exists()


def test_another_time_trains_nothing_and_other_data_do(trained):
    found = trained[0].results["in_the_pipeline"]
    assert found["same_run"]
    assert found["upstream"] == 2.0  # what was asked for, not what was read last
    assert "but other data" in found["changed"]["message"]


def test_steps_can_be_watched_while_others_are_trained(trained):
    run, folder, previews = trained
    found = run.results["while_looking_on"]
    assert found["state"]["state"] == "done"
    assert found["same_run"]
    assert found["untrained"] == 1  # the one corner that gives a colour map its range
    path = folder / "live.amgsrn"
    model = check_steps(path, previews, "live")
    assert len(model.index.bricks) == 2
    assert found["models"] == names_of_steps(path, model.checksum)


def test_a_series_of_files_goes_on_where_it_was_stopped(trained):
    run, folder, previews = trained
    found = run.results["from_files"]
    assert found["stopped"]["state"] == "stopped"
    by = f"Stopped by the file {folder}/files.amgsrn.parts/stop; Resume goes on."
    assert found["stopped"]["message"] == by
    assert found["step"] >= 1 and "step-0001" in found["folders"]
    assert (found["resumed"]["state"], found["resumed"]["message"]) == ("done", "")
    check_steps(folder / "files.amgsrn", previews, "files")
    assert found["first_step_made"] == 1  # once, and never again
    assert found["left"] == []


def test_what_cannot_be_trained_is_one_sentence(trained):
    run = trained[0]
    refusals = run.results["refusals"]
    assert "The input has no time steps" in refusals["untimed"]["message"]
    assert "set TIME_RANGE" in refusals["rangeless"]["message"]
    assert "announces the time 2 after 2;" in refusals["repeated"]["message"]
    assert "Stopped before every time step was read" in refusals["aborted"]["message"]
    assert refusals["later"] == refusals["aborted"]  # another time is not "go on"
    by = f"Stopped by the file {trained[1]}/filed.amgsrn.parts/stop before"
    assert refusals["filed"]["message"].startswith(by) and not refusals["filed"]["file"]
    assert refusals["after"]["state"] in ("starting", "training")
    broken = run.results["from_files"]["broken"]
    assert broken["message"].startswith("The input cannot be read at the time 2;")
    ours = {line for line in run.messages if "AMGSRN" in line}
    assert len(ours) == 7  # these six, and the model that was not replaced


@pytest.mark.mpi
def test_several_ranks_read_together(trained, paraview, tmp_path):
    """The first rank trains; the others go along with what is upstream, time by time."""
    files = [trained[1] / f"wave-{number}.vti" for number in (0, 2)]  # one of the three has gone
    run = paraview.run("pvbatch", "train_series_ranks.py", tmp_path, *files, ranks=2)
    found = run.results
    assert found["whole"] == ["done", ""]
    assert found["models"] == [[], ["1"]]
    assert read_index(tmp_path / "whole.amgsrn").times == (0.0, 5.0)
    refusal = "On several ranks all time steps are trained without bricks"
    assert refusal in found["bricks"][1]
    assert sum(refusal in line for line in run.messages) == 1
