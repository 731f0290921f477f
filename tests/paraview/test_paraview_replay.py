"""The filters on models in state files, scripts and traces, undone, and on remote servers."""

from __future__ import annotations

import numpy as np
import pytest
from support.sample_models import write_two_bricks

from amgsrn_core import NeuralVolume
from amgsrn_core.volume import GridGeometry, write_volume

EVEN = GridGeometry.uniform((6, 7, 8), origin=(1.0, 2.0, 3.0), spacing=(0.5, 1.0, 2.0))


@pytest.fixture
def folder(tmp_path):
    components = ("u", "v", "w")
    write_two_bricks(tmp_path / "wind.amgsrn", geometry=EVEN, components=components)
    model = NeuralVolume.open(tmp_path / "wind.amgsrn", device="cpu")
    noise = np.random.default_rng(0).normal(0, 0.1, (3, *EVEN.dims))
    values = (model.to_numpy() + noise).astype("f4")
    path = tmp_path / "wind.vti"
    write_volume(path, values, EVEN, name="density", components=components, made_by="test")
    return tmp_path


@pytest.mark.parametrize("program", ["pvpython", "pvbatch"])
def test_states_scripts_traces_and_undo_make_the_same_again(paraview, folder, program):
    found = paraview.run(program, "replay.py", folder, 0, isovalue(folder)).results
    made = found["made"]
    assert made["AMGSRNCompare"] == [6 * 7 * 8, 5 * 6 * 7, ""]
    assert made["AMGSRNFeatureGrids"] == [32, 4, ""]
    assert made["AMGSRNStreamTracer"][1:] == [12, ""]
    others_work(made)
    assert found["forgotten"] == {}
    for again in ("state", "script", "trace", "redone"):
        assert found[again] == made, again
    assert len(found["traced"]) == 6
    assert found["undone"] == []


def isovalue(folder):
    """Return a value that the third component has all over the volume."""
    model = NeuralVolume.open(folder / "wind.amgsrn", device="cpu")
    return float(np.median(model.to_numpy()[2]))


def others_work(made):
    points, cells, message = made["AMGSRNSample"]
    assert points >= 50 and (cells, message) == (96, "")  # ranks share some of the points
    points, cells, message = made["AMGSRNIsosurface"]
    assert min(points, cells) > 20 and message == ""
    # The mesh was sampled, and what that costs is told.
    assert made["AMGSRNTrainer"][0] == 6**3
    assert "dB" in made["AMGSRNTrainer"][2]


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.mpi)])
def test_a_server_makes_the_same(paraview, folder, free_port, ranks):
    with paraview.served(free_port, 0 if ranks == 1 else ranks):
        run = paraview.run("pvpython", "replay.py", folder, free_port, isovalue(folder))
    made = run.results["made"]
    assert run.messages == []
    points, _, message = made["AMGSRNCompare"]
    # Pieces share a layer of points.
    assert points == 6 * 7 * 8 if ranks == 1 else points > 6 * 7 * 8
    assert message == ""
    assert made["AMGSRNFeatureGrids"] == [32, 4, ""]
    assert made["AMGSRNStreamTracer"][1:] == [12, ""]
    others_work(made)
