"""Numbers that float32 does not hold, and steps without any, in ParaView."""

from __future__ import annotations

import dataclasses

import numpy as np
from conftest import missing
from support.sample_models import small_brick, small_index
from test_neural_volume import DIMS, difference, picture

from amgsrn_core import NeuralVolume
from amgsrn_core.cli.paraview_launcher import neural_volume
from amgsrn_core.model import write_archive
from amgsrn_core.volume import TimeAxis

FAR = 1e9


def write_models(folder):
    """Write the same network near 0 and far from it, and a series with quiet steps."""
    index = small_index(dims=DIMS)
    brick = small_brick(index, 1)
    brick["feature_grids"] *= 6.0  # more contrast than a model has that nobody trained
    write_archive(folder / "near.amgsrn", index, [brick])
    far = index.replace(
        name="far", components=("far",), value_minimum=(FAR,), value_maximum=(FAR + 10.0,)
    )
    write_archive(folder / "far.amgsrn", far, [brick])
    (record,) = index.bricks
    constant = dataclasses.replace(
        record, state="constant", value_minimum=(5.0,), value_maximum=(5.0,)
    )
    empty = dataclasses.replace(record, state="empty")
    quiet = index.replace(
        name="quiet",
        components=("quiet",),
        bricks=(record, constant, empty),
        time=TimeAxis((0.0, 1.0, 2.0), "hours", steps=(0, 1, 2)),
    )
    write_archive(folder / "quiet.amgsrn", quiet, [brick, {}, {}])


def test_doubles_and_quiet_steps(paraview, tmp_path):
    if neural_volume() is None:
        missing("The compiled plugin (Debian, Ubuntu: paraview-dev)")
    write_models(tmp_path)
    run = paraview.run("pvpython", "doubles.py", tmp_path)
    results = run.results
    assert not run.messages
    assert results["types"] == ["double"] * 2
    assert results["trained"] == ["done", "", "double"]
    (saved,) = paraview.folder.glob("doubles-*.json.npz")
    with np.load(saved) as arrays:
        near = NeuralVolume.open(tmp_path / "near.amgsrn", "cpu").reconstruct_block()
        np.testing.assert_allclose(arrays["far"][..., 0] - FAR, near.values[0], atol=1e-4)
        data = arrays["data"]
        assert np.abs(arrays["trained"] - data).mean() < 0.05 * np.ptp(data)
        assert np.isfinite(arrays["quiet-0"]).all()
        assert (arrays["quiet-1"] == 5).all() and np.isnan(arrays["quiet-2"]).all()
    assert picture(tmp_path / "near.png").std() > 2.0
    assert difference(tmp_path / "near.png", tmp_path / "far.png")[1] <= 1.0
    some, constant, nothing = (picture(tmp_path / f"quiet-{step}.png") for step in range(3))
    assert nothing.std(axis=(0, 1)).max() == 0 < constant.std(axis=(0, 1)).max()
    assert np.abs(some - constant).mean() > 0.1
