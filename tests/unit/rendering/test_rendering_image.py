"""Progressive images: the result does not depend on how the time was cut."""

from __future__ import annotations

import numpy as np
import pytest

from amgsrn_core.rendering import CallCost, Camera, ProgressiveImage, Rays
from amgsrn_core.rendering import image as image_module


class Stripes:
    """Colours each ray by its pixel; every call is remembered."""

    backend = "test"
    device = "cpu"

    def __init__(self):
        self.pixels = []

    def march(self, rays: Rays) -> np.ndarray:
        self.pixels.append(rays.pixels)
        return np.stack([rays.pixels % 7, rays.pixels % 5, rays.pixels, rays.near], 1).astype("f4")


def camera(width: int, height: int) -> Camera:
    return Camera.orbit((0, 1, 0, 1, 0, 1), width=width, height=height)


@pytest.mark.parametrize(
    ("width", "height"), [(70, 133), (64, 64), (65, 1), (1, 65), (1, 1), (9, 8)]
)
def test_every_pixel_is_marched_once_and_lands_in_its_place(width, height):
    marcher = Stripes()
    image = ProgressiveImage(marcher, camera(width, height))
    while image.advance(1e-9) < 1.0:
        pass
    pixels = np.concatenate(marcher.pixels)
    assert np.array_equal(np.sort(pixels), np.arange(width * height))
    assert np.array_equal(image.rgba[..., 2].ravel(), np.arange(width * height))


def test_the_cut_does_not_change_the_result():
    cut, whole = (ProgressiveImage(Stripes(), camera(200, 150)) for _ in range(2))
    passes = 0
    while cut.advance(1e-9) < 1.0:
        passes += 1
    assert whole.advance() == 1.0
    assert passes > 3
    assert np.array_equal(cut.rgba, whole.rgba)


def test_the_first_pass_covers_the_image():
    image = ProgressiveImage(Stripes(), camera(100, 60))
    assert 0.0 < image.advance(1e-9) < 0.1
    assert (image.rgba[..., 3] > 0).all()
    assert image.rgba[17, 42, 2] == 16 * 100 + 40


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_an_empty_window_is_done_at_once(size):
    image = ProgressiveImage(Stripes(), camera(*size))
    assert image.advance() == 1.0
    assert image.rgba.shape == (size[1], size[0], 4)


def test_dear_rays_behind_cheap_ones_do_not_prolong_a_pass(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(image_module.time, "perf_counter", lambda: clock[0])

    class Islands(Stripes):
        """Takes a hundred times as long for the rays through every other band of 100 rows."""

        def march(self, rays: Rays) -> np.ndarray:
            dear = rays.pixels // 1000 // 100 % 2 == 1
            clock[0] += 20e-6 * dear.sum() + 0.2e-6 * (~dear).sum()
            return super().march(rays)

    image = ProgressiveImage(Islands(), camera(1000, 700), cost=CallCost(20e-6))
    passes = []
    while image.fraction < 1.0:
        start = clock[0]
        image.advance(0.1)
        passes.append(clock[0] - start)
    assert max(passes) < 0.12
    assert len(passes) < 1.5 * sum(passes) / 0.1


class Launching(Stripes):
    """A GPU of the size of a common one: 12 ms for a call, whatever it does, and 0.5 us a ray."""

    device = "cuda:0"

    def __init__(self, clock: list[float]):
        super().__init__()
        self._clock = clock

    def march(self, rays: Rays) -> np.ndarray:
        self._clock[0] += 12e-3 + 0.5e-6 * len(rays)
        return super().march(rays)


@pytest.mark.parametrize("device", ["cuda:0", "cpu"])
def test_what_a_call_takes_by_itself_is_not_held_against_the_rays(monkeypatch, device):
    clock = [0.0]
    monkeypatch.setattr(image_module.time, "perf_counter", lambda: clock[0])
    marcher = Launching(clock)
    marcher.device = device
    image = ProgressiveImage(marcher, camera(1024, 768))
    passes = []
    while image.fraction < 1.0:
        start = clock[0]
        image.advance(0.1)
        passes.append(clock[0] - start)
    # The rays alone take 0.39 s; it was 9.4 s when every call was thought to cost its rays only.
    assert sum(passes) < (1.0 if device == "cuda:0" else 1.5)
    assert max(passes) < 0.15


def test_a_fixed_part_that_nobody_can_tell_is_none():
    cost = CallCost()
    for _ in range(20):
        cost.note(1000, 1e-3)
    assert cost.fixed == 0.0 and cost.per_ray == pytest.approx(1e-6)
    for rays in (1000, 2000, 4000):
        cost.note(rays, 1e-6 * rays)
    assert cost.fixed == pytest.approx(0.0, abs=1e-9)
    assert cost.rays_within(1e-2) == pytest.approx(10_000, rel=0.01)


def test_cheap_rays_are_no_fixed_part():
    cost = CallCost()
    cost.note(1000, 20e-3)  # dear ones
    cost.note(2000, 0.4e-3)  # cheap ones
    cost.note(4000, 0.8e-3)
    assert cost.fixed <= 0.4e-3
    assert 0.9e-2 / 20e-6 < cost.rays_within(1e-2) < 1.1e-2 / 19e-6
