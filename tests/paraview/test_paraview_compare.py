"""AMGSRN Compare: errors of models on the data's own grid, tables, ranks, and bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.sample_models import write_small_model, write_two_bricks
from vtkmodules.vtkIOXML import (
    vtkXMLImageDataWriter,
    vtkXMLPImageDataReader,
    vtkXMLRectilinearGridWriter,
)

from amgsrn_core import NetworkConfig, NeuralVolume, TrainingConfig, train_series, volume_from_array
from amgsrn_core.evaluation.metrics import compare
from amgsrn_core.volume import Axis, Block, GridGeometry, TimeAxis, open_volume
from amgsrn_core.volume.vtk.data import volume_from_vtk
from amgsrn_core.volume.vtk.dataset import (
    new_array,
    new_dataset,
    set_arrays,
    set_geometry,
    whole_extent,
)

EVEN = GridGeometry.uniform((24, 14, 12), origin=(1.0, 2.0, 3.0), spacing=(0.5, 1.0, 2.0))
UNEVEN = GridGeometry(
    (
        Axis("z", np.array([-1.0, 0.5, 1.0, 2.0, 4.0, 6.0])),
        Axis.uniform("y", 7, -2.0, 1.0),
        Axis.uniform("x", 8, -3.0, 0.75),
    )
)
# The centres of this grid's cells lie within the model above.
CELLS = GridGeometry(
    (
        Axis("z", np.array([-0.8, 0.2, 1.5, 3.5, 5.9])),
        Axis.uniform("y", 6, -1.9, 1.1),
        Axis.uniform("x", 7, -2.9, 0.8),
    )
)
CLOSE = {"rtol": 1e-4, "atol": 1e-4, "equal_nan": True}


def grid(geometry):
    dataset = new_dataset(geometry)
    set_geometry(dataset, geometry, whole_extent(geometry))
    return dataset


def write(path, dataset):
    writer = vtkXMLImageDataWriter() if path.suffix == ".vti" else vtkXMLRectilinearGridWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(dataset)
    assert writer.Write()


def with_values(geometry, values, name, components):
    dataset = grid(geometry)
    set_arrays(dataset, Block(values, None), name, components)
    return dataset


@pytest.fixture
def folder(tmp_path):
    """Two models, one of them masked, a series, and data that fit and that do not."""
    random = np.random.default_rng(0)
    parts = ("u", "v", "w")
    write_two_bricks(tmp_path / "wind.amgsrn", geometry=EVEN, dims=EVEN.dims, components=parts)
    model = NeuralVolume.open(tmp_path / "wind.amgsrn", device="cpu")
    values = model.reconstruct_block().values
    values = values + random.normal(0, 0.05, values.shape).astype("f4")
    values[:, 3, 4, 5] = np.nan
    write(tmp_path / "wind.vti", with_values(EVEN, values, "density", parts))
    write(tmp_path / "other.vti", with_values(EVEN, values[:2], "pressure", ("p", "q")))

    write_small_model(tmp_path / "scalar.amgsrn", geometry=UNEVEN, mask=True)
    cells = grid(CELLS)
    cells.GetCellData().AddArray(new_array(random.random(4 * 5 * 6), "density"))
    south = CELLS.axes[1].coordinates[::-1].copy()
    cells.SetYCoordinates(new_array(south, "y"))  # as many latitudes are
    write(tmp_path / "cells.vtr", cells)
    inside = GridGeometry.uniform((4, 5, 6), origin=(-2.0, -1.0, 0.0))
    write(tmp_path / "renamed.vti", with_values(inside, random.random((1, 4, 5, 6)), "r", ("r",)))
    away = GridGeometry.uniform((4, 5, 6), origin=(90.0, 0.0, 0.0))
    write(tmp_path / "elsewhere.vti", with_values(away, random.random((1, 4, 5, 6)), "r", ("r",)))
    flat = grid(inside)
    flat.SetDimensions(6, 5, 1)
    flat.GetPointData().AddArray(new_array(random.random(30), "density"))
    write(tmp_path / "flat.vti", flat)
    write_series(tmp_path, random)
    return tmp_path


def write_series(folder, random):
    """Write a model of the times 5 and 7.5, and data of 5, 6, and 7.5."""
    fields = {time: random.random((4, 4, 4)).astype("f4") for time in (5.0, 6.0, 7.5)}
    volumes = [
        volume_from_array(fields[time], time=TimeAxis((5.0, 7.5), index=i))
        for i, time in enumerate((5.0, 7.5))
    ]
    network = NetworkConfig(grids=2, grid_shape=(3, 3, 3), width=8)
    training = TrainingConfig(iterations=5, device="cpu")
    train_series(volumes, folder / "series.amgsrn", network, training)
    lines = []
    for time, field in fields.items():
        name = f"step{time}.vti"
        write(folder / name, with_values(volumes[0].geometry, field[None], "data", ("data",)))
        lines.append(f'<DataSet timestep="{time}" file="{name}"/>')
    (folder / "steps.pvd").write_text(
        f'<VTKFile type="Collection"><Collection>{"".join(lines)}</Collection></VTKFile>'
    )


def results(paraview, folder, program, ranks):
    several = {"ranks": ranks} if ranks > 1 else {}
    run = paraview.run(program, "compare.py", folder, ranks, **several)
    (saved,) = paraview.folder.glob("compare-*.json.npz")
    with np.load(saved) as file:
        return run, dict(file)


def reference(folder, name):
    return open_volume(folder / name)


def expected(folder, **options):
    model = NeuralVolume.open(folder / "wind.amgsrn", device="cpu")
    volume = reference(folder, "wind.vti")
    bricks = [brick.extent for brick in model.index.bricks]
    metrics = compare(volume, lambda e: model.reconstruct_block(None, e), bricks=bricks, **options)
    block = volume.read()
    data = np.where(block.valid, block.values, np.nan)
    return metrics, model.reconstruct_block().values - data


def check_wind(found, metrics):
    """Compare the tables of the model with two bricks with the library's metrics."""
    table, histogram = found["metrics"], found["histogram"]
    parts = [part.name for part in metrics.per_component]
    assert table["Component"] == ["all", *parts, "all", "all"]
    assert table["Brick"] == [-1, -1, -1, -1, 0, 1]
    names = {"psnr": "PSNR", "ssim": "SSIM", "rmse": "RMSE", "max_error": "LargestError"}
    for field, name in names.items():
        of_parts = [getattr(part, field) for part in metrics.per_component]
        of_bricks = [getattr(part, field, math.nan) for part in metrics.per_brick]
        np.testing.assert_allclose(
            table[name], [getattr(metrics, field), *of_parts, *of_bricks], rtol=1e-4
        )
    assert table["Voxels"][0] == metrics.voxels == 24 * 14 * 12 - 1
    counts = [name for name in histogram if name.endswith("_count")]
    assert len(counts) == 3
    assert all(sum(histogram[name]) == metrics.voxels for name in counts)
    assert histogram["ErrorPercent"] == sorted(histogram["ErrorPercent"])


def test_errors_tables_and_bad_input(paraview, folder):
    run, arrays = results(paraview, folder, "pvpython", 1)
    metrics, errors = expected(folder)
    check_wind(run.results["wind"], metrics)
    assert len(run.results["wind"]["histogram"]["ErrorPercent"]) == 20
    assert run.results["wind"]["message"] == ""
    expected_errors = errors.reshape(3, -1).T
    np.testing.assert_allclose(arrays["wind/point/density_error"], expected_errors, **CLOSE)
    absolute = arrays["wind/point/density_error_absolute"]
    np.testing.assert_allclose(absolute, np.abs(expected_errors), **CLOSE)
    spans = [part.maximum - part.minimum for part in metrics.per_component]
    relative = arrays["wind/point/density_error_relative"]
    np.testing.assert_allclose(relative, expected_errors / spans, **CLOSE)
    assert "wind/point/density" in arrays  # the reference itself is there, too
    few = [name for name in arrays if name.startswith("few/")]
    assert sorted(few) == ["few/point/density", "few/point/density_error"]
    assert math.isnan(run.results["few"]["metrics"]["SSIM"][0])

    # On another, uneven grid, with values in its cells and holes in the model.
    model = NeuralVolume.open(folder / "scalar.amgsrn", device="cpu")
    volume = reference(folder, "cells.vtr")
    error = model.reconstruct_block(volume.geometry).with_nan()[0] - volume.read().values[0]
    shown = arrays["cells/cell/density_error"].reshape(4, 5, 6)[:, ::-1]
    np.testing.assert_allclose(shown, error, **CLOSE)
    missing = int(np.isnan(error).sum())
    assert 0 < missing < error.size
    message = run.results["cells"]["message"]
    assert message.startswith(f"The model has no value at {missing} of the 120 samples")
    assert run.results["cells"]["type"] == "vtkRectilinearGrid"
    assert run.results["cells"]["metrics"]["MissingVoxels"] == [missing]
    check_messages(run.results)
    check_series(run.results, arrays, folder)
    check_live(run.results, arrays)


def check_live(found, arrays):
    """A model that is still in training is compared at its preview's points."""
    assert found["live"]["state"] == "training"
    preview, error = arrays["live/preview"], arrays["live/point/density_error"]
    assert np.isfinite(error).all()
    assert error.size == preview.size == found["live"]["points"]
    data = arrays["live/point/density"]
    np.testing.assert_allclose(error, preview - data, atol=1e-6)
    assert found["live"]["metrics"]["RMSE"][0] == pytest.approx(np.sqrt((error**2).mean()), 1e-4)


def check_messages(found):
    assert "'density' is compared with 'r'" in found["renamed"]["message"]
    assert "no voxel with a value in common" in found["elsewhere"]["message"]
    assert "no array of the model, which has density (3 components)" in found["refused"]["message"]
    assert "pressure (point)" in found["refused"]["message"]
    assert "not vtkPolyData" in found["mesh"]["message"]
    assert "The input carries no model" in found["nothing"]["message"]
    assert "fewer than 2 samples along z" in found["flat"]["message"]
    for name in ("elsewhere", "refused", "mesh", "nothing", "flat"):
        assert found[name]["metrics"] == {}


def check_series(found, arrays, folder):
    model = NeuralVolume.open(folder / "series.amgsrn", device="cpu")
    for step, time in enumerate((5.0, 7.5)):
        error = model.at(step).to_numpy() - reference(folder, f"step{time}.vti").read().values[0]
        shown = arrays[("all" if step else "all5") + "/point/data_error"]
        np.testing.assert_allclose(shown, error.ravel(), **CLOSE)
    table = found["all"]["metrics"]
    assert (table["Step"], table["Time"]) == ([0, 1], [5.0, 7.5])
    np.testing.assert_allclose(table["PSNR"], psnr_of_steps(folder), rtol=1e-4)
    assert found["all"]["message"] == (
        "The table has the 2 time steps that both have; the model has 2, and the reference 3."
    )
    assert found["current"]["metrics"]["Time"] == [7.5]
    assert found["current"]["message"] == ""
    assert found["near"]["message"] == "The reference is of the time 6, the model of 5."
    assert "have no time in common" in found["timeless"]["message"]


@pytest.mark.mpi
def test_tables_are_those_of_all_ranks(paraview, folder):
    run, _ = results(paraview, folder, "pvbatch", 2)
    metrics, errors = expected(folder)
    check_wind(run.results["wind"], metrics)
    assert min(run.results["by_rank"]) > 1000
    reader = vtkXMLPImageDataReader()
    reader.SetFileName(str(folder / "errors.pvti"))
    reader.Update()
    shown = volume_from_vtk(reader.GetOutput(), "density_error", duplicates=True).read()
    np.testing.assert_allclose(np.where(shown.valid, shown.values, np.nan), errors, **CLOSE)
    assert "no array of the model" in run.results["refused"]["message"]
    table = run.results["all"]["metrics"]
    assert (table["Step"], table["Time"]) == ([0, 1], [5.0, 7.5])
    np.testing.assert_allclose(table["PSNR"], psnr_of_steps(folder), rtol=1e-4)


def psnr_of_steps(folder):
    model = NeuralVolume.open(folder / "series.amgsrn", device="cpu")
    return [
        compare(
            reference(folder, f"step{time}.vti"),
            lambda e, step=step: model.at(step).reconstruct_block(None, e),
        ).psnr
        for step, time in enumerate((5.0, 7.5))
    ]
