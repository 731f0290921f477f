"""Numbers that float32 does not hold, with offsets, tiny or huge: from the file to the picture."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from support.pictures import read_png
from support.sample_volumes import field, write_netcdf

from amgsrn_core import NeuralVolume, open_volume, train, volume_from_array
from amgsrn_core.cli import main
from amgsrn_core.config import BrickConfig, DispatchConfig, NetworkConfig, TrainingConfig
from amgsrn_core.errors import VolumeError
from amgsrn_core.rendering import RenderSettings, TransferFunction, make_marcher
from amgsrn_core.rendering.camera import Camera
from amgsrn_core.training.sampling import prepare
from amgsrn_core.volume import Block, export_volume, write_volume
from amgsrn_core.volume.netcdf.library import import_netcdf4
from amgsrn_core.volume.normalising import normalised_values
from amgsrn_core.volume.precision import is_moderate, type_of_packed, type_of_ranges

SMALL = ["--grids", "2", "--grid-shape", "6,6,6", "--width", "16", "--iterations", "60"]
SMALL += ["--batch", "1024", "--device", "cpu"]

# Factor, offset and type of the numbers in the file, and the type of what comes back.
NUMBERS = {
    "f8": (1.0, 0.0, "f8", "f4"),
    "pressure": (0.01, 101325.0, "f8", "f8"),
    "offset": (1.0, 1e9, "f8", "f8"),
    "huge": (1e44, 1e45, "f8", "f8"),
    "tiny": (1e-60, 1e-60, "f8", "f8"),
    "denormal": (1e-42, 1e-42, "f4", "f8"),
    "small float32": (1e-30, 1e-30, "f4", "f4"),
    "large float32": (1e36, 1e36, "f4", "f4"),
}


def waves(nz: int = 12, ny: int = 13, nx: int = 14) -> np.ndarray:
    """A smooth field without symmetry, from about 0 to 4."""
    z, y, x = np.meshgrid(*[np.linspace(0, 1, n) for n in (nz, ny, nx)], indexing="ij")
    return 2 * z + np.sin(3 * y) + 0.5 * np.cos(4 * x) * (1 + z)


def run(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def trained(folder: Path, values: np.ndarray, *options: object, name: str = "a") -> Path:
    data = write_netcdf(folder / f"{name}.nc", {"v": field(values)})
    run("train", data, "-o", folder / f"{name}.amgsrn", *SMALL, *options)
    return folder / f"{name}.amgsrn"


def stored(path: Path) -> np.ndarray:
    with import_netcdf4().Dataset(str(path)) as dataset:
        dataset.set_auto_maskandscale(False)
        return np.asarray(dataset["v"][...])


def relative_error(values: np.ndarray, data: np.ndarray) -> float:
    """Root mean square of what differs, as a part of the data's range."""
    data = data.astype("f8")
    span = data.max() - data.min()
    return float(np.sqrt(np.mean(((values - data) / span) ** 2)))


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> tuple[Path, float]:
    """A model of the field itself in float32, and its error."""
    folder = tmp_path_factory.mktemp("plain")
    model = trained(folder, waves().astype("f4"))
    run("reconstruct", model, "-o", folder / "back.nc")
    assert stored(folder / "back.nc").dtype == np.float32
    return model, relative_error(stored(folder / "back.nc"), waves().astype("f4"))


@pytest.mark.parametrize("name", NUMBERS)
def test_any_numbers_come_back_as_well_as_the_field_itself(tmp_path, plain, name):
    factor, offset, dtype, returned = NUMBERS[name]
    values = (waves() * factor + offset).astype(dtype)
    model = trained(tmp_path, values)
    run("reconstruct", model, "-o", tmp_path / "back.nc")
    back = stored(tmp_path / "back.nc")
    assert back.dtype == returned
    assert relative_error(back, values) == pytest.approx(plain[1], rel=0.02)
    run("test", model, "--against", tmp_path / "a.nc", "--json", tmp_path / "a.json")
    run("test", plain[0], "--against", plain[0].with_suffix(".nc"), "--json", tmp_path / "f.json")
    ours, theirs = (json.loads((tmp_path / f"{which}.json").read_text()) for which in "af")
    assert ours["psnr"] == pytest.approx(theirs["psnr"], abs=0.1)
    assert ours["nrmse"] == pytest.approx(theirs["nrmse"], rel=0.02)
    if offset <= factor:  # the structural similarity is one of values, not of differences
        assert ours["ssim"] == pytest.approx(theirs["ssim"], abs=0.02)
    assert 0.9 < ours["ssim"] <= 1.0


def test_points_and_gradients(tmp_path, plain):
    model = NeuralVolume.open(trained(tmp_path, 1e9 + waves()), "cpu")
    other = NeuralVolume.open(plain[0], "cpu")
    points = np.random.default_rng(0).uniform(0, 11, (200, 3))
    assert model.sample(points).dtype == model.sample_index(points).dtype == np.float64
    np.testing.assert_allclose(model.sample(points) - 1e9, other.sample(points), atol=0.02)
    values, gradients = model.sample_with_gradient(points)
    np.testing.assert_allclose(values, model.sample(points), atol=1e-5, rtol=0)
    np.testing.assert_allclose(gradients, other.sample_with_gradient(points)[1], atol=0.02)
    assert np.isnan(model.sample(np.array([[-5.0, 0, 0]]))).all()


@pytest.fixture(scope="module")
def bricks(tmp_path_factory) -> Path:
    """A model of two bricks of the field far from 0."""
    folder = tmp_path_factory.mktemp("bricks")
    return trained(folder, 1e9 + waves(), "--bricks", "1,1,2", "--ghost", "2")


@pytest.mark.parametrize("backend", ["torch", "native"])
def test_bricks_with_ranges_of_their_own(tmp_path, bricks, plain, backend):
    run("reconstruct", bricks, "-o", tmp_path / "back.nc", "--backend", backend)
    back = stored(tmp_path / "back.nc")
    assert back.dtype == np.float64
    assert relative_error(back, 1e9 + waves()) < 1.5 * plain[1]
    points = np.random.default_rng(0).uniform(0, 11, (50, 3))
    model = NeuralVolume.open(bricks, "cpu", backend=backend)
    values, gradients = model.sample_with_gradient(points)
    np.testing.assert_allclose(model.sample(points), values, atol=1e-5, rtol=0)
    ahead, behind = (model.sample(points + np.array([step, 0, 0])) for step in (0.005, -0.005))
    apart = np.abs((ahead - behind) / 0.01 - gradients[..., 0])
    assert np.median(apart) < 1e-3 and np.quantile(apart, 0.9) < 0.02
    rendered = picture(bricks, backend, shade=True)
    np.testing.assert_allclose(rendered, picture(bricks, "native", shade=True), atol=1 / 255)


def test_a_series_that_rises_far_above_the_range_of_its_steps(tmp_path):
    steps = np.stack([waves() + 1e6 * step for step in range(3)])
    variable = ("time", "z", "y", "x"), steps, {}
    write_netcdf(tmp_path / "a.nc", {"v": variable})
    run("train", tmp_path / "a.nc", "-o", tmp_path / "a.amgsrn", "--time", "all", *SMALL)
    run("reconstruct", tmp_path / "a.amgsrn", "-o", tmp_path / "back.nc", "--time", "all")
    back = stored(tmp_path / "back.nc")
    assert back.dtype == np.float64
    assert max(map(relative_error, back, steps)) < 0.1
    run("reconstruct", tmp_path / "a.amgsrn", "-o", tmp_path / "one.nc", "--time", "2")
    np.testing.assert_array_equal(stored(tmp_path / "one.nc")[0], back[2])


def test_compressed_models(tmp_path, plain):
    values = 1e9 + waves()
    model = trained(tmp_path, values, "--compress", "--compress-finetune", "10")
    run("compress", plain[0], "-o", tmp_path / "plain.amgsrn", "--compress-finetune", "0")
    later = trained(tmp_path, values, name="later")
    run("compress", later, "-o", tmp_path / "c.amgsrn", "--against", tmp_path / "later.nc")
    for path in (model, tmp_path / "c.amgsrn"):
        block = NeuralVolume.open(path, "cpu").reconstruct_block()
        assert relative_error(block.values[0], values) < 2 * plain[1]


def test_vectors_with_a_mask_and_a_constant_component(tmp_path):
    values = np.stack([1e9 + waves(), np.full(waves().shape, 7.0), 1e-60 * (1 + waves())])
    valid = waves() > 0.5
    values[:, ~valid] = -999.0
    names = ("u", "v", "w")
    write_netcdf(
        tmp_path / "a.nc",
        {name: field(v, _FillValue=-999.0) for name, v in zip(names, values)},
    )
    variables = [word for name in names for word in ("--variable", name)]
    run("train", tmp_path / "a.nc", "-o", tmp_path / "a.amgsrn", *variables, *SMALL)
    run("reconstruct", tmp_path / "a.amgsrn", "-o", tmp_path / "back.nc")
    with import_netcdf4().Dataset(str(tmp_path / "back.nc")) as dataset:
        dataset.set_auto_maskandscale(False)
        for name, data in zip(names, values):
            back = np.asarray(dataset[name][...])
            assert back.dtype == np.float64 and dataset[name]._FillValue == -999.0
            assert np.array_equal(back != -999.0, valid)
            if name == "v":
                assert (back[valid] == 7.0).all()
            else:
                assert relative_error(back[valid], data[valid]) < 0.1


@pytest.mark.parametrize("suffix", [".nc", ".vti", ".vtr"])
def test_every_format_holds_doubles(tmp_path, suffix):
    values = 1e9 + waves(4, 5, 6)
    path = write_volume(
        tmp_path / f"a{suffix}", values, volume_from_array(values).geometry, name="v"
    )
    volume = open_volume(path)
    assert volume.source_dtype == np.float64
    np.testing.assert_array_equal(volume.read().values[0], values)
    again = ((extent, volume.read(extent)) for extent in volume.slabs(1000))
    path = write_volume(tmp_path / f"b{suffix}", again, volume.geometry, name="v")
    np.testing.assert_array_equal(open_volume(path).read().values[0], values)


def test_an_exported_folder_holds_doubles(tmp_path):
    values = 1e9 + waves(4, 5, 6)
    volume = open_volume(export_volume(volume_from_array(values), tmp_path / "folder"))
    block = volume.read()
    assert block.values.dtype == volume.dtype == np.float64
    np.testing.assert_array_equal(block.values[0], values)


def picture(path: Path, backend: str, logarithmic: bool = False, **options) -> np.ndarray:
    model = NeuralVolume.open(path, "cpu", backend="torch" if backend == "torch" else "auto")
    (low,), (high,) = model.index.value_minimum, model.index.value_maximum
    table = np.random.default_rng(1).random((16, 4))
    table[4:9, 3] = 0
    transfer = TransferFunction(low, high, table, logarithmic)
    if options.get("blend") == "isosurface":
        options["isovalues"] = [low + part * (high - low) for part in (0.3, 0.7)]
    camera = Camera.orbit(model.geometry.bounds, width=23, height=19, azimuth=30, polar=60)
    marcher = make_marcher(model, transfer, RenderSettings(**options), backend)
    return marcher.march(camera.rays(np.arange(camera.width * camera.height)))


LOOKS = {
    "composite": {},
    "shaded": {"shade": True},
    "maximum": {"blend": "maximum"},
    "surfaces": {"blend": "isosurface", "shade": True},
}


@pytest.mark.parametrize("backend", ["torch", "native"])
@pytest.mark.parametrize("name", ["offset", "huge", "tiny", "small float32", "large float32"])
def test_pictures_are_those_of_the_field_itself(tmp_path, plain, name, backend):
    factor, offset, dtype, _ = NUMBERS[name]
    model = trained(tmp_path, (waves() * factor + offset).astype(dtype))
    for look in LOOKS.values():
        ours, theirs = picture(model, backend, **look), picture(plain[0], backend, **look)
        assert theirs[:, 3].max() > 0.1
        # A surface's edge may move by a rounding.
        assert (np.abs(ours - theirs).max(axis=1) > 1 / 255).mean() <= 0.01


@pytest.mark.parametrize("backend", ["torch", "native"])
def test_logarithmic_colours_and_magnitudes(tmp_path, backend):
    """What is only scaled has the same picture as what needs no scaling."""
    for name, values in (("a", 1 + waves()), ("b", 1e-60 * (1 + waves()))):
        trained(tmp_path, values - values.min() + 0.01 * np.ptp(values), name=name)
    for look in ({"logarithmic": True}, {"component": "magnitude"}):
        ours, theirs = (picture(tmp_path / f"{name}.amgsrn", backend, **look) for name in "ba")
        assert theirs[:, 3].max() > 0.1
        np.testing.assert_allclose(ours, theirs, atol=1 / 255)
    # The magnitude of one component is that component, and far from 0 the logarithm is linear.
    far = trained(tmp_path, 1e9 + waves(), name="far")
    straight, bent = (picture(far, backend, logarithmic) for logarithmic in (False, True))
    np.testing.assert_allclose(bent, straight, atol=4 / 255)
    np.testing.assert_array_equal(picture(far, backend, component="magnitude"), straight)


def test_pictures_in_the_shell(tmp_path):
    far, near = (
        trained(tmp_path, 1e9 + waves(), name="far"),
        trained(tmp_path, waves(), name="near"),
    )
    for raw in ((), ("--raw",)):
        for path in (far, near):
            run("render", path, "-o", path.with_suffix(".png"), "--hw", "20,30", *raw)
        ours, theirs = (read_png(path.with_suffix(".png")).astype(int) for path in (far, near))
        assert np.ptp(theirs) > 50
        assert np.abs(ours - theirs).max() <= 1


def test_the_range_is_told_with_digits_that_tell_its_ends_apart(tmp_path, capsys):
    run("info", trained(tmp_path, 1e9 + waves()))
    line = next(row for row in capsys.readouterr().out.splitlines() if row.startswith("range of v"))
    low, high = (float(line.split()[number]) for number in (3, 5))
    values = 1e9 + waves()
    assert (low, high) == pytest.approx((values.min(), values.max()), rel=0, abs=1e-3)


def test_values_of_files_keep_their_type_or_get_a_wider_one(tmp_path):
    def dtype_of(values: np.ndarray, **attributes) -> np.dtype:
        path = write_netcdf(tmp_path / "a.nc", {"v": field(values, **attributes)})
        volume = open_volume(path)
        part = volume.read((slice(0, 2), slice(1, 3), slice(0, 2))).values.dtype
        assert part == volume.read().values.dtype == volume.dtype
        return volume.dtype

    ones = np.arange(24).reshape(2, 3, 4)
    for kind in ("i1", "u1", "i2", "u2", "f4"):
        assert dtype_of(ones.astype(kind)) == np.float32
    for kind in ("i4", "u4", "i8", "f8"):
        assert dtype_of(ones.astype(kind)) == np.float64
    assert dtype_of(ones.astype("i2"), scale_factor=0.01, add_offset=273.15) == np.float32
    assert dtype_of(ones.astype("i2"), scale_factor=1e-4, add_offset=101325.0) == np.float64
    assert dtype_of(ones.astype("i4"), scale_factor=0.5) == np.float64


def test_types_of_packed_numbers_and_ranges():
    assert type_of_packed(np.dtype("i2"), 1e36, 0.0) == np.float64
    assert type_of_packed(np.dtype("i2"), 1e-45, 0.0) == np.float64
    assert type_of_packed(np.dtype("u1"), 1.0, 1e5) == np.float32
    assert type_of_ranges([((0.0, 5.0), (1.0, 5.0))]) == np.float32
    assert type_of_ranges([((0.0,), (1.0,)), ((1e6,), (1e6 + 1,))]) == np.float64
    assert is_moderate([((200.0,), (300.0,))]) and not is_moderate([((0.0,), (1e20,))])


def test_whole_numbers_that_doubles_round_are_told(caplog):
    values = (2**53 + np.arange(24).reshape(2, 3, 4)).astype("i8")
    with caplog.at_level(logging.WARNING):
        volume = volume_from_array(values, name="nanoseconds")
        volume.read()
        volume.read()
    (record,) = caplog.records
    assert "'nanoseconds' has whole numbers beyond 2^53" in record.getMessage()
    caplog.clear()
    volume_from_array(values - 2**53).read()
    assert not caplog.records


def test_float32_is_normalised_as_ever_and_in_place():
    values = waves().astype("f4")[None]
    low, high = values.min(axis=(1, 2, 3)), values.max(axis=(1, 2, 3))
    wanted = (values - low) * np.float32(1.0 / (float(high[0]) - float(low[0])))
    block = Block(values)
    result = normalised_values(block, low.astype("f8"), high.astype("f8"))
    assert result is values
    np.testing.assert_array_equal(result, wanted)
    double = Block(waves()[None])
    result = normalised_values(double, np.array([waves().min()]), np.array([waves().max()]))
    assert result.dtype == np.float32 and (result.min(), result.max()) == (0, 1)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_training_data_leave_no_double_behind(dtype):
    valid = waves() > 1
    block = Block((1e30 * waves()[None]).astype(dtype), valid)
    low, high = block.summary().learned_range()
    data = prepare(block, low, high, torch.device("cpu"))
    assert block.values.dtype == np.float32
    assert np.shares_memory(block.values, data.values.numpy())
    known = data.values.numpy()[0][valid]
    assert (known.min(), known.max()) == pytest.approx((0, 1), abs=1e-6)


def test_bricks_far_from_large_values_are_no_reason_to_refuse_any(tmp_path):
    z, y, x = np.meshgrid(*[np.linspace(0.0, 1.0, 12)] * 3, indexing="ij")
    values = np.exp(-1500.0 * x) * (1.0 + y + z)  # from 3 to 0
    volume = volume_from_array(values, name="far")
    config = TrainingConfig(iterations=40, batch=256, device="cpu")
    network = NetworkConfig(grids=2, grid_shape=(4, 4, 4), width=16)
    bricks, dispatch = BrickConfig(bricks=(1, 1, 3)), DispatchConfig(workers=1)
    train(volume, tmp_path / "m.amgsrn", network, config, bricks=bricks, dispatch=dispatch)
    model = NeuralVolume.open(tmp_path / "m.amgsrn", "cpu")
    assert [brick.state for brick in model.index.bricks] == ["network", "constant", "constant"]
    assert float(np.abs(model.reconstruct_block().values[0][..., 6:]).max()) < 1e-100


def test_a_component_that_hardly_varies_does_not_spoil_the_others(tmp_path):
    z, y, x = np.meshgrid(*[np.linspace(0.0, 1.0, 8)] * 3, indexing="ij")
    volume = volume_from_array(np.stack([x + y, 1e-200 * z]), name="v", components=("a", "b"))
    config = TrainingConfig(iterations=40, batch=256, device="cpu")
    network = NetworkConfig(grids=2, grid_shape=(4,) * 3)
    assert np.isfinite(train(volume, tmp_path / "m.amgsrn", network, config).psnr)
    model = NeuralVolume.open(tmp_path / "m.amgsrn", "cpu")
    assert float(np.abs(model.reconstruct_block().values[1]).max()) < 1e-150
    with pytest.raises(VolumeError, match="'b' go from 0 to 1e-200"):
        volume_from_array(1e-200 * z, name="b").check()
