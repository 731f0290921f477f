"""NetCDF files in ParaView by the library's own reading: opened, trained on, and written again."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.sample_volumes import coordinate, ramp, write_netcdf

from amgsrn_core.cli import main
from amgsrn_core.model import read_index
from amgsrn_core.volume import open_volume
from amgsrn_core.volume.netcdf.library import import_netcdf4


@pytest.fixture
def ocean(tmp_path):
    """Write depths downwards, latitudes from the north, land, packed salinity, falling times."""
    warm = np.stack([ramp(4, 6, 8) + step for step in range(3)]).astype("f4")
    warm[:, :, 2, 3:5] = 1e20
    salt = np.round(10 * ramp(4, 6, 8)).astype("i2")
    path = write_netcdf(
        tmp_path / "ocean.nc",
        {
            "time": coordinate("time", [12, 6, 0], units="hours since 2000-01-01", note="shuffled"),
            "depth": coordinate("depth", [0, 10, 30, 80], units="m", positive="down"),
            "lat": coordinate("lat", [50, 40, 30, 20, 10, 0], units="degrees_north"),
            "lon": coordinate("lon", np.arange(8) * 2.0, units="degrees_east"),
            "warm": (
                ("time", "depth", "lat", "lon"),
                warm,
                {"units": "degC", "long_name": "warmth", "_FillValue": np.float32(1e20)},
            ),
            "salt": (
                ("depth", "lat", "lon"),
                salt,
                {"units": "1e-3", "scale_factor": 0.01, "add_offset": 30.0},
            ),
            "flat": (("lat", "lon"), warm[0, 0], {}),
        },
    )
    with import_netcdf4().Dataset(str(path), "a") as dataset:
        dataset.setncatts({"institution": "MBL", "history": "2001: made"})
    return path


def opened(paraview, path, variables, model="", time="", **options):
    words = json.dumps([str(path), str(model), variables, time])
    run = paraview.run("pvpython", "read_volume.py", words, **options)
    (saved,) = paraview.folder.glob("read_volume-*.json.npz")
    with np.load(saved) as file:
        return run, dict(file)


def test_a_volume_is_what_the_library_reads(paraview, ocean):
    run, arrays = opened(paraview, ocean, ["warm"])
    assert not run.messages
    assert run.results["kind"] == "AMGSRNVolumeReader"
    assert run.results["available"] == ["warm", "salt"]
    seen = run.results["seen"]
    assert [each["type"] for each in seen] == ["vtkRectilinearGrid"] * 3
    assert seen[0]["times"] == [0, 6, 12]
    assert seen[0]["units"] == {"warm": "degC"}
    assert seen[0]["bounds"] == [0, 14, 0, 50, -80, 0]
    for step, time in enumerate((12, 6, 0)):
        block = open_volume(ocean, "warm", step).read()
        assert np.array_equal(arrays[f"{time}/warm"][..., 0], block.with_nan()[0], equal_nan=True)
    assert np.isnan(arrays["0/warm"]).sum() == 8


def test_the_trainer_and_files_know_what_the_file_said(paraview, ocean, tmp_path):
    model = tmp_path / "a.amgsrn"
    run, _ = opened(paraview, ocean, ["warm"], model, "all")
    assert not run.messages and not run.results["message"]
    index = read_index(model)
    assert index.times == (0, 6, 12)
    assert index.time.units == "hours since 2000-01-01"
    assert [axis.units for axis in index.geometry.axes] == ["m", "degrees_north", "degrees_east"]
    assert main(["reconstruct", str(model), "-o", str(tmp_path / "b.nc"), "--time", "all"]) == 0
    with import_netcdf4().Dataset(str(tmp_path / "b.nc")) as dataset:
        assert dataset["depth"][:].tolist() == [0, 10, 30, 80]
        assert dataset["depth"].positive == "down"
        assert dataset["lat"][:].tolist() == [50, 40, 30, 20, 10, 0]
        assert dataset["time"].note == "shuffled"
        assert dataset["warm"].long_name == "warmth"
        assert dataset["warm"].units == "degC"
        assert dataset.institution == "MBL"
        assert dataset.history.endswith("\n2001: made")
        assert dataset["warm"]._FillValue == np.float32(1e20)


def test_variables_of_other_times_are_told(paraview, ocean):
    run, _ = opened(paraview, ocean, ["warm", "salt"])
    assert "not on the same grid and times" in run.results["note"]


def test_packed_numbers_keep_their_units(paraview, ocean):
    run, arrays = opened(paraview, ocean, ["salt"])
    assert arrays["0/salt"].max() == np.float32(30 + 0.1 * 4 * 6 * 8)
    assert run.results["seen"][0]["units"] == {"salt": "1e-3"}


def test_a_file_without_a_volume_is_left_to_others(paraview, tmp_path):
    path = write_netcdf(tmp_path / "flat.nc", {"p": (("y", "x"), np.ones((3, 4), "f4"), {})})
    words = json.dumps([str(path), "", [], ""])
    run = paraview.run("pvpython", "read_volume.py", words, check=False)
    assert "Variables" in run.stderr  # another reader's proxy, which has none
    assert "NetCDF volume (AMGSRN)" not in run.stderr


@pytest.mark.mpi
def test_ranks_read_their_own_extents_and_know_the_file(paraview, ocean, tmp_path):
    model = tmp_path / "ranks.amgsrn"
    words = json.dumps([str(ocean), str(model)])
    run = paraview.run("pvbatch", "volume_ranks.py", words, ranks=2, timeout=300)
    assert (run.results["state"], run.results["message"]) == ("done", "")
    index = read_index(model)
    assert index.units == ("degC",)
    assert index.geometry == open_volume(ocean, "warm", 0).geometry
    assert index.attributes.components[0]["long_name"] == "warmth"


def test_the_traps_of_paraviews_own_reader_are_named(paraview, tmp_path):
    values = ramp(4, 6, 8)
    values[0, 0, :4] = 1e20
    path = write_netcdf(
        tmp_path / "a.nc",
        {
            "depth": coordinate("depth", [0, 10, 30, 80], units="m", positive="down"),
            "lat": coordinate("lat", [0, 10, 20, 30, 40, 50], units="degrees_north"),
            "lon": coordinate("lon", np.arange(8) * 2.0, units="degrees_east"),
            "salt": (("depth", "lat", "lon"), values, {"_FillValue": np.float32(1e20)}),
        },
    )
    words = json.dumps([str(path), str(tmp_path / "a")])
    (sphere, filled) = paraview.run("pvpython", "traps.py", words).results["messages"]
    assert "Sampled on" in sphere[1] and "untick Spherical Coordinates" in sphere[1]
    assert filled[0] == "done"
    assert "Replace Fill Value With Nan" in filled[1]
