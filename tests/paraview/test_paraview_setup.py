"""After `amgsrn paraview-setup` ParaView's window has the suite, started without any variable."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from conftest import PROGRAMS, executable, finish
from support.sample_models import write_small_model

from amgsrn_core.cli.paraview_launcher import neural_volume

SETUP = [sys.executable, "-m", "amgsrn_core.cli", "paraview-setup"]


@pytest.mark.gui
@pytest.mark.slow
def test_a_window_without_variables_has_the_filters_and_opens_models(paraview, screen, tmp_path):
    window = executable("paraview")
    hidden = ("PV_PLUGIN_PATH", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    kept |= {"HOME": str(tmp_path), "PATH": f"{os.path.dirname(window)}:{os.environ['PATH']}"}
    asked = [*SETUP, "--paraview", os.path.dirname(window)]
    done = subprocess.run(asked, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the filters work" in done.stdout
    settings = next((tmp_path / ".config" / "ParaView").glob("ParaView*.ini"))
    with open(settings, "a") as file:
        file.write("[General]\nGeneralSettings.ShowWelcomeDialog=false\n")
    write_small_model(tmp_path / "model.amgsrn")

    bare = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LC_ALL": "C", **screen[0]}
    bare["XDG_RUNTIME_DIR"] = str(tmp_path)
    process = subprocess.Popen(
        [window, f"--script={PROGRAMS / 'gui_connected.py'}"],
        env=bare,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    run = finish(process, 150)
    assert run.messages == []
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["error"] == ""
    assert seen["variables"] == []
    assert seen["trainer"]
    compiled = neural_volume() is not None
    assert seen["neural_volume"] == compiled
    assert (seen["representation"].strip("'") == "Neural Volume") == compiled
    assert (tmp_path / "picture.png").stat().st_size > 3_000

    removed = subprocess.run([*SETUP, "--remove"], env=kept, capture_output=True, text=True)
    assert removed.returncode == 0, removed.stderr
    assert "AMGSRN" not in settings.read_text()
    assert not list(tmp_path.glob(".local/lib/python3*/site-packages/*"))
