"""A bound holds at every voxel with any backend; errors of cells are never too small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from amgsrn_core import NeuralVolume, open_volume, train, train_series, volume_from_array
from amgsrn_core.cli import main
from amgsrn_core.config import (
    BrickConfig,
    DispatchConfig,
    NetworkConfig,
    StorageConfig,
    TrainingConfig,
)
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.kernels import load
from amgsrn_core.model import Archive, load_brick, read_index, write_archive
from amgsrn_core.volume import GridGeometry, write_volume

SIZE = NetworkConfig(grids=2, grid_shape=(6, 6, 6), width=16)
SHORT = TrainingConfig(iterations=40, batch=1024, device="cpu")
SHAPE = (19, 20, 37)


def field(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Return waves, noise, and a few values far away from all others."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    random = np.random.default_rng(seed)
    values = np.sin(4 * x + y) * np.cos(3 * z + seed) + 0.05 * random.normal(size=shape)
    values[tuple(random.integers(0, n, 5) for n in shape)] += 3.0
    return values.astype(np.float32)


def decoded(path: Path, step: int = 0):
    """Yield the reconstruction [C, z, y, x] by every backend, instruction set, and many threads."""
    library, threads = load(), torch.get_num_threads()
    try:
        for count in (1, 7):
            torch.set_num_threads(count)
            yield NeuralVolume.open(path, "cpu", backend="torch").at(step).reconstruct_block()
            for isa in library.isas if library is not None else ():
                library.use_isa(isa)
                yield NeuralVolume.open(path, "cpu", backend="native").at(step).reconstruct_block()
    finally:
        torch.set_num_threads(threads)
        if library is not None:
            library.use_isa(None)


def worst(path: Path, values: np.ndarray, step: int = 0) -> np.ndarray:
    """Return the largest error [C] of values [C, z, y, x] that are not NaN, over all backends."""
    known = ~np.isnan(values).any(axis=0)
    blocks = [block.values.astype(np.float64) for block in decoded(path, step)]
    return np.max([np.abs(b - values)[:, known].max(axis=1) for b in blocks], axis=0)


def true_errors(path: Path, values: np.ndarray) -> np.ndarray:
    block = NeuralVolume.open(path, "cpu").reconstruct_block()
    return np.abs(block.values[0].astype(np.float64) - values)


def assert_known_errors(path: Path, values: np.ndarray, edges: tuple[list[int], ...]) -> None:
    """Compare with an independent look at all cells, cut at given faces of bricks (z, y, x)."""
    model = NeuralVolume.open(path, "cpu")
    largest, rms = (model.error_block(rms=kind).values[0] for kind in (False, True))
    errors = true_errors(path, values)
    groups = np.zeros(values.shape, dtype=np.int64)
    for axis, (n, faces) in enumerate(zip(values.shape, edges)):
        lines = np.arange(n)
        cell = lines // 8 * 100 + np.searchsorted(faces, lines, side="right")
        groups = groups * 100_000 + np.expand_dims(cell, [a for a in range(3) if a != axis])
    known = ~np.isnan(values)
    np.testing.assert_array_equal(np.isnan(largest), ~known)
    for group in np.unique(groups[known]):
        there = (groups == group) & known
        most, mean = errors[there].max(), np.sqrt(np.mean(errors[there] ** 2))
        assert (largest[there] >= most).all() and (rms[there] >= mean).all()
        assert (largest[there] <= 1.3 * most + 1e-4).all()
        assert (rms[there] <= 1.3 * mean + 1e-4).all()


@pytest.mark.parametrize("share", [0.1, 0.01, 0.001])
@pytest.mark.parametrize("kind", ["plain", "compressed", "half", "masked", "offset"])
def test_a_bound_holds_with_every_backend(tmp_path, share, kind):
    values = field()
    if kind == "offset":
        values = values + np.float32(300)
    if kind == "masked":
        values[:9, 3:, :20] = np.nan
    storage = StorageConfig(
        dtype="float16" if kind == "half" else "float32",
        compress=kind == "compressed",
        compress_finetune=0,
        max_relative_error=share,
    )
    volume = volume_from_array(values, name="waves")
    outcome = train(volume, tmp_path / "m.amgsrn", SIZE, SHORT, storage)
    limit = share * float(np.nanmax(values) - np.nanmin(values))
    error = worst(tmp_path / "m.amgsrn", values[None])
    assert error <= limit
    assert error > 0.9 * limit  # and no tighter than was asked for
    plain = NeuralVolume.open(tmp_path / "m.amgsrn", "cpu").reconstruct_block(corrected=False)
    assert np.nanmax(np.abs(plain.values[0] - values)) > limit
    index = read_index(tmp_path / "m.amgsrn")
    digits = 4 * float(np.spacing(np.nanmax(np.abs(values))))
    assert error - digits <= index.bricks[0].max_error <= limit
    assert outcome.psnr == index.psnr
    assert_known_errors(tmp_path / "m.amgsrn", values, ([], [], []))


def test_both_bounds_and_both_components_count(tmp_path):
    values = np.stack([field(), 100 * field(1)])
    volume = volume_from_array(values, name="two")
    train(volume, tmp_path / "m.amgsrn", SIZE, SHORT, StorageConfig(max_relative_error=0.02))
    limits = 0.02 * np.ptp(values.reshape(2, -1), axis=1)
    error = worst(tmp_path / "m.amgsrn", values)
    assert (error <= limits).all() and (error > 0.8 * limits).all()
    storage = StorageConfig(max_relative_error=0.02, max_error=0.05)
    train(volume, tmp_path / "n.amgsrn", SIZE, SHORT, storage)
    assert (worst(tmp_path / "n.amgsrn", values) <= 0.05).all()


@pytest.mark.parametrize("dtype", ["i2", "f2"])
@pytest.mark.parametrize("limit", [0.5, 1.6, 4.0])
def test_a_bound_holds_after_rounding_to_the_datas_type(tmp_path, dtype, limit):
    values = (40 * field()).astype(dtype)
    volume = volume_from_array(values, name="counts")
    train(volume, tmp_path / "m.amgsrn", SIZE, SHORT, StorageConfig(max_error=limit))
    for block in decoded(tmp_path / "m.amgsrn"):
        found = block.values[0]
        assert np.abs(found - values.astype(np.float64)).max() <= limit
        rounded = np.rint(found) if dtype == "i2" else found.astype(dtype)
        assert np.abs(rounded.astype(np.float64) - values).max() <= limit


@pytest.mark.parametrize("ghost", [0, 3])
def test_a_bound_holds_where_bricks_are_blended(tmp_path, ghost):
    values = field()
    volume = volume_from_array(values, name="waves")
    train(
        volume,
        tmp_path / "m.amgsrn",
        SIZE,
        SHORT,
        StorageConfig(max_error=0.05),
        BrickConfig(bricks=(1, 2, 3), ghost=ghost),
        DispatchConfig(workers=2),
    )
    model = NeuralVolume.open(tmp_path / "m.amgsrn", "cpu")
    assert 0.045 < worst(tmp_path / "m.amgsrn", values[None]) <= 0.05
    extents = [brick.extent for brick in model.index.bricks]
    faces = tuple(sorted({e[axis].start for e in extents} - {0}) for axis in range(3))
    assert_known_errors(tmp_path / "m.amgsrn", values, faces)
    voxels = np.argwhere(values > -9)[:, ::-1].astype(float)
    assert 0.045 < model.error_at(voxels).max() <= 0.05  # stored rounded upwards
    # Few points take another way through the kernels.
    points = np.argwhere(values > -9)[::29][:, ::-1].astype(float)
    error = np.abs(model.sample_index(points)[:, 0] - values.reshape(-1)[::29])
    assert error.max() <= 0.05


def test_a_bound_holds_in_each_step_of_a_series(tmp_path):
    values = [field(), 5 * field(1)]
    volumes = [volume_from_array(v, name="waves") for v in values]
    storage = StorageConfig(compress=True, compress_finetune=0, max_relative_error=0.02)
    train_series(volumes, tmp_path / "m.amgsrn", SIZE, SHORT, storage)
    for step, each in enumerate(values):
        limit = 0.02 * float(np.ptp(each))
        assert 0.9 * limit < worst(tmp_path / "m.amgsrn", each[None], step) <= limit
    model = NeuralVolume.open(tmp_path / "m.amgsrn", "cpu").at(1)
    limit = 0.02 * float(np.ptp(values[1]))
    assert (model.error_at(np.zeros((1, 3))) <= limit * (1 + 1e-6)).all()


def test_between_voxels_corrections_are_interpolated(tmp_path):
    values = field()
    volume = volume_from_array(values, name="waves")
    train(volume, tmp_path / "m.amgsrn", SIZE, SHORT, StorageConfig(max_error=0.01))
    model = NeuralVolume.open(tmp_path / "m.amgsrn", "cpu")
    corrections = model.reconstruct_block().values - model.reconstruct_block(corrected=False).values
    place = np.array([[5.25, 7.5, 3.0]])  # x, y, z
    added = model.sample_index(place) - model.sample_index(place, corrected=False)
    near = corrections[0, 3, 7:9, 5:7]
    np.testing.assert_allclose(added[0, 0], near.mean(axis=0) @ [0.75, 0.25], atol=1e-5)
    values_too, _ = model.sample_with_gradient(place)
    np.testing.assert_allclose(values_too, model.sample_index(place), atol=1e-5)


def test_errors_take_less_than_two_per_cent(tmp_path):
    volume = volume_from_array(field(shape=(60, 64, 66)), name="waves")
    for compress in (False, True):
        path = tmp_path / f"{compress}.amgsrn"
        storage = StorageConfig(compress=compress, compress_finetune=0)
        train(volume, path, SIZE, SHORT, storage)
        assert load_brick(path, 0)["error_cells"].nbytes < 0.02 * path.stat().st_size
        assert_known_errors_are_bounds(path, volume.read().values[0])


@pytest.mark.filterwarnings("ignore:overflow")  # float32 does not hold all sums
@pytest.mark.parametrize("scale", [1e-41, 6e37, 1e60])
@pytest.mark.parametrize("share", [0.0, 0.02])
def test_errors_of_very_small_and_large_values_are_known(tmp_path, scale, share):
    values = field().astype(np.float64) * scale
    volume = volume_from_array(values, name="waves")
    storage = StorageConfig(max_relative_error=share)
    train(volume, tmp_path / "m.amgsrn", SIZE, SHORT, storage)
    assert_known_errors_are_bounds(tmp_path / "m.amgsrn", values)
    largest = NeuralVolume.open(tmp_path / "m.amgsrn", "cpu").error_block().values[0]
    limit = (share or 1.0) * float(np.ptp(values))
    assert np.isfinite(largest).all() and largest.max() <= 1.2 * limit


def assert_known_errors_are_bounds(path: Path, values: np.ndarray) -> None:
    largest = NeuralVolume.open(path, "cpu").error_block().values[0]
    assert (largest >= true_errors(path, values)).all()


def test_the_command_line_bounds_verifies_and_tells(tmp_path, capsys):
    data, model = tmp_path / "d.nc", tmp_path / "m.amgsrn"
    write_volume(data, field(), GridGeometry.uniform(SHAPE), name="waves")
    small = "--grids 2 --grid-shape 6,6,6 --width 16 --iterations 40 --batch 1024 --device cpu"
    train_it = ["train", str(data), "-o", str(model), *small.split(), "--max-error", "0.05"]
    assert main(train_it) == 0
    compared = ["test", str(model), "--against", str(data)]
    assert main([*compared, "--json", str(tmp_path / "r.json")]) == 0
    report = json.loads((tmp_path / "r.json").read_text())["bound"]
    assert report["kept"] and report["limits"] == [0.05] and report["errors"][0] <= 0.05
    capsys.readouterr()
    assert main(["info", str(model)]) == 0
    shown = capsys.readouterr().out
    assert "error bound" in shown and "0.05 in the data's units" in shown
    # The same promise without what keeps it.
    with Archive(model) as archive:
        index, brick = archive.index, archive.load_brick(0)
    del brick["corrections"]
    write_archive(model, index, [brick])
    assert main(compared) == 1
    assert "breaks its bound: errors are to be at most 0.05" in capsys.readouterr().err


def test_a_model_is_bounded_when_it_is_compressed(tmp_path, capsys):
    data, model, small = tmp_path / "d.nc", tmp_path / "m.amgsrn", tmp_path / "s.amgsrn"
    values = field()
    write_volume(data, values, GridGeometry.uniform(SHAPE), name="waves")
    train(open_volume(data), model, SIZE, SHORT)
    words = ["compress", str(model), "-o", str(small), "--max-error=0.05", "--device=cpu"]
    assert main([*words, "--compress-finetune=0"]) == 1
    assert "only against the data" in capsys.readouterr().err
    assert main([*words, "--compress-finetune=0", "--against", str(data)]) == 0
    assert 0.045 < worst(small, values[None]) <= 0.05
    assert_known_errors(small, values, ([], [], []))


@pytest.mark.parametrize("bound", ["0", "-1", "nan", "inf", "x"])
def test_what_is_no_bound_is_refused(tmp_path, capsys, bound):
    model = str(tmp_path / "m.amgsrn")
    assert main(["train", "none.nc", "-o", model, f"--max-error={bound}"]) == 2
    assert "has to be a number above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "bound", "words"),
    [
        (field(), 1e-7, "rounded by parts of it"),
        ((40 * field()).astype("i2"), 0.4, "whole numbers"),
        ((40 * field()).astype("f2"), 0.001, "own precision"),
    ],
)
def test_a_bound_below_the_datas_precision_is_refused(tmp_path, values, bound, words):
    volume = volume_from_array(values, name="waves")
    with pytest.raises(ConfigurationError, match=words):
        train(volume, tmp_path / "m.amgsrn", SIZE, SHORT, StorageConfig(max_error=bound))


def test_errors_of_a_model_without_any_are_measured_and_stored(tmp_path, capsys):
    data, path = tmp_path / "d.nc", tmp_path / "m.amgsrn"
    values = field()
    write_volume(data, values, GridGeometry.uniform(SHAPE), name="waves")
    volume = open_volume(data)
    train(volume, path, SIZE, SHORT, None, BrickConfig(bricks=(1, 1, 2)), DispatchConfig(workers=1))
    with Archive(path) as archive:
        index = archive.index
        bricks = [archive.load_brick(number) for number in range(2)]
    for brick in bricks:
        del brick["error_cells"]
    write_archive(path, index, bricks)
    assert not NeuralVolume.open(path, "cpu").has_errors
    with pytest.raises(ConfigurationError, match="--store"):
        NeuralVolume.open(path, "cpu").error_at(np.zeros((1, 3)))
    assert main(["test", str(path), "--against", str(data), "--store"]) == 0
    faces = ([], [], [index.bricks[1].extent[2].start])
    assert_known_errors(path, values, faces)
    assert read_index(path).bricks[0].psnr == pytest.approx(index.bricks[0].psnr, abs=1e-3)
