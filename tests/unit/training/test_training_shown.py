"""Progress that a Python program sees: in a terminal or a notebook, and where it is asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from amgsrn_core import NetworkConfig, TrainingConfig, train, volume_from_array
from amgsrn_core.runs import TrainingOutcome
from amgsrn_core.training.progress import Command, Progress, unobserved
from amgsrn_core.training.shown import shown_to

STATE = Progress("training", 50, 200, psnr=31.5, eta_seconds=3.0)


def test_nothing_is_shown_to_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_to(unobserved, None) as observer:
        assert observer is unobserved
    with shown_to(unobserved, False) as observer:
        assert observer is unobserved
    assert capsys.readouterr().err == ""


def test_a_terminal_sees_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    with shown_to(unobserved, None) as observer:
        assert observer(STATE) is Command.CONTINUE
    shown = capsys.readouterr().err
    assert "25%" in shown
    assert "PSNR ~ 31.50 dB  3.0 s left" in shown


NOTEBOOK = """
import sys; sys.path[:0] = {path!r}
from amgsrn_core.training.progress import Progress, unobserved
from amgsrn_core.training.shown import shown_to
with shown_to(unobserved, None) as observer:
    for iteration in (0, 50, 100, 200):
        observer(Progress("training", iteration, 200, psnr=31.5, eta_seconds=3.0))
"""


def test_a_notebook_sees_one_line_that_is_replaced() -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cell = nbformat.v4.new_code_cell(NOTEBOOK.format(path=sys.path))
    nbclient.NotebookClient(nbformat.v4.new_notebook(cells=[cell]), timeout=60).execute()
    (output,) = cell.outputs
    assert output["data"] == {"text/plain": "training 100%  PSNR ~ 31.50 dB  3.0 s left"}


def test_an_observer_still_decides_and_is_not_shown_unasked() -> None:
    def stop(state: Progress) -> Command:
        return Command.STOP

    with shown_to(stop, None) as observer:
        assert observer is stop
    with shown_to(stop, True) as observer:
        assert observer(STATE) is Command.STOP


def test_an_outcome_prints_in_three_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = volume_from_array(np.random.default_rng(0).random((6, 7, 8)).astype("f4"))
    outcome = train(
        volume,
        tmp_path / "a.amgsrn",
        NetworkConfig(grids=1, grid_shape=(3, 3, 3), width=8),
        TrainingConfig(iterations=10, batch=64, device="cpu"),
        progress=True,
    )
    assert "PSNR" in capsys.readouterr().err
    lines = str(outcome).splitlines()
    assert [line.split()[0] for line in lines] == ["model", "PSNR", "time"]
    assert f"{outcome.psnr:.2f} dB" in lines[1]
    nothing = TrainingOutcome.stopped(tmp_path / "b.amgsrn", "")
    assert repr(nothing).splitlines()[0].endswith("b.amgsrn, not written yet")
    assert "(incomplete)" in repr(nothing)
