"""`amgsrn example` and `amgsrn script`: what the pages begin with, from any folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from support.paths import ROOT

from amgsrn_core import open_volume
from amgsrn_core.cli import main
from amgsrn_core.cli.script import scripts
from amgsrn_core.original.jobs import Folders, job_schema, read_jobs
from amgsrn_core.rendering.colormap import load_colormap


def test_examples_are_written_into_a_folder_that_is_made(tmp_path, capsys):
    folder = tmp_path / "new" / "folder"
    assert main(["example", "turbulence", "jobs", "colormap", "-o", str(folder)]) == 0
    assert capsys.readouterr().out.count("written  ") == 3
    assert open_volume(folder / "turbulence.nc").name == "speed"
    jobs = read_jobs(folder / "jobs.json", Folders())
    assert [job.name for job in jobs] == ["train turbulence", "test turbulence"]
    assert isinstance(json.loads((folder / "colormap.json").read_text()), list)


def test_an_example_replaces_itself_and_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["example", "turbulence"]) == main(["example", "turbulence"]) == 0
    other = tmp_path / "scan.nc"
    os.replace("turbulence.nc", other)
    subprocess.run(
        [sys.executable, "-c", "import netCDF4, sys; netCDF4.Dataset(sys.argv[1], 'w')", other],
        check=True,
    )
    before = other.read_bytes()
    assert main(["example", "scan"]) == 1
    assert "--force" in capsys.readouterr().err
    assert other.read_bytes() == before


def test_an_ocean_is_netcdf(tmp_path, capsys):
    assert main(["example", "ocean", "--format", "vti", "-o", str(tmp_path)]) == 1
    assert "need NetCDF" in capsys.readouterr().err
    assert main(["example", "ocaen"]) == 2
    assert "did you mean ocean?" in capsys.readouterr().err


def test_the_schema_has_every_option_and_no_other(tmp_path, capsys):
    assert main(["jobs", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema == json.loads(json.dumps(job_schema()))
    train, test = (each["prefixItems"][1] for each in schema["items"]["oneOf"])
    page = (ROOT / "docs" / "original.md").read_text()
    for name in train["properties"]:
        assert f"`{name}`" in page, name
    assert train["properties"]["n_grids"]["default"] == 64
    assert set(test["properties"]) >= {"load_from", "tests", "tests_to_run"}


def test_a_job_file_is_asked_for(capsys):
    assert main(["jobs"]) == 2
    assert "amgsrn example jobs" in capsys.readouterr().err


def test_scripts_are_listed_found_and_suggested(capsys):
    assert main(["script"]) == 0
    shown = capsys.readouterr().out
    assert {
        "grid_video",
        "gallery",
        "flight_film",
        "fly_through",
        "train_cluster",
        "01_train_and_render",
    } <= set(scripts())
    assert all(f"\n{name} " in shown for name in scripts())
    assert main(["script", "--path", "train_cluster"]) == 0
    assert capsys.readouterr().out.strip() == str(ROOT / "scripts/slurm/train_cluster.sh")
    assert main(["script", "gird_video"]) == 1
    assert "did you mean grid_video?" in capsys.readouterr().err


def test_a_script_gets_its_arguments_in_any_folder(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "amgsrn_core.cli", "script", "gallery", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "usage: gallery.py" in result.stdout


def test_the_colour_map_is_one_of_paraview_s(tmp_path):
    main(["example", "colormap", "-o", str(tmp_path)])
    transfer = load_colormap(tmp_path / "colormap.json", 0.0, 2.0)
    assert transfer.table[0, 3] == 0 and transfer.table[-1, 3] > 0.5  # opacities
