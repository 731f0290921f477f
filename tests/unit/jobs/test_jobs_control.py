"""One spelling of what workers are told; the words of earlier versions are understood."""

from __future__ import annotations

from pathlib import Path

import pytest

from amgsrn_core.jobs.status import read_control, write_control
from amgsrn_core.runs.parts import PartsFolder
from amgsrn_core.system.run_folder import JobFolder
from amgsrn_core.training import Command


@pytest.mark.parametrize("command", list(Command))
def test_what_is_written_is_read(tmp_path: Path, command: Command) -> None:
    parts = PartsFolder(tmp_path)
    write_control(tmp_path, command)
    parts.command("mine", command)
    assert read_control(tmp_path) is parts.commanded("mine") is command
    assert parts.commanded("another") is Command.STOP


@pytest.mark.parametrize(
    ("job", "bricks", "command"),
    [
        ("run", "go", Command.CONTINUE),
        ("pause", "pause", Command.PAUSE),
        ("stop", "stop", Command.STOP),
    ],
)
def test_words_of_the_version_before_are_obeyed(
    tmp_path: Path, job: str, bricks: str, command: Command
) -> None:
    JobFolder(tmp_path).control_file.write_text(job)
    (tmp_path / "command").write_text(f"mine {bricks}")
    assert read_control(tmp_path) is PartsFolder(tmp_path).commanded("mine") is command
