"""The scripts of scripts/paraview and scripts/insitu, as their users start them."""

from __future__ import annotations

import csv
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import covered, executable
from support.paths import ROOT
from support.sample_models import write_small_model

from amgsrn_core import open_volume
from amgsrn_core.model import read_index, verify_archive
from amgsrn_core.runs.extraction_report import read_report
from amgsrn_core.volume import GridGeometry, write_volume

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
}
SMALL = ["--grids", "2", "--grid-shape", "4,5,6", "--layers", "1", "--width", "16"]
SHORT = [*SMALL, "--iterations", "60", "--batch", "512", "--device", "cpu"]


def amgsrn(folder, *words: object, ranks: int = 0, **environment: str) -> str:
    """Run a command of the shell; return what it printed."""
    command = [sys.executable, "-m", "amgsrn_core.cli", *map(str, words)]
    if ranks:
        options = ["--oversubscribe", "--bind-to", "none", "-n", str(ranks)]
        command = [executable("mpiexec"), *options, *command]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **ENVIRONMENT, **environment},
        timeout=200,
    )
    said = result.stdout + result.stderr
    assert result.returncode == 0 and "Traceback" not in said and "ERR|" not in said, said
    return result.stdout


def refused(folder, *words: object) -> str:
    """Run a script that refuses what it is told; return its sentence."""
    command = [sys.executable, "-m", "amgsrn_core.cli", "script", *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=200)
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    return result.stderr


@pytest.fixture
def place(tmp_path):
    executable("pvpython")
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in (9, 10, 12)], indexing="ij")
    values = (np.sin(2 * x + y) + z).astype(np.float32)
    geometry = GridGeometry.uniform(values.shape, spacing=(0.5, 1, 1))
    write_volume(tmp_path / "wave.vti", values[None], geometry, name="wave")
    return tmp_path


@pytest.mark.slow
def test_a_model_is_trained_written_compared_and_exported(place):
    said = amgsrn(place, "script", "train_model", "wave.vti", "-o", "wave.amgsrn", *SHORT)
    index = read_index(place / "wave.amgsrn")
    written = said.splitlines()[-1]
    assert written.startswith(f"{place / 'wave.amgsrn'}: Complete: ")
    assert f"{index.psnr:.1f} dB" in written
    assert (index.network.grids, index.network.grid_shape) == (2, (4, 5, 6))
    amgsrn(place, "script", "reconstruct_model", "wave.amgsrn", "-o", "again.vti", "--factor", 2)
    assert open_volume(place / "again.vti").dims == (18, 20, 24)
    amgsrn(place, "script", "compare_model", "wave.amgsrn", "wave.vti", "-o", "comparison")
    with open(place / "comparison" / "quality.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["PSNR"]) == pytest.approx(index.psnr, abs=0.1)
    assert open_volume(place / "comparison" / "errors.vti", "wave_error").dims == (9, 10, 12)
    assert "LargestError" in (place / "comparison" / "quality.csv").read_text()
    said = amgsrn(place, "script", "export_isosurface", "wave.amgsrn", "-o", "wave.stl")
    assert int(said.split()[-2]) > 100 and (place / "wave.stl").stat().st_size > 10_000
    # The same once more, in what is wrong.
    assert "There is no file gone.vti" in refused(
        place, "train_model", "gone.vti", "-o", "a.amgsrn"
    )
    twice = refused(place, "train_model", "wave.vti", "-o", "wave.amgsrn", *SMALL)
    assert "restart to replace it" in twice


@pytest.mark.slow
def test_films_and_pictures(place):
    write_small_model(place / "small.amgsrn")
    film = ["--frames", "3", "--size", "120,90"]
    said = amgsrn(place, "script", "orbit_movie", "small.amgsrn", "-o", "orbit", *film)
    assert said.splitlines()[-1] == "orbit: 3 pictures"
    amgsrn(place, "script", "fly_through", "small.amgsrn", "-o", "flight.ogv", *film)
    pictures = sorted((place / "orbit").iterdir())
    assert [path.name for path in pictures] == [f"frame.{n:04d}.png" for n in range(3)]
    shares = [covered(path) for path in pictures]
    assert all(share > 0.02 and colours > 10 for share, colours in shares)
    assert len({path.read_bytes() for path in pictures}) == 3
    assert (place / "flight.ogv").read_bytes()[:4] == b"OggS"
    wrong = refused(place, "orbit_movie", "small.amgsrn", "-o", "film.gif")
    assert "A film is .avi or .ogv or .mp4" in wrong


@pytest.mark.slow
@pytest.mark.mpi
def test_a_simulation_on_two_ranks_hands_over_through_catalyst(place):
    script = ROOT / "scripts" / "insitu"
    options = ["--cells", 16, "--steps", 40, "--every", 20]
    words = ["pvbatch", "--sym", script / "gray_scott.py", *options]
    extract = " ".join(["-o", "run.amgsrn", *SHORT])
    amgsrn(
        place,
        *words,
        *("--catalyst", script / "catalyst_extractor.py"),
        ranks=2,
        AMGSRN_EXTRACT=extract,
    )
    index = verify_archive(place / "run.amgsrn")
    assert index.times == (20.0, 40.0) and index.dims == (16, 16, 16)
    assert [brick.extent[0] for brick in index.at(1).bricks] == [slice(0, 8), slice(8, 16)]
    rows = read_report(place / "run.amgsrn")
    assert [(row.step, row.state) for row in rows] == [(20, "trained"), (40, "trained")]
    # Without Catalyst there are ghost layers on both sides.
    amgsrn(place, *words, "-o", "own.amgsrn", *SHORT, ranks=2)
    index = verify_archive(place / "own.amgsrn")
    assert index.times == (20.0, 40.0)
    assert [brick.ghosted[0] for brick in index.at(1).bricks] == [slice(0, 9), slice(7, 16)]
