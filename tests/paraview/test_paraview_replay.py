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


def test_states_scripts_traces_and_undo_make_the_same_again(paraview, folder):
    found = paraview.run("pvpython", "replay.py", folder, 0, 1).results
    made = found["made"]
    assert made["AMGSRNCompare"] == [6 * 7 * 8, 5 * 6 * 7, ""]
    assert made["AMGSRNFeatureGrids"] == [32, 4, ""]
    assert made["AMGSRNStreamTracer"][1:] == [12, ""]
    assert found["forgotten"] == {}
    for again in ("state", "script", "trace", "redone"):
        assert found[again] == made, again
    assert len(found["traced"]) == 3
    assert found["undone"] == []


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.mpi)])
def test_a_server_makes_the_same(paraview, folder, free_port, ranks):
    with paraview.served(free_port, 0 if ranks == 1 else ranks):
        run = paraview.run("pvpython", "replay.py", folder, free_port, ranks)
    made = run.results["made"]
    assert run.messages == []
    points, _, message = made["AMGSRNCompare"]
    # Pieces share a layer of points.
    assert points == 6 * 7 * 8 if ranks == 1 else points > 6 * 7 * 8
    assert message == ""
    assert made["AMGSRNFeatureGrids"] == [32, 4, ""]
    assert made["AMGSRNStreamTracer"][1:] == [12, ""]
