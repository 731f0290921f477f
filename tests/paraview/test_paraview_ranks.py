"""Several ranks and remote servers: the same values, every rank its own part."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from conftest import PROGRAMS, end, executable
from support.sample_models import write_small_model
from test_paraview_models import CLOSE, UNEVEN

from amgsrn_core import NeuralVolume
from amgsrn_core.jobs.status import read_status
from amgsrn_core.kernels import load
from amgsrn_core.model import read_index
from amgsrn_core.volume import GridGeometry, open_volume
from amgsrn_core.volume.preview import preview_geometry

fingerprints: set[str] = set()
WAVELET = GridGeometry.uniform((17, 15, 13), origin=(-6.0, -7.0, -8.0))


def check(run, folder, ranks):
    results = run.results
    assert results["trained"] == ["done", "", str(folder / "ranks.amgsrn")]
    model = folder / "ranks.amgsrn"
    index = read_index(model)
    assert index.geometry.dims == WAVELET.dims
    np.testing.assert_allclose(index.geometry.bounds, WAVELET.bounds)
    np.testing.assert_allclose(results["preview"]["bounds"], WAVELET.bounds)

    for name, model, geometry in (
        ("filter", "ranks.amgsrn", WAVELET.resampled((26, 22, 20))),
        ("source", "uneven.amgsrn", UNEVEN),
        ("reader", "ranks.amgsrn", preview_geometry(WAVELET)),
    ):
        nz, ny, nx = geometry.dims
        assert results[name]["extent"] == [0, nx - 1, 0, ny - 1, 0, nz - 1]
        np.testing.assert_allclose(results[name]["bounds"], geometry.bounds)
        parts = results[name]["points_by_rank"]
        # Neighbouring parts share a layer of points; no rank does the work of all.
        assert len(parts) == ranks
        assert all(0 < part <= 0.8 * sum(parts) or ranks == 1 for part in parts)
        pieces = list((folder / name).glob("*.vt[ir]"))
        assert len(pieces) == ranks
        for piece in map(open_volume, pieces):
            there = sampled(folder / model, piece.geometry)
            np.testing.assert_allclose(piece.read().values[0], there, **CLOSE)
    assert results["source"]["type"] == "vtkRectilinearGrid"
    if "threads" in results:
        assert results["threads"] == max(1, (os.cpu_count() or 1) // ranks)
        assert results["kernels"] == (load() is not None)
    assert (folder / "ranks.png").stat().st_size > 1000
    assert [line for line in run.messages if "missing.amgsrn" not in line] == []
    # However many ranks: the same data and options, so the same fingerprint of the training.
    fingerprints.add(index.training.config["fingerprint"])
    assert len(fingerprints) == 1


def sampled(path, geometry):
    z, y, x = np.meshgrid(*(axis.coordinates for axis in geometry.axes), indexing="ij")
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    return NeuralVolume.open(path, device="cpu").sample(points).reshape(geometry.dims)


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.mpi)])
def test_a_client_of_a_server(paraview, tmp_path, free_port, ranks):
    write_small_model(tmp_path / "uneven.amgsrn", geometry=UNEVEN)
    with paraview.served(free_port, 0 if ranks == 1 else ranks):
        # The client has none of the suite on its paths: all of it happens on the server.
        run = paraview.run(
            "pvpython",
            "ranks.py",
            tmp_path,
            free_port,
            ranks,
            environment={"PYTHONPATH": str(PROGRAMS)},
        )
    check(run, tmp_path, ranks)
    # What went wrong on the server is told to the client.
    assert any("There is no model file" in line for line in run.messages)


@pytest.mark.mpi
def test_two_ranks_of_pvbatch(paraview, tmp_path):
    write_small_model(tmp_path / "uneven.amgsrn", geometry=UNEVEN)
    # These would say how many threads to use.
    unset = {"OMP_NUM_THREADS": None, "MKL_NUM_THREADS": None}
    run = paraview.run("pvbatch", "ranks.py", tmp_path, 0, 2, ranks=2, environment=unset)
    check(run, tmp_path, ranks=2)
    assert any("There is no model file" in line for line in run.messages)


def test_workers_of_a_killed_program_stop_by_themselves(paraview, tmp_path):
    script = PROGRAMS / "endless_training.py"
    process = paraview.start([executable("pvpython"), str(script), "-", str(tmp_path)])
    try:
        worker = training_worker(tmp_path / "endless.amgsrn.parts")
        assert is_running(worker)
    finally:
        end(process)
        process.communicate()
    waited = time.monotonic() + 60
    while is_running(worker) and time.monotonic() < waited:
        time.sleep(0.5)
    assert not is_running(worker)
    assert (tmp_path / "endless.amgsrn.parts" / "brick-0000" / "checkpoint.safetensors").exists()


def training_worker(parts):
    """Return the process number of the worker once it trains."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for run in parts.glob("run-*"):
            status = read_status(run)
            if status is not None and status.iteration > 0:
                return status.pid
        time.sleep(0.2)
    pytest.fail("the worker did not begin to train within two minutes")


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
