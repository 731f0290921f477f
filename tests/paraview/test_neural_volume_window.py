"""Neural Volume in ParaView's window."""

from __future__ import annotations

import pytest
from support.sample_models import write_small_series
from test_neural_volume import difference, models, picture  # noqa: F401
from test_paraview_window import window  # noqa: F401

pytestmark = pytest.mark.gui


def test_a_picture_refines_by_itself_and_follows_the_mouse(window, models):  # noqa: F811
    outcome = window("gui_neural.py", timeout=180)
    seen = outcome.results
    assert outcome.messages == []
    assert seen["representation"] == "'Neural Volume'"
    # Refinement took several passes, between which the event loop went on.
    assert seen["beats"] > 3
    # While the mouse moves there are fewer rays and longer steps, and no refinement.
    dragged = seen["while_dragging"]
    assert all("0.5 samples per voxel" in status for status in dragged[2:])
    assert all(" 0% refined" in status for status in dragged[2:])
    # A change restarts it at once.
    for name in ("after_edit", "after_zoom"):
        assert "100% refined" not in seen[name]
    # A screenshot does not show how far refinement is.
    assert difference(models / "early.png", models / "late.png") == (0.0, 0.0)
    assert picture(models / "late.png").std() > 5.0


def test_the_next_time_step_is_decoded_while_a_picture_is_looked_at(window, tmp_path):  # noqa: F811
    write_small_series(tmp_path / "series.amgsrn", dims=(23, 27, 29))
    outcome = window("gui_ahead.py", timeout=180)
    seen = outcome.results
    assert outcome.messages == []
    first, *following = seen["blocks"]
    assert first > 20 and following == [0, 0]
    assert min(seen["ahead"]) > 20 and seen["last"]
    assert all("100% refined" in words for words in seen["status"])


def test_the_time_changes_while_a_picture_refines(window, tmp_path):  # noqa: F811
    write_small_series(tmp_path / "series.amgsrn", dims=(23, 27, 29))
    outcome = window("gui_times.py", timeout=120)
    seen = outcome.results
    assert outcome.messages == []
    for words in (seen["interrupted"], seen["restarted"]):
        assert "100% refined" not in words
    assert seen["time"] == 2.0
    assert difference(tmp_path / "changed.png", tmp_path / "fresh.png") == (0.0, 0.0)
    assert difference(tmp_path / "changed.png", tmp_path / "first.png")[0] > 2.0
    assert picture(tmp_path / "fresh.png").std() > 5.0


@pytest.mark.mpi
def test_a_server_s_ranks_decode_and_tell_of_it(window, paraview, tmp_path, free_port):  # noqa: F811
    write_small_series(tmp_path / "series.amgsrn", dims=(23, 27, 29))
    with paraview.served(free_port, 2):
        outcome = window("gui_served.py", timeout=180, AMGSRN_TEST_PORT=str(free_port))
    seen = outcome.results
    assert outcome.messages == []
    for words in seen["status"]:
        assert "blocks, " in words and "on 2 ranks, 100% refined" in words
    for rank in range(2):
        ((rough, sharp, ahead),), ((then_rough, then_sharp, _),) = (
            seen[step][rank] for step in ("first", "second")
        )
        assert rough + sharp > 10 and ahead > 10
        assert then_rough + then_sharp == 0
