"""The pages' commands and Python blocks run in their order, each page in an empty folder.

As they stand they take many minutes: `scripts/test-pages` runs them so. Here trainings and pictures
get an option more that makes them short, and what takes long by nature is left out.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.pages import PAGES, Piece, pieces
from support.paths import ROOT

from amgsrn_core.cli import main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the pages speak of Linux")

WHOLE = bool(os.environ.get("AMGSRN_WHOLE_PAGES"))

# Commands that are not run, and why; everything else on the pages is.
NOT_RUN = {
    r"(\S*/)?(setup|quickstart|test|test-gpu|test-paraview|docs)\b": "has tests of its own",
    r"source|export|eval|cd |site=|mkdir": "changes the reader's shell",
    r"cmake|(\S*/)?pip |apt-get|python3 -m venv": "installs",
    r"amgsrn paraview-setup": "changes the reader's ParaView; has tests of its own",
    r"sbatch|amgsrn script train_jobqueue": "needs Slurm",
    r"(\S*/)?amgsrn paraview": "opens a window",
    r"mpiexec": "stands for a script of the reader's own",
    r"amgsrn train .*--device cuda": "needs a GPU",
    r"(\S*/)?amgsrn doctor": "has tests of its own; with --build it compiles for minutes",
    r"touch ": "ends a run that is on; has tests of its own",
    r"(cd DATA; .*)?(\S*/)?python tests/benchmarks/": "measures for hours, on data from elsewhere",
}
# What is run by `scripts/test-pages` alone: measurements, and scripts whose own tests run them.
CHEAP = ("gray_scott", "train_model", "reconstruct_model", "compare_model", "compare_layout")
CHEAP += ("export_isosurface", "orbit_movie", "fly_through")
LONG = rf"amgsrn (script (?!{'|'.join(CHEAP)})|script$|bench)"

# What makes a command short, instead of what the page says or beside it.
SHORT = (
    (r"amgsrn (train|script train_model) ", "--iterations", "60"),
    (r"amgsrn train .*--compress", "--compress-finetune", "0"),
    (r"amgsrn compress .*--against", "--compress-finetune", "20"),
    (r"amgsrn render ", "--hw", "48,64"),
    (r"amgsrn script (orbit_movie|fly_through) ", "--frames", "2"),
    (r"amgsrn script (orbit_movie|fly_through) ", "--size", "60,44"),
    (r"amgsrn script compare_layout ", "--size", "322,242"),
)


def reason(command: str) -> str:
    """Return why a command is not run; "" if it is."""
    return next((why for start, why in NOT_RUN.items() if re.match(start, command)), "")


def runnable(page: Path) -> list[Piece]:
    found = [p for p in pieces(page) if p.kind == "python" or not reason(p.text)]
    return found if WHOLE else [p for p in found if not re.match(LONG, p.text)]


@pytest.mark.slow
@pytest.mark.timeout(3600 if WHOLE else 1800)
@pytest.mark.parametrize("page", [p for p in PAGES if runnable(p)], ids=lambda page: page.stem)
def test_a_page_runs_from_an_empty_folder(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    namespace: dict[str, object] = {}
    for number, piece in enumerate(runnable(page)):
        if piece.kind == "shell":
            run_command(piece.text)
        elif "paraview.simple" in piece.text:
            script = tmp_path / f"block-{number}.py"
            # Assertions about what a block shows are elsewhere; an error ends pvpython with one.
            script.write_text(piece.text)
            run_bash(f"amgsrn pvpython {script.name}")
        else:
            exec(compile(piece.text, f"{page.name}, block {number}", "exec"), namespace)


def run_command(command: str) -> None:
    words = shlex.split(os.path.expandvars(command))
    if WHOLE or words[0] != "amgsrn":
        run_bash(command)
        return
    for start, option, value in SHORT:
        if re.match(start, command):
            words += [option, value]  # the last one counts
    if words[1] in ("script", "pvpython"):
        run_bash(shlex.join(words))
        return
    assert main(words[1:]) == 0, command


def run_bash(command: str) -> None:
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    said = result.stdout + result.stderr
    assert result.returncode == 0, f"{command}\n{said}"
    assert "Traceback" not in said and "ERR|" not in said, f"{command}\n{said}"


def test_every_reason_not_to_run_a_command_is_needed():
    commands = [p.text for page in PAGES for p in pieces(page) if p.kind == "shell"]
    assert len(commands) > 70
    for start in [*NOT_RUN, LONG, *(f"amgsrn script {name}" for name in CHEAP)]:
        assert any(re.match(start, command) for command in commands), start


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts_of_the_pages_are_there(page):
    for name in re.findall(r"(?:scripts|docs/examples|tests)/[\w./-]*\w", page.read_text()):
        assert (ROOT / name).exists(), name
