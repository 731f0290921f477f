"""Training in another process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amgsrn_core import NeuralVolume, volume_from_array
from amgsrn_core.config import NetworkConfig, SeriesConfig, TrainingConfig
from amgsrn_core.errors import ConfigurationError, OutputError, TrainingError
from amgsrn_core.jobs import PREVIEW_POINTS, JobStatus, TrainingJob, worker_python
from amgsrn_core.jobs.job import JobDescription
from amgsrn_core.model import load_brick
from amgsrn_core.runs import train, train_series
from amgsrn_core.runs.settings import Settings
from amgsrn_core.system.run_folder import RunFolder, parts_folder
from amgsrn_core.training import Command, Progress
from amgsrn_core.volume import export_volume, open_volume

SIZE = NetworkConfig(grids=2, grid_shape=(6, 6, 6), width=16)
LONG = TrainingConfig(iterations=1_000_000, batch=128, device="cpu")
SHORT = TrainingConfig(iterations=40, batch=128, device="cpu")
DEADLINE = 120.0


@pytest.fixture
def source(tmp_path: Path) -> dict[str, Any]:
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, 12)] * 3, indexing="ij")
    volume = volume_from_array((x * y + z).astype(np.float32), name="saddle")
    return {"kind": "exported", "path": str(export_volume(volume, tmp_path / "exported"))}


def start(output: Path, source: dict[str, Any], config: TrainingConfig, **more: Any) -> TrainingJob:
    return TrainingJob.start(output, source, Settings(SIZE, config), threads=1, **more)


def wait_until(job: TrainingJob, condition: Any) -> JobStatus:
    """Wait for a condition on the status, and end the job if it never comes true."""
    import time

    deadline = time.monotonic() + DEADLINE
    while not condition(status := job.status()):
        if status.has_ended or time.monotonic() > deadline:
            job.kill()
            pytest.fail(f"the job did not get there: {status}")
        time.sleep(0.05)
    return status


def test_a_job_makes_the_same_model_as_a_call(tmp_path: Path, source: dict[str, Any]) -> None:
    seen: list[JobStatus] = []
    job = start(tmp_path / "job.amgsrn", source, SHORT)
    status = job.wait(lambda s: seen.append(s) is None, poll=0.02)
    job.check()
    assert status.state == "done" and not job.is_alive
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    called = train(open_volume(source["path"]), tmp_path / "call.amgsrn", SIZE, SHORT)
    torch.set_num_threads(threads)
    first, second = load_brick(job.output, 0), load_brick(called.path, 0)
    assert all(np.array_equal(first[name], second[name]) for name in second)
    assert not Path(f"{job.output}.parts").exists()


def test_a_running_job_shows_the_network(tmp_path: Path, source: dict[str, Any]) -> None:
    job = start(tmp_path / "m.amgsrn", source, LONG)
    try:
        wait_until(job, lambda s: job.live() is not None)
        live = job.live()
        assert live is not None and live.iteration >= 0
        assert live.preview.values.shape == (1, *live.geometry.dims)
        assert np.isfinite(live.preview.values).all()
        assert live.corners.shape[-2:] == (8, 3)
        assert job.live(newer_than=live.iteration + 10**9) is None
        wait_until(job, lambda s: (now := job.live()) and now.iteration > live.iteration)
    finally:
        job.stop()


def test_pause_resume_and_stop(tmp_path: Path, source: dict[str, Any]) -> None:
    job = start(tmp_path / "m.amgsrn", source, LONG)
    try:
        wait_until(job, lambda s: s.iteration > 5)
        job.pause()
        paused = wait_until(job, lambda s: s.state == "paused")
        job.resume()
        wait_until(job, lambda s: s.state == "training" and s.iteration > paused.iteration)
    finally:
        job.stop()
    status = job.status()
    assert status.state == "stopped" and "again" in status.message
    resumed = start(tmp_path / "m.amgsrn", source, LONG)
    try:
        assert wait_until(resumed, lambda s: s.iteration > 0).iteration >= status.iteration
    finally:
        resumed.stop()


def test_a_stop_file_stops_a_job_and_not_the_next_one(
    tmp_path: Path, source: dict[str, Any]
) -> None:
    job = start(tmp_path / "m.amgsrn", source, LONG)
    wait_until(job, lambda s: s.iteration > 0)
    (tmp_path / "m.amgsrn.parts" / "stop").touch()
    status = job.wait()
    assert status.state == "stopped"
    assert status.stopped_by == str(tmp_path / "m.amgsrn.parts" / "stop")
    assert status.message.startswith(f"Stopped by the file {status.stopped_by}; ")
    again = start(tmp_path / "m.amgsrn", source, LONG)
    try:
        wait_until(again, lambda s: s.iteration > job.status().iteration)
    finally:
        again.stop()


def test_a_stop_file_counts_while_the_worker_starts(tmp_path: Path, source: dict[str, Any]) -> None:
    job = start(tmp_path / "m.amgsrn", source, LONG)
    stop = tmp_path / "m.amgsrn.parts" / "stop"
    stop.touch()  # the worker loads its packages for seconds
    status = job.wait()
    assert (status.state, status.stopped_by, status.iteration) == ("stopped", str(stop), 0)
    assert not stop.exists()


def test_a_series_shows_the_steps_that_an_earlier_job_did(
    tmp_path: Path, source: dict[str, Any]
) -> None:
    """Also one without a network; and the job goes on in the step where that one was stopped."""
    output, live = tmp_path / "m.amgsrn", tmp_path / "live"
    live.mkdir()
    first = open_volume(source["path"])
    steps = [first, volume_from_array(np.full(first.dims, 0.5, "f4"), name=first.name), first]
    folders = [export_volume(step, tmp_path / f"step-{i}") for i, step in enumerate(steps)]
    options: tuple[Any, ...] = (SIZE, SHORT, None, None, None, SeriesConfig(10**6))

    def stop(progress: Progress) -> Command:
        return Command.STOP if progress.step == 2 else Command.CONTINUE

    train_series([open_volume(f) for f in folders], output, *options, observer=stop)
    series = {"kind": "series", "steps": [{"kind": "exported", "path": str(f)} for f in folders]}
    job = TrainingJob.start(output, series, Settings.of(*options), threads=1, live_folder=live)
    try:
        status = wait_until(job, lambda s: s.step == 2 and s.iteration > 0)
        assert (status.steps, status.iterations) == (3, 10**6)
        assert status.fraction == pytest.approx(2 / 3, abs=0.3) and status.fraction > 2 / 3
        wait_until(job, lambda s: job.live(step=2) is not None)
        done, constant = job.live(step=0), job.live(step=1)
        assert done is not None and done.iteration == 40 and job.live_time(0) > 0
        model = NeuralVolume.open(RunFolder(parts_folder(output)).step(0), device="cpu")
        wanted = model.decoded_preview(PREVIEW_POINTS)[1].values
        np.testing.assert_allclose(done.preview.values, wanted, rtol=1e-5, atol=1e-6)
        assert constant is not None and (constant.preview.values == 0.5).all()
    finally:
        job.stop()


def test_a_refusal_reaches_the_starter_in_its_words(tmp_path: Path, source: dict[str, Any]) -> None:
    missing = {"kind": "file", "path": str(tmp_path / "nowhere.nc"), "variables": None}
    job = start(tmp_path / "m.amgsrn", missing, SHORT)
    assert job.wait().state == "failed"
    with pytest.raises(TrainingError, match=r"nowhere\.nc"):
        job.check()


def test_an_unwritable_output_is_refused_at_once(tmp_path: Path, source: dict[str, Any]) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        start(tmp_path / "nowhere" / "m.amgsrn", source, SHORT)


def test_a_description_survives_its_file() -> None:
    import json

    job = JobDescription("o", {"kind": "file"}, Settings(SIZE, SHORT, _storage()), True, 2, "live")
    assert JobDescription.from_json(json.loads(json.dumps(job.to_json()))) == job


def _storage() -> Any:
    from amgsrn_core.config import StorageConfig

    return StorageConfig(dtype="float16")


def test_watching_a_job_needs_no_torch() -> None:
    program = "import amgsrn_core.jobs, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_inside_another_program_the_environments_python_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AMGSRN_PYTHON", raising=False)
    monkeypatch.setattr(sys, "executable", "/usr/bin/pvpython")
    found = worker_python()
    program = "import torch, safetensors"
    subprocess.run([found, "-c", program], check=True, timeout=120)


def test_a_wrong_interpreter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMGSRN_PYTHON", "/nowhere/python")
    with pytest.raises(ConfigurationError, match="/nowhere/python"):
        worker_python()
