"""AMGSRN Isosurface: the library's triangles as polygonal data, on one rank and on two."""

from __future__ import annotations

import numpy as np
import pytest
from support.sample_models import small_brick, small_index

from amgsrn_core import NeuralVolume
from amgsrn_core.model import write_archive
from amgsrn_core.rendering.isosurface import isosurface, may_have
from amgsrn_core.rendering.occupancy import MacroCells
from amgsrn_core.volume import GridGeometry

GRID = GridGeometry.uniform((40, 16, 18), origin=(1.0, 2.0, 3.0), spacing=(0.5, 1.0, 2.0))


@pytest.mark.parametrize("ranks", [1, 2])
def test_surfaces_are_the_librarys(paraview, tmp_path, ranks):
    path = tmp_path / "model.amgsrn"
    index = small_index((40, 16, 18), ("temperature", "salinity"), geometry=GRID)
    index = index.replace(name="temperature_salinity")
    write_archive(path, index, [small_brick(index)])
    model = NeuralVolume.open(path, device="cpu")
    # A value that macro-cells do not rule out, and that occurs nowhere all the same.
    inside, outside = float(np.median(model.to_numpy()[0])), _just_below_the_bounds(model)
    several = {"ranks": ranks} if ranks > 1 else {}
    program = "pvbatch" if ranks > 1 else "pvpython"
    arguments = (path, inside, outside, ranks)
    run = paraview.run(program, "isosurface.py", *arguments, **several)
    (saved,) = paraview.folder.glob("isosurface-*.json.npz")
    with np.load(saved) as file:
        arrays = dict(file)

    expected = isosurface(model, [inside], tolerance=0.4)
    assert len(arrays["triangles"]) == len(expected.triangles) > 200
    assert set(run.results["arrays"]) == {"temperature", "salinity", "isovalue", "Normals"}
    if ranks == 1:
        np.testing.assert_allclose(arrays["points"], expected.points, atol=1e-4)
        assert np.array_equal(arrays["triangles"], expected.triangles)
        np.testing.assert_allclose(arrays["Normals"], expected.normals, atol=1e-3)
    else:
        assert min(run.results["by_rank"]) > 50
        assert sum(run.results["by_rank"]) == len(arrays["points"])
        distance = np.linalg.norm(expected.points[:, None] - arrays["points"], axis=2)
        assert distance.min(axis=1).max() < 1e-3
    values = model.sample(arrays["points"])
    np.testing.assert_allclose(arrays["salinity"].ravel(), values[:, 1], atol=1e-3)
    np.testing.assert_allclose(values[:, 0], inside, atol=1e-3)
    assert run.results["message"].startswith(
        f"There is no surface at {outside:g}: the model has no such"
    )
    assert "those of its data are" in run.results["message"]
    assert run.results["left"] == 0
    assert "The input carries no model" in run.results["no_model"]


def _just_below_the_bounds(model):
    high = float(MacroCells.of_volume(model).bounds(0)[1].max())
    value = high - 1e-4 * abs(high)
    assert may_have(model, value, 0).any()
    return value
