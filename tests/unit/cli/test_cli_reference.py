"""The data that a model stands for, found again by what the model knows of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.sample_volumes import coordinate, field, ramp, write_netcdf

from amgsrn_core.cli import main
from amgsrn_core.cli.reference import reference_volume
from amgsrn_core.errors import VolumeError
from amgsrn_core.model import ModelIndex, read_index
from amgsrn_core.volume import GridGeometry

SMALL = ["--iterations", "20", "--grids", "2", "--grid-shape", "4,4,4", "--batch", "256"]
SMALL += ["--device", "cpu"]
FILL = 9.9692099683868690e36


def timed(path: Path, times: Any, units: str = "hours since 2000-01-01") -> str:
    values = np.stack([ramp(4, 5, 6) + 1000 * step for step in range(len(times))])
    variables = {
        "time": coordinate("time", times, units=units),
        "v": (("time", "z", "y", "x"), values, {}),
    }
    return str(write_netcdf(path, variables))


def trained(folder: Path, source: str, *options: str) -> ModelIndex:
    assert main(["train", source, "-o", str(folder / "a.amgsrn"), *options, *SMALL]) == 0
    return read_index(folder / "a.amgsrn")


@pytest.mark.parametrize("times", [[0, 1, 1, 2], [3, 2, 1, 0], [0, 1, FILL, 3], [FILL] * 4])
@pytest.mark.parametrize("step", [1, 2])
def test_a_step_is_found_by_its_number_where_the_times_are_the_same(
    tmp_path: Path, times: list[float], step: int
) -> None:
    source = timed(tmp_path / "a.nc", times)
    index = trained(tmp_path, source, "--time", str(step))
    volume = reference_volume(source, None, index)
    assert volume.read().values.min() == 1 + 1000 * step
    model = str(tmp_path / "a.amgsrn")
    assert main(["test", model, "--against", source]) == 0
    assert main(["info", model]) == 0
    assert main(["reconstruct", model, "-o", str(tmp_path / "back.nc")]) == 0


def test_a_step_is_found_by_its_time_elsewhere(tmp_path: Path) -> None:
    index = trained(tmp_path, timed(tmp_path / "a.nc", [0, 6, 12]), "--time", "1")
    other = timed(tmp_path / "b.nc", [12, 6])
    assert reference_volume(other, None, index).read().values.min() == 1001
    other = timed(tmp_path / "c.nc", [0, 5, 10])
    with pytest.raises(VolumeError, match=r"6\.0 is no time step"):
        reference_volume(other, None, index)
    other = timed(tmp_path / "d.nc", [99])  # a file of one step is taken for this one
    assert reference_volume(other, None, index).read().values.min() == 1


def test_a_series_of_falling_times_goes_through_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = timed(tmp_path / "a.nc", [2, 0, 3, 1])
    index = trained(tmp_path, source, "--time", "all")
    assert index.time is not None
    assert (index.time.steps, index.times) == ((1, 3, 0, 2), (0, 1, 2, 3))
    model = str(tmp_path / "a.amgsrn")
    for number, step in enumerate(index.time.steps):
        volume = reference_volume(source, None, index.at(number))
        assert volume.read().values.min() == 1 + 1000 * step
        assert main(["test", model, "--against", source, "--time", str(step)]) == 0
    assert main(["reconstruct", model, "-o", str(tmp_path / "b.nc"), "--time", "all"]) == 0
    capsys.readouterr()
    again = timed(tmp_path / "c.nc", [0, 1, 1, 2])
    assert main(["train", again, "-o", str(tmp_path / "c.amgsrn"), "--time", "all", *SMALL]) == 1
    assert "step 2 has that of step 1" in capsys.readouterr().err
    assert not list(tmp_path.glob("c.amgsrn*"))


def test_models_with_longitudes_beyond_360_still_meet_their_data(tmp_path: Path) -> None:
    source = str(
        write_netcdf(
            tmp_path / "a.nc",
            {
                "x": coordinate("x", [350, 355, 0, 5], units="degrees_east"),
                "v": field(ramp(2, 3, 4)),
            },
        )
    )
    index = trained(tmp_path, source)
    z, y, x = index.geometry.axes
    assert x.coordinates.tolist() == [-10, -5, 0, 5]
    older = dataclasses.replace(x, coordinates=x.coordinates + 360, wrap=None)
    before = index.replace(geometry=GridGeometry((z, y, older)))
    found = reference_volume(source, None, before).geometry.axes[2]
    assert found.coordinates.tolist() == older.coordinates.tolist()
    assert reference_volume(source, None, index).geometry == index.geometry
