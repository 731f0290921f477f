"""The plugin that is one Python file: whose code it brings."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.paths import ROOT

FILE = ROOT / "plugins" / "AMGSRN.py"


@pytest.mark.parametrize("first", ["nothing", "itself", "another suite"])
def test_another_suite_that_comes_first_is_named(tmp_path, first):
    (tmp_path / "amgsrn_paraview").mkdir()
    (tmp_path / "amgsrn_paraview" / "__init__.py").touch()
    path = {"nothing": "", "itself": str(FILE.parent), "another suite": str(tmp_path)}[first]
    run = subprocess.run(
        [sys.executable, "-c", f"import runpy; runpy.run_path({str(FILE)!r})"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    if first == "another suite":
        assert run.returncode == 1
        assert f"Another AMGSRN suite comes first on ParaView's path, in {tmp_path}," in run.stderr
    else:
        assert (run.returncode, run.stderr) == (0, "")
