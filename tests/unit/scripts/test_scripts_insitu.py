"""The simulation of scripts/insitu, killed while it computes and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from amgsrn_core.model import verify_archive
from amgsrn_core.runs.extraction_report import read_report

_OPTIONS = """
--cells 16 --every 10 -o run.amgsrn --checkpoints kept --device cpu
--grids 2 --grid-shape 4,4,4 --layers 1 --width 16 --iterations 60 --batch 512
"""
OPTIONS = _OPTIONS.split()


@pytest.mark.slow
def test_a_killed_simulation_goes_on_with_its_series(tmp_path):
    command = [sys.executable, "-m", "amgsrn_core.cli", "script", "gray_scott", *OPTIONS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(
        [*command, "--steps", "1000000"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in first.stdout:
        if line.startswith("step 30,"):
            break
    first.send_signal(signal.SIGKILL)
    first.communicate()
    kept = max(int(path.stem[-8:]) for path in (tmp_path / "kept").iterdir())
    last = kept + 20
    second = subprocess.run(
        [*command, "--steps", str(last)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert second.returncode == 0, second.stderr
    assert f"Going on after step {kept}." in second.stdout
    every = [float(step) for step in range(10, last + 1, 10)]
    assert verify_archive(tmp_path / "run.amgsrn").times == tuple(every)
    rows = read_report(tmp_path / "run.amgsrn")
    assert [(row.time, row.state) for row in rows] == [(time, "trained") for time in every]
    assert len(second.stdout.splitlines()) >= len(rows) + 3
