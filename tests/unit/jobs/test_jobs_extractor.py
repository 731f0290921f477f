"""A simulation hands over time steps: one growing series, whatever happens to the simulation."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from support.paths import ROOT
from support.simulation import (
    DIMS,
    NETWORK,
    PARTS,
    TRAINING,
    WAIT,
    close,
    close_to_data,
    extractors,
    field,
    folder_of,
    none_left,
    put,
    wait_until,
)

from amgsrn_core import NeuralVolume, SeriesExtractor, open_volume, train, volume_from_array
from amgsrn_core.cli import main
from amgsrn_core.config import (
    ExtractionConfig,
    StorageConfig,
)
from amgsrn_core.errors import ConfigurationError, ResumeError, VolumeError
from amgsrn_core.field.macro_cells import network_cells
from amgsrn_core.model import BrickRecord, load_brick, verify_archive
from amgsrn_core.model.step_files import steps_folder
from amgsrn_core.runs.extraction import Extraction, PartTrainer
from amgsrn_core.runs.extraction_report import read_report
from amgsrn_core.system.run_folder import waiting_lock


@pytest.fixture
def output(tmp_path, monkeypatch):
    """A place for the series; nothing that was started for it is left behind."""
    with none_left(monkeypatch.setenv):
        yield tmp_path / "run.amgsrn"


def test_a_series_grows_and_a_restart_goes_on_with_it(output, caplog):
    simulation = extractors(output)
    for step in (2, 4, 6):
        put(simulation, step)
    close(simulation)
    index = verify_archive(output)
    assert index.times == (1.0, 2.0, 3.0)
    assert [each["step"] for each in index.training.config["steps"]] == [2, 4, 6]
    # The first from random numbers, the others from the one before.
    done = [each["iterations_done"] for each in index.training.config["steps"]]
    assert done == [240, 120, 120]
    assert [b.extent for b in index.at(0).bricks] == [own for own, _ in PARTS]
    before = [close_to_data(output, number, step) for number, step in enumerate((2, 4, 6))]
    assert min(before) > 25.0
    assert not folder_of(output).path.exists()

    again = extractors(output)
    for step in (6, 8):  # as from a checkpoint of the simulation after step 4
        put(again, step)
    assert f"Step 6 (time 3) is in {output} already." in caplog.text
    assert "Step 8" not in caplog.text
    close(again)
    index = verify_archive(output)
    assert index.times == (1.0, 2.0, 3.0, 4.0)
    assert index.training.config["steps"][3]["iterations_done"] == 120
    assert [close_to_data(output, n, step) for n, step in enumerate((2, 4, 6))] == before
    assert close_to_data(output, 3, 8) > 25.0
    rows = read_report(output)
    assert [(row.step, row.state) for row in rows] == [(s, "trained") for s in (2, 4, 6, 8)]
    assert all(row.raw_bytes == 4 * 12 * 14 * 18 for row in rows)
    size = output.stat().st_size  # with one index instead of four
    assert 0.6 * sum(row.bytes for row in rows) < size < sum(row.bytes for row in rows)
    assert not steps_folder(output).exists()
    for row, each in zip(rows, index.training.config["steps"]):
        assert row.psnr == each["psnr"] and 0.0 < row.max_error < 1.0


DYING = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from support.simulation import PARTS, extractors, field, put
import os, signal
simulation = extractors(Path({output!r}))
for step in (1, 2):
    put(simulation, step)
own, ghosted = PARTS[0]
simulation[0].put(3, 1.5, field(3)[ghosted], own, ghosted)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_simulation_that_dies_in_a_step_leaves_all_steps_before(output):
    code = DYING.format(root=str(ROOT), tests=str(ROOT / "tests"), output=str(output))
    died = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    wait_until(lambda: output.exists() and not folder_of(output).path.exists())
    assert verify_archive(output).times == (0.5, 1.0)
    last = read_report(output)[-1]
    assert (last.step, last.state) == (3, "dropped")
    assert last.note == "no data came from rank(s) 1."
    again = extractors(output)
    put(again, 3)
    close(again)
    assert verify_archive(output).times == (0.5, 1.0, 1.5)
    assert [row.state for row in read_report(output)] == ["trained"] * 3


def test_what_all_died_with_is_trained_when_it_is_started_again(output):
    with held(output, ranks=1):  # the process that trains does nothing
        simulation = extractors(output, ranks=1)
        put(simulation, 1)
        worker = simulation[0]._process
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    assert not output.exists()
    again = extractors(output, ranks=1)
    put(again, 1)
    put(again, 2)
    close(again)
    assert verify_archive(output).times == (0.5, 1.0)


ALL_DYING = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from support.simulation import extractors, field, folder_of, put, wait_until
import os, signal
from amgsrn_core.runs.extraction_report import read_report
from amgsrn_core.system.run_folder import waiting_lock
output = Path({output!r})
simulation = extractors(output)
for step in (1, 2, 3):
    put(simulation, step)
wait_until(lambda: len(read_report(output)) == 3)
with waiting_lock(folder_of(output).series_lock):  # nothing can be put into the series
    put(simulation, 4)
    for extractor in simulation:
        extractor._process.kill()
        extractor._process.wait()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_where_all_is_killed_the_series_has_what_was_trained(output, capfd):
    code = ALL_DYING.format(root=str(ROOT), tests=str(ROOT / "tests"), output=str(output))
    died = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert steps_folder(output).is_dir()
    assert verify_archive(output).times == (0.5, 1.0, 1.5)
    before = [close_to_data(output, number, number + 1) for number in range(3)]
    assert min(before) > 25.0
    assert info(output, capfd)["bytes"] > 2 * output.stat().st_size
    again = extractors(output)
    for step in (3, 4, 5):
        put(again, step)
    close(again)
    assert not steps_folder(output).exists()
    assert verify_archive(output).times == (0.5, 1.0, 1.5, 2.0, 2.5)
    assert [close_to_data(output, number, number + 1) for number in range(3)] == before
    assert [row.state for row in read_report(output)] == ["trained"] * 5
    assert info(output, capfd)["bytes"] == output.stat().st_size


def info(output: Path, capfd: pytest.CaptureFixture[str]) -> dict:
    capfd.readouterr()
    assert main(["info", str(output), "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def test_a_step_that_was_not_reported_any_more_is_reported(output, monkeypatch):
    simulation = extractors(output)
    with held(output, ranks=2):
        put(simulation, 1)
        folder = folder_of(output)
        job = Extraction.read(folder.path, 0)
        with monkeypatch.context() as context:
            context.setattr("amgsrn_core.runs.extraction.add_to_report", lambda *_: 1 / 0)
            for rank, (own, ghosted) in enumerate(PARTS):
                part = dataclasses.replace(job, rank=rank, record=BrickRecord(own, ghosted))
                with contextlib.suppress(ZeroDivisionError):
                    PartTrainer(part).train(1)
        assert read_report(output) == []
    close(simulation)
    (row,) = read_report(output)
    psnr = verify_archive(output).training.config["steps"][0]["psnr"]
    assert (row.step, row.state, row.psnr) == (1, "trained", psnr)


def test_a_process_that_is_killed_is_started_again(output, caplog):
    simulation = extractors(output, ranks=1)
    put(simulation, 1)
    os.kill(simulation[0]._process.pid, signal.SIGKILL)
    simulation[0]._process.wait()
    put(simulation, 2)
    close(simulation)
    assert verify_archive(output).times == (0.5, 1.0)
    assert "was killed by signal 9; it is started again" in caplog.text.replace("\n", " ")


@contextlib.contextmanager
def held(output: Path, ranks: int):
    """Keep the processes that train from it."""
    folder = folder_of(output)
    with contextlib.ExitStack() as stack:
        for rank in range(ranks):
            stack.enter_context(waiting_lock(folder.rank_lock(rank)))
        yield


def test_the_oldest_steps_are_dropped_where_that_is_asked_for(output):
    config = ExtractionConfig(window=2, when_full="drop")
    with held(output, ranks=2):
        simulation = extractors(output, extraction=config)
        for step in range(1, 6):
            put(simulation, step)
    close(simulation)
    assert verify_archive(output).times == (2.0, 2.5)
    rows = read_report(output)
    assert [row.state for row in rows] == ["dropped"] * 3 + ["trained"] * 2
    assert rows[0].note == "2 step(s) of rank 0 were waiting already."
    assert math.isnan(rows[0].psnr) and rows[0].bytes == 0


def test_the_simulation_waits_where_the_window_is_full(output):
    simulation = extractors(output, ranks=1, extraction=ExtractionConfig(window=1))
    with held(output, ranks=1):
        put(simulation, 1)
        waiting = threading.Thread(target=put, args=(simulation, 2))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
    waiting.join(WAIT)
    assert not waiting.is_alive()
    close(simulation)
    assert verify_archive(output).times == (0.5, 1.0)
    first, second = read_report(output)
    assert first.waited_seconds < second.waited_seconds <= second.added_seconds


def test_data_are_kept_where_errors_are_large(output):
    config = ExtractionConfig(keep_error=1e-6)
    simulation = extractors(output, extraction=config)
    put(simulation, 1)
    close(simulation)
    (row,) = read_report(output)
    kept = [output.parent / path for path in row.kept.split(" ")]
    assert [path.name for path in kept] == ["step-0001.rank-0000", "step-0001.rank-0001"]
    for path, (_, ghosted) in zip(kept, PARTS):
        np.testing.assert_array_equal(open_volume(path).read().values[0], field(1)[ghosted])


def test_seconds_end_the_training_of_a_step(output):
    endless = dataclasses.replace(TRAINING, iterations=100_000_000)
    config = ExtractionConfig(seconds_per_step=0.3)
    simulation = extractors(output, ranks=1, training=endless, extraction=config)
    put(simulation, 1)
    put(simulation, 2)
    close(simulation)
    steps = verify_archive(output).training.config["steps"]
    assert all(0 < each["iterations_done"] < 10_000_000 for each in steps)


def test_a_step_with_few_seconds_has_the_macro_cells_of_haste(output, monkeypatch):
    config = ExtractionConfig(seconds_per_step=0.3)
    with held(output, ranks=1):
        simulation = extractors(output, ranks=1, extraction=config)
        put(simulation, 1)
        monkeypatch.setattr("amgsrn_core.field.macro_cells._HASTY_VOXELS", 1)
        PartTrainer(Extraction.read(folder_of(output).path, 0)).train(1)
    close(simulation)
    (brick,) = NeuralVolume.open(output, device="cpu").bricks()
    found = [network_cells(brick.evaluator, brick.record, DIMS, hasty=hasty) for hasty in (0, 1)]
    stored = load_brick(output, 0)["macro_cells"]
    np.testing.assert_array_equal(stored, found[1])
    assert (stored != found[0]).any()


def test_data_are_kept_where_training_fails(output):
    simulation = extractors(output, storage=StorageConfig(max_error=1e-12))
    put(simulation, 1)
    close(simulation)
    assert not output.exists()
    (row,) = read_report(output)
    assert row.state == "dropped" and "rank 1: " in row.note
    kept = open_volume(output.parent / row.kept.split(" ")[1])
    np.testing.assert_array_equal(kept.read().values[0], field(1)[PARTS[1][1]])


def test_constant_and_missing_values_are_told(output):
    simulation = extractors(output, storage=StorageConfig(compress=True, compress_finetune=0))
    put(simulation, 1, np.full(DIMS, 3.0, np.float32))
    gone = field(2)
    gone[:2] = np.nan
    put(simulation, 2, gone)
    put(simulation, 3, np.full(DIMS, np.nan, np.float32))
    with pytest.raises(VolumeError, match="infinite"):
        put(simulation, 4, np.full(DIMS, np.inf, np.float32))
    close(simulation)
    index = verify_archive(output)
    states = [tuple(b.state for b in index.at(n).bricks) for n in range(3)]
    assert states == [("constant",) * 2, ("network",) * 2, ("empty",) * 2]
    assert index.value_minimum[0] < 0.0 and index.value_maximum == (3.0,)
    rows = read_report(output)
    assert [row.note for row in rows] == [
        "",
        f"{2 * 12 * 14} voxel(s) handed over have no value.",
        f"{18 * 12 * 14} voxel(s) handed over have no value.",
    ]


def test_parts_that_make_no_grid_are_refused(output):
    simulation = extractors(output)
    own, ghosted = PARTS[0]
    for extractor in simulation:
        extractor.put(1, 0.5, field(1)[ghosted], own, ghosted)
    with pytest.raises(ConfigurationError, match="parts that overlap or leave gaps"):
        close(simulation)
    assert not output.exists()
    simulation[1].close(wait=False)


def test_another_run_does_not_go_on_with_a_series(output):
    simulation = extractors(output, ranks=1)
    put(simulation, 1)
    close(simulation)
    before = output.read_bytes()
    for why, options in {
        "is of 'v'": {"name": "w"},
        "1 brick.s. in each step instead of 2": {"ranks": 2},
    }.items():
        with pytest.raises(ConfigurationError, match=why):
            put(extractors(output, **options), 2)
    with pytest.raises(ConfigurationError, match="on another grid"):
        SeriesExtractor(output, (4, 5, 6), name="v").put(2, 1.0, np.zeros((4, 5, 6)))
    assert output.read_bytes() == before
    assert not folder_of(output).path.exists()


def test_unfinished_work_of_other_ranks_is_kept(output):
    with held(output, ranks=1):
        simulation = extractors(output, ranks=1)
        put(simulation, 1)
        with pytest.raises(ResumeError, match="unfinished work of another run"):
            put(extractors(output), 2)
        with pytest.raises(ResumeError):
            train(volume_from_array(field(2)), output, NETWORK, TRAINING)
    close(simulation)
    assert verify_archive(output).times == (0.5,)


def test_steps_come_in_their_order_and_with_the_same_parts(output):
    simulation = extractors(output)
    put(simulation, 2)
    own, ghosted = PARTS[0]
    for step, when in ((3, 1.0), (2, 1.5), (3, math.inf), (3, math.nan)):
        with pytest.raises(ConfigurationError, match="in the order of their numbers and times"):
            simulation[0].put(step, when, field(3)[ghosted], own, ghosted)
    with pytest.raises(ConfigurationError, match="the same in all time steps"):
        simulation[0].put(3, 1.5, field(3)[own], own)
    with pytest.raises(ConfigurationError, match="must hold its own extent"):
        simulation[0].put(3, 1.5, field(3)[own], ghosted, own)
    close(simulation)
    with pytest.raises(ConfigurationError, match="is closed"):
        put(simulation, 3)
    with pytest.raises(ConfigurationError, match="no rank 2 among 2"):
        SeriesExtractor(output, DIMS, rank=2, ranks=2)
    with pytest.raises(ConfigurationError, match="give max-error"):
        extractors(output, storage=StorageConfig(max_relative_error=0.1))
    with pytest.raises(ConfigurationError, match="without records; leave out log_grids"):
        extractors(output, training=dataclasses.replace(TRAINING, log_grids=5))
