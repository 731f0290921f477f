"""The trainer cuts a volume into bricks and trains them in several processes."""

from __future__ import annotations

import numpy as np
import pytest

from amgsrn_core import NeuralVolume


@pytest.mark.parametrize(
    ("program", "ranks"), [("pvpython", 0), pytest.param("pvbatch", 3, marks=pytest.mark.mpi)]
)
def test_a_volume_in_bricks_becomes_one_model(paraview, tmp_path, program, ranks):
    run = paraview.run(program, "bricks.py", tmp_path, ranks=ranks)
    results = run.results
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
