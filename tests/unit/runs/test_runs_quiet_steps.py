"""Time steps without values and with one value: models without any network answer, too."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from support import nerfacc_on_cpu
from support.sample_models import small_brick, small_index
from support.sample_volumes import coordinate, write_netcdf

from amgsrn_core import NeuralVolume, volume_from_array
from amgsrn_core.cli import main
from amgsrn_core.evaluation.metrics import compare
from amgsrn_core.model import BrickRecord, write_archive
from amgsrn_core.rendering import Camera, RenderSettings, TransferFunction, make_marcher
from amgsrn_core.rendering.data import model_of_data
from amgsrn_core.rendering.field import NeuralField
from amgsrn_core.rendering.nerfacc_marcher import NerfaccMarcher
from amgsrn_core.rendering.occupancy import MacroCells
from amgsrn_core.volume.netcdf.library import import_netcdf4

SMALL = ["--grids", "2", "--grid-shape", "4,4,4", "--width", "8", "--iterations", "20"]
SMALL += ["--batch", "512", "--device", "cpu"]
CONSTANT, EMPTY = 1, 2


def ramp() -> np.ndarray:
    z, y, x = np.meshgrid(*[np.linspace(0, 1, n) for n in (6, 7, 8)], indexing="ij")
    return (2 * z + np.sin(3 * y) + x).astype("f4")


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A model of a series whose second step is constant and whose third has no value."""
    folder = tmp_path_factory.mktemp("series")
    first = ramp()
    steps = np.stack([first, np.full_like(first, 5), np.full_like(first, -999), first + 1])
    write_netcdf(
        folder / "a.nc",
        {
            "time": coordinate("time", range(4), units="hours since 2000-01-01"),
            "v": (("time", "z", "y", "x"), steps, {"_FillValue": np.float32(-999)}),
        },
    )
    run("train", folder / "a.nc", "-o", folder / "a.amgsrn", "--time", "all", *SMALL)
    return folder / "a.amgsrn"


def run(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def answers(path, *arguments: object) -> dict:
    run(*arguments, "--json", path)
    return json.loads(path.read_text())


@pytest.mark.parametrize("step", [CONSTANT, EMPTY])
@pytest.mark.parametrize("backend", ["native", "torch"])
def test_a_quiet_step_is_rendered(series, tmp_path, step, backend):
    for source in (series, series.with_suffix(".nc")):
        options = ["--time", step, "--hw", "9,11", "--backend", backend]
        run("render", source, "-o", tmp_path / "a.png", *options)
    model = NeuralVolume.open(series, "cpu").at(step)
    for shade in (False, True):
        rgba = seen(model, backend, shade=shade)
        assert rgba[:, 3].any() == (step == CONSTANT)


def seen(model: NeuralVolume, backend: str, **options) -> np.ndarray:
    camera = Camera.orbit(model.geometry.bounds, width=9, height=7, distance=12.6)
    transfer = TransferFunction(0.0, 10.0, np.full((4, 4), 0.5))
    marcher = make_marcher(model, transfer, RenderSettings(**options), backend)
    return marcher.march(camera.rays(np.arange(63)))


def test_a_quiet_step_is_tested_and_described(series, tmp_path, capsys):
    tests = "psnr,ssim,error,histogram,feature-density,feature-locations"
    results = {}
    for step in (CONSTANT, EMPTY):
        results[step] = answers(
            tmp_path / "a.json",
            *["test", series, "--against", series.with_suffix(".nc"), "--time", step],
            *["--tests", tests, "--output-dir", tmp_path / f"{step}"],
        )
        run("info", series, "--time", step)
    constant, empty = results[CONSTANT], results[EMPTY]
    assert (constant["max_error"], constant["rmse"], constant["psnr"]) == (0, 0, None)
    assert (constant["voxels"], constant["missing_voxels"]) == (6 * 7 * 8, 0)
    assert (empty["voxels"], empty["rmse"], empty["psnr"], empty["ssim"]) == (0, None, None, None)
    out = capsys.readouterr().out
    assert "neither the volume nor the model has a value" in out
    assert "1 (1 constant)" in out and "1 (1 without values)" in out


def test_a_quiet_step_is_reconstructed_and_sampled(series, tmp_path):
    run("reconstruct", series, "-o", tmp_path / "back.nc", "--time", "all")
    with import_netcdf4().Dataset(str(tmp_path / "back.nc")) as dataset:
        values = dataset["v"][:]
    assert (values[CONSTANT] == 5).all() and values[EMPTY].mask.all()
    for backend in ("native", "torch"):
        model = NeuralVolume.open(series, "cpu", backend=backend)
        values, gradients = model.at(CONSTANT).sample_with_gradient(np.array([[1.5, 2.5, 3.5]]))
        assert (values == 5).all() and not gradients.any()
        values, gradients = model.at(EMPTY).sample_with_gradient(np.array([[1.5, 2.5, 3.5]]))
        assert np.isnan(values).all() and np.isnan(gradients).all()
        part = model.at(EMPTY).near((0, 2, 0, 2, 0, 2))
        assert np.isnan(part.sample(np.zeros((1, 3)))).all() and not list(part.bricks())


def test_what_has_values_in_one_of_both_only_is_no_agreement(series, tmp_path, capsys):
    data = series.with_suffix(".nc")
    write_netcdf(tmp_path / "b.nc", {"v": (("z", "y", "x"), np.full((6, 7, 8), np.nan, "f4"), {})})
    command = ["test", str(series), "--against", str(tmp_path / "b.nc"), "--time", "0"]
    assert main(command) != 0
    assert "no voxel with a value in common" in capsys.readouterr().err
    model = NeuralVolume.open(series, "cpu").at(EMPTY)
    volume = volume_from_array(ramp())
    with pytest.raises(ValueError, match="a value for none of the 336 voxels"):
        compare(volume, lambda extent: model.reconstruct_block(volume.geometry, extent))
    assert data.exists()


def bricks_of(*states: str) -> NeuralVolume:
    """A model of two bricks in these states, of two components of which one is constant."""
    index = small_index(components=("u", "v"))
    z, y, x = index.bricks[0].extent
    records = []
    for state, (own, ghosted) in zip(states, (((0, 4), (0, 6)), ((4, x.stop), (2, x.stop)))):
        level = (3.0, 7.0) if state == "constant" else ()
        records.append(
            BrickRecord(
                (z, y, slice(*own)), (z, y, slice(*ghosted)),
                state=state, value_minimum=level, value_maximum=level,
            )
        )  # fmt: skip
    index = index.replace(bricks=tuple(records), value_minimum=(0, 7), value_maximum=(10, 7))
    states_of = [small_brick(index) if state == "network" else {} for state in states]
    return NeuralVolume(index, states_of, device="cpu")


@pytest.mark.parametrize("first", ["empty", "constant", "missing", "network"])
@pytest.mark.parametrize("second", ["empty", "constant", "missing"])
def test_bricks_without_networks(monkeypatch, first, second):
    nerfacc_on_cpu.install(monkeypatch)
    model = bricks_of(first, second)
    block = model.reconstruct_block()
    known = np.ones(model.geometry.dims, bool) if block.valid is None else block.valid
    values = {"empty": False, "missing": False, "constant": True, "network": True}
    assert known[..., 0].all() == values[first] and known[..., -1].all() == values[second]
    np.testing.assert_allclose(block.values[1][known], 7.0, rtol=1e-6)
    anything = values[first] or values[second]
    for options in ({}, {"shade": True}, {"blend": "maximum"}, {"component": "magnitude"}):
        native, torch_ = (seen(model, backend, **options) for backend in ("native", "torch"))
        np.testing.assert_allclose(native, torch_, atol=2e-5)
        assert native[:, 3].any() == anything
    transfer = TransferFunction(0.0, 10.0, np.full((4, 4), 0.5))
    cells = MacroCells.of_volume(model)
    marcher = NerfaccMarcher(NeuralField(model), cells, transfer, RenderSettings(shade=True))
    camera = Camera.orbit(model.geometry.bounds, width=9, height=7, distance=12.6)
    ours = marcher.march(camera.rays(np.arange(63)))
    np.testing.assert_allclose(ours, seen(model, "torch", shade=True), atol=1e-3)


def test_the_field_of_no_brick_has_no_gradient():
    field = NeuralField(bricks_of("empty", "empty"))
    points = torch.ones((3, 3), dtype=torch.float64)
    assert field.values(points).isnan().all()
    assert not field.gradients(points, lambda values: values[:, 0]).any()


def test_data_with_one_value_or_none_are_rendered_as_they_are():
    values = np.full((4, 5, 6), 5.0)
    constant, empty = (
        model_of_data(volume_from_array(v), "cpu") for v in (values, values * np.nan)
    )
    assert (constant.reconstruct_block().values == 5).all()
    assert not empty.reconstruct_block().valid.any()
    assert seen(constant, "native")[:, 3].any() and not seen(empty, "native").any()


def test_a_model_of_one_empty_brick_in_a_file(tmp_path):
    index = small_index()
    record = dataclasses.replace(index.bricks[0], state="empty")
    write_archive(tmp_path / "a.amgsrn", index.replace(bricks=(record,)), [{}])
    run("info", tmp_path / "a.amgsrn", "--verify")
    run("render", tmp_path / "a.amgsrn", "-o", tmp_path / "a.png", "--hw", "9,11")
    run("reconstruct", tmp_path / "a.amgsrn", "-o", tmp_path / "a.nc")
