"""Pictures for a mapper: through decoded blocks, and what it took on a GPU is given back."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from amgsrn_paraview import neural_volume
from support.kernel_cases import needs_kernels
from support.sample_models import write_small_model, write_small_series

from amgsrn_core import NeuralVolume
from amgsrn_core.errors import AmgsrnError
from amgsrn_core.rendering import Camera


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


def request(path, sampling: str, **changes) -> neural_volume.Request:
    """Return what the plugin asks for: a picture of 60 x 50 pixels."""
    model = NeuralVolume.open(path, "cpu")
    camera = Camera.orbit(model.geometry.bounds, width=60, height=50, azimuth=30, polar=60)
    return {
        "depth": b"",
        "size": (60.0, 50.0),
        "world_to_clip": tuple(camera.world_to_clip.ravel()),
        "bounds": model.geometry.bounds,
        "planes": (),
        "range": (model.index.value_minimum[0], model.index.value_maximum[0]),
        "logarithmic": (0.0,),
        "table": (0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.5),
        "component": (0.0,),
        "blend_mode": (0.0,),
        "isovalues": (),
        **dict.fromkeys(("shade", "jitter", "unit_distance"), (0.0,)),
        **dict.fromkeys(("ambient", "diffuse", "specular"), (0.5,)),
        **dict.fromkeys(("specular_power", "image_reduction"), (4.0,)),
        "samples_per_voxel": (2.0,),
        "path": str(path),
        "checksum": model.checksum,
        "step": "",
        "array": model.index.name,
        "backend": "auto",
        "device": "cpu",
        "sampling": sampling,
        **changes,
    }


@needs_kernels
def test_the_window_draws_decoded_blocks_and_tells_of_them(tmp_path):
    path = tmp_path / "small.amgsrn"
    write_small_model(path, dims=(10, 12, 14))
    *_, exact, words = neural_volume.render(-3, 1, False, None, request(path, "exact"))
    assert "% decoded" not in words
    asked = request(path, "cached")
    done, width, _, rough, words = neural_volume.render(-3, 2, False, 0.05, asked)
    assert done < 1.0 and width <= 60 and rough.any() and "blocks, " in words
    passes = 0
    while done < 1.0:
        done, width, _, sharp, words = neural_volume.render(-3, 2, False, 1e-4, asked)
        passes += 1
    assert passes > 1 and width == 60 and words.endswith("MB, 100% decoded, 100% refined")
    assert 0 < np.abs(sharp - exact).max() < 0.05
    *_, whole, words = neural_volume.render(-3, 3, False, None, asked)
    assert np.array_equal(whole, sharp)
    curved = {**asked, "interpolation": "cubic"}
    *_, cubic, words = neural_volume.render(-3, 29, False, None, {**curved, "sampling": "exact"})
    assert np.array_equal(cubic, exact) and words.endswith("refined")
    *_, cubic, _ = neural_volume.render(-3, 30, False, None, curved)
    assert 0 < np.abs(cubic - exact).mean() < 0.9 * np.abs(whole - exact).mean()
    # While it is dragged the least pixels per ray do not matter, only the time.
    for generation in range(4, 9):
        _, width, *_ = neural_volume.render(-3, generation, True, 5.0, asked)
    assert width == 60
    neural_volume.release(-3)


@needs_kernels
def test_the_next_time_step_is_decoded_while_nothing_else_is_done(tmp_path):
    path = tmp_path / "series.amgsrn"
    write_small_series(path, dims=(10, 12, 14))

    def shown(token: int, generation: int, step: int, **changes):
        asked = request(path, "cached", step=str(step), **changes)
        *_, rgba, _ = neural_volume.render(token, generation, False, None, asked)
        return rgba, neural_volume.painter(token)._sharp.marcher.blocks

    def prepared(token: int) -> int:
        passes = 1
        while neural_volume.prepare(token, 1e-9) < 1.0:
            passes += 1
        return passes

    alone = [shown(-4, generation, generation) for generation in range(3)]
    assert min(blocks for _, blocks in alone) > 4
    neural_volume.release(-4)
    assert neural_volume.prepare(-4, 1.0) == 1.0  # nobody
    for generation, step in enumerate((0, 1, 2)):
        rgba, blocks = shown(-3, generation, step)
        assert np.array_equal(rgba, alone[step][0]) and (blocks == 0) == (step > 0)
        assert (prepared(-3) > 1) == (step < 2)  # none is next to the last
    # Backwards, the one before is next; the step from which it came has its blocks yet.
    shown(-3, 10, 1)
    assert prepared(-3) > 1
    rgba, blocks = shown(-3, 11, 0)
    assert np.array_equal(rgba, alone[0][0]) and blocks == 0
    # Another view has other blocks.
    shown(-3, 12, 1, planes=(1.0, 0.0, 0.0, -6.0))
    assert prepared(-3) > 1
    neural_volume.render(-3, 13, False, 0.05, request(path, "cached", step="2"))
    assert neural_volume.prepare(-3, 1.0) == 1.0  # what is shown goes before
    neural_volume.render(-3, 14, False, None, request(path, "exact", step="2"))
    assert neural_volume.prepare(-3, 1.0) == 1.0
    neural_volume.release(-3)


@needs_kernels
def test_a_next_time_step_that_cannot_be_drawn_is_left_alone(tmp_path, monkeypatch):
    path = tmp_path / "series.amgsrn"
    write_small_series(path, bounded=False)
    neural_volume.render(-3, 1, False, None, request(path, "cached", step="0"))
    assert neural_volume.prepare(-3, 1.0) == 1.0  # what is empty would have to be found out
    assert neural_volume.painter(-3)._next_picture is None
    write_small_series(path)
    neural_volume.render(-3, 2, False, None, request(path, "cached", step="0"))
    monkeypatch.setattr(neural_volume, "look_of", lambda *_: 1 / 0)
    assert neural_volume.prepare(-3, 1.0) == 1.0
    neural_volume.release(-3)


def test_what_is_exact_against_the_wish_is_told(tmp_path):
    path = tmp_path / "small.amgsrn"
    write_small_model(path)
    asked = request(path, "cached", backend="torch")
    *_, words = neural_volume.render(-3, 1, False, None, asked)
    assert words.endswith(
        "100% refined. Decoded blocks need the CPU kernels, so sampling is exact."
    )
    with pytest.raises(AmgsrnError, match="sampling must be one of exact, cached"):
        neural_volume.render(-3, 2, False, None, request(path, "blurred"))
    neural_volume.release(-3)
