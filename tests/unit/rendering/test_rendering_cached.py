"""Marching through decoded blocks shows what the dense reference shows of the same lattice."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch
from support.kernel_cases import library, needs_kernels, threads
from support.native_cases import BENT, EVEN, LOOKS, camera, colours, middle, model, views
from support.sample_models import write_small_model

from amgsrn_core import NeuralVolume
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.kernels import load, working_set
from amgsrn_core.kernels.working_set import BlockStore, lattice_levels
from amgsrn_core.rendering import (
    Camera,
    ProgressiveImage,
    RenderSettings,
    TransferFunction,
    cached,
    lattice,
    make_marcher,
    render,
)
from amgsrn_core.rendering.cached import CachedMarcher, level_begins
from amgsrn_core.rendering.lattice import LatticeField
from amgsrn_core.rendering.marcher import decoded_margin
from amgsrn_core.rendering.native import NativeMarcher
from amgsrn_core.rendering.reference import TorchMarcher

pytestmark = needs_kernels
__all__ = ["library", "threads"]


def megabytes(blocks: int) -> float:
    """Return the memory that holds so many blocks of two components, and their tables."""
    return 1e-6 * (blocks * (2 * 2 * (729 + 16) + 20) + 200)


def marcher(volume: NeuralVolume, transfer: TransferFunction, **options) -> CachedMarcher:
    settings = RenderSettings(sampling="cached", **options)
    return CachedMarcher(load(), volume, transfer, settings)


def both(volume, transfer, rays, level=0, **options) -> tuple[np.ndarray, np.ndarray]:
    """The picture through blocks of one level, and the reference's through all of that lattice."""
    ours = marcher(volume, transfer, **options)
    kind = options.get("interpolation", "linear")
    field = LatticeField(volume, ours._store.levels[level], *ours._store.scale, kind)
    ours._begins = lambda _: np.where(np.arange(len(ours._store.levels)) <= level, -np.inf, np.inf)
    settings = RenderSettings(**options)
    return ours.march(rays), TorchMarcher(field, transfer, settings).march(rays)


def alike(image: np.ndarray, reference: np.ndarray) -> None:
    """Allow for float32 along the ray, and for cells and codes that it puts beside their border."""
    difference = np.abs(image - reference).max(axis=1, initial=0)
    assert (difference > 2e-3).sum() <= len(image) // 100
    assert difference.sum() <= 2e-4 * len(image)


@pytest.mark.parametrize("bricks", [1, 6])
@pytest.mark.parametrize("geometry", [EVEN, BENT], ids=["even", "bent"])
@pytest.mark.parametrize("name", LOOKS)
def test_the_image_is_that_of_the_whole_lattice(name, geometry, bricks):
    volume = model(geometry, bricks=bricks, mask=name != "dense")
    transfer = colours(volume, LOOKS[name].get("component", 0))
    image, reference = both(volume, transfer, camera(volume).rays(), **LOOKS[name])
    assert (reference[:, 3].max() > 0.1) == (name != "nothing at all")
    alike(image, reference)


CURVED = ("composite", "dense", "jittered", "shaded", "shaded magnitude", "lights", "maximum")


@pytest.mark.parametrize("cells", [1, 2])
@pytest.mark.parametrize("geometry", [EVEN, BENT], ids=["even", "bent"])
@pytest.mark.parametrize("name", CURVED)
def test_cubic_images_are_those_of_the_whole_lattice(name, geometry, cells):
    volume = model(geometry, bricks=6, mask=name == "dense")
    transfer = colours(volume, LOOKS[name].get("component", 0))
    options = {**LOOKS[name], "interpolation": "cubic", "cells_per_voxel": cells}
    image, reference = both(volume, transfer, camera(volume).rays(), **options)
    straight, _ = both(
        volume, transfer, camera(volume).rays(), **LOOKS[name], cells_per_voxel=cells
    )
    assert np.abs(straight - reference).mean() > 2e-4
    alike(image, reference)


@pytest.mark.parametrize("bricks", [1, 6])
@pytest.mark.parametrize("geometry", [EVEN, BENT], ids=["even", "bent"])
@pytest.mark.parametrize("shade", [False, True], ids=["flat", "shaded"])
@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_isosurfaces_are_those_of_the_whole_lattice(kind, shade, geometry, bricks):
    volume = model(geometry, bricks=bricks, mask=shade)
    values = tuple(middle(volume, quantile) for quantile in (0.6, 0.3, 0.62, 0.3))
    table = np.random.default_rng(3).random((16, 4))
    transfer = TransferFunction(min(values) - 1, max(values) + 1, table)
    looks = {"blend": "isosurface", "isovalues": values, "shade": shade, "samples_per_voxel": 2.0}
    looks["interpolation"] = kind
    image, reference = both(volume, transfer, camera(volume).rays(), **looks)
    assert reference[:, 3].max() > 0.1
    # A surface that touches a sample is on one side or on the other.
    assert (np.abs(image - reference).max(axis=1) > 2e-3).sum() <= len(image) // 50


@pytest.mark.parametrize("name", views(model()))
@pytest.mark.parametrize("geometry", [EVEN, BENT], ids=["even", "bent"])
def test_every_view_is_that_of_the_whole_lattice(name, geometry):
    volume = model(geometry, bricks=6)
    planes = ((1.0, 1.0, 0.3, -5.0),)
    crop = (3.5, 9.0, -2.0, 5.0, 0.5, 9.0) if geometry is EVEN else None
    for options in ({}, {"clip_planes": planes, "crop": crop, "cells_per_voxel": 2}):
        image, reference = both(volume, colours(volume), views(volume)[name], **options)
        alike(image, reference)


def test_logarithmic_colours_are_those_of_the_whole_lattice():
    volume = model()
    low, high = (middle(volume, q, "magnitude") for q in (0.3, 0.9))
    table = np.random.default_rng(1).random((32, 4))
    transfer = TransferFunction(low, high, table, logarithmic=True)
    alike(*both(volume, transfer, camera(volume).rays(), component="magnitude"))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_each_level_is_a_lattice_whose_values_are_right_at_the_faces(monkeypatch, level):
    monkeypatch.setattr(working_set, "_COARSEST", 4)
    volume = model()
    assert [s.cells for s in lattice_levels((13, 11, 9), 1)] == [(12, 10, 8), (6, 5, 4), (3, 3, 2)]
    image, reference = both(volume, colours(volume), camera(volume).rays(), level=level)
    assert reference[:, 3].max() > 0.1
    alike(image, reference)


def test_levels_follow_from_distance_and_pixels_alone():
    volume = model()
    far = Camera.look_at((0, 0, 50), (0, 0, 0), (0, 1, 0), width=64, height=64)
    settings = RenderSettings(samples_per_voxel=2.0)
    begins = level_begins([1.0, 2.0, 4.0], far, volume.geometry, settings)
    pixel = 2 * np.tan(np.radians(15)) / 64
    assert begins[0] == -np.inf
    # There a voxel is a pixel wide, and two of them are.
    assert np.allclose((begins[1:] + 0.5) * pixel / 2.0, [1.0, 2.0], rtol=2e-3)
    flat = Camera.look_at((0, 0, 50), (0, 0, 0), (0, 1, 0), width=8, height=8, parallel_scale=6.0)
    # Pixels of 1.5, which is 3 voxels of the shortest edge.
    assert list(level_begins([1.0, 2.0, 4.0, 8.0], flat, volume.geometry, settings)) == [
        *[-np.inf] * 3,
        np.inf,
    ]


def test_a_picture_does_not_depend_on_what_was_seen_before(library, threads):
    volume, transfer = model(bricks=6, mask=True), colours(model())
    options = {"shade": True, "cells_per_voxel": 2}
    view = camera(volume, width=70, height=60)

    def drawn(ours: CachedMarcher, budget: float | None = None) -> np.ndarray:
        image = ProgressiveImage(ours, view)
        while image.advance(budget) < 1.0:
            pass
        return image.rgba

    alone = drawn(marcher(volume, transfer, **options))
    again = marcher(volume, transfer, **options)
    assert np.array_equal(drawn(again), alone) and again.blocks == 0
    assert np.array_equal(drawn(marcher(volume, transfer, **options), 1e-6), alone)
    for azimuth in (120, 240):
        make = camera(volume, azimuth=azimuth)
        ProgressiveImage(marcher(volume, transfer, **options), make).advance()
    order = np.random.default_rng(0).permutation(view.width * view.height)
    scattered = marcher(volume, transfer, **options).march(view.rays(order))
    assert np.array_equal(scattered, alone.reshape(-1, 4)[order])


def test_only_what_is_seen_is_decoded():
    volume = model()
    whole = marcher(volume, colours(volume))
    whole.march(camera(volume).rays())
    assert whole.blocks == 4 and whole.samples > 1000
    assert whole.status.startswith("1 cell per voxel, 4 blocks, ")
    nothing = marcher(model(), TransferFunction(0, 1, [[1, 1, 1, 0.0]] * 2))
    assert not nothing.march(camera(volume).rays()).any() and nothing.blocks == 0
    corner = marcher(model(), colours(volume), crop=(3.0, 4.0, -2.0, -1.0, 0.4, 1.0))
    corner.march(camera(volume).rays())
    assert corner.blocks == 1


def test_the_longest_unseen_blocks_make_room(monkeypatch):
    monkeypatch.setattr(working_set, "_COARSEST", 8)
    volume = model()
    x0, x1, y0, y1, z0, _ = volume.geometry.bounds
    middle_x = (x0 + x1) / 2
    options = {"cells_per_voxel": 2, "cache_memory": megabytes(6)}
    view = camera(volume, width=150, height=130)
    views_of = [(x0, middle_x - 0.3), (middle_x + 0.3, x1)] * 3
    free, pictures, decoded = model(), [], 0
    for crop in views_of:
        ours = marcher(volume, colours(volume), **options, crop=(*crop, y0, y1, z0, z0 + 1.5))
        pictures.append(ours.march(view.rays()))
        assert ours.remark == "" and ours._store.nbytes <= 1e6 * megabytes(6)
        decoded += ours.blocks
        expected = marcher(
            free, colours(volume), cells_per_voxel=2, crop=(*crop, y0, y1, z0, z0 + 1.5)
        )
        assert np.array_equal(pictures[-1], expected.march(view.rays()))
    store = ours._store
    assert store.argument.filled == 6 and store.argument.replaced == decoded - 6 > 0


def test_a_picture_that_needs_more_memory_is_coarser_and_says_so(monkeypatch):
    monkeypatch.setattr(working_set, "_COARSEST", 4)
    volume = model()
    options = {"cells_per_voxel": 2, "cache_memory": megabytes(10)}
    view = camera(volume, width=150, height=130)
    ours = marcher(volume, colours(volume), **options)
    image = ProgressiveImage(ours, view)
    while image.advance(1e-6) < 1.0:  # some of it is there before the memory is full
        pass
    assert "do not hold the decoded blocks of this picture, so it is drawn with one" in ours.remark
    assert "every 1 voxels; cache_memory sets more" in ours.remark
    coarser = marcher(model(), colours(volume), cells_per_voxel=1).march(view.rays())
    assert np.array_equal(image.rgba.reshape(-1, 4), coarser)
    # As it was begun: with a finer level and other blocks.
    whole = ProgressiveImage(marcher(volume, colours(volume), **options), view)
    whole.advance()
    assert np.array_equal(whole.rgba, image.rgba)


def test_memory_that_holds_no_picture_is_refused():
    volume = model()
    with pytest.raises(ConfigurationError, match=r"0\.001 MB do not hold .* at least 0\.0121 MB"):
        marcher(volume, colours(volume), cache_memory=1e-3)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigurationError, match="cache-memory"):
            RenderSettings(cache_memory=wrong)


def test_the_memory_that_a_refusal_names_will_do():
    options = {"low": np.zeros(1), "high": np.ones(1), "cell_edge": 8, "cells_per_voxel": 1}
    for size in ((24, 24, 24), (200, 200, 200), (256, 256, 256), (2, 2, 4097)):
        with pytest.raises(ConfigurationError) as refused:
            BlockStore(size, memory=1000, **options)
        (named,) = re.findall(r"at least (\S+) MB", str(refused.value))
        assert BlockStore(size, memory=int(1e6 * float(named)), **options).slots


def test_fields_share_the_memory(monkeypatch):
    monkeypatch.setattr(cached, "_stores", [])
    volumes = [model(), model(seed=1)]
    memory = megabytes(6)  # 4 blocks each
    for volume in (*volumes, volumes[0]):
        ours = marcher(volume, colours(volume), cache_memory=memory)
        ours.march(camera(volume).rays())
        assert ours.blocks == 4  # the others had to go


def drawn(ours: CachedMarcher, view: Camera) -> ProgressiveImage:
    image = ProgressiveImage(ours, view)
    image.advance()
    return image


@pytest.mark.parametrize("budget", [1e-9, None])
def test_the_next_time_step_is_decoded_ahead(monkeypatch, budget):
    monkeypatch.setattr(cached, "_stores", [])
    monkeypatch.setattr(working_set, "_COARSEST", 4)
    now, following, alone = model(bricks=6), model(bricks=6, seed=20), model(bricks=6, seed=20)
    transfer, view = colours(now), camera(now, width=70, height=60)
    expected = drawn(marcher(alone, transfer), view).rgba
    image = drawn(marcher(now, transfer), view)
    shown, ahead, passes = image.rgba.copy(), marcher(following, transfer), 1
    while image.prepare(ahead, budget) < 1.0:
        passes += 1
    assert (passes > 5) == (budget is not None) and ahead.blocks >= 5
    assert np.array_equal(image.rgba, shown) and image.prepare(ahead, budget) == 1.0
    then = marcher(following, transfer)
    assert then.coarsen(99)  # the first sight, too
    then.march(view.rays())
    then.coarsen(0)
    assert np.array_equal(drawn(then, view).rgba, expected) and then.blocks == 0
    assert drawn(marcher(now, transfer), view)._marcher.blocks == 0


def test_what_is_decoded_ahead_leaves_what_is_shown_alone(monkeypatch):
    monkeypatch.setattr(cached, "_stores", [])
    before, now, following = (model(seed=seed) for seed in (40, 0, 20))
    transfer, view = colours(now), camera(now, width=70, height=60)
    expected = drawn(marcher(model(seed=20), transfer), view).rgba
    # There is room for four blocks of each of two.
    options = {"cache_memory": megabytes(9)}
    drawn(marcher(before, transfer, **options), view)
    shown = drawn(marcher(now, transfer, **options), view)
    ahead = marcher(following, transfer, **options)
    assert shown.prepare(ahead) == 1.0 and ahead.blocks == 4
    filled = [cached.store_of(v, ahead._settings).argument.filled for v in (before, now, following)]
    assert filled == [0, 4, 4]
    # And for two blocks more than what is shown has.
    options = {"cache_memory": megabytes(7)}
    shown = drawn(marcher(now, transfer, **options), view)
    ahead = marcher(following, transfer, **options)
    assert shown.prepare(ahead) == 1.0 and 0 < ahead.blocks < 4
    stores = [cached.store_of(v, ahead._settings) for v in (now, following)]
    assert stores[0].argument.filled == 4
    then = drawn(marcher(following, transfer, **options), view)
    assert np.array_equal(then.rgba, expected) and then._marcher.remark == ""


def test_only_blocks_can_be_decoded_ahead():
    volume = model()
    transfer, view = colours(volume), camera(volume, width=9, height=7)
    exact = NativeMarcher(load(), volume, transfer, RenderSettings())
    assert ProgressiveImage(exact, view).prepare(marcher(volume, transfer)) == 1.0
    assert ProgressiveImage(marcher(volume, transfer), view).prepare(exact) == 1.0


@pytest.mark.filterwarnings("ignore:.*in cast")
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_networks_that_give_no_numbers_are_told_of(wrong):
    volume = model()
    brick = next(volume.bricks())
    transfer = colours(volume)
    marcher(volume, transfer)  # before the network breaks
    brick.kernel_network(load()).feature_grids.fill(wrong)
    ours = marcher(volume, transfer)
    image = ours.march(camera(volume).rays())
    assert np.isfinite(image).all()
    assert "are far outside the model's range, or no numbers" in ours.remark


@pytest.mark.parametrize("geometry", [EVEN, BENT], ids=["even", "bent"])
@pytest.mark.parametrize("look", ["composite", "shaded", "shaded magnitude", "maximum", "cubic"])
def test_some_of_the_bricks_show_their_part_of_the_picture(monkeypatch, look, geometry):
    monkeypatch.setattr(working_set, "_COARSEST", 8)
    volume = model(geometry, bricks=6, mask=look == "maximum")
    looks = {"shade": True, "interpolation": "cubic"} if look == "cubic" else LOOKS[look]
    transfer = colours(volume, looks.get("component", 0))
    # A rank's piece: its face lies between lattice points, and bricks fade there.
    near, far = (6.3, 0.0, 0.0), (12.0, 10.0, 8.0)
    corners = volume.geometry.index_to_world(np.array([near, far]))
    crop = tuple(np.sort(corners, axis=0).T.ravel().tolist())
    options = {**looks, "crop": crop}
    settings = RenderSettings(sampling="cached", **options)
    margin = decoded_margin(volume.geometry, settings)
    assert margin == (4.0 if look == "cubic" else 2.0)
    assert decoded_margin(volume.geometry, RenderSettings()) == 0.0
    part = volume.near(crop, margin)
    assert len(list(part.bricks())) < 6 or geometry is BENT or look == "cubic"
    view = camera(volume, width=60, height=50).rays()
    for coarser in (0, 1):
        whole, ours = marcher(volume, transfer, **options), make_marcher(part, transfer, settings)
        assert ours.sampling == "cached" and ours.remark == ""
        assert whole.coarsen(coarser) == ours.coarsen(coarser) == coarser
        image, expected = ours.march(view), whole.march(view)
        assert expected[:, 3].max() > 0.1
        # Codes may have another scale: that of the values there.
        alike(image, expected)
        # What has not all its bricks is not evaluated, and nothing is told of it.
        assert ours._store.argument.broken == whole._store.argument.broken == 0


def test_blocks_lack_no_brick_round_what_is_shown():
    volume = model(bricks=6)
    x0, x1, *others = volume.geometry.bounds
    transfer = colours(volume)
    box = (x0, x0 + 0.1 * (x1 - x0), *others)  # up to index 1.2
    less = (x0, x0 + 0.05 * (x1 - x0), *others)
    for part, crop, kind in (
        (volume.near(box), box, "exact"),
        (volume.near(box, 1.0), box, "cached"),
        (volume.near(box, 1.0), None, "exact"),
        (volume.near(box), less, "exact"),
        (volume.near(box, 0.5), less, "cached"),
        (volume.near(box, 1.0).near(less), less, "exact"),
        (volume.near(box, 1.0).scaled((1, 1, 3)), None, "exact"),
        (volume.near((x0, x1, *others)), None, "cached"),
    ):
        settings = RenderSettings(sampling="cached", crop=crop)
        ours = make_marcher(part, transfer, settings)
        assert ours.sampling == kind
        assert ("need the bricks round what is shown" in ours.remark) == (kind == "exact")


def test_processes_share_the_memory(monkeypatch):
    monkeypatch.setattr(working_set, "_COARSEST", 4)
    volume = model()
    options = {"cells_per_voxel": 2, "cache_memory": megabytes(14)}
    slots = [marcher(model(), colours(volume), sharers=n, **options)._store.slots for n in (1, 2)]
    assert slots[0] >= 12 and 0.4 <= slots[1] / slots[0] <= 0.5
    with pytest.raises(ConfigurationError, match="sharers must be at least 1, not 0"):
        RenderSettings(sharers=0)


@pytest.mark.parametrize(
    ("backend", "words"), [("torch", "need the CPU kernels"), ("native", "need the bricks round")]
)
def test_where_blocks_are_not_to_be_had_the_picture_is_exact_and_says_so(backend, words):
    volume = model(bricks=6)
    if backend == "native":
        x0, x1, *others = volume.geometry.bounds
        volume = volume.near((x0, x0 + 0.2 * (x1 - x0), *others))
    exact = make_marcher(volume, colours(volume), RenderSettings(), backend)
    ours = make_marcher(volume, colours(volume), RenderSettings(sampling="cached"), backend)
    assert (exact.sampling, exact.remark) == ("exact", "")
    assert ours.sampling == "exact" and words in ours.remark
    rays = camera(volume, width=9, height=7).rays()
    assert np.array_equal(ours.march(rays), exact.march(rays))


def test_finer_lattices_come_nearer_to_the_exact_picture():
    volume = model()
    table = np.array([[0, 0, 1, 0.0], [0, 1, 0, 0.1], [1, 0, 0, 0.3]])
    transfer = TransferFunction(middle(volume, 0.02), middle(volume, 0.98), table)
    exact = render(volume, camera(volume), transfer, RenderSettings())
    errors = {}
    for cells, kind in itertools.product((1, 2), ("linear", "cubic")):
        settings = RenderSettings(sampling="cached", cells_per_voxel=cells, interpolation=kind)
        image = render(volume, camera(volume), transfer, settings)
        errors[cells, kind] = np.abs(image - exact).mean()
    assert errors[2, "linear"] < 0.5 * errors[1, "linear"] and errors[1, "linear"] < 0.02
    assert all(errors[n, "cubic"] < 0.8 * errors[n, "linear"] for n in (1, 2)), errors


@pytest.mark.parametrize("level", [2, 3])
def test_cubics_of_blocks_with_few_points_are_those_of_the_whole_lattice(monkeypatch, level):
    monkeypatch.setattr(working_set, "_COARSEST", 2)
    volume = model()
    assert lattice_levels((13, 11, 9), 1)[2].cells == (3, 3, 2)
    assert lattice_levels((13, 11, 9), 1)[3].cells == (2, 2, 1)
    rays = camera(volume).rays()
    for options in ({}, {"shade": True}):
        options["interpolation"] = "cubic"
        image, reference = both(volume, colours(volume), rays, level=level, **options)
        assert reference[:, 3].max() > 0.1
        alike(image, reference)


@pytest.mark.parametrize("cells", [1, 2, 8, 9, 10, 13, 24])
def test_cubics_keep_parabolas_within_blocks_and_leave_their_range_by_little(cells):
    place = torch.linspace(0, cells, 40 * cells + 1, dtype=torch.float64)[:, None]
    cell = place.long().clamp(max=cells - 1)
    weights = torch.stack(lattice._cubic_weights(cell, place - cell, torch.tensor([cells])))
    assert torch.allclose(weights.sum(dim=0), torch.ones(1, dtype=torch.float64))
    assert weights.abs().sum(dim=0).max() <= 1.25 + 1e-9
    points = cell + torch.tensor([-1, 0, 1, 2])[:, None, None]
    # No point of another block counts.
    assert not weights[(points // 8 < cell // 8) | (points > cells)].any()
    assert not weights[points > cell // 8 * 8 + 8].any()
    found = (weights * (3.0 * points**2 - 7.0 * points)).sum(dim=0)
    expected = 3.0 * place**2 - 7.0 * place
    few = cells - cell // 8 * 8 == 1  # a block of one cell: linear
    assert torch.allclose(found[~few], expected[~few], atol=1e-9)
    straight = (cell - place) * (cell + 1 - place)  # times -3: what a line between them is off by
    assert torch.allclose((found - expected)[few], -3.0 * straight[few], atol=1e-9)


def test_settings_of_blocks_without_blocks_are_told_of():
    volume = model()
    transfer = colours(volume)
    for options, words in (
        ({"cells_per_voxel": 2}, "so cells_per_voxel changes nothing"),
        ({"cells_per_voxel": 2, "cache_memory": 5.0}, "cells_per_voxel and cache_memory change no"),
    ):
        assert words in make_marcher(volume, transfer, RenderSettings(**options)).remark
        cached = RenderSettings(sampling="cached", **options)
        assert make_marcher(volume, transfer, cached).remark == ""


def test_smooth_fields_are_drawn_from_coarser_levels(monkeypatch):
    monkeypatch.setattr(working_set, "_COARSEST", 4)
    volume = model()
    errors = cached.level_errors(volume, lattice_levels((13, 11, 9), 2))
    assert errors.shape == (4, 2) and (np.diff(errors[:3], axis=0) > 0).all()
    low, high = middle(volume, 0.0), middle(volume, 1.0)
    steep, even = (
        TransferFunction(low, high, np.full((2, 4), 0.2) + np.array([[0.0], [rise]]))
        for rise in (0.3, 1e-4)
    )
    assert marcher(volume, steep)._level == 0
    assert marcher(volume, even)._level == 2 and marcher(volume, even, shade=True)._level == 0
    assert "every" not in marcher(volume, even).remark
    one = marcher(volume, even).march(camera(volume).rays())
    monkeypatch.setattr(cached, "_STEP", 0.0)
    all_levels = marcher(volume, even).march(camera(volume).rays())
    assert 0 < np.abs(one - all_levels).max() < 0.01


def test_a_picture_is_there_at_once_through_the_coarsest_blocks(monkeypatch):
    monkeypatch.setattr(working_set, "_COARSEST", 4)
    volume = model()
    transfer, view = colours(volume), camera(volume, width=70, height=60)
    image = ProgressiveImage(marcher(volume, transfer), view)
    assert image.advance(1e-9) < 0.3 and not image.has_gaps
    coarse = marcher(model(), transfer)
    assert coarse.coarsen(99) == 2 and coarse.coarsen(1) == 1 and coarse.coarsen(99) == 2
    sketch = coarse.march(view.rays())
    assert coarse.remark == "" and "0.25 cells" in coarse.status
    shown = image.rgba.reshape(-1, 4)
    assert (shown == sketch).all(axis=1).sum() > 0.7 * len(shown)
    while image.advance(1e-9) < 1.0:
        pass
    whole = ProgressiveImage(marcher(volume, transfer), view)
    whole.advance()
    assert np.array_equal(image.rgba, whole.rgba)
    # One that begins with another picture ends with the same.
    other = ProgressiveImage(marcher(volume, transfer), view, sketch=np.ones_like(image.rgba))
    assert (other.rgba == 1).all() and other.advance() == 1.0
    assert np.array_equal(other.rgba, whole.rgba)


@pytest.mark.parametrize("look", ["composite", "maximum", "isosurface"])
def test_only_rays_through_what_is_seen_are_made(monkeypatch, look):
    volume = model(bricks=6)
    low, high = middle(volume, 0.98), middle(volume, 1.0)
    transfer = TransferFunction(low, high, [[1, 1, 1, 0.0], [1, 1, 1, 0.9]])
    options = {"blend": look, "isovalues": ((low + high) / 2,)}
    view = camera(volume, width=90, height=70)
    for kind in (CachedMarcher, NativeMarcher):
        ours = kind(load(), volume, transfer, RenderSettings(**options))
        image = ours.march(view.rays())
        everywhere = np.tile(np.array([-np.inf, np.inf], dtype=np.float32), (5, 6, 1))
        with monkeypatch.context() as patch:
            patch.setattr(ours._model.boxes, "cover", lambda *_, tiles=everywhere: tiles)
            ours._viewed = None
            assert np.array_equal(ours.march(view.rays()), image) and image.any()


def test_the_model_file_may_vanish_while_blocks_are_missing(tmp_path):
    path = tmp_path / "model.amgsrn"
    write_small_model(path, dims=(20, 22, 24))
    volume = NeuralVolume.open(path, "cpu")
    transfer = TransferFunction(-5, 5, [[1, 1, 1, 0.0], [1, 1, 1, 0.5]])
    expected = marcher(volume, transfer).march(camera(volume).rays())
    again = NeuralVolume.open(path, "cpu")
    ours = marcher(again, transfer)
    path.unlink()
    assert np.array_equal(ours.march(camera(again).rays()), expected) and ours.blocks > 0


def test_transfer_functions_hold_numbers():
    for table in ([[0, 0, 0, np.nan]] * 2, [[np.nan, 0, 0, 0.5]] * 2):
        with pytest.raises(ConfigurationError, match="must be between 0 and 1"):
            TransferFunction(0, 1, table)
    with pytest.raises(ConfigurationError, match="a range with low < high, not nan"):
        TransferFunction(float("nan"), 1, [[0, 0, 0, 0.5]] * 2)
