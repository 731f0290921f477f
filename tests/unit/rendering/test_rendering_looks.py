"""What a model is shown like where nobody says how: range, opacities, proportions, colour bar."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.pictures import read_png
from support.sample_models import write_small_model

from amgsrn_core import NetworkConfig, NeuralVolume, TrainingConfig, train, volume_from_array
from amgsrn_core.cli import main
from amgsrn_core.errors import ArchiveError
from amgsrn_core.model import LookRecord, read_index
from amgsrn_core.rendering import (
    Camera,
    RenderSettings,
    TransferFunction,
    display_scale,
    look_transfer,
    render,
)
from amgsrn_core.rendering.colour_bar import bar_height, draw_bar, quantity
from amgsrn_core.rendering.data import model_of_data
from amgsrn_core.rendering.looks import outline, suggested, suggestion
from amgsrn_core.system.json_fields import Fields
from amgsrn_core.volume import Axis, GridGeometry, write_volume

RANDOM = np.random.default_rng(7)


def opacity(look: LookRecord, *values: float) -> list[float]:
    return look_transfer(look)(np.array(values))[:, 3].round(3).tolist()


def test_the_background_of_a_scan_is_transparent():
    noise = RANDOM.normal(0, 2, 70_000)
    tissue = RANDOM.normal(160, 20, 30_000)
    look = suggested(np.concatenate([noise, tissue]), 0.0, 255.0)
    assert (look.low, look.high) == (0.0, 255.0)
    empty, edge, inside = opacity(look, 6.0, 90.0, 170.0)
    assert empty == 0 < edge < 0.1 < inside


def test_a_bright_background_is_transparent_as_well():
    values = np.concatenate([RANDOM.normal(0.9, 0.004, 70_000), RANDOM.normal(0.3, 0.1, 30_000)])
    look = suggested(values, 0.0, 1.0)
    assert opacity(look, 0.9) == [0]
    assert opacity(look, 0.2)[0] > 0.1


def test_a_background_in_the_middle_leaves_both_sides():
    values = np.concatenate([np.zeros(60_000), RANDOM.normal(-8, 1, 9_000), np.full(9_000, 9.0)])
    low, middle, high = opacity(suggested(values, -12.0, 10.0), -9.0, 0.0, 9.0)
    assert middle == 0
    assert min(low, high) > 0.1


def test_outliers_neither_take_the_colours_nor_are_seen():
    values = np.append(RANDOM.random(100_000), [1e6, -1e6])
    look = suggested(values, -1e6, 1e6)
    assert -2 < look.low < 0 < 1 < look.high < 3
    assert opacity(look, -1e6, 1e6) == [0, 0]
    assert opacity(look, 0.95)[0] > 0.05


def test_values_that_are_few_or_equal_have_a_look():
    for values in ([], [3.0], [3.0] * 50):
        look = suggested(np.array(values), 3.0, 3.0)
        assert opacity(look, 3.0)[0] > 0


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    """A ball off the centre of an empty box, and a small model of it."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, 24)] * 3, indexing="ij")
    values = 100 / (1 + np.exp(20 * (np.sqrt((x - 0.3) ** 2 + y**2 + z**2) - 0.5)))
    volume = volume_from_array(values.astype(np.float32), name="density", units="kg m-3")
    path = tmp_path_factory.mktemp("ball") / "ball.amgsrn"
    network = NetworkConfig(grids=4, grid_shape=(8, 8, 8), width=16)
    train(volume, path, network, TrainingConfig(iterations=150, batch=2048, device="cpu"))
    return path


def test_training_stores_how_to_show_the_model(ball):
    (look,) = read_index(ball).looks
    model = NeuralVolume.open(ball, "cpu")
    assert suggestion(model) == look
    around = outline(model.geometry, look)
    # The ball has its centre at x = 14.95 and a radius of 5.75 voxels.
    assert around[:, 0].min() == pytest.approx(9, abs=2)
    assert around[:, 0].max() == pytest.approx(21, abs=2)


def test_it_is_found_out_for_models_without_and_kept_for_the_process(tmp_path):
    path = tmp_path / "old.amgsrn"
    write_small_model(path, dims=(9, 8, 10), components=("u", "v", "w"))
    index = read_index(path)
    assert not index.looks
    model = NeuralVolume.open(path, "cpu")
    looks = [suggestion(model, what) for what in (0, 1, 2, "magnitude")]
    assert looks[1].low >= index.value_minimum[1]
    assert looks[3].low == 0
    assert suggestion(model, 1) is looks[1]


def test_a_look_survives_its_file_and_a_damaged_one_is_refused():
    look = LookRecord(0.0, 2.0, ((0.0, 0.0), (1.0, 0.5), (2.0, 1.0)), ((0.0, 0.5, 1.0),))
    values = json.loads(json.dumps(look.to_json()))
    assert LookRecord.from_json(Fields(values)) == look
    for change in (
        {"opacities": [0, 0, 2]},
        {"opacities": [0, 0, 1, 0.5]},
        {"opacities": [0, 0, 2, 7]},
        {"low": float("nan")},
        {"outline": [0, 0]},
        {"outline": [0, 0, 3]},
    ):
        with pytest.raises(ArchiveError):
            LookRecord.from_json(Fields({**values, **change}))


def box(x: float, y: float, z: float, units: tuple[str, str, str] = ("", "", "")) -> GridGeometry:
    sides = zip("zyx", (z, y, x), reversed(units))
    return GridGeometry(tuple(Axis(n, np.linspace(0, side, 5), u) for n, side, u in sides))


@pytest.mark.parametrize(
    ("geometry", "scale"),
    [
        (box(1, 1, 20), (1, 1, 1)),
        (box(1, 1, 21), (1, 1, 0.024)),
        (box(360, 180, 5000, ("degrees_east", "degrees_north", "m")), (1, 1, 0.036)),
        (box(5000, 180, 360, ("m", "degrees", "degrees")), (0.036, 1, 1)),
        (box(0.001, 1, 1000), (500, 1, 0.0005)),
    ],
)
def test_uneven_boxes_are_shown_in_other_proportions(geometry, scale):
    assert display_scale(geometry) == scale
    assert display_scale(geometry, (1, 2, 3)) == (1, 2, 3)


def test_the_camera_stretches_the_world_and_the_box_fills_the_picture():
    bounds = (0, 72, 0, 46, 0, 7000)
    for up in "yz":
        camera = Camera.orbit(
            bounds, width=90, height=70, azimuth=25, polar=65, scale=(1, 1, 0.005), up=up
        )
        corners = np.array(np.meshgrid((0, 72), (0, 46), (0, 7000))).reshape(3, -1)
        clip = camera.world_to_clip @ np.vstack([corners, np.ones(8)])
        extent = np.abs(clip[:2] / clip[3]).max()
        assert 0.9 < extent < 1
        # The displayed camera sees the stretched box as this one sees the box.
        stretched = np.diag([1, 1, 0.005]) @ corners
        again = camera.displayed().world_to_clip @ np.vstack([stretched, np.ones(8)])
        assert np.allclose(again, clip)


@pytest.mark.parametrize("up", [(0, 0, 1), (0, 0, 0), (0, 0, -5), (np.nan, 0, 1)])
def test_a_camera_that_looks_along_its_up_direction_is_repaired(up):
    camera = Camera.look_at((0, 0, 9), (0, 0, 0), up, width=8, height=6)
    assert np.allclose(camera.rays().directions.mean(axis=0)[:2], 0, atol=1e-9)


def test_a_camera_without_a_direction_looks_along_z():
    camera = Camera.look_at((1, 2, 3), (1, 2, 3), (0, 1, 0), width=3, height=3)
    assert np.allclose(camera.rays(np.array([4])).directions, [[0, 0, -1]])
    assert len(Camera.look_at((0, 0, 9), (0, 0, 0), (0, 1, 0), width=0, height=0).rays()) == 0


def test_a_bar_has_its_title_and_values_beside_the_colours():
    transfer = look_transfer(LookRecord(0.0, 30.0, ((0.0, 0.0), (30.0, 1.0))))
    for colour, ink in ((255, 30), (0, 255)):
        picture = np.full((300, 400, 3), colour, np.uint8)
        rows = bar_height(400, 300)
        draw_bar(picture, rows, transfer, quantity("temperature", "degC"))
        strip = picture[-rows:]
        assert (picture[:-rows] == colour).all()
        assert (strip == ink).all(axis=2).sum() > 100
        assert (np.ptp(strip.astype(int), axis=2) > 100).sum() > 400
    assert bar_height(100, 300) == 0
    assert quantity("t1", "1") == "t1"


def speck() -> tuple[np.ndarray, GridGeometry]:
    """A warm current in degrees by degrees by metres."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in (7, 24, 36)], indexing="ij")
    values = 4 + 20 * np.exp(-3 * (y - 0.3 * np.sin(2 * x)) ** 2) * (z + 1) / 2
    units = ("degrees_east", "degrees_north", "m")
    return values, box(72, 46, 5000, units).resampled((7, 24, 36))


def scan() -> tuple[np.ndarray, GridGeometry]:
    """A head in a box of noisy air."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, 30)] * 3, indexing="ij")
    inside = x**2 + 1.3 * y**2 + z**2 < 0.5
    return np.where(inside, 150 + 40 * x, RANDOM.normal(3, 1, x.shape)), box(29, 29, 29)


def outliers() -> tuple[np.ndarray, GridGeometry]:
    """The head with a few broken voxels."""
    values, geometry = scan()
    values[3, 4, 5], values[20, 21, 22] = 1e7, -1e7
    return values, geometry


@pytest.mark.parametrize("make", [speck, scan, outliers])
def test_the_first_picture_shows_the_data(tmp_path, capsys, make):
    values, geometry = make()
    volume = volume_from_array(
        values.astype(np.float32), geometry=geometry.resampled(values.shape), name="a"
    )
    block = [(volume.geometry.resolve(), volume.read())]
    write_volume(tmp_path / "v.nc", block, volume.geometry, name="a")
    picture = tmp_path / "v.png"
    arguments = ["render", str(tmp_path / "v.nc"), "-o", str(picture), "--hw", "170,200"]
    assert main(arguments) == 0
    seen = (read_png(picture).astype(int).min(axis=2) < 250).mean()
    assert 0.3 < seen < 0.9
    said = capsys.readouterr().err
    assert ("--scale 1,1,0.0072" in said) == (make is speck)
    assert ("outliers" in said) == (make is outliers)


def picture_of(ball, tmp_path, *options: str) -> np.ndarray:
    target = tmp_path / "p.png"
    assert main(["render", str(ball), "-o", str(target), "--hw", "60,80", *options]) == 0
    return read_png(target)


def test_options_change_range_background_bar_and_axis(ball, tmp_path):
    plain = picture_of(ball, tmp_path)
    assert (plain[0, 0] == 255).all()
    assert (picture_of(ball, tmp_path, "--background", "black")[0, 0] == 0).all()
    assert (picture_of(ball, tmp_path, "--background", "0,0.5,1")[0, 0] == [0, 128, 255]).all()
    assert not np.array_equal(plain, picture_of(ball, tmp_path, "--range", "0,300"))
    assert not np.array_equal(plain, picture_of(ball, tmp_path, "--up", "y", "--azimuth", "0"))
    clear = picture_of(ball, tmp_path, "--background", "transparent")
    assert clear.shape == (60, 80, 4)
    assert clear[0, 0, 3] == 0 < clear[..., 3].max()
    large = ("--hw", "170,200")
    with_bar = picture_of(ball, tmp_path, *large)
    without = picture_of(ball, tmp_path, *large, "--no-colour-bar")
    assert (with_bar[-10:, :40] < 100).any()
    assert (without[-10:, :40] == 255).all()


def test_a_surface_is_in_the_middle_of_the_range_or_refused(ball, tmp_path, capsys):
    picture = picture_of(ball, tmp_path, "--blend", "isosurface")
    assert (picture < 240).any(axis=2).mean() > 0.05
    index = read_index(ball)
    low, high = index.value_minimum[0], index.value_maximum[0]
    said = capsys.readouterr().err
    assert f"{(low + high) / 2:g}" in said
    assert "--isovalues" in said
    arguments = ["render", str(ball), "-o", str(tmp_path / "q.png"), "--blend", "isosurface"]
    assert main([*arguments, "--isovalues", "50,4000"]) == 1
    said = capsys.readouterr().err
    assert "4000" in said
    assert f"{low:g} to {high:g}" in said


def test_thin_layers_have_no_stripes():
    """Spacings of 1 x 1 x 263: rays take as many samples per voxel along each axis."""
    layers = np.where((np.arange(40) // 2) % 2 == 1, 100, 0)
    values = np.broadcast_to(layers, (4, 40, 40)).astype(np.float32)
    geometry = GridGeometry.uniform(values.shape, spacing=(1.0, 1.0, 263.0))
    volume = volume_from_array(values, geometry=geometry, name="a")
    model = model_of_data(volume, "cpu")
    camera = Camera.orbit(
        geometry.bounds, width=24, height=24, azimuth=90, polar=90, scale=(1, 1, 0.1), up="z"
    )
    grey = TransferFunction(0, 100, [[0, 0, 0, 0], [1, 1, 1, 0.02]])
    settings = RenderSettings(unit_distance=1.0, opacity_limit=1.0)
    seen = render(model, camera, grey, settings)[8:16, 8:16, 3]
    # Each ray crosses twenty layers and is as opaque as its neighbour.
    assert seen.mean() == pytest.approx(1 - 0.98**20, rel=0.1)
    assert np.ptp(seen) < 0.1 * seen.mean()
