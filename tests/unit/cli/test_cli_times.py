"""Time steps in the shell: told, found near, and all at once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.sample_volumes import coordinate, ramp, write_netcdf

from amgsrn_core.cli import main
from amgsrn_core.volume.netcdf.library import import_netcdf4

SMALL = ["--iterations", "20", "--grids", "2", "--grid-shape", "4,4,4", "--batch", "256"]
SMALL += ["--device", "cpu"]


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("series")
    values = np.stack([ramp(4, 5, 6) + 10 * step for step in range(3)])
    data = write_netcdf(
        folder / "data.nc",
        {
            "time": coordinate("time", [0, 6, 12], units="hours since 2000-01-01"),
            "v": (("time", "z", "y", "x"), values, {"units": "K", "long_name": "warmth"}),
        },
    )
    model = folder / "m.amgsrn"
    assert main(["train", str(data), "-o", str(model), "--time", "all", *SMALL]) == 0
    return data, model


def test_every_step_is_tested_in_a_table(series, capsys, tmp_path):
    data, model = series
    report = str(tmp_path / "r.json")
    assert (
        main(["test", str(model), "--against", str(data), "--time", "all", "--json", report]) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["variable", "step", "0", "1", "2", "mean"]
    assert lines[3].endswith("2000-01-01T06:00:00")
    results = json.loads(Path(report).read_text())
    assert [each["date"][:13] for each in results["steps"]] == [
        "2000-01-01T00",
        "2000-01-01T06",
        "2000-01-01T12",
    ]
    assert results["psnr"] == pytest.approx(np.mean([each["psnr"] for each in results["steps"]]))


def test_the_tests_of_every_step_write_folders_of_their_own(series, tmp_path):
    data, model = series
    words = ["--time", "all", "--tests", "error", "--output-dir", str(tmp_path / "out")]
    assert main(["test", str(model), "--against", str(data), *words]) == 0
    assert len(list(tmp_path.glob("out/step-000[012]/error.*"))) == 3


def test_every_step_is_rendered(series, capsys, tmp_path):
    words = ["--hw", "24,32", "--spp", "16", "--time", "all"]
    assert main(["render", str(series[1]), "-o", str(tmp_path / "p.png"), *words]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"p-000{number}.png" for number in range(3)
    ]
    assert "2000-01-01T12:00:00" in capsys.readouterr().out
    assert main(["render", str(series[0]), "-o", str(tmp_path / "d.png"), *words]) == 0
    assert len(list(tmp_path.glob("d-*.png"))) == 3
    assert main(["render", str(series[1]), "-o", "p.png", "--json", "-", *words]) == 1
    assert "one time step" in capsys.readouterr().err


def test_info_has_dates_and_the_psnr_of_each_step(series, capsys):
    assert main(["info", str(series[1])]) == 0
    out = capsys.readouterr().out
    assert "2000-01-01T00:00:00 (0 hours since 2000-01-01) to 2000-01-01T12:00:00 (" in out
    assert out.count("  step ") == 3
    assert main(["info", str(series[1]), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["dates"][1] == "2000-01-01T06:00:00"
    assert len(results["step_psnr"]) == 3


def test_the_first_step_is_never_taken_in_silence(series, tmp_path, caplog):
    data, model = series
    told = "'v' has 3 time steps; this is the first, 0 (2000-01-01T00:00:00)."
    words = [str(tmp_path / "o.nc"), "-o"][::-1]
    assert main(["reconstruct", str(model), *words]) == 0
    assert told in caplog.text
    caplog.clear()
    assert main(["reconstruct", str(model), *words, "--time", "0"]) == 0
    assert not caplog.text
    assert main(["train", str(data), "-o", str(tmp_path / "a.amgsrn"), *SMALL]) == 0
    assert told in caplog.text


def test_the_nearest_step(series, tmp_path, capsys):
    words = ["reconstruct", str(series[1]), "-o", str(tmp_path / "o.nc"), "--time", "2000-01-01T07"]
    assert main(words) == 1
    assert "its neighbours are 1 (2000-01-01T06:00:00) and 2" in capsys.readouterr().err
    assert main([*words, "--time-method", "nearest"]) == 0
    with import_netcdf4().Dataset(str(tmp_path / "o.nc")) as dataset:
        assert dataset["time"][:].tolist() == [6]
        assert dataset["v"].long_name == "warmth"
        assert "reconstruct of m.amgsrn" in dataset.history
