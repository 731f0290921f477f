"""scripts/compare_layout.py: four views of a training that goes on, and of a finished model."""

from __future__ import annotations

import numpy as np
from conftest import covered, executable, finish
from support.paths import ROOT
from support.sample_models import write_small_model
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOImage import vtkPNGReader

from amgsrn_core import NeuralVolume
from amgsrn_core.volume import write_volume

SCRIPT = ROOT / "scripts" / "compare_layout.py"


def test_a_training_is_laid_out_while_it_goes_on(paraview, tmp_path):
    found = paraview.run("pvpython", "layout.py", tmp_path).results
    assert "Choose an AMGSRN Trainer" in found["refused"]
    assert found["state"] == "training"
    assert sorted(found["views"]) == ["RenderView"] * 3 + ["XYChartView"]
    assert found["chosen"] == "XYChartView"  # the script's choice: it made this one last
    assert found["series"] == [["psnr"], "iteration"]
    first, second, third = found["cameras"]
    np.testing.assert_allclose(second, first)
    np.testing.assert_allclose(third, first)
    share, colours = covered(tmp_path / "layout.png")
    assert share > 0.1
    assert colours > 100
    assert curve(tmp_path / "layout.png") > 50


def test_a_model_is_drawn_beside_its_data(paraview, tmp_path):
    model, volume, picture = (tmp_path / name for name in ("m.amgsrn", "v.vti", "all.png"))
    write_small_model(model)
    values = NeuralVolume.open(model, device="cpu").to_numpy()
    noise = np.random.default_rng(0).normal(0, 0.1, values.shape)
    write_volume(volume, (values + noise).astype("f4"), model_grid(model), name="density")

    def drawn(*arguments):
        command = [executable("pvpython"), str(SCRIPT), *map(str, arguments)]
        return finish(paraview.start(command, {"PV_PLUGIN_PATH": paraview.plugin_path}), 150)

    run = drawn(model, volume, "-o", picture, "--size", "800,600")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.messages == []
    assert run.stdout.splitlines()[-1] == f"{picture}: 800 x 600 pixels"
    assert covered(picture)[1] > 100
    assert curve(picture) > 50
    before = volume.read_bytes()
    run = drawn(model, volume, "-o", volume)
    assert run.returncode == 1
    assert volume.read_bytes() == before


def curve(path):
    """Return how many pixels between the axes of the chart, the lower right quarter, are dark."""
    reader = vtkPNGReader()
    reader.SetFileName(str(path))
    reader.Update()
    width, height, _ = reader.GetOutput().GetDimensions()
    pixels = vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars()).astype(int)
    rows = slice(height // 2 * 20 // 100, height // 2 * 80 // 100)  # from below
    columns = slice(width // 2 * 115 // 100, width // 2 * 190 // 100)
    chart = pixels.reshape(height, width, -1)[rows, columns, :3]
    return int((chart.min(axis=2) < 170).sum())


def model_grid(path):
    return NeuralVolume.open(path, device="cpu").geometry
