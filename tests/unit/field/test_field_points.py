"""Points, time steps and whole arrays of a model in one line of Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.sample_models import write_small_model

from amgsrn_core import NeuralVolume
from amgsrn_core.errors import VolumeError
from amgsrn_core.model import Archive, write_archive
from amgsrn_core.volume import Axis, GridGeometry, TimeAxis

OCEAN = GridGeometry(
    (
        Axis("level", [-100.0, -50, -20, -10, -5, 0], units="m", negated=True),
        Axis("y", np.arange(-30.0, 31, 10), units="degrees_north"),
        Axis("x", np.arange(340.0, 411, 10), units="degrees_east"),
    )
)


def model_of(folder: Path, **options: object) -> NeuralVolume:
    write_small_model(folder / "m.amgsrn", geometry=OCEAN, **options)
    return NeuralVolume.open(folder / "m.amgsrn", device="cpu")


def test_coordinates_by_name_are_those_of_the_file(tmp_path: Path) -> None:
    model = model_of(tmp_path)
    wanted = model.sample(np.array([[350.0, -10, -20], [350, 0, -20], [350, 10, -20]]))[:, 0]
    assert np.array_equal(model.sample(lon=-10, lat=[-10, 0, 10], level=20), wanted)
    assert np.array_equal(model.sample(x=350, y=[-10, 0, 10], z=20), wanted)
    assert model.sample(lon=-10, lat=0, level=20).shape == ()
    assert model.sample([350, 0, -20]).tolist() == [wanted[1]]
    grid = model.sample(lon=np.zeros((2, 1)), lat=np.zeros((1, 3)), level=1)
    assert grid.shape == (2, 3)


def test_several_components_stand_behind(tmp_path: Path) -> None:
    model = model_of(tmp_path, components=("u", "v"))
    assert model.sample(lon=0, lat=[0, 1, 2], level=20).shape == (3, 2)
    assert model.sample([0, 0, -20]).shape == (2,)
    assert model.to_numpy().shape == (2, 6, 7, 8)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"lon": 0, "lat": 0}, "level is not named"),
        ({"lon": 0, "x": 0, "lat": 0, "z": 0}, "named twice"),
        ({"lon": 0, "lat": 0, "pressure": 0}, "no axis 'pressure'.*level .z. 0 to 100 m downwards"),
        ({"lon": 0, "lat": 0, "level": -20}, "depths are positive by name"),
        ({"lon": [1, 2], "lat": [1, 2, 3], "level": 0}, "do not go together"),
    ],
)
def test_slips_are_explained(tmp_path: Path, named: dict, words: str) -> None:
    with pytest.raises(VolumeError, match=words):
        model_of(tmp_path).sample(**named)
    with pytest.raises(VolumeError, match="not both"):
        model_of(tmp_path).sample([0, 0, 0], lon=1)


def test_beyond_the_volume_there_is_nothing(tmp_path: Path) -> None:
    assert np.isnan(model_of(tmp_path).sample(lon=0, lat=80, level=20))


def test_a_whole_array_ascends(tmp_path: Path) -> None:
    model = model_of(tmp_path, mask=True)
    values = model.to_numpy()
    assert values.shape == model.geometry.dims
    assert np.array_equal(values, model.reconstruct_block().with_nan()[0], equal_nan=True)
    assert np.isnan(values).any()


def test_a_step_by_its_date(tmp_path: Path) -> None:
    write_small_model(tmp_path / "one.amgsrn")
    with Archive(tmp_path / "one.amgsrn") as archive:
        index, brick = archive.index, archive.load_brick(0)
    time = TimeAxis((0.0, 6.0, 12.0), "hours since 2000-01-01", steps=(0, 2))
    index = index.replace(time=time, bricks=index.bricks * 2)
    write_archive(tmp_path / "m.amgsrn", index, [brick] * 2)
    model = NeuralVolume.open(tmp_path / "m.amgsrn", device="cpu")
    assert "time step 0 of 2 (2000-01-01T00:00:00)" in repr(model)
    assert model.sel("2000-01-01T12").step == 1
    assert model.sel("2000-01-01T11", method="nearest").step == 1
    assert model.sel("2000-01-01T07", method="nearest").step == 1  # 6 hours were not trained
    with pytest.raises(VolumeError, match=r"no time step 2000-01-01T06.*0, 2"):
        model.sel("2000-01-01T06")
    with pytest.raises(VolumeError, match="exact or nearest"):
        model.sel(0, method="linear")


def test_a_short_text_says_what_it_is(tmp_path: Path) -> None:
    text = repr(model_of(tmp_path))
    assert text.startswith("<NeuralVolume density [K] 6 x 7 x 8, ")
    assert text.endswith("kB, 40.00 dB, cpu>")


def test_a_vtk_data_set_knows_its_units_and_source(tmp_path: Path) -> None:
    pytest.importorskip("vtkmodules.vtkCommonDataModel", reason="VTK is missing")
    from amgsrn_core import volume_from_vtk

    model = model_of(tmp_path)
    dataset = model.to_vtk()
    assert dataset.GetClassName() == "vtkRectilinearGrid"
    volume = volume_from_vtk(dataset, "density")
    assert volume.units == ("K",)
    assert volume.geometry == model.geometry
    assert volume.missing.fill_value == 1e20
    assert np.array_equal(volume.read().values[0], model.to_numpy())
    even = GridGeometry.uniform((3, 4, 5), origin=(340, -30, -100), spacing=(10, 10, 20))
    assert model.to_vtk(even).GetClassName() == "vtkImageData"
