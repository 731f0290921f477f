"""The quick start, from a file to the picture that ParaView draws."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from support.paths import ROOT

from amgsrn_core.volume import Axis, GridGeometry, write_volume

SCRIPTS = ROOT / "scripts"

pytestmark = [pytest.mark.paraview, pytest.mark.slow]


def pixels(path):
    """Return an image as float [height, width, 3], top row first."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOImage import vtkPNGReader

    reader = vtkPNGReader()
    reader.SetFileName(str(path))
    reader.Update()
    image = reader.GetOutput()
    width, height, _ = image.GetDimensions()
    values = vtk_to_numpy(image.GetPointData().GetScalars())
    return values.reshape(height, width, -1)[::-1, :, :3].astype(float)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """The output folder for a small ocean: uneven depths, degrees against metres, land."""
    pytest.importorskip("nibabel", reason="nibabel is not installed")
    folder = tmp_path_factory.mktemp("quickstart")
    depths = np.array([-4000.0, -2000.0, -1000.0, -500.0, -200.0, -100.0, -50.0, 0.0])
    geometry = GridGeometry(
        (
            Axis("depth", depths, "m"),
            Axis.uniform("lat", 24, -60.0, 5.0, "degrees_north"),
            Axis.uniform("lon", 36, 0.0, 10.0, "degrees_east"),
        )
    )
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in geometry.dims], indexing="ij")
    values = (20 * np.exp(z) * np.cos(2 * y) + np.sin(5 * x)).astype(np.float32)
    valid = np.ones(values.shape, bool)
    valid[:, 8:16, 20:30] = False
    source = folder / "ocean.nc"
    write_volume(source, values, geometry, name="temperature", units="degC", valid=valid)
    command = [sys.executable, SCRIPTS / "quickstart.py", source, "temperature"]
    command += ["--output", folder / "out", "--iterations", "150", "--batch", "2048"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_everything_that_it_promises_is_there(result):
    names = {path.name for path in result.iterdir()}
    assert {"model.amgsrn", "report.json", "reconstruction.nc", "comparison.png"} <= names
    report = json.loads((result / "report.json").read_text())
    assert report["psnr"] > 20
    assert set(report["seconds"]) >= {"training", "test", "reconstruction", "picture", "total"}


def test_the_picture_shows_original_and_network_side_by_side(result):
    picture = pixels(result / "comparison.png")
    half = picture.shape[1] // 2
    body = slice(40, picture.shape[0])  # below the headings, which differ
    left, right = picture[body, :half], picture[body, half : 2 * half]
    assert left.std() > 20  # something is drawn
    assert np.abs(left - right).mean() < 0.2 * left.std()


def test_land_is_grey_in_the_slice(result):
    picture = pixels(result / "comparison.png")
    upper = picture[: picture.shape[0] // 2, : picture.shape[1] // 2]
    grey = np.all(np.abs(upper - 0.82 * 255) < 3, axis=-1)
    coloured = upper.max(-1) - upper.min(-1) > 40
    share = grey.sum() / (grey.sum() + coloured.sum())
    # The land's share of the map: 8 x 10 of 24 x 36 columns.
    assert share == pytest.approx(80 / (24 * 36), abs=0.04)
