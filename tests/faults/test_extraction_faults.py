"""A simulation is killed, its disk is full, its files are cut: what is done stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.paths import ROOT
from support.simulation import (
    PARTS,
    close,
    close_to_data,
    extractors,
    field,
    folder_of,
    none_left,
    put,
    wait_until,
)
from support.small_disk import fill, mounted

from amgsrn_core.config import ExtractionConfig
from amgsrn_core.errors import (
    ArchiveError,
    ConfigurationError,
    NoRoomError,
    TrainingError,
    VolumeError,
)
from amgsrn_core.model import verify_archive
from amgsrn_core.runs.extraction_report import read_report
from amgsrn_core.system.run_folder import waiting_lock


@pytest.fixture
def output(tmp_path, monkeypatch):
    with none_left(monkeypatch.setenv):
        yield tmp_path / "run.amgsrn"


RANK = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from amgsrn_core.config import ExtractionConfig
from support.simulation import PARTS, extractors, field
rank, last = {rank}, {last}
own, ghosted = PARTS[rank]
extractor = extractors(Path({output!r}), extraction=ExtractionConfig(window=1))[rank]
for step in range(1, last + 1):
    extractor.put(step, 0.5 * step, field(step)[ghosted], own, ghosted)
    print(step, flush=True)
sys.stdin.readline()
extractor.close()
"""


def start_rank(output: Path, rank: int, last: int) -> subprocess.Popen[str]:
    names = {"root": str(ROOT), "tests": str(ROOT / "tests"), "output": str(output)}
    code = RANK.format(rank=rank, last=last, **names)
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True)


def test_a_rank_that_is_killed_takes_no_step_of_all_with_it(output):
    ranks = [start_rank(output, 0, 4), start_rank(output, 1, 2)]
    try:
        assert [ranks[1].stdout.readline() for _ in range(2)] == ["1\n", "2\n"]
        ranks[1].kill()
        ranks[1].wait()
        # The other one goes on, whose window is one step, and ends as always.
        assert ranks[0].communicate("\n", timeout=240)[0] == "1\n2\n3\n4\n"
        assert ranks[0].returncode == 0
    finally:
        for process in ranks:
            process.kill()
    wait_until(lambda: not folder_of(output).path.exists())
    assert verify_archive(output).times == (0.5, 1.0)
    rows = read_report(output)
    assert [row.state for row in rows] == ["trained"] * 2 + ["dropped"] * 2
    assert rows[2].note == rows[3].note == "no data came from rank(s) 1."


def test_a_full_disk_costs_no_step_and_is_told(tmp_path, monkeypatch):
    with mounted(tmp_path / "disk", "2m") as disk, none_left(monkeypatch.setenv):
        output = disk / "run.amgsrn"
        simulation = extractors(output, ranks=1)
        put(simulation, 1)
        wait_until(lambda: read_report(output))
        filler = fill(disk)
        with pytest.raises(NoRoomError, match=r"Cannot write .*: the disk is full\."):
            put(simulation, 2)
        assert verify_archive(output).times == (0.5,)
        filler.unlink()
        put(simulation, 2)  # again, by a simulation that has room made
        put(simulation, 3)
        close(simulation)
        assert verify_archive(output).times == (0.5, 1.0, 1.5)
        assert [row.state for row in read_report(output)] == ["trained"] * 3
        assert sorted(path.name for path in disk.iterdir()) == ["run.amgsrn", "run.steps.csv"]


@pytest.mark.slow
def test_a_disk_that_is_full_while_it_trains_costs_no_step(tmp_path, monkeypatch):
    with mounted(tmp_path / "disk", "2m") as disk, none_left(monkeypatch.setenv):
        output = disk / "run.amgsrn"
        simulation = extractors(output, ranks=1)
        put(simulation, 1)
        wait_until(lambda: read_report(output))
        with waiting_lock(folder_of(output).series_lock):
            put(simulation, 2)
            wait_until(lambda: folder_of(output).handed(2).result(0).exists())
            filler = fill(disk)
        with pytest.raises(TrainingError, match=r"for the 4th time; steps that are done are in"):
            close(simulation)
        # (A process that ends gives back the room of files that it had open.)
        assert verify_archive(output).times in ((0.5,), (0.5, 1.0))
        filler.unlink()
        again = extractors(output, ranks=1)
        for step in (2, 3):
            put(again, step)
        close(again)
        assert verify_archive(output).times == (0.5, 1.0, 1.5)
        assert min(close_to_data(output, number, number + 1) for number in range(3)) > 25.0


def killed_with_a_step_in_the_making(output: Path) -> None:
    """Leave a series of one step, and the second one handed over."""
    simulation = extractors(output, ranks=1)
    put(simulation, 1)
    wait_until(lambda: read_report(output))
    with waiting_lock(folder_of(output).series_lock):
        put(simulation, 2)
        wait_until(lambda: folder_of(output).handed(2).result(0).exists())
        os.kill(simulation[0]._process.pid, signal.SIGKILL)
        simulation[0]._process.wait()


@pytest.mark.slow
def test_files_that_were_cut_are_made_again_or_refused(output):
    killed_with_a_step_in_the_making(output)
    step = folder_of(output).handed(2)
    # A brick that is no whole file counts for nothing, and the data are gone: that is told.
    cut(step.done(0))
    again = extractors(output, ranks=1)
    put(again, 2)
    put(again, 3)
    close(again)
    assert verify_archive(output).times == (0.5, 1.5)
    rows = read_report(output)
    assert [row.state for row in rows] == ["trained", "dropped", "trained"]
    # A series that somebody has cut is refused, and not touched.
    cut(output)
    content = output.read_bytes()
    with pytest.raises(ArchiveError, match="only a part of one"):
        put(extractors(output, ranks=1), 4)
    assert output.read_bytes() == content


def test_a_hand_over_that_was_cut_is_done_again(output):
    with waiting_lock(folder_of(output).rank_lock(0)):
        simulation = extractors(output, ranks=1)
        put(simulation, 1)
        os.kill(simulation[0]._process.pid, signal.SIGKILL)
        simulation[0]._process.wait()
        step = folder_of(output).handed(1)
        step.receipt(0).unlink()
        for path in step.volume(0).rglob("*"):
            if path.is_file():
                cut(path)
    again = extractors(output, ranks=1)
    put(again, 1)
    close(again)
    assert verify_archive(output).times == (0.5,)
    assert close_to_data(output, 0, 1) > 25.0


def cut(path: Path) -> None:
    """Leave the first half of a file."""
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("seconds_per_step", -1.0),
        ("seconds_per_step", float("nan")),
        ("window", 0),
        ("keep_error", -0.5),
        ("threads", -1),
        ("when_full", "never"),
    ],
)
def test_impossible_budgets_are_refused(option, value):
    with pytest.raises(ConfigurationError, match=option.replace("_", "-")):
        ExtractionConfig(**{option: value})


def test_a_budget_of_almost_nothing_still_gives_a_model(output):
    config = ExtractionConfig(seconds_per_step=1e-6)
    simulation = extractors(output, extraction=config)
    for step in (1, 2):
        put(simulation, step)
    close(simulation)
    assert verify_archive(output).times == (0.5, 1.0)
    for row in read_report(output):
        assert row.note == " ".join(
            f"rank {n}: No iteration fitted into its seconds." for n in (0, 1)
        )


def test_values_that_are_no_part_of_a_volume_are_refused(output):
    extractor = extractors(output)[0]
    own, ghosted = PARTS[0]
    nothing = (slice(0, 0), *own[1:])
    flat = (slice(0, 1), *own[1:])
    with pytest.raises(VolumeError, match=r"range 0 to 0 \(exclusive\) is empty"):
        extractor.put(1, 0.5, field(1)[nothing], nothing)
    with pytest.raises(ConfigurationError, match="two samples along each axis at least"):
        extractor.put(1, 0.5, field(1)[flat], flat)
    assert not folder_of(output).path.exists()
    whole = field(1)[ghosted]
    for values in (whole[:, 0], whole[None, None], whole[:3], np.full(whole.shape, "text")):
        with pytest.raises(VolumeError, match=r"\.$"):
            extractor.put(1, 0.5, values, own, ghosted)
    extractor.put(1, 0.5, whole, own, ghosted)
    extractor.close(wait=False)
