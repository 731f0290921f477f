"""What a mapper took on a GPU is given back when it is gone."""

from __future__ import annotations

import weakref

import pytest
import torch
from amgsrn_paraview import neural_volume

from amgsrn_core.errors import AmgsrnError


@pytest.fixture
def given_back(monkeypatch):
    calls = []
    monkeypatch.setattr(neural_volume, "give_back_memory", lambda: calls.append(arrays()))
    return calls


held: list[weakref.ref] = []


def arrays() -> int:
    """Return how many of the arrays that painters made are alive."""
    return sum(reference() is not None for reference in held)


class Painter:
    """Holds an array, and fails with another one in its hands."""

    def __init__(self) -> None:
        self._array = torch.ones(5)
        held.append(weakref.ref(self._array))

    def paint(self, *arguments) -> None:
        array = torch.ones(7)
        held.append(weakref.ref(array))
        raise torch.OutOfMemoryError("CUDA out of memory.")


def test_memory_is_given_back_after_the_last_array_is_gone(given_back, monkeypatch):
    held.clear()
    neural_volume._painters[-1] = Painter()
    neural_volume.release(-1)
    assert given_back == [0]
    neural_volume.release(-1)  # who has nothing gives nothing back
    assert given_back == [0]


def test_a_picture_that_failed_keeps_nothing(given_back, monkeypatch):
    held.clear()
    monkeypatch.setattr(neural_volume, "_Painter", Painter)
    with pytest.raises(AmgsrnError, match="not enough memory; choose a smaller window"):
        neural_volume.render(-2, 0, False, None, {})
    assert len(held) == 2 and given_back == [0]
