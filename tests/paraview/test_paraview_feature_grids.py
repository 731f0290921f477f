"""AMGSRN Feature Grids: boxes where the library has them, and the density as an array."""

from __future__ import annotations

import numpy as np
import pytest
from support.sample_models import write_two_bricks
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOXML import vtkXMLPUnstructuredGridReader, vtkXMLUnstructuredGridReader

from amgsrn_core import NetworkConfig, NeuralVolume, TrainingConfig, train_series, volume_from_array
from amgsrn_core.volume import GridGeometry, TimeAxis

EVEN = GridGeometry.uniform((6, 7, 8), origin=(1.0, 2.0, 3.0), spacing=(0.5, 1.0, 2.0))
HEXAHEDRON = [0, 1, 3, 2, 4, 5, 7, 6]


def models(folder):
    bricks, series = folder / "bricks.amgsrn", folder / "series.amgsrn"
    write_two_bricks(bricks, geometry=EVEN)
    random = np.random.default_rng(0)
    volumes = [
        volume_from_array(random.random((4, 4, 4)), time=TimeAxis((5.0, 7.5), index=i))
        for i in range(2)
    ]
    network = NetworkConfig(grids=2, grid_shape=(3, 3, 3), width=8)
    train_series(volumes, series, network, TrainingConfig(iterations=5, device="cpu"))
    return bricks, series


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.mpi)])
def test_boxes_are_the_librarys(paraview, tmp_path, ranks):
    bricks, series = models(tmp_path)
    several = {"ranks": ranks} if ranks > 1 else {}
    program = "pvbatch" if ranks > 1 else "pvpython"
    run = paraview.run(program, "feature_grids.py", bricks, series, ranks, **several)
    (saved,) = paraview.folder.glob("feature_grids-*.json.npz")
    with np.load(saved) as file:
        arrays = dict(file)
    reader = vtkXMLPUnstructuredGridReader() if ranks > 1 else vtkXMLUnstructuredGridReader()
    reader.SetFileName(f"{bricks}.boxes.{'pvtu' if ranks > 1 else 'vtu'}")
    reader.Update()
    boxes = reader.GetOutput()
    arrays["bricks/points"] = vtk_to_numpy(boxes.GetPoints().GetData())
    for name in ("grid", "brick", "volume", "density"):
        arrays[f"bricks/{name}"] = vtk_to_numpy(boxes.GetCellData().GetArray(name))

    model = NeuralVolume.open(bricks, device="cpu")
    corners = model.feature_corners()[:, :, HEXAHEDRON]
    order = np.lexsort((arrays["bricks/grid"], arrays["bricks/brick"]))
    shown = arrays["bricks/points"].reshape(-1, 8, 3)[order]
    np.testing.assert_allclose(shown, corners.reshape(-1, 8, 3), atol=1e-5)
    assert arrays["bricks/brick"][order].tolist() == [0, 0, 1, 1]
    assert arrays["bricks/grid"][order].tolist() == [0, 1, 0, 1]
    densities = model.feature_densities().ravel()
    np.testing.assert_allclose(arrays["bricks/density"][order], densities, rtol=1e-5)
    edges = corners.reshape(-1, 8, 3)[:, [1, 3, 4]] - corners.reshape(-1, 8, 3)[:, :1]
    volumes = np.abs(np.linalg.det(edges))
    np.testing.assert_allclose(arrays["bricks/volume"][order], volumes, rtol=1e-5)
    assert run.results["by_rank"] == ([4] if ranks == 1 else [2, 2])
    if ranks > 1:
        return
    fine = model.density_block().values[0]
    np.testing.assert_allclose(arrays["fine"][..., 0], fine, rtol=1e-4)
    assert arrays["preview"].shape[:3] == EVEN.dims
    steps = NeuralVolume.open(series, device="cpu")
    for number in range(2):
        expected = steps.at(number).feature_corners()[0][:, HEXAHEDRON].reshape(-1, 3)
        np.testing.assert_allclose(arrays[f"step{number}/points"], expected, atol=1e-5)
    assert not np.array_equal(arrays["step0/points"], arrays["step1/points"])
    assert "The input carries no model" in run.results["nothing"]
