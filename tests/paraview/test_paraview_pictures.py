"""The program that draws two volumes side by side, with any ParaView."""

from __future__ import annotations

import numpy as np
from conftest import executable, finish
from support.paths import ROOT


def test_two_volumes_are_drawn_side_by_side(paraview, tmp_path):
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in (12, 16, 20)], indexing="ij")
    values = (np.exp(-3 * (x * x + y * y + z * z))).astype(np.float32)
    columns = [tmp_path / "left.npz", tmp_path / "right.npz"]
    for path in columns:
        np.savez(
            path,
            values=values,
            spacing=(0.1, 0.1, 0.1),
            title=path.stem,
            quantity="density",
            slice=6,
            slice_title="z = 0",
            range=(0.0, 1.0),
            opacities=[(0.0, 0.0), (0.3, 0.0), (1.0, 0.9)],
        )
    picture = tmp_path / "both.png"
    script = ROOT / "scripts" / "comparison_picture.py"
    command = [executable("pvpython"), str(script), *map(str, [*columns, picture])]
    run = finish(paraview.start(command), 150)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.messages == []
    assert "deprecated" not in run.stdout + run.stderr
    # An empty picture compresses to next to nothing.
    assert picture.stat().st_size > 20_000
