"""The torch reference marcher against plain loops, and what it promises at the edges."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from support.rendering_cases import (
    camera_at,
    looped_image,
    models,
    parallel_camera,
    transfer_for,
)

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.field.blending import Blend
from amgsrn_core.rendering import (
    Camera,
    Rays,
    RenderSettings,
    TransferFunction,
    make_marcher,
    render,
)
from amgsrn_core.rendering.field import NeuralField
from amgsrn_core.rendering.samples import visible_range


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    return models(tmp_path_factory.mktemp("models"))


def flat(volume, camera, transfer, settings, **options) -> np.ndarray:
    return render(volume, camera, transfer, settings, backend="torch", **options).reshape(-1, 4)


def check(volume, camera, transfer, settings, tolerance=2e-4):
    image = flat(volume, camera, transfer, settings)
    expected = looped_image(volume, camera, transfer, settings)
    assert image.dtype == np.float32
    assert expected[:, 3].max() > 0.05, "the case shows nothing"
    assert np.abs(image - expected).max() < tolerance


SETTINGS = {
    "composite": RenderSettings(samples_per_voxel=2.0),
    "jittered": RenderSettings(jitter=True, seed=5),
    "unit distance": RenderSettings(unit_distance=3.0),
    "stops early": RenderSettings(unit_distance=0.2, opacity_limit=0.8),
    "maximum": RenderSettings(blend="maximum"),
    "clipped": RenderSettings(clip_planes=((1, 0.5, 0, -4.0), (0, 0, -1, 6.0))),
    "cropped": RenderSettings(crop=(1.0, 7.0, -1.0, 3.3, 2.0, 6.0)),
}


@pytest.mark.parametrize("settings", [*SETTINGS])
def test_it_agrees_with_plain_loops(volumes, settings):
    volume = volumes["plain"]
    check(volume, camera_at(volume), transfer_for(volume), SETTINGS[settings])


@pytest.mark.parametrize("kind", ["uneven", "turned", "masked", "vectors", "bricks"])
@pytest.mark.parametrize("settings", ["composite", "maximum", "clipped"])
def test_it_agrees_on_every_kind_of_volume(volumes, kind, settings):
    volume = volumes[kind]
    check(volume, camera_at(volume), transfer_for(volume), SETTINGS[settings])


@pytest.mark.parametrize("kind", ["plain", "uneven", "masked", "bricks"])
def test_parallel_projection(volumes, kind):
    volume = volumes[kind]
    check(volume, parallel_camera(volume), transfer_for(volume), RenderSettings())


@pytest.mark.parametrize("component", [0, 1, "magnitude"])
def test_components(volumes, component):
    volume = volumes["vectors"]
    settings = RenderSettings(component=component)
    transfer = dataclasses.replace(transfer_for(volume), low=-0.3, high=0.6)
    check(volume, camera_at(volume), transfer, settings)


def test_a_camera_inside_the_volume(volumes):
    volume = volumes["plain"]
    camera = camera_at(volume, zoom=0.1, view_angle=70.0)
    check(volume, camera, transfer_for(volume), RenderSettings())


def test_a_logarithmic_transfer_function(volumes):
    volume = volumes["plain"]
    transfer = transfer_for(volume)
    transfer = dataclasses.replace(transfer, low=1e-3, high=1.0, logarithmic=True)
    check(volume, camera_at(volume), transfer, RenderSettings())


@pytest.mark.parametrize("kind", ["plain", "uneven", "turned"])
def test_isosurfaces_are_where_the_samples_cross(volumes, kind):
    volume = volumes[kind]
    values = np.nanquantile(volume.reconstruct_block().values, [0.2, 0.5, 0.7])
    settings = RenderSettings(blend="isosurface", isovalues=tuple(map(float, values)))
    check(volume, camera_at(volume), transfer_for(volume), settings)


# From the side, red; from behind and above, not of length 1, dim.
LIGHTS = ((1.0, 0.0, 0.0, 0.8, 0.1, 0.0), (-1.0, 3.0, -2.0, 0.0, 0.2, 0.4))


@pytest.mark.parametrize("kind", ["plain", "uneven", "turned"])
@pytest.mark.parametrize(("component", "lights"), [(0, ()), ("magnitude", ()), (0, LIGHTS)])
def test_shading_follows_the_gradient_in_the_world(volumes, kind, component, lights):
    volume = volumes[kind]
    settings = RenderSettings(
        shade=True, specular=0.5, specular_power=4.0, component=component, lights=lights
    )
    image = flat(volume, camera_at(volume), transfer_for(volume), settings)
    expected = looped_image(volume, camera_at(volume), transfer_for(volume), settings)
    # Differences over a kink of the trilinear features are not the gradient at one point.
    assert np.quantile(np.abs(image - expected), 0.95) < 4e-3
    assert np.abs(image - expected).mean() < 1e-3
    unlit = flat(volume, camera_at(volume), transfer_for(volume), RenderSettings())
    assert np.abs(unlit - image).max() > 0.1


def test_surfaces_are_shaded(volumes):
    volume = volumes["uneven"]
    value = float(np.nanquantile(volume.reconstruct_block().values, 0.6))
    settings = RenderSettings(blend="isosurface", isovalues=(value,), shade=True)
    image = flat(volume, camera_at(volume), transfer_for(volume), settings)
    expected = looped_image(volume, camera_at(volume), transfer_for(volume), settings)
    assert np.quantile(np.abs(image - expected), 0.98) < 4e-3


def test_rays_end_at_the_opaque_depth(volumes):
    volume = volumes["plain"]
    camera = camera_at(volume)
    rays = camera.rays()
    x0, x1, y0, y1, z0, z1 = volume.geometry.bounds
    centre = np.array([x0 + x1, y0 + y1, z0 + z1]) / 2
    # A wall through the centre, perpendicular to the view, on the left half of the image.
    clip = camera.world_to_clip @ [*centre, 1]
    depth = np.ones((camera.height, camera.width), dtype=np.float32)
    depth[:, : camera.width // 2] = 0.5 * clip[2] / clip[3] + 0.5
    cut = camera.rays(depth=depth.ravel())
    behind = (rays.origins + cut.far[:, None] * rays.directions - centre) @ rays.directions.mean(0)
    left = (np.arange(len(rays)) % camera.width) < camera.width // 2
    assert np.abs(behind[left]).max() < 1e-3
    assert np.array_equal(cut.far[~left], rays.far[~left])
    transfer = TransferFunction(0, 1, [[1, 1, 1, 0.05]] * 2)
    image = flat(volume, camera, transfer, RenderSettings(), depth=depth.ravel())
    whole = flat(volume, camera, transfer, RenderSettings())
    middle = camera.height // 2 * camera.width + camera.width // 2
    ratio = np.log1p(-image[middle - 1, 3]) / np.log1p(-whole[middle - 1, 3])
    assert ratio == pytest.approx(0.5, abs=0.1)
    assert np.array_equal(image[middle], whole[middle])


def test_boxes_that_touch_add_up_to_the_whole(volumes):
    volume = volumes["plain"]
    camera = camera_at(volume)
    transfer = TransferFunction(0, 1, [[1, 1, 1, 0.1]] * 2)
    x0, x1, *others = volume.geometry.bounds
    left, right, whole = (
        flat(volume, camera, transfer, RenderSettings(crop=(a, b, *others), opacity_limit=1.0))
        for a, b in ((x0, 4.1), (4.1, x1), (x0, x1))
    )
    together = np.log1p(-left[:, 3]) + np.log1p(-right[:, 3])
    assert np.abs(together - np.log1p(-whole[:, 3])).max() < 1e-5


def test_rays_along_an_axis_hit_or_miss(volumes):
    origins = np.array([[1.0, 2, -5], [-1, 2, -5], [1, 99, -5], [0, 0, -5], [1, 2, 3]])
    rays = Rays(origins, np.array([[0.0, 0, 1]] * 5), np.zeros(5), np.full(5, 50.0), np.arange(5))
    near, far = visible_range(rays, volumes["plain"].geometry, RenderSettings())
    assert (near < far).tolist() == [True, False, False, True, True]
    assert near[[0, 3, 4]].tolist() == [5, 5, 0]
    assert far[[0, 3, 4]].tolist() == [13, 13, 5]


@pytest.mark.parametrize("size", [(0, 0), (1, 1), (3, 0)])
def test_tiny_windows(volumes, size):
    volume = volumes["plain"]
    camera = camera_at(volume, *size)
    image = render(volume, camera, transfer_for(volume), RenderSettings())
    assert image.shape == (size[1], size[0], 4)
    assert (image[..., 3] > 0).all()


def test_nothing_is_evaluated_where_everything_is_transparent(volumes):
    class Untouchable:
        geometry = volumes["plain"].geometry
        device = volumes["plain"].device

    from amgsrn_core.rendering.reference import TorchMarcher

    camera = camera_at(volumes["plain"])
    for transfer, settings in (
        (TransferFunction(0, 1, [[1, 1, 1, 0]] * 2), RenderSettings()),
        (TransferFunction(0, 1, [[1, 1, 1, 1]] * 2), RenderSettings(blend="isosurface")),
    ):
        image = TorchMarcher(Untouchable(), transfer, settings).march(camera.rays())
        assert not image.any()


def test_full_opacity_shows_the_first_sample(volumes):
    volume = volumes["plain"]
    transfer = TransferFunction(-100, 100, [[0.2, 0.4, 0.6, 1.0]] * 2)
    image = flat(volume, camera_at(volume), transfer, RenderSettings())
    hit = image[:, 3] > 0
    assert hit.any()
    assert np.abs(image[hit] - [0.2, 0.4, 0.6, 1.0]).max() < 1e-6


def test_rays_do_not_depend_on_each_other(volumes):
    volume = volumes["bricks"]
    marcher = make_marcher(volume, transfer_for(volume), RenderSettings(jitter=True), "torch")
    rays = camera_at(volume).rays()
    some = np.random.default_rng(0).permutation(len(rays))[:50]
    assert np.array_equal(marcher.march(rays)[some], marcher.march(rays[some]))


def test_samples_do_not_move_with_the_clipping_planes(volumes):
    volume = volumes["plain"]
    for make in (camera_at, parallel_camera):
        cameras = make(volume), make(volume, near=1e-3, far=900.0)
        near, far = (flat(volume, c, transfer_for(volume), RenderSettings()) for c in cameras)
        assert np.abs(near - far).max() < 1e-4


def test_impossible_requests_are_refused(volumes):
    volume, transfer = volumes["plain"], transfer_for(volumes["plain"])
    with pytest.raises(ConfigurationError, match="component"):
        make_marcher(volume, transfer, RenderSettings(component=1))
    with pytest.raises(ConfigurationError, match="backend"):
        make_marcher(volume, transfer, RenderSettings(), "fast")
    for wrong in (
        {"component": "x"},
        {"component": -1},
        {"isovalues": ("a",)},
        {"crop": (0, 1, 2)},
        {"clip_planes": ((1, 2, 3),)},
        {"lights": ((1, 2, 3),)},
        {"lights": ((0, 0, 0, 1, 1, 1),)},
        {"shade": 1},
        {"blend": "additive"},
    ):
        with pytest.raises(ConfigurationError, match=next(iter(wrong)).split("_")[0].rstrip("s")):
            RenderSettings(**wrong)
    for table, low, high in (([[1, 1, 1]] * 2, 0, 1), ([[1, 1, 1, 2]] * 2, 0, 1), ([[1] * 4], 0, 1),
                             ([[1] * 4] * 2, 1, 1)):  # fmt: skip
        with pytest.raises(ConfigurationError):
            TransferFunction(low, high, table)
    with pytest.raises(ConfigurationError, match="invertible"):
        Camera(2, 2, np.zeros((4, 4)))


def test_bricks_fade_as_they_say(volumes):
    """In the middle of a fade both bricks count one half, and the gradient follows the mixture."""
    volume = volumes["bricks"]
    last = np.array(volume.geometry.dims[::-1]) - 1.0
    # Fades over [3, 6], about the border at 4.5 and over the ghost cells.
    bricks = [dataclasses.replace(brick, valid=None) for brick in volume.bricks()]
    halves = np.zeros((2, 2, 3))
    halves[[0, 1], [1, 0], 0] = 1.5

    class Fading:
        geometry, device, components = volume.geometry, volume.device, volume.components
        blend = Blend(volume.blend.ends, halves, volume.index.dims)

        def bricks(self, numbers=(0, 1)):
            yield from (bricks[n] for n in numbers)

    points = torch.rand(500, 3, dtype=torch.float64) * torch.from_numpy(last)
    points[:100, 0] = 4.5
    mixed = NeuralField(Fading())
    left, right = (field_of_one(Fading(), number, points) for number in (0, 1))
    t = ((points[:, 0] - 3) / 3).clamp(0, 1)
    weight = (t * t * (3 - 2 * t))[:, None]
    expected = (1 - weight) * left + weight * right
    assert torch.allclose(mixed.values(points).double(), expected, atol=1e-6)
    assert torch.allclose(expected[:100], (left[:100] + right[:100]) / 2)
    slopes = mixed.gradients(points, lambda values: values[:, 1])
    h = 1e-3 * torch.eye(3, dtype=torch.float64)
    inside = ((points > 0.01) & (points < torch.from_numpy(last) - 0.01)).all(dim=1)
    for axis in range(3):
        after, before = (mixed.values(points + s * h[axis])[:, 1].double() for s in (1, -1))
        # The first points lie where feature grids have nodes, which are kinks.
        error = ((after - before) / 2e-3 - slopes[:, axis])[100:][inside[100:]].abs()
        assert error.quantile(0.95) < 2e-2 * slopes.abs().max()


def field_of_one(volume, number: int, points: torch.Tensor) -> torch.Tensor:
    """Evaluate one brick's network everywhere."""
    (brick,) = volume.bricks([number])
    ends = np.array([[[-np.inf] * 3, [np.inf] * 3]])

    class Alone:
        geometry, device, components = volume.geometry, volume.device, volume.components
        blend = Blend(ends, np.zeros((1, 2, 3)), geometry.dims)

        def bricks(self):
            yield brick

    return NeuralField(Alone()).values(points).double()
