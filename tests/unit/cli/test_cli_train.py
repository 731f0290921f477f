"""What `amgsrn train` shows."""

from __future__ import annotations

from amgsrn_core.cli.progress import Lines
from amgsrn_core.cli.signals import Stop
from amgsrn_core.cli.train import _Observer
from amgsrn_core.training.progress import BricksProgress, Progress


def test_a_run_is_complete_when_its_bricks_are(capsys):
    observer = _Observer(Lines("m", seconds=0.0), Stop())
    for done, failed in ((0, 0), (1, 0), (1, 1), (2, 0)):
        observer(Progress("training", 200, 200, bricks=BricksProgress(2, done, failed)))
    lines = capsys.readouterr().err.splitlines()
    assert [line[: line.index("%") + 1] for line in lines] == ["m  99 %"] * 2 + ["m 100 %"] * 2
