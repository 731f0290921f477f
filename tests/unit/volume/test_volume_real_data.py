"""Real volumes from simulations, scanners and climatologies read as their manifest says."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from support.sample_volumes import SHARED_DATA, shared_file

from amgsrn_core.volume import open_volume, write_volume
from amgsrn_core.volume.netcdf.library import import_netcdf4

FIELDS = []
if (SHARED_DATA / "MANIFEST.tsv").exists():
    with open(SHARED_DATA / "MANIFEST.tsv", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            for name, low, high in re.findall(r"(\w+):\[([^,]+),([^\]]+)\]", row["range"]):
                FIELDS.append(
                    pytest.param(row["name"], name, row["dims"], float(low), float(high), id=name)
                )


@pytest.mark.skipif(not FIELDS, reason="the collection of real volumes is not beside this checkout")
@pytest.mark.parametrize(("name", "variable", "dims", "low", "high"), FIELDS)
def test_dims_and_range(name: str, variable: str, dims: str, low: float, high: float) -> None:
    path = shared_file(f"{name}.nc")
    sizes = [int(size) for size in dims.split(" ")[0].split("x")]
    volume = open_volume(path, variable)
    assert volume.dims == tuple(sizes[-3:])
    summaries = [volume.check()]
    if len(sizes) == 4:
        assert volume.time is not None
        assert len(volume.time.values) == sizes[0]
        summaries += [open_volume(path, variable, step).check() for step in range(1, sizes[0])]
    assert min(s.minimum[0] for s in summaries) == pytest.approx(low, rel=1e-5)
    assert max(s.maximum[0] for s in summaries) == pytest.approx(high, rel=1e-5)


def test_an_ocean_with_land_and_uneven_depths() -> None:
    path = shared_file("levitus_ocean.nc")
    volume = open_volume(path, ["temperature", "salinity"])
    z, y, x = volume.geometry.axes
    assert (z.coordinates[0], z.coordinates[-1], z.units) == (-5000, 0, "m")
    assert (z.descending, z.negated, z.is_uniform) == (True, True, False)
    assert y.is_uniform
    assert x.is_uniform
    assert volume.units == ("degC", "1e-3")
    assert volume.missing.fill_value == np.float32(1e20)
    block = volume.read()
    assert 2 * np.count_nonzero(~block.valid) == 1154550  # the manifest's count, both variables
    with import_netcdf4().Dataset(str(path)) as dataset:
        expected = dataset["temperature"][::-1]
    assert np.array_equal(block.valid, ~np.ma.getmaskarray(expected))
    assert np.array_equal(block.values[0], expected.filled(0))


def test_a_hurricane_is_a_vector_field() -> None:
    path = shared_file("katrina_wrf.nc")
    volume = open_volume(path, ["u", "v", "w"], "2005-08-28T18:00:00")
    assert volume.components == ("u", "v", "w")
    assert volume.name == "u_v_w"
    assert volume.time is not None
    assert volume.time.index == 2
    with import_netcdf4().Dataset(str(path)) as dataset:
        expected = np.stack([dataset[name][2] for name in "uvw"])
    assert np.array_equal(volume.read().values, expected)


def test_a_forecast_with_nan_on_pressure_levels() -> None:
    missing = 0
    for name in ("t", "z_gp"):
        for step in range(7):
            volume = open_volume(shared_file("nmc_forecast.nc"), name, step)
            block = volume.read()
            assert volume.geometry.axes[0].coordinates[0] == -1000  # up is up
            missing += 0 if block.valid is None else np.count_nonzero(~block.valid)
    assert missing == 63880


@pytest.mark.parametrize("suffix", [".nc", ".vtr"])
def test_an_ocean_survives_a_round_trip(tmp_path: Path, suffix: str) -> None:
    if suffix == ".vtr":
        pytest.importorskip("vtkmodules.vtkIOXML")
    volume = open_volume(shared_file("levitus_ocean.nc"), "temperature")
    path = write_volume(
        tmp_path / f"ocean{suffix}",
        ((extent, volume.read(extent)) for extent in volume.slabs(1 << 20)),
        volume.geometry,
        name=volume.name,
        units=volume.units,
        missing=volume.missing,
    )
    copy = open_volume(path)
    here, there = volume.read(), copy.read()
    assert np.array_equal(here.values, there.values)
    assert np.array_equal(here.valid, there.valid)
    assert copy.geometry.bounds == volume.geometry.bounds
    if suffix == ".nc":
        assert copy.geometry == volume.geometry
