"""Files as weather services, ocean models and satellites write them: from the shell and back.

What comes back is read by xarray, which shares no code with this package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amgsrn_core import NeuralVolume
from amgsrn_core.cli import main
from amgsrn_core.volume.netcdf.library import import_netcdf4

xarray = pytest.importorskip("xarray", reason="xarray, which reads the files back, is missing")

SMALL = ["--iterations", "150", "--grids", "4", "--grid-shape", "6,6,6", "--batch", "2048"]
SMALL += ["--layers", "1", "--width", "16", "--device", "cpu"]


def smooth(*shape: int) -> np.ndarray:
    """Return a field in 0..1 without any symmetry."""
    z, y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    values = 2 * z + np.sin(3 * y) + 0.5 * np.cos(4 * x) * (1 + z)
    return (values - values.min()) / np.ptp(values)


def satellite(path: Path) -> dict[str, Any]:
    """Write a file in the manner of GOES: signed shorts that mean unsigned ones, all packed."""
    counts = np.round(smooth(6, 14, 16) * 65000).astype("u2")
    counts[1, 2, 3:6] = 65535
    with import_netcdf4().Dataset(str(path), "w", format="NETCDF4_CLASSIC") as dataset:
        for name, stored, scale, offset, axis in (
            ("x", np.arange(16), 5.6e-05, -0.1, "X"),
            ("y", np.arange(14), -5.6e-05, 0.12, "Y"),
        ):
            dataset.createDimension(name, len(stored))
            variable = dataset.createVariable(name, "i2", (name,))
            variable.set_auto_maskandscale(False)
            variable.setncatts({"units": "rad", "axis": axis, "valid_range": np.int16([0, 9])})
            variable.setncatts({"scale_factor": np.float32(scale), "add_offset": offset})
            variable[:] = stored
        dataset.createDimension("pressure", 6)
        dataset.createVariable("pressure", "f4", ("pressure",))[:] = [1000, 850, 700, 500, 300, 50]
        dataset["pressure"].setncatts({"units": "hPa", "positive": "down"})
        rain = dataset.createVariable(
            "rain", "i2", ("pressure", "y", "x"), fill_value=np.int16(-1), zlib=True
        )
        rain.set_auto_maskandscale(False)
        rain.setncatts({"_Unsigned": "true", "valid_range": np.int16([0, -6]), "units": "mm h-1"})
        rain.setncatts({"scale_factor": np.float32(0.001), "add_offset": np.float32(2)})
        rain[:] = counts.view("i2")
    values = counts * np.float64(np.float32(0.001)) + 2
    return {
        "name": "rain",
        "variable": "rain",
        "units": "mm h-1",
        "values": np.where(counts == 65535, np.nan, values)[np.newaxis],
        "axes": {
            "pressure": (np.array([1000.0, 850, 700, 500, 300, 50]), "hPa"),
            "y": (np.arange(14) * np.float64(np.float32(-5.6e-05)) + 0.12, "rad"),
            "x": (np.arange(16) * np.float64(np.float32(5.6e-05)) - 0.1, "rad"),
        },
        "times": None,
    }


def ocean(path: Path) -> dict[str, Any]:
    """Write a file in the manner of ROMS: unlimited ocean_time, terrain-following levels."""
    levels = np.array([-0.9, -0.6, -0.3, -0.15, -0.05])
    times = np.array([7200.0, 0.0, 3600.0])  # joined in a wrong order
    values = np.stack([smooth(5, 9, 11) * 10 + step for step in range(3)]).astype("f4")
    land = np.zeros((9, 11), bool)
    land[:2, :3] = True
    values[:, :, land] = np.float32(1e37)
    with import_netcdf4().Dataset(str(path), "w") as dataset:
        for name, size in (("ocean_time", None), ("s_rho", 5), ("eta_rho", 9), ("xi_rho", 11)):
            dataset.createDimension(name, size)
        time = dataset.createVariable("ocean_time", "f8", ("ocean_time",))
        time.setncatts({"units": "second", "long_name": "time since initialization"})
        time.setncatts({"field": "time, scalar, series"})
        time[:] = times
        level = dataset.createVariable("s_rho", "f8", ("s_rho",))
        level.setncatts({"standard_name": "ocean_s_coordinate_g2", "positive": "up"})
        level.setncatts(
            {"valid_min": -1.0, "valid_max": 0.0, "formula_terms": "s: s_rho eta: zeta"}
        )
        level[:] = levels
        dataset.createVariable("lon_rho", "f8", ("eta_rho", "xi_rho"))[:] = np.ones((9, 11))
        where = "lon_rho s_rho ocean_time"
        zeta = dataset.createVariable("zeta", "f4", ("ocean_time", "eta_rho", "xi_rho"))
        zeta[:] = np.zeros((3, 9, 11))
        temp = dataset.createVariable(
            "temp", "f4", ("ocean_time", "s_rho", "eta_rho", "xi_rho"), fill_value=np.float32(1e37)
        )
        temp.setncatts({"units": "Celsius", "coordinates": where, "time": "ocean_time"})
        temp.set_auto_maskandscale(False)
        temp[:] = values
    order = np.argsort(times)
    return {
        "name": "temp",
        "variable": None,
        "units": "Celsius",
        "values": np.where(land, np.nan, values)[order],
        "axes": {
            "s_rho": (levels, None),
            "eta_rho": (np.arange(9.0), None),
            "xi_rho": (np.arange(11.0), None),
        },
        "times": ("ocean_time", times[order], "second"),
    }


def groups(path: Path) -> dict[str, Any]:
    """Write a file with groups: coordinates elsewhere, and a dimension that hides another."""
    lon = (np.arange(-20, 30, 5) % 360).astype("f4")
    lat = np.linspace(60, 20, 8)
    values = smooth(6, 8, 10).astype("f4")
    with import_netcdf4().Dataset(str(path), "w") as dataset:
        for name, size in (("lat", 8), ("lon", 3), ("time", 1)):
            dataset.createDimension(name, size)
        dataset.createVariable("lon", "f4", ("lon",))[:] = [0, 100, 200]
        dataset.createVariable("time", "i4", ("time",))[:] = 36
        dataset["time"].setncatts({"units": "hours since 2001-01-01", "calendar": "noleap"})
        product, geo = dataset.createGroup("PRODUCT"), dataset.createGroup("GEO")
        for name, size in (("lon", 10), ("layer", 6)):
            product.createDimension(name, size)
        product.createVariable("lon", "f4", ("lon",))[:] = lon
        product["lon"].units = "degrees_east"
        geo.createVariable("lat", "f8", ("lat",))[:] = lat
        geo["lat"].setncatts({"units": "degrees_north", "valid_max": 45.0})
        product.createVariable("height", "f4", ("layer",))[:] = [0, 1, 3, 6, 10, 15]
        product["height"].setncatts({"units": "km", "positive": "up"})
        product.createVariable("layer", str, ("layer",))
        no2 = product.createVariable("NO2, total", "f4", ("time", "layer", "lat", "lon"))
        no2.setncatts({"units": "mol m-2", "coordinates": "./height /GEO/lat"})
        no2[:] = values
    return {
        "name": "NO2__total",
        "variable": "PRODUCT/NO2, total",
        "units": "mol m-2",
        "values": values[np.newaxis],
        "axes": {
            "layer": (np.array([0.0, 1, 3, 6, 10, 15]), "km"),
            "lat": (lat, "degrees_north"),
            "lon": (lon.astype("f8"), "degrees_east"),
        },
        "times": ("time", [36], "hours since 2001-01-01"),
    }


@pytest.mark.parametrize("kind", [satellite, ocean, groups])
def test_what_comes_back_is_what_was_stored(
    tmp_path: Path, kind: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    source, model, back = (str(tmp_path / name) for name in ("a.nc", "a.amgsrn", "b.nc"))
    expected = kind(Path(source))
    choice = [] if expected["variable"] is None else ["--variable", expected["variable"]]
    series = len(expected["values"]) > 1
    several = ["--time", "all"] if series else []
    assert main(["train", source, "-o", model, *choice, *several, *SMALL]) == 0
    assert main(["test", model, "--against", source]) == 0
    assert main(["reconstruct", model, "-o", back, *several]) == 0
    capsys.readouterr()

    with xarray.open_dataset(back, decode_times=False) as found:
        array = found[expected["name"]]
        assert array.attrs["units"] == expected["units"]
        names = list(expected["axes"])
        if expected["times"]:
            name, times, units = expected["times"]
            names.insert(0, name)
            assert found[name].attrs["units"] == units
            steps = np.asarray(times).astype("f8")
            assert np.array_equal(found[name].values, steps)
        assert list(array.dims) == names
        for name, (coordinates, units) in expected["axes"].items():
            assert np.allclose(found[name].values, coordinates, rtol=0, atol=1e-12)
            assert found[name].attrs.get("units") == units
        values = array.values.reshape(expected["values"].shape)
    assert np.array_equal(np.isnan(values), np.isnan(expected["values"]))
    network = NeuralVolume.open(model, "cpu")
    order = [1, 1, 1]  # of the axes as stored, against the model's, which ascend
    for position, axis in enumerate(network.geometry.axes):
        order[position] = -1 if axis.descending else 1
    flip = tuple(slice(None, None, step) for step in order)
    for step, stored in enumerate(values):
        block = network.at(step).reconstruct_block()
        valid = True if block.valid is None else block.valid
        assert np.array_equal(
            stored[flip], np.where(valid, block.values[0], np.nan), equal_nan=True
        )
        # A network that was trained for a moment, but on the right values in the right places.
        there = ~np.isnan(stored)
        wanted = expected["values"][step][there]
        error = np.sqrt(np.mean((stored[there] - wanted) ** 2)) / np.ptp(wanted)
        assert error < 0.1, error
