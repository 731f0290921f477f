"""Measure what looking at a model takes inside ParaView: processor time and resident memory.

    python tests/benchmarks/viewing_cost.py [REPETITIONS]        (default: 5)

pvpython opens a model of the default size, reconstructs it at 64 x 64 x 64 and draws it as Neural
Volume, each time in a new process; medians of the seconds of all threads and of the megabytes after
each stage. "start" is ParaView alone.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.sample_models import small_brick, small_index

from amgsrn_core.config import NetworkConfig
from amgsrn_core.model import write_archive

PROGRAM = Path(__file__).resolve().parents[1] / "paraview" / "programs" / "view.py"


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = small_index(dims=(64, 64, 64), network=NetworkConfig())
        write_archive(folder / "model.amgsrn", index, [small_brick(index, seed=1)])
        runs = [measure(folder) for _ in range(repetitions)]
    for stage in runs[0]:
        seconds, megabytes = (
            statistics.median(run[stage][key] for run in runs) for key in ("seconds", "megabytes")
        )
        torch = ", PyTorch is loaded" if runs[0][stage]["torch"] else ""
        print(f"{stage:<12} {seconds:6.2f} s {megabytes:6.0f} MB{torch}")


def measure(folder: Path) -> dict[str, dict[str, float]]:
    results = folder / "results.json"
    command = [sys.executable, "-m", "amgsrn_core.cli", "pvpython", str(PROGRAM), str(results)]
    subprocess.run(
        [*command, str(folder / "model.amgsrn"), str(folder / "picture.png")],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    stages: dict[str, dict[str, float]] = json.loads(results.read_text())["stages"]
    return stages


main()
