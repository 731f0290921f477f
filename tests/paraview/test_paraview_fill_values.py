"""Fill values that ParaView's readers hand on as numbers are missing, and said to be."""

from __future__ import annotations

import numpy as np
import pytest
from support.sample_volumes import write_netcdf

from amgsrn_core import NeuralVolume
from amgsrn_core.model import read_index

SHAPE = (8, 9, 10)
HOLE = (slice(0, 3), slice(0, 4), slice(0, 5))


def field(fill: float) -> np.ndarray:
    z, y, x = np.meshgrid(*[np.linspace(0, 1, n) for n in SHAPE], indexing="ij")
    values = (20 * z + 9 * np.sin(3 * x * y)).astype("f4")
    values[HOLE] = fill
    return values


def trained(paraview, folder, ranks):
    dimensions = ("z", "y", "x")
    certain = (dimensions, field(1e20), {"_FillValue": np.float32(1e20)})
    suspect = (dimensions, field(-9999), {})
    write_netcdf(folder / "t.nc", {"certain": certain, "suspect": suspect}, kind="NETCDF3_CLASSIC")
    program = "pvbatch" if ranks > 1 else "pvpython"
    mpi = ranks if ranks > 1 else 0
    return paraview.run(program, "fill_values.py", folder, ranks, ranks=mpi, timeout=300)


def assert_masked(result, is_masked=True):
    assert result["state"] == "done", result["message"]
    block = NeuralVolume.open(result["model"], "cpu").reconstruct_block()
    if not is_masked:
        assert block.valid is None or block.valid.all()
        return
    assert not block.valid[HOLE].any()
    assert np.count_nonzero(~block.valid) == block.valid[HOLE].size
    index = read_index(result["model"])
    assert (index.value_minimum[0], index.value_maximum[0]) == pytest.approx((0, 29), abs=3)


def assert_said(message, *texts):
    assert all(text in message for text in texts), message


MASKED = ("'certain' has", "of 1e+20", "they are taken for missing", "Fill Values = none")


def test_known_fill_values_are_missing_and_others_told(paraview, tmp_path):
    run = trained(paraview, tmp_path, 1)
    found = run.results
    for key in ("bricks", "again"):
        assert_masked(found[key])
        assert_said(found[key]["message"], *MASKED)
    assert "'certain' has 60 values of 1e+20" in run.stdout + run.stderr
    assert_masked(found["none"], is_masked=False)
    assert_said(found["none"]["message"], "1e+20", "learned like values", "Fill Values = known")
    assert_masked(found["suspect"], is_masked=False)
    assert_said(found["suspect"]["message"], "60 values of -9999", "Fill Values = -9999")
    assert_said(found["nonsense"]["message"], "fill-values must be auto, known, none or numbers")


@pytest.mark.mpi
def test_several_ranks_agree_on_what_is_missing(paraview, tmp_path):
    found = trained(paraview, tmp_path, 2).results
    assert_masked(found["bricks"])
    assert_said(found["bricks"]["message"], *MASKED)
    # Without bricks the other rank asks for next to nothing: the reader fails at nothing at all.
    assert_masked(found["alone"])
    assert_said(found["alone"]["message"], *MASKED)
    assert_masked(found["number"])
    assert found["number"]["message"] == ""
