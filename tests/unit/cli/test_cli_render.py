"""``amgsrn render``: pictures, camera, colours and report; and ``amgsrn bench render``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.kernel_cases import needs_kernels
from support.pictures import read_png
from support.sample_models import small_brick, small_index

from amgsrn_core import NeuralVolume
from amgsrn_core.cli import main
from amgsrn_core.cli.bench.render import measure_render
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.kernels import load
from amgsrn_core.model import SourceRecord, write_archive
from amgsrn_core.rendering import (
    Camera,
    RenderSettings,
    TransferFunction,
    render,
    suggestion,
)
from amgsrn_core.rendering.colormap import load_colormap, look_transfer
from amgsrn_core.volume import GridGeometry, write_volume


@pytest.fixture
def model(tmp_path):
    """Return a model of values said to be in [0, 10], and the data behind it."""
    index = small_index((12, 12, 24))
    index = index.replace(source=SourceRecord("data.nc", "float32", 4 * 12 * 12 * 24, ("density",)))
    path = tmp_path / "data.amgsrn"
    write_archive(path, index, [small_brick(index)])
    volume = NeuralVolume.open(path, "cpu")
    write_volume(
        tmp_path / "data.nc",
        [(volume.geometry.resolve(), volume.reconstruct_block())],
        volume.geometry,
        name="density",
    )
    return path


def run_json(capsys, *arguments) -> dict:
    assert main([str(a) for a in arguments] + ["--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_model_and_its_data_look_alike(capsys, tmp_path, model):
    path = model
    colours = tmp_path / "c.json"
    preset = {
        "RGBPoints": [0, 0, 0, 1, 1, 1, 0, 0],
        "Points": [0, 0.9, 0.5, 0, 1, 0.2, 0.5, 0],
    }
    colours.write_text(json.dumps([preset]))
    pictures = []
    for option in ([], ["--raw"]):
        target = tmp_path / f"{len(option)}.png"
        view = ["--hw", "40,60", "--azimuth", "40", "--polar", "70", "--colormap"]
        results = run_json(capsys, "render", path, "-o", target, *option, *view, colours)
        assert (results["height"], results["width"], len(results["frames"])) == (40, 60, 1)
        pictures.append(read_png(target).astype(int))
    model_picture, data_picture = pictures
    assert model_picture.shape == (40, 60, 3)
    assert (model_picture[0, 0] == 255).all()
    assert model_picture[20, 30].min() < 150
    # The data have a range of their own, the model's was made up: the shape is what agrees.
    assert ((model_picture < 250).any(axis=2) == (data_picture < 250).any(axis=2)).mean() > 0.97


def test_the_picture_is_what_the_library_renders(tmp_path, model):
    path = model
    view = "--hw 30,20 --azimuth -30 --polar 20 --distance 50 --up y --spp 40 --shade"
    assert main(["render", str(path), "-o", str(tmp_path / "a.png"), *view.split()]) == 0
    volume = NeuralVolume.open(path, "cpu")
    voxels = diagonal = float(np.sqrt(11**2 + 11**2 + 23**2))
    centre, polar = np.array([11.5, 5.5, 5.5]), np.radians(20)
    away = np.array([-0.5 * np.sin(polar), np.cos(polar), 0.75**0.5 * np.sin(polar)])
    camera = Camera.look_at(
        centre + 50 * away, centre, (0, 1, 0), width=20, height=30, view_angle=60
    )
    settings = RenderSettings(
        shade=True, samples_per_voxel=40 / voxels, unit_distance=diagonal / 256
    )
    transfer = look_transfer(suggestion(volume))
    image = render(volume, camera, transfer, settings)[::-1]
    expected = 255 * (image[..., :3] + 1 - image[..., 3:])
    assert np.abs(read_png(tmp_path / "a.png") - expected).max() < 1.5


def test_several_frames_are_timed(capsys, tmp_path, model):
    view = ["--hw", "8,8", "--frames", "3"]
    results = run_json(capsys, "render", model, "-o", tmp_path / "a.png", *view)
    seconds = results["seconds_per_frame"]
    assert len(results["frames"]) == 3
    assert 0 < seconds["min"] <= seconds["mean"] <= seconds["max"]
    assert main(["render", str(model), "-o", str(tmp_path / "a.png"), "--hw", "8,8"]) == 0
    assert "frame time" in capsys.readouterr().out


@needs_kernels
def test_frames_from_decoded_blocks_tell_what_they_took(capsys, tmp_path, model):
    view = ["--hw", "40,50", "--frames", "3", "--turn", "10", "--cells-per-voxel", "2"]
    pictures, reports = {}, {}
    for sampling in ("exact", "cached"):
        target = tmp_path / f"{sampling}.png"
        options = [*view, "--sampling", sampling, "--device", "cpu"]
        reports[sampling] = run_json(capsys, "render", model, "-o", target, *options)
        pictures[sampling] = read_png(target).astype(int)
    exact, cached = reports["exact"], reports["cached"]
    for report, sampling in ((exact, "exact"), (cached, "cached")):
        assert (report["sampling"], report["backend"]) == (sampling, "native")
        assert len(report["frames"]) == 3
        for frame in report["frames"]:
            assert set(frame) == {"seconds", "cpu_seconds", "blocks", "samples"}
            assert frame["seconds"] > 0 and frame["cpu_seconds"] >= 0 and frame["samples"] > 100
    assert [frame["blocks"] for frame in exact["frames"]] == [0, 0, 0]
    blocks = [frame["blocks"] for frame in cached["frames"]]
    assert blocks[0] > 10 > blocks[1] + blocks[2]
    # The same model is open already: it begins with nothing decoded all the same.
    again = run_json(capsys, "render", model, "-o", tmp_path / "b.png", *options)
    assert [frame["blocks"] for frame in again["frames"]] == blocks
    assert np.abs(pictures["exact"] - pictures["cached"]).mean() < 2


@needs_kernels
def test_what_is_not_as_it_was_asked_for_is_said(capsys, tmp_path, model):
    options = ["--hw", "9,9", "--sampling", "cached", "--device", "cpu"]
    command = ["render", str(model), "-o", str(tmp_path / "a.png"), *options]
    assert main([*command, "--backend", "torch"]) == 0
    output = capsys.readouterr()
    assert "Decoded blocks need the CPU kernels, so sampling is exact." in output.err
    assert "sampling" in output.out and "exact" in output.out
    assert main([*command, "--cache-memory", "0.0001"]) == 1
    assert "cache_memory must be at least" in capsys.readouterr().err


@pytest.mark.parametrize("up", ["y", "z"])
def test_a_turned_camera_is_that_of_another_azimuth(up):
    bounds, centre = (-1, 5, 2, 7, 0, 2), (2.0, 4.5, 1.0)
    view = {"width": 9, "height": 7, "distance": 20.0, "polar": 70, "up": up}
    turned = Camera.orbit(bounds, azimuth=20, **view).turned(33, up, centre)
    expected = Camera.orbit(bounds, azimuth=53, **view)
    assert np.allclose(turned.rays().origins, expected.rays().origins)
    assert np.allclose(turned.rays().directions, expected.rays().directions)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--turn", "nan"], "--turn"),
        (["--cache-memory", "-1"], "cache-memory"),
        (["--hw", "0,5"], "at least 1"),
        (["--frames", "0"], "at least 1"),
        (["--component", "1"], "--component"),
        (["--colormap", "absent.json"], "no colour map"),
        (["--backend", "nerfacc", "--device", "cpu"], "CUDA"),
        (["--specular", "7"], "specular"),
    ],
)
def test_impossible_requests_are_one_sentence(capsys, tmp_path, model, options, words):
    assert main(["render", str(model), "-o", str(tmp_path / "a.png"), *options]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()


def test_data_that_are_not_there_are_named(capsys, tmp_path, model):
    (tmp_path / "data.nc").unlink()
    assert main(["render", str(model), "-o", str(tmp_path / "a.png"), "--raw"]) == 1
    assert "data.nc" in capsys.readouterr().err


def test_a_reconstruction_is_not_taken_for_the_data(capsys, tmp_path, model):
    (tmp_path / "data.nc").unlink()
    assert main(["reconstruct", str(model), "-o", str(tmp_path / "data.nc")]) == 0
    assert main(["render", str(model), "-o", str(tmp_path / "a.png"), "--raw"]) == 1
    assert "data.nc, are not beside it" in capsys.readouterr().err


def test_the_orbit_is_the_originals():
    box = (0, 4, 0, 2, 0, 6)
    for azimuth, polar, direction in (
        (0, 90, (0, 0, 1)),
        (90, 90, (1, 0, 0)),
        (180, 90, (0, 0, -1)),
        (0, 0, (0, 1, 0)),
        (77, 180, (0, -1, 0)),
    ):
        camera = Camera.orbit(box, width=3, height=3, azimuth=azimuth, polar=polar, distance=10.8)
        middle = camera.rays(np.array([4]))
        assert np.allclose(middle.directions, -np.array([direction]), atol=1e-9)
        # 1.8 times the longest edge from the centre.
        assert np.allclose(middle.origins, [(2, 1, 3)] + 10.8 * np.array(direction), atol=1e-6)
        top = camera.rays(np.array([7])).directions[0]
        half = np.degrees(np.arccos(top @ middle.directions[0]))
        assert np.tan(np.radians(half)) == pytest.approx(2 / 3 * np.tan(np.radians(30)))
    # Just below the pole and at it, the picture is the same way up.
    near, at = (Camera.orbit(box, width=9, height=9, azimuth=50, polar=p) for p in (0.001, 0))
    assert np.allclose(near.rays().directions, at.rays().directions, atol=1e-3)


def test_colours_are_stretched_over_the_values(tmp_path):
    path = tmp_path / "c.json"
    preset = {
        "Name": "x",
        "RGBPoints": [-5, 0, 0, 0, 0, 1, 0, 0, 15, 1, 1, 1],
        "Points": [2, 0, 0.5, 0, 3, 1, 0.5, 0, 4, 0, 0.5, 0],
    }
    path.write_text(json.dumps([preset]))
    transfer = load_colormap(path, 100.0, 200.0)
    assert isinstance(transfer, TransferFunction)
    assert np.allclose(transfer(np.array(125.0)), [1, 0, 0, 0.5], atol=2e-3)
    assert np.allclose(transfer(np.array(150.0)), [1, 1 / 3, 1 / 3, 1], atol=3e-3)
    del preset["Points"]
    path.write_text(json.dumps([preset]))
    assert load_colormap(path, 0, 1)(np.array(0.25))[3] == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize("points", [[1, 2], [1, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0], "abc"])
def test_colours_that_make_no_map_are_refused(tmp_path, points):
    check_refused(tmp_path / "c.json", json.dumps([{"RGBPoints": points}]))


@pytest.mark.parametrize("text", ["", "[", "[]", "3"])
def test_files_of_another_kind_are_refused(tmp_path, text):
    check_refused(tmp_path / "c.json", text)


def check_refused(path, text):
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"c\.json"):
        load_colormap(path, 0, 1)


def test_volumes_with_uneven_axes_and_missing_voxels_show_their_data(capsys, tmp_path):
    values = np.ones((6, 7, 8), dtype=np.float32)
    values[:, :, 4:] = 2.0
    values[:3] = np.nan
    geometry = GridGeometry.uniform((6, 7, 8))
    from amgsrn_core import volume_from_array

    volume = volume_from_array(values, geometry=geometry, name="a")
    slabs = [(geometry.resolve(), volume.read())]
    write_volume(tmp_path / "v.nc", slabs, geometry, name="a", missing=volume.missing)
    view = ["--hw", "60,60", "--azimuth", "90", "--polar", "90", "--up", "y"]
    colours = tmp_path / "c.json"
    preset = {"RGBPoints": [0, 0, 0, 1, 1, 1, 0, 0], "Points": [0, 0, 0.5, 0, 1, 0.9, 0.5, 0]}
    colours.write_text(json.dumps([preset]))
    view += ["--unit-distance", "0.1", "--colormap", colours, "--distance", "12"]
    run_json(capsys, "render", tmp_path / "v.nc", "-o", tmp_path / "v.png", *view)
    picture = read_png(tmp_path / "v.png")
    seen = (picture < 250).any(axis=2)
    # Seen from positive x, high z is on the left.
    left, right = seen[:, :30].sum(), seen[:, 30:].sum()
    assert left > 5 * max(right, 1)


def test_bench_compares_the_backends(tmp_path, model, capsys, monkeypatch):
    volume = NeuralVolume.open(model, "cpu")
    rows = measure_render(volume, 1, 1, side=16)
    assert {row["backend"] for row in rows} >= {"torch", "blocks"}
    assert all(row["difference"] < 1e-5 for row in rows)
    assert all(row["seconds_per_frame"] > 0 for row in rows)
    from amgsrn_core.cli.bench import render as bench_render

    monkeypatch.setattr(bench_render, "_SIDE", 16)
    monkeypatch.setattr(measure_render, "__defaults__", (16,))
    monkeypatch.setattr(bench_render.measure_cached, "__defaults__", ((30, 20),))
    results = run_json(capsys, "bench", "render", "--model", model, "--threads", "1")
    assert results["benchmark"] == "render"
    assert len(results["ratio"]) == len(results["results"]) - 1
    looks = [row["look"] for row in results["cached"]]
    assert looks == (["peak", "fog", "iso", "surface"] if load() is not None else [])
    for row in results["cached"]:
        assert set(row["ratio"]) == {"coarsest", "first", "turned", "changed"}
        assert all(ratio > 0 for ratio in row["ratio"].values()) and row["difference"] < 10
