"""News of a training leave ParaView's window time for its user."""

from __future__ import annotations

import pytest

pytest.importorskip("amgsrn_paraview", reason="the ParaView package is not installed")

from amgsrn_paraview import pace


@pytest.mark.parametrize(("busy", "shown_again"), [(0.2, 1.0), (0.5, 1.0), (1.5, 3.0), (4.0, 8.0)])
def test_a_window_is_free_at_least_as_long_as_it_was_busy(monkeypatch, busy, shown_again):
    now = 100.0
    monkeypatch.setattr(pace.time, "monotonic", lambda: now)
    paced = pace.Pace()
    assert paced.is_time()
    paced.show()
    now = 100.0 + busy
    while not paced.is_time():
        now += 0.125
    assert now - 100.0 == pytest.approx(shown_again, abs=0.13)


def test_where_nobody_asked_news_are_shown_at_once(monkeypatch):
    now = 100.0
    monkeypatch.setattr(pace.time, "monotonic", lambda: now)
    paced = pace.Pace()
    paced.show()
    paced.show()
    assert not paced.is_time()
    now += 1.0
    assert paced.is_time()
