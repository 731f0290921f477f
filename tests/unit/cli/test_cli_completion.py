"""The Tab key: what bash, zsh and fish are told, and what they are told to ask for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from amgsrn_core.cli import main
from amgsrn_core.volume import GridGeometry, write_volume

pytest.importorskip("argcomplete")

# As an interactive shell does at a Tab key.
ASK = {
    "bash": """
eval "$(amgsrn completion bash)"
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMPREPLY=()
function=$(complete -p amgsrn | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
$function amgsrn
printf '%s\\n' "${COMPREPLY[@]}"
""",
    "fish": """
amgsrn completion fish | source
complete -C $argv[2]
""",
}


@pytest.fixture
def answers(tmp_path):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "amgsrn"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom amgsrn_core.cli import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    values = np.zeros((3, 3, 3), "f4")
    write_volume(tmp_path / "t.nc", values, GridGeometry.uniform(values.shape), name="warmth")

    def ask(line: str, shell: str = "bash") -> list[str]:
        result = subprocess.run(
            [shell, "-c", ASK[shell], shell, line],
            cwd=tmp_path,
            env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=True,
        )
        return [answer.split("\t")[0].strip() for answer in result.stdout.splitlines()]

    return ask


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing")
def test_bash_completes_commands_options_choices_files_and_variables(answers):
    assert answers("amgsrn tr") == ["train"]
    assert answers("amgsrn train t.nc --iter") == ["--iterations"]
    assert answers("amgsrn train t.nc --encoder ") == ["adaptive", "dense", "hash"]
    assert "t.nc" in answers("amgsrn train ")
    assert "warmth" in answers("amgsrn train t.nc --variable w")


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is missing")
def test_fish_completes_the_same(answers):
    assert answers("amgsrn tr", "fish") == ["train"]
    assert answers("amgsrn train t.nc --encoder ", "fish") == ["adaptive", "dense", "hash"]
    assert answers("amgsrn train t.nc --variable w", "fish") == ["warmth"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_understands_what_it_is_told(shell, capsys, tmp_path):
    assert main(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    assert "amgsrn" in script.read_text()
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is missing")
    subprocess.run([shell, "-n", str(script)], check=True)
