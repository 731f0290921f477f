"""A series in ParaView: its steps in the time controls, and the one that is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import missing
from support.sample_models import small_brick, small_index
from test_neural_volume import difference

from amgsrn_core import NeuralVolume
from amgsrn_core.cli.paraview_launcher import neural_volume
from amgsrn_core.model import write_archive
from amgsrn_core.volume import TimeAxis
from amgsrn_core.volume.preview import preview_geometry

TIMES = (0.0, 6.0, 24.0)


@pytest.fixture
def series(tmp_path):
    """Write a model of three steps of a longer series, and its second step as a model alone."""
    whole = small_index(dims=(23, 27, 29))
    axis = TimeAxis((0.0, 6.0, 12.0, 24.0), "hours", steps=(0, 1, 3))
    index = whole.replace(bricks=whole.bricks * 3, time=axis)
    bricks = [small_brick(whole, seed) for seed in range(3)]
    for brick in bricks:
        brick["feature_grids"] *= 6.0  # more contrast than a model has that nobody trained
    path = tmp_path / "series.amgsrn"
    write_archive(path, index, bricks)
    write_archive(tmp_path / "alone.amgsrn", whole, bricks[1:2])
    return path


def test_every_source_shows_the_step_that_is_asked_for(paraview, series, tmp_path):
    if neural_volume() is None:
        missing("The compiled plugin (Debian, Ubuntu: paraview-dev)")
    run = paraview.run("pvpython", "time_series.py", series, tmp_path)
    assert not run.messages
    results = run.results
    assert results["times"] == list(TIMES) and results["each"] == [list(TIMES)] * 2
    assert results["mode"] == "Snap To TimeSteps"
    assert [model[2:] for model in results["models"]] == [[], ["1"], ["2"]]
    model = NeuralVolume.open(series, "cpu")
    preview = preview_geometry(model.geometry, 64**3)
    (saved,) = paraview.folder.glob("time_series-*.json.npz")
    with np.load(saved) as arrays:
        for step, time in enumerate(TIMES):
            for which, geometry in enumerate((preview, model.geometry, model.geometry)):
                wanted = model.at(step).reconstruct_block(geometry).values[0]
                if which == 0:  # a preview stays within the data's range
                    index = model.index
                    wanted = wanted.clip(index.value_minimum[0], index.value_maximum[0])
                shown = arrays[f"{which}/{time:g}"][..., 0]
                np.testing.assert_allclose(shown, wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(arrays["between"], arrays["0/24"])
    pictures = [tmp_path / f"{time:g}.png" for time in TIMES]
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert difference(pictures[first], pictures[second])[0] > 0.1
    assert difference(pictures[1], tmp_path / "alone.png")[0] < 0.01
