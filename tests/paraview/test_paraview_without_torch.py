"""What shows models inside ParaView does without PyTorch: it is not loaded, nor need be there."""

from __future__ import annotations

import pytest
from conftest import missing
from support.sample_models import write_small_model

from amgsrn_core.cli.paraview_launcher import neural_volume

NEEDED = (
    "Training needs PyTorch, which is not installed here; install amgsrn[train] (in a checkout: "
    "scripts/setup)."
)


@pytest.fixture
def files(tmp_path):
    """A model, and where a picture and another model are to be."""
    if neural_volume() is None:
        missing("The compiled plugin (Debian, Ubuntu: paraview-dev)")
    write_small_model(tmp_path / "model.amgsrn", dims=(15, 16, 17))
    return [tmp_path / name for name in ("model.amgsrn", "picture.png", "trained.amgsrn")]


def check(run, picture):
    """Check that the model was opened, reconstructed and drawn without PyTorch."""
    assert [stage["torch"] for stage in run.results["stages"].values()] == [False] * 4
    assert run.results["whole"]["extent"] == [0, 63, 0, 63, 0, 63]
    assert "native on cpu" in run.results["status"]
    assert picture.stat().st_size > 1000


def test_nothing_that_shows_a_model_loads_pytorch(paraview, files):
    run = paraview.run("pvpython", "view.py", *files[:2])
    check(run, files[1])
    assert run.messages == []


def test_without_pytorch_models_are_shown_and_training_says_what_to_install(
    paraview, files, tmp_path
):
    shim = tmp_path / "shim"
    shim.mkdir()
    (shim / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    paths = [str(shim), paraview.environment["PYTHONPATH"]]
    run = paraview.run("pvpython", "view.py", *files, environment={"PYTHONPATH": ":".join(paths)})
    check(run, files[1])
    assert run.results["trainer"] == {"state": "failed", "message": NEEDED}
    (told,) = run.messages
    assert NEEDED in told
    assert not files[2].exists()
