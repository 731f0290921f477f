"""The examples have what makes real files of their kind awkward, and are the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from amgsrn_core import open_series, open_volume
from amgsrn_core.errors import OutputError
from amgsrn_core.volume.examples import EXAMPLES, write_example


@pytest.mark.parametrize("kind", EXAMPLES)
def test_an_example_is_small_and_the_same_each_time(kind, tmp_path):
    names = {"ocean": "temperature"}
    first, second = (write_example(kind, tmp_path / f"{n}.nc") for n in range(2))
    assert first.stat().st_size < 5e6
    values = [open_volume(path, names.get(kind)).read().values for path in (first, second)]
    np.testing.assert_array_equal(*values)


def test_the_ocean_has_land_uneven_depths_and_months(tmp_path):
    xarray = pytest.importorskip("xarray")
    path = write_example("ocean", tmp_path / "ocean.nc")
    steps = open_series(path, "temperature")
    assert len(steps) == 4 and steps[0].dims == (30, 60, 120)
    z = steps[0].geometry.axes[0]
    assert not z.is_uniform and z.negated
    means = []
    for step in steps:
        block = step.read()
        assert 0.6 < block.valid.mean() < 0.9
        values = block.values[0][block.valid]
        assert values.min() > -2 and 25 < values.max() < 35
        means.append(values.mean())
    assert len(set(means)) == 4
    with xarray.open_dataset(path) as seen:
        assert str(seen.time.values[1])[:10] == "2001-04-16"
        assert seen.temperature.standard_name == "sea_water_temperature"
        assert np.isnan(seen.salinity).any() and seen.depth.positive == "down"


def test_the_turbulence_has_its_spectrum(tmp_path):
    """Most of the energy is in large eddies, and it falls by more than an order a decade."""
    values = open_volume(write_example("turbulence", tmp_path / "t.vti")).read().values[0]
    power = np.abs(np.fft.rfftn(values - values.mean())) ** 2
    k = np.sqrt(sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(64, 1 / 64)] * 3, indexing="ij")))
    k = k[..., :33]
    shells = [power[(k >= n - 0.5) & (k < n + 0.5)].sum() for n in (2, 4, 8, 16)]
    assert shells == sorted(shells, reverse=True) and shells[0] > 10 * shells[3]


def test_what_cannot_be_written_is_said(tmp_path):
    with pytest.raises(OutputError):
        write_example("ocean", tmp_path / "none" / "ocean.nc")
