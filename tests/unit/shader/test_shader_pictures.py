"""The shader draws what the native marcher draws, whatever the model, the look and the view."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.kernel_cases import needs_kernels
from support.rendering_cases import camera_at, models, parallel_camera, transfer_for
from support.sample_models import small_brick, small_index
from support.shader_pictures import levels, shader_picture

from amgsrn_core import NeuralVolume
from amgsrn_core.config import NetworkConfig
from amgsrn_core.model import BrickRecord
from amgsrn_core.rendering import Camera, RenderSettings, TransferFunction, render
from amgsrn_core.shader.offscreen import ContextError, OffscreenContext
from amgsrn_core.shader.renderers import is_software

pytestmark = needs_kernels

# In levels of 255: mean, 99th percentile and maximum; and of surfaces and light.
PLAIN, LIT = (0.001, 0.01, 0.5), (0.01, 0.2, 2.0)
SIZE = {"width": 64, "height": 48}


@pytest.fixture(scope="module")
def context():
    try:
        context = OffscreenContext()
    except ContextError as error:
        pytest.skip(str(error))
    with context:
        yield context


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    return models(tmp_path_factory.mktemp("models"))


def check(context, volume, settings, limits, camera=None, transfer=None, **options):
    camera = camera or camera_at(volume, **SIZE)
    transfer = transfer or transfer_for(volume)
    expected = render(volume, camera, transfer, settings, depth=options.get("depth"))
    picture = shader_picture(context, volume, camera, transfer, settings, **options)
    assert expected[..., 3].max() > 0.1
    found = levels(picture, expected)
    assert all(value <= limit for value, limit in zip(found, limits)), found
    return expected


LOOKS = {
    "composite": ({"samples_per_voxel": 2.0}, PLAIN),
    "lit": ({"shade": True}, LIT),
    "lights": (
        {"shade": True, "lights": ((1, 2, 3, 0.9, 0.5, 0.2), (-1, 0, 0.5, 0.2, 0.4, 0.9))},
        LIT,
    ),
    "maximum": ({"blend": "maximum"}, PLAIN),
    "surfaces": ({"blend": "isosurface"}, LIT),
    "lit surfaces": ({"blend": "isosurface", "shade": True}, LIT),
    "jitter": ({"jitter": True, "seed": 7}, PLAIN),
    "magnitude": ({"component": "magnitude", "shade": True}, LIT),
}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("kind", ["plain", "uneven", "turned", "masked", "vectors", "bricks"])
def test_every_look_of_every_kind_of_model(context, kinds, kind, look):
    volume = kinds[kind]
    options, limits = LOOKS[look]
    values = volume.reconstruct_block().values[0]
    isovalues = tuple(map(float, np.nanquantile(values, [0.4, 0.6])))
    settings = RenderSettings(**options, isovalues=isovalues)
    check(context, volume, settings, limits)


def test_another_component(context, kinds):
    settings = RenderSettings(component=1, shade=True)
    values = kinds["vectors"].reconstruct_block().values[1]
    table = transfer_for(kinds["vectors"]).table
    transfer = TransferFunction(float(values.min()), float(values.max()), table)
    check(context, kinds["vectors"], settings, LIT, transfer=transfer)


@pytest.mark.parametrize("kind", ["plain", "turned", "uneven"])
def test_crop_box_and_clip_planes(context, kinds, kind):
    volume = kinds[kind]
    x0, x1, y0, y1, z0, z1 = volume.geometry.bounds
    crop = (x0 + 0.2 * (x1 - x0), x1, y0, y0 + 0.7 * (y1 - y0), z0, z1)
    plane = (1.0, 0.5, -0.7, -((x0 + x1) / 2 + (y0 + y1) / 4 - 0.7 * (z0 + z1) / 2))
    settings = RenderSettings(crop=crop, clip_planes=(plane,), samples_per_voxel=2.0)
    check(context, volume, settings, PLAIN)


@pytest.mark.parametrize("kind", ["plain", "uneven", "turned"])
def test_parallel_projection(context, kinds, kind):
    camera = parallel_camera(kinds[kind], **SIZE)
    check(context, kinds[kind], RenderSettings(samples_per_voxel=1.5), PLAIN, camera=camera)


@pytest.mark.parametrize("zoom", [0.1, 0.4])
def test_an_eye_near_and_inside(context, kinds, zoom):
    camera = camera_at(kinds["plain"], zoom=zoom, **SIZE)
    check(context, kinds["plain"], RenderSettings(samples_per_voxel=2.0), PLAIN, camera=camera)


@pytest.mark.parametrize("kind", ["plain", "turned"])
def test_an_eye_far_away(context, kinds, kind):
    far = 20_000.0
    camera = camera_at(kinds[kind], zoom=far, view_angle=40.0 / far, near=None, far=None, **SIZE)
    limits = (0.01, 0.05, 0.5)
    check(context, kinds[kind], RenderSettings(samples_per_voxel=2.0), limits, camera=camera)


def test_opaque_depth(context, kinds):
    volume = kinds["plain"]
    for camera in camera_at(volume, **SIZE), parallel_camera(volume, **SIZE):
        bounds = np.array(volume.geometry.bounds).reshape(3, 2)
        middle = camera.world_to_clip @ np.append(bounds.mean(axis=1), 1.0)
        depth = np.full((48, 64), middle[2] / middle[3] * 0.5 + 0.5, dtype=np.float32)
        depth[:, 32:] = 1.0
        without = shader_picture(context, volume, camera, transfer_for(volume), RenderSettings())
        expected = check(context, volume, RenderSettings(), (0.01, 0.05, 0.5), camera, depth=depth)
        assert np.abs(without - expected)[:, :32].max() > 0.05


def test_a_stretched_world(context, kinds):
    camera = Camera.orbit(
        kinds["plain"].geometry.bounds, azimuth=30, polar=60, scale=(1.0, 2.5, 0.6), **SIZE
    )
    check(context, kinds["plain"], RenderSettings(shade=True), LIT, camera=camera)


def test_a_logarithmic_table(context):
    volume = _model(NetworkConfig(grids=2, features=2, grid_shape=(3, 4, 5), layers=2, width=8))
    ramp = np.linspace(0, 1, 300)
    table = np.stack([ramp, 1 - ramp, ramp**2, 0.5 * ramp], axis=1)
    transfer = TransferFunction(0.05, 20.0, table, logarithmic=True)
    check(context, volume, RenderSettings(), PLAIN, transfer=transfer)


def test_values_that_float32_does_not_hold(context):
    volume = _model(
        NetworkConfig(grids=2, features=2, grid_shape=(3, 4, 5), layers=2, width=8),
        value_minimum=(1e9,),
        value_maximum=(1e9 + 10.0,),
    )
    check(context, volume, RenderSettings(shade=True), LIT)


def _model(network, components=("u",), seed=1, bricks=None, **changes) -> NeuralVolume:
    index = dataclasses.replace(small_index((9, 8, 10), components, network), **changes)
    if bricks:
        index = dataclasses.replace(index, bricks=bricks)
    state = small_brick(index, seed=seed)
    # So large that hidden layers answer with something else than almost 0.
    state["feature_grids"] *= 3.0
    states = [{**state, "decoder.0.weight": state["decoder.0.weight"] * f} for f in (1, -1, 0.5)]
    return NeuralVolume(index, states[: len(index.bricks)])


DECODERS = {
    "one layer": {"layers": 1, "width": 8},
    "three layers": {"layers": 3, "width": 8},
    "four layers": {"layers": 4, "width": 12},
    "five layers": {"layers": 5, "width": 8},
    "uneven width": {"layers": 2, "width": 7},
    "one feature": {"features": 1, "grids": 3},
    "eight features": {"features": 8, "grids": 2},
    "dense": {"encoder": "dense", "positional_terms": 3, "features": 4, "layers": 2, "width": 8},
    "hash": {
        "encoder": "hash",
        "grids": 3,
        "hash_log2_size": 6,
        "hash_base_resolution": 3,
        "hash_max_resolution": 9,
    },
    "original hash": {
        "encoder": "hash",
        "grids": 3,
        "features": 8,
        "hash_log2_size": 6,
        "hash_base_resolution": 3,
        "hash_max_resolution": 9,
        "hash_scheme": "original",
        "biases": True,
    },
}


@pytest.mark.parametrize("shade", [False, True], ids=["flat", "lit"])
@pytest.mark.parametrize("name", DECODERS)
def test_encoders_and_decoders(context, name, shade):
    options = {"grids": 2, "features": 2, "grid_shape": (3, 4, 5), "layers": 2, "width": 8}
    volume = _model(NetworkConfig(**{**options, **DECODERS[name]}), ("u", "v"))
    settings = RenderSettings(shade=shade, component="magnitude" if shade else 1)
    transfer = TransferFunction(-2.0, 25.0, transfer_for(volume).table)
    check(context, volume, settings, LIT if shade else PLAIN, transfer=transfer)


def test_bricks_of_which_one_is_constant_and_one_is_empty(context):
    parts = [slice(0, 3), slice(3, 6), slice(6, 9)]
    whole = slice(0, 8), slice(0, 10)
    states = [("network", (), ()), ("constant", (4.0,), (4.0,)), ("empty", (), ())]
    bricks = tuple(
        BrickRecord((z, *whole), (z, *whole), state=state, value_minimum=low, value_maximum=high)
        for z, (state, low, high) in zip(parts, states)
    )
    network = NetworkConfig(grids=2, features=2, grid_shape=(3, 4, 5), layers=2, width=8)
    check(context, _model(network, bricks=bricks), RenderSettings(), PLAIN)


def test_bricks_with_grids_of_other_sizes(context):
    halves = [(slice(0, 4), slice(0, 8), slice(0, 10)), (slice(4, 9), slice(0, 8), slice(0, 10))]
    wide = [(slice(0, 6), *halves[0][1:]), (slice(2, 9), *halves[1][1:])]
    network = NetworkConfig(grids=2, features=2, grid_shape=(3, 4, 5), layers=2, width=8)
    other = dataclasses.replace(network, grid_shape=(5, 3, 4))
    bricks = (BrickRecord(halves[0], wide[0]), BrickRecord(halves[1], wide[1], network=other))
    index = dataclasses.replace(small_index((9, 8, 10), ("u",), network), bricks=bricks)
    sizes = [dataclasses.replace(index, network=n, bricks=bricks[:1]) for n in (network, other)]
    volume = NeuralVolume(index, [small_brick(size, seed=n) for n, size in enumerate(sizes)])
    check(context, volume, RenderSettings(shade=True), LIT)


def test_thousands_of_samples_on_a_ray(context):
    """A pass on a software renderer ends in silence after 65,535 iterations of all loops."""
    volume = _model(NetworkConfig(grids=16, features=2, grid_shape=(3, 3, 3), layers=2, width=64))
    settings = RenderSettings(samples_per_voxel=300.0, opacity_limit=1.0)
    camera = camera_at(volume, width=12, height=9)
    table = np.array([[1, 0, 0, 0.1], [0, 1, 0, 0.1]])
    transfer = TransferFunction(-10.0, 10.0, table)
    slices = [(float(k), float(k + 1024)) for k in range(0, 5120, 1024)]
    check(context, volume, settings, (0.01, 0.05, 0.5), camera, transfer, slices=slices)


def test_the_filter_of_the_texture_unit(context, kinds):
    # NVIDIA's interpolates with weights of 8 bits.
    limits = (0.1, 1.0, 10.0) if is_software(context.renderer) else (1.0, 8.0, 30.0)
    check(context, kinds["plain"], RenderSettings(), limits, filtered=True)


def test_values_that_are_hidden_change_no_pixel(context, kinds):
    """Leaping over macro-cells loses nothing."""
    volume = kinds["plain"]
    values = volume.reconstruct_block().values[0]
    low, high = map(float, np.quantile(values, [0.97, 1.0]))
    table = np.array([[1, 0, 0, 0], [0, 1, 0, 0.9], [0, 0, 1, 0.9]])
    transfer = TransferFunction(low, high, table)
    settings = RenderSettings(samples_per_voxel=3.0)
    check(context, volume, settings, PLAIN, transfer=transfer)


def test_a_model_without_values_is_refused():
    from amgsrn_core.errors import ConfigurationError
    from amgsrn_core.shader import PackedModel

    whole = (slice(0, 9), slice(0, 8), slice(0, 10))
    network = NetworkConfig(grids=1, features=1, grid_shape=(2, 2, 2), layers=1, width=4)
    volume = _model(network, bricks=(BrickRecord(whole, whole, state="empty"),))
    with pytest.raises(ConfigurationError, match="nothing to draw"):
        PackedModel.of(volume)
