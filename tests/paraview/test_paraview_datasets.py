"""The trainer on data sets that are no volumes: meshes of every kind, sampled on a lattice."""

from __future__ import annotations

import re

import numpy as np
import pytest
from conftest import PROGRAMS

from amgsrn_core import NeuralVolume
from amgsrn_core.model import read_index
from amgsrn_core.volume.vtk.known import SAMPLING

KNOWN = ("ball", "cells", "pipe", "layer", "count", "filled", "mixed", "amr", "series")
TEXT = re.compile(
    r"Sampled on a (\d+) x (\d+) x (\d+) lattice \(x, y, z\), (\d+)% of it inside the mesh"
    r"(, each cell with its value)?\. The lattice, interpolated at (\d+) of the mesh's own (\d+) "
    r"(points|cells' centres): PSNR ([\d.]+) dB, largest error ([\d.e+-]+)\."
)


@pytest.fixture(scope="module")
def trained(screen, tmp_path_factory):
    from conftest import ParaView

    folder = tmp_path_factory.mktemp("datasets")
    run = ParaView(screen[0], folder).run("pvpython", "datasets.py", folder)
    (arrays,) = folder.glob("datasets-*.npz")
    return run, run.results, folder, np.load(arrays)


def test_every_kind_is_trained_and_says_how_it_was_sampled(trained):
    _, results, folder, _ = trained
    for kind in KNOWN:
        found = results[kind]
        assert found["state"] == "done", found["message"]
        told = TEXT.match(found["message"])
        assert told, found["message"]
        nx, ny, nz, _, cells, compared, points, where, psnr, _ = told.groups()
        index = read_index(folder / f"{kind}.amgsrn")
        assert index.geometry.dims == (int(nz), int(ny), int(nx))
        assert 0.5 * int(points) < int(compared) <= int(points)
        assert (where == "cells' centres") == bool(cells) == (kind in ("cells", "layer", "amr"))
        assert float(psnr) > 25
        assert "The network there: PSNR " in found["message"]
        # The file says it, too.
        assert index.attributes is not None
        assert index.attributes.file == {SAMPLING: told.group()}


def test_outside_there_is_nothing_in_the_model_and_what_is_made_of_it(trained):
    _, results, folder, arrays = trained
    model = NeuralVolume.open(folder / "ball.amgsrn")
    assert model.geometry.dims == (29, 30, 31)
    axes = (axis.coordinates for axis in model.geometry.axes)
    z, y, x = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    valid = model.reconstruct_block().valid
    assert not valid[radius > 6.0].any() and valid[radius < 5.8].all()
    shown = arrays["ball"][..., 0]
    assert results["ball"]["back"]["extent"] == [0, 30, 0, 29, 0, 28]
    np.testing.assert_array_equal(np.isnan(shown), ~valid)
    assert np.isnan(model.sample([[5.0, 5.0, 0.0]])).all()


def test_a_curvilinear_grid_keeps_its_vectors(trained):
    _, results, folder, arrays = trained
    model = NeuralVolume.open(folder / "pipe.amgsrn")
    assert model.components == ("flow_x", "flow_y", "flow_z")
    np.testing.assert_allclose(results["pipe"]["preview"], [0, 2, 0, 2, 0, 1], atol=1e-6)
    assert results["pipe"]["back"]["arrays"] == {"flow": 3}
    x, y = (axis.coordinates for axis in reversed(model.geometry.axes[1:]))
    far = np.hypot(*np.meshgrid(x, y))
    outside = np.isnan(arrays["pipe"]).all(axis=(0, 3))
    assert outside[(far > 2.0) | (far < 0.98)].all() and not outside[(far > 1) & (far < 1.95)].any()


def test_the_same_mesh_is_not_trained_twice(trained):
    _, results, _, _ = trained
    assert results["ball"]["same"] and results["pipe"]["same"]


def test_what_is_masked_is_told(trained):
    run, results, _, _ = trained
    assert "1 of 2 blocks lack 'flow' and are left out" in results["mixed"]["message"]
    assert "1e+20" in results["filled"]["message"]
    assert "taken for missing" in results["filled"]["message"]
    # What was done to every mesh is no warning.
    assert "Sampled on" not in run.stdout + run.stderr


def test_a_curvilinear_grid_in_index_space_comes_back_as_it_was(trained):
    _, results, folder, arrays = trained
    found = results["index"]
    assert found["trained"]["state"] == found["cells"] == "done"
    assert found["trained"]["message"] == ""
    model = NeuralVolume.open(folder / "index.amgsrn")
    assert model.geometry.dims == (8, 13, 9) and model.index.coordinates is not None
    kinds = {found[key]["type"] for key in ("own", "fine", "part")}
    assert kinds == {"vtkStructuredGrid"}
    assert found["own"]["extent"] == [0, 8, 0, 12, 0, 7] and found["own"]["arrays"] == {"flow": 3}
    np.testing.assert_array_equal(arrays["index own points"], arrays["pipe points"])
    # Between samples the grid is straight, and so it stays within its own bounds.
    assert found["fine"]["extent"] == [0, 17, 0, 25, 0, 15]
    fine = arrays["index fine points"].reshape(16, 26, 18, 3)
    radius = np.hypot(fine[..., 0], fine[..., 1])
    assert radius[..., 0].min() > 0.99 and radius[..., -1].max() <= 2 + 1e-6
    part = arrays["pipe points"].reshape(8, 13, 9, 3)[0:7, 3:5, 2:6]
    np.testing.assert_array_equal(arrays["index part points"], part.reshape(-1, 3))
    assert read_index(folder / "index_cells.amgsrn").geometry.dims == (7, 12, 8)
    assert all("index space of a curvilinear grid" in said for said in found["refused"])


def test_a_series_is_one_on_the_first_steps_lattice(trained):
    _, results, folder, _ = trained
    (first, low), (second, high) = results["series"]["steps"]
    assert (first, second) == ([], ["1"])
    assert high == pytest.approx(2 * low, rel=0.5)
    assert read_index(folder / "series.amgsrn").times == (0.0, 1.0)
    assert "Of all 2 time steps the lowest PSNR is" in results["series"]["message"]


def test_what_is_no_volume_is_refused_in_one_sentence(trained):
    run, results, folder, _ = trained
    said = results["refused"]
    for kind in ("surface", "slice"):
        assert said[kind].endswith(
            "a slice, a surface or points are no volume; train on what they were made from."
        )
    assert said["empty"].startswith("The input is empty")
    assert "no numeric point array 'other'" in said["unknown"]
    assert "or a mesh, not vtkTable" in said["table"]
    assert not any((folder / f"{kind}.amgsrn").exists() for kind in said)
    lines = [line for line in run.messages if "index space" not in line]
    assert all("AMGSRN Trainer" in line for line in lines)
    assert len(set(lines)) == len(set(said.values()))


@pytest.mark.mpi
def test_ranks_sample_their_parts_together(paraview, tmp_path, free_port):
    folder = {"PYTHONPATH": str(PROGRAMS)}
    with paraview.served(free_port, 2):
        run = paraview.run("pvpython", "datasets_ranks.py", tmp_path, free_port, environment=folder)
    for kind in ("ball", "bricks", "series"):
        state, message = run.results[kind]
        assert state == "done", message
        told = TEXT.match(message)
        assert told and float(told.group(9)) > 25
        # Half of the mesh is on each rank; where they meet, points are on both and count once.
        # (Clip makes some points several times, 2473 on a single rank.)
        assert 2460 < int(told.group(7)) <= 2473
        valid = NeuralVolume.open(tmp_path / f"{kind}.amgsrn").reconstruct_block().valid
        assert valid.mean() == pytest.approx(0.46, abs=0.02)
        # No seam where the parts meet, and all eight octants are there.
        middle = valid[:, valid.shape[1] // 2, valid.shape[2] // 2]
        assert middle[2:-2].all()
    assert len(read_index(tmp_path / "bricks.amgsrn").bricks) == 2
    assert read_index(tmp_path / "series.amgsrn").times == (0.0, 1.0)
    assert "no volume" in run.results["flat"][1]
    # Sample by sample: what each rank has of it comes back as the whole grid.
    found = run.results["index"]
    assert found["state"] == ["done", ""]
    assert "without bricks only" in found["bricks"][1]
    model = NeuralVolume.open(tmp_path / "index.amgsrn")
    assert model.geometry.dims == (9, 11, 13) and model.index.coordinates is not None
    z, y, x = np.meshgrid(np.arange(9), np.arange(11), np.arange(13), indexing="ij")
    where = np.stack([x * (1 + 0.05 * y), y, z], axis=-1)
    np.testing.assert_allclose(model.index.coordinates.at(*map(np.arange, (9, 11, 13))), where)
    assert found["back"]["type"] == "vtkStructuredGrid"
    assert found["back"]["whole"] == [0, 12, 0, 10, 0, 8]
    np.testing.assert_allclose(found["back"]["bounds"], [0, 18, 0, 10, 0, 8], atol=1e-5)
    values = model.reconstruct_block().values[0]
    assert np.abs(values - where @ [1.0, 2.0, 3.0]).mean() < 0.2 * np.ptp(values)
