"""The kernels' marcher shows what the dense reference shows, only sooner."""

from __future__ import annotations

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from support.kernel_cases import library, needs_kernels, threads
from support.native_cases import (
    BENT,
    DIMS,
    EVEN,
    LOOKS,
    camera,
    colours,
    middle,
    model,
    views,
)
from support.sample_models import small_brick

from amgsrn_core import NeuralVolume
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.field.blending import Blend
from amgsrn_core.kernels import load
from amgsrn_core.rendering import (
    Camera,
    Rays,
    RenderSettings,
    TransferFunction,
    make_marcher,
    native,
    occupancy,
)
from amgsrn_core.rendering.field import NeuralField
from amgsrn_core.rendering.native import NativeMarcher
from amgsrn_core.rendering.occupancy import MacroCells
from amgsrn_core.rendering.reference import TorchMarcher

pytestmark = needs_kernels
__all__ = ["library", "threads"]


def both(
    volume: NeuralVolume, transfer: TransferFunction, settings: RenderSettings, rays: Rays
) -> tuple[np.ndarray, np.ndarray]:
    reference = TorchMarcher(NeuralField(volume), transfer, settings).march(rays)
    return NativeMarcher(load(), volume, transfer, settings).march(rays), reference


def assert_same(image: np.ndarray, reference: np.ndarray) -> None:
    """Allow for rounding, and for a gradient that it puts on the other side of a neuron's ReLU."""
    difference = np.abs(image - reference).max(axis=1, initial=0)
    assert (difference > 2e-5).sum() <= len(image) // 200
    assert difference.max(initial=0) < 0.01


@pytest.mark.parametrize("bricks", [1, 6])
@pytest.mark.parametrize("geometry", [EVEN, BENT], ids=["even", "bent"])
@pytest.mark.parametrize("name", LOOKS)
def test_the_image_is_the_references(name, geometry, bricks):
    settings = RenderSettings(**LOOKS[name])
    volume = model(geometry, bricks=bricks, mask=name != "dense")
    transfer = colours(volume, settings.component)
    image, reference = both(volume, transfer, settings, camera(volume).rays())
    assert (reference[:, 3].max() > 0.1) == (name != "nothing at all")
    assert_same(image, reference)


@pytest.mark.parametrize("bricks", [1, 6])
@pytest.mark.parametrize("geometry", [EVEN, BENT], ids=["even", "bent"])
@pytest.mark.parametrize("shade", [False, True], ids=["flat", "shaded"])
def test_isosurfaces_are_the_references(shade, geometry, bricks):
    volume = model(geometry, bricks=bricks, mask=shade)
    values = tuple(middle(volume, quantile) for quantile in (0.6, 0.3, 0.62, 0.3))
    settings = RenderSettings(
        blend="isosurface", isovalues=values, shade=shade, samples_per_voxel=2.0
    )
    table = np.random.default_rng(3).random((16, 4))
    transfer = TransferFunction(min(values) - 1, max(values) + 1, table)
    image, reference = both(volume, transfer, settings, camera(volume).rays())
    assert reference[:, 3].max() > 0.1
    assert_same(image, reference)


@pytest.mark.parametrize("name", views(model()))
@pytest.mark.parametrize("geometry", [EVEN, BENT], ids=["even", "bent"])
def test_every_view_is_the_references(name, geometry):
    volume = model(geometry, bricks=6)
    rays = views(volume)[name]
    image, reference = both(volume, colours(volume), RenderSettings(shade=True), rays)
    assert image.shape == (len(rays), 4) and image.dtype == np.float32
    assert image.any() == (name not in ("away", "no pixel"))
    assert_same(image, reference)


def test_crop_and_clip_planes_are_the_references():
    volume = model(mask=True)
    x0, x1, y0, y1, z0, z1 = volume.geometry.bounds
    settings = RenderSettings(
        crop=(x0 + 0.5, x1 + 9, y0 + 0.3, y1 - 1.1, z0, z1 - 2.0),
        clip_planes=((1.0, 1.0, 0.3, -(x0 + y0 + 3.0)),),
    )
    rays = camera(volume).rays()
    image, reference = both(volume, colours(volume), settings, rays)
    whole = both(volume, colours(volume), RenderSettings(), rays)[0]
    assert 0 < (image[:, 3] > 0).sum() < (whole[:, 3] > 0).sum()
    assert_same(image, reference)


@pytest.mark.parametrize("name", views(model()))
@pytest.mark.parametrize("geometry", [EVEN, BENT], ids=["even", "bent"])
def test_the_kernels_need_no_ray_of_numpy(monkeypatch, name, geometry):
    volume = model(geometry)
    rays = views(volume)[name]
    settings = RenderSettings(jitter=True, crop=(-2, 9, -1, 5, 0, 9), clip_planes=((1, 0, 1, 0),))
    expected = TorchMarcher(NeuralField(volume), colours(volume), settings).march(rays)
    monkeypatch.delattr(Camera, "lines")
    marcher = NativeMarcher(load(), volume, colours(volume), settings)
    assert_same(marcher.march(views(volume)[name]), expected)


def test_what_rays_and_passes_share_is_worked_out_once(monkeypatch):
    volume, made = model(), []
    for module, name in ((native, "view_argument"), (occupancy, "_distances")):
        original = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *a, _n=name, _f=original: made.append(_n) or _f(*a)
        )
    seen = camera(volume)
    for density in (0.5, 1.0):  # a rough picture and a sharp one
        settings = RenderSettings(samples_per_voxel=density)
        marcher = NativeMarcher(load(), volume, colours(volume), settings)
        for part in np.array_split(np.arange(seen.width * seen.height), 4):
            marcher.march(seen.rays(part))
    assert sorted(made) == ["_distances", "view_argument", "view_argument"]


def test_pixels_and_depths_that_are_not_the_pictures_are_refused():
    volume = model()
    marcher = NativeMarcher(load(), volume, colours(volume), RenderSettings())
    seen = camera(volume)
    for pixel in (-1, seen.width * seen.height):
        with pytest.raises(IndexError, match="0 to 1072"):
            marcher.march(seen.rays(np.array([pixel])))
    with pytest.raises(ConfigurationError, match="depth must have one number for each of the 37 x"):
        marcher.march(seen.rays(depth=np.ones(5, np.float32)))


def test_logarithmic_colours_are_the_references():
    volume = model()
    settings = RenderSettings(component="magnitude")
    table = np.random.default_rng(1).random((32, 4))
    low, high = (middle(volume, q, "magnitude") for q in (0.3, 0.9))
    transfer = TransferFunction(low, high, table, logarithmic=True)
    image, reference = both(volume, transfer, settings, camera(volume).rays())
    assert_same(image, reference)


@pytest.mark.parametrize("opacity", [0.0, 1.0])
def test_nothing_and_solid_volumes_are_the_references(opacity):
    volume = model()
    transfer = TransferFunction(0, 1, [[0.2, 0.4, 0.6, opacity]] * 2)
    image, reference = both(volume, transfer, RenderSettings(), camera(volume).rays())
    assert image[:, 3].max() == pytest.approx(opacity)
    assert_same(image, reference)


def test_isosurfaces_without_isovalues_are_nothing():
    volume = model()
    settings = RenderSettings(blend="isosurface")
    image, _ = both(volume, colours(volume), settings, camera(volume).rays())
    assert not image.any()


@pytest.mark.filterwarnings("ignore:.*in cast")
def test_a_broken_network_shows_nothing_and_ends():
    volume = model()
    brick = next(volume.bricks())
    brick.network.feature_grids.fill_(np.nan)
    brick.kernel_network(load()).feature_grids.fill(np.nan)
    transfer = TransferFunction(0, 1, np.ones((2, 4)))
    for blend in ("composite", "maximum"):
        image, reference = both(
            volume, transfer, RenderSettings(blend=blend), camera(volume).rays()
        )
        assert not image.any() and not reference.any()


def true_cells(volume: NeuralVolume, edge: int = 2):
    """Bounds of the field in cells of so many voxels, by looking at many points."""
    fine = 8
    last = [n - 1 for n in reversed(volume.geometry.dims)]
    borders = [np.append(np.arange(-0.5, n - 0.5, edge).clip(0), float(n)) for n in last]
    lines = [np.linspace(0, n, fine * n + 1) for n in last]
    z, y, x = np.meshgrid(*reversed(lines), indexing="ij")
    values = volume.sample_index(np.stack([x, y, z], axis=-1).reshape(-1, 3)).T
    values = np.concatenate([values, np.linalg.norm(values, axis=0, keepdims=True)])
    values = values.reshape(-1, *x.shape)
    minima, maxima = values, values
    for axis, (line, border) in enumerate(zip(reversed(lines), reversed(borders)), start=1):
        parts = [
            (line >= low - 0.2) & (line <= high + 0.2) for low, high in zip(border, border[1:])
        ]
        minima, maxima = (
            np.stack([edge_of(np.compress(part, bounds, axis=axis), axis) for part in parts], axis)
            for edge_of, bounds in ((np.fmin.reduce, minima), (np.fmax.reduce, maxima))
        )
    with np.errstate(invalid="ignore"):
        margin = 0.05 * (maxima - minima)
        minima, maxima = minima - margin, maxima + margin
    return borders, np.nan_to_num(minima, nan=np.inf), np.nan_to_num(maxima, nan=-np.inf)


SKIPPING = {
    "composite": {},
    "dense": {"samples_per_voxel": 4.0},
    "sparse": {"samples_per_voxel": 0.2},
    "shaded magnitude": {"shade": True, "component": "magnitude"},
    "maximum": {"blend": "maximum", "samples_per_voxel": 2.0},
    "isosurface": {"blend": "isosurface", "samples_per_voxel": 2.0},
    "sparse isosurface": {"blend": "isosurface", "samples_per_voxel": 0.3},
}


@pytest.mark.parametrize("bricks", [1, 6])
@pytest.mark.parametrize("geometry", [EVEN, BENT], ids=["even", "bent"])
@pytest.mark.parametrize("name", SKIPPING)
def test_skipping_empty_cells_changes_no_bit(monkeypatch, name, geometry, bricks):
    volume = model(geometry, bricks=bricks, mask=True)
    settings = RenderSettings(**SKIPPING[name], isovalues=(middle(volume, 0.97),))
    low, high = (middle(volume, q, settings.component) for q in (0.95, 1.0))
    table = np.random.default_rng(1).random((32, 4))
    table[0, 3] = 0
    transfer = TransferFunction(low, high, table)
    rays = camera(volume).rays()
    monkeypatch.setattr(volume._part, "_derived", {})
    dense = NativeMarcher(load(), volume, transfer, settings).march(rays)
    monkeypatch.setattr(volume._part, "_derived", {})
    borders, *bounds = true_cells(volume)
    cells = MacroCells(2, *bounds)
    monkeypatch.setattr(MacroCells, "of_volume", lambda _: cells)
    monkeypatch.setattr(MacroCells, "borders", lambda *_: borders)
    marcher = NativeMarcher(load(), volume, transfer, settings)
    assert dense.any()
    assert np.array_equal(marcher.march(rays), dense)
    if settings.blend == "composite":
        empty, _ = marcher._model.empty.of(transfer, settings)
        assert 0.2 < (empty > 0).mean() < 1.0


class BlendedField:
    """A model whose bricks fade into each other over their ghost cells, by PyTorch alone."""

    def __init__(self, volume: NeuralVolume) -> None:
        self.geometry, self.device = volume.geometry, volume.device
        self._bricks = [(brick, copy.deepcopy(brick.network).double()) for brick in volume.bricks()]
        self._last = torch.tensor([n - 1.0 for n in reversed(DIMS)], dtype=torch.float64)

        self.extents = [record.extent for record in volume.index.bricks]

    def bounds(self, brick, extent) -> list[tuple[float, float, float, float]]:
        """Ends, low and high, and halves of the fades along x, y, z."""
        result = []
        for a, part in enumerate(reversed(extent)):
            low, high, last = brick.first[a], brick.last[a], self._last[a].item()
            ends = part.start - 0.5, part.stop - 0.5
            halves = max(ends[0] - low, 0), max(high - ends[1], 0)
            result.append(
                (
                    ends[0] if part.start else -np.inf,
                    ends[1] if part.stop <= last else np.inf,
                    halves[0] if part.start else 0.0,
                    halves[1] if part.stop <= last else 0.0,
                )
            )
        return result

    def blended(self, points: torch.Tensor) -> torch.Tensor:
        points = points.clamp(min=0).minimum(self._last)
        total, weights = 0.0, 0.0
        for (brick, network), extent in zip(self._bricks, self.extents):
            factor = torch.ones(len(points), dtype=torch.float64)
            for a, (low, high, fade_low, fade_high) in enumerate(self.bounds(brick, extent)):
                for distance, half in (
                    (points[:, a] - low, fade_low),
                    (high - points[:, a], fade_high),
                ):
                    t = 0.5 + 0.5 * distance / half if half else (distance >= 0).double()
                    t = t.clamp(0, 1)
                    factor = factor * t * t * (3 - 2 * t)
            first, last = (torch.from_numpy(v) for v in (brick.first, brick.last))
            values = network((points - first) * (2 / (last - first)) - 1)
            total = total + factor[:, None] * values
            weights = weights + factor
        return total / weights[:, None]

    def values(self, points: torch.Tensor) -> torch.Tensor:
        outside = ((points < -1e-3) | (points > self._last + 1e-3)).any(dim=1)
        values = self.blended(points).float()
        values[outside] = torch.nan
        return values

    def gradients(self, points: torch.Tensor, select) -> torch.Tensor:
        with torch.enable_grad():
            points = points.clone().requires_grad_()
            return torch.autograd.grad(select(self.blended(points)).sum(), points)[0].float()


@pytest.mark.parametrize("geometry", [EVEN, BENT], ids=["even", "bent"])
@pytest.mark.parametrize("ghost", [1, 3])
@pytest.mark.parametrize("name", ["composite", "shaded", "shaded magnitude", "maximum"])
def test_bricks_fade_into_each_other(monkeypatch, geometry, ghost, name):
    volume = model(geometry, bricks=6, ghost=ghost)
    field = BlendedField(volume)
    bounds = [field.bounds(brick, own) for brick, own in zip(volume.bricks(), field.extents)]
    ends, halves = np.split(np.array(bounds).swapaxes(1, 2), 2, axis=1)
    monkeypatch.setattr(volume._part, "_derived", {})
    monkeypatch.setattr(NeuralVolume, "blend", Blend(ends, halves, volume.index.dims))
    settings = RenderSettings(**LOOKS[name])
    transfer = colours(volume, settings.component)
    rays = camera(volume).rays()
    reference = TorchMarcher(field, transfer, settings).march(rays)
    image = NativeMarcher(load(), volume, transfer, settings).march(rays)
    assert reference[:, 3].max() > 0.1
    assert_same(image, reference)


def switching(geometry=EVEN) -> NeuralVolume:
    """The six bricks with domains that end between voxels, two of them in the same half voxel."""
    whole = model(geometry, bricks=6, ghost=2)
    cuts = [0.0, 3.7, 8.0], [0.0, 10.0], [0.0, 3.1, 3.3, 12.0]
    domains = itertools.product(*(zip(line, line[1:]) for line in cuts))
    bricks = [
        dataclasses.replace(brick, domain=domain)
        for brick, domain in zip(whole.index.bricks, domains, strict=True)
    ]
    states = [small_brick(whole.index, seed) for seed in range(6)]
    return NeuralVolume(whole.index.replace(bricks=tuple(bricks)), states)


@pytest.mark.parametrize("geometry", [EVEN, BENT], ids=["even", "bent"])
@pytest.mark.parametrize("name", ["dense", "shaded magnitude", "maximum"])
def test_bricks_switch_at_the_ends_of_their_domains(geometry, name):
    volume = switching(geometry)
    settings = RenderSettings(**LOOKS[name])
    rays = camera(volume).rays()
    image, reference = both(volume, colours(volume, settings.component), settings, rays)
    assert reference[:, 3].max() > 0.1
    assert_same(image, reference)


def test_every_instruction_set_draws_the_same(library):
    volume = model(BENT, bricks=6, mask=True)
    image, reference = both(
        volume, colours(volume), RenderSettings(shade=True), camera(volume).rays()
    )
    assert_same(image, reference)


@pytest.mark.parametrize("look", ["shaded", "maximum", "limited"])
def test_threads_and_company_change_no_bit_of_a_ray(threads, library, look):
    volume = model(bricks=6, mask=True)
    marcher = NativeMarcher(load(), volume, colours(volume), RenderSettings(**LOOKS[look]))
    rays = camera(volume, width=70, height=60).rays()
    torch.set_num_threads(1)
    alone = marcher.march(rays)
    for number in (2, 7):
        torch.set_num_threads(number)
        for _ in range(3):
            assert np.array_equal(marcher.march(rays), alone)
    order = np.random.default_rng(0).permutation(len(rays))
    assert np.array_equal(marcher.march(rays[order]), alone[order])
    for part in (slice(0, 1), slice(100, 163), slice(2000, None)):
        assert np.array_equal(marcher.march(rays[part]), alone[part])


def test_backends_are_chosen_by_name():
    volume = model()
    arguments = volume, colours(volume), RenderSettings()
    assert make_marcher(*arguments).backend == "native"
    assert make_marcher(*arguments, backend="native").backend == "native"
    assert make_marcher(*arguments, backend="torch").backend == "torch"
    with pytest.raises(ConfigurationError, match="one of"):
        make_marcher(*arguments, backend="abacus")
    with pytest.raises(ConfigurationError, match="no component 2"):
        make_marcher(volume, colours(volume), RenderSettings(component=2))
