"""How soon the Neural Volume appears in ParaView's window, and how long the window stands still.

    AMGSRN_BENCH_MODEL=model.amgsrn python -m pytest -s tests/paraview/benchmark_interaction.py

The model is shown at 1000 x 700 pixels, the camera is turned eight times, and the mouse is dragged.
Needs what ParaView's tests need; nothing else should be running.
"""

from __future__ import annotations

import os
import statistics

import pytest
from test_paraview_window import window  # noqa: F401


@pytest.mark.skipif("AMGSRN_BENCH_MODEL" not in os.environ, reason="AMGSRN_BENCH_MODEL names none")
def test_times(window):  # noqa: F811
    seen = window("gui_response.py", timeout=300).results
    assert seen["size"] == [1000, 700]
    print()
    for what in ("opened", "first image", "gap while refining", "drag", "refined"):
        times = [1000 * seconds for seconds in seen[what]]
        print(f"{what:20} median {statistics.median(times):6.0f} ms, longest {max(times):6.0f} ms")
