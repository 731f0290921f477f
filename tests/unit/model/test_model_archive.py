"""What goes into a model file comes out again, lazily, and identically each time."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import stat
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file
from support.sample_models import SMALL_NETWORK, small_brick, small_index, write_small_model

from amgsrn_core.config import NetworkConfig, StorageConfig
from amgsrn_core.errors import ArchiveError, OutputError
from amgsrn_core.model import (
    Archive,
    BrickRecord,
    ModelIndex,
    OnDemand,
    load_brick,
    parameter_shapes,
    read_index,
    verify_archive,
    write_archive,
)
from amgsrn_core.model.mask import pack_mask, unpack_mask
from amgsrn_core.volume import GridGeometry, MissingValues, TimeAxis, volume_from_array
from amgsrn_core.volume.axis import Axis
from amgsrn_core.volume.curvilinear import Coordinates

REUSED_FOLDER = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_tensors_and_index_come_back_as_written(tmp_path):
    path = tmp_path / "model.amgsrn"
    index = small_index(components=("u", "v"))
    brick = small_brick(index, mask=True)
    written = write_archive(path, index, [brick])
    assert read_index(path).to_json() == written.to_json()
    loaded = load_brick(path, 0, verify=True)
    assert sorted(loaded) == sorted(brick)
    for name, tensor in brick.items():
        np.testing.assert_array_equal(loaded[name], tensor)
        assert loaded[name].dtype == tensor.dtype


def test_coordinates_come_back_and_older_readers_can_do_without(tmp_path):
    index = small_index()
    points = np.random.default_rng(0).random((*index.dims, 3), dtype=np.float32)
    index = index.replace(coordinates=Coordinates.of_points(points))
    path = tmp_path / "model.amgsrn"
    write_archive(path, index, [small_brick(index)])
    again = verify_archive(path)
    assert again.coordinates == index.coordinates and again.version >= (1, 5)
    # As a model of a version before has none of it.
    values = again.to_json()
    del values["coordinates"]
    values["version"] = [1, 4]
    assert ModelIndex.from_json(values).coordinates is None
    values["coordinates"] = {"dims": [1, 2, 3]}
    with pytest.raises(ArchiveError, match="'coordinates' are those of another grid"):
        ModelIndex.from_json(values)


def test_the_file_is_plain_safetensors_with_documented_names(tmp_path):
    path = tmp_path / "model.amgsrn"
    write_small_model(path, mask=True)
    with safe_open(str(path), framework="numpy") as file:
        values = json.loads(file.metadata()["amgsrn"])
        assert values["format"] == "amgsrn"
        assert values["version"] == [1, 5]
        assert values["bricks"][0]["extent"] == [0, 6, 0, 7, 0, 8]
        assert set(file.keys()) == {
            "bricks/0/feature_grids",
            "bricks/0/transforms",
            "bricks/0/decoder.0.weight",
            "bricks/0/decoder.1.weight",
            "bricks/0/decoder.2.weight",
            "bricks/0/history",
            "bricks/0/mask",
        }
        assert file.get_tensor("bricks/0/mask").dtype == np.uint8


def test_shapes_follow_the_configuration():
    network = NetworkConfig(grids=3, features=2, grid_shape=(4, 5, 6), layers=1, width=7)
    assert parameter_shapes(network, outputs=2) == {
        "feature_grids": (3, 2, 4, 5, 6),
        "transforms": (3, 3, 4),
        "decoder.0.weight": (7, 6),
        "decoder.1.weight": (2, 7),
    }


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ascending = st.lists(
    st.floats(-1e6, 1e6, allow_subnormal=False), min_size=2, max_size=6, unique=True
).map(sorted)


@st.composite
def axes(draw):
    flags = draw(st.tuples(st.booleans(), st.booleans()))
    return Axis(draw(names), np.array(draw(ascending)), draw(names), *flags)


@st.composite
def indices(draw):
    geometry = GridGeometry(draw(st.tuples(axes(), axes(), axes())))
    count = draw(st.integers(1, 3))
    network = NetworkConfig(
        grids=draw(st.integers(1, 3)),
        features=draw(st.integers(1, 3)),
        grid_shape=draw(st.tuples(*[st.integers(2, 4)] * 3)),
        layers=draw(st.integers(1, 3)),
        width=draw(st.integers(1, 6)),
    )
    text_list = st.lists(names, min_size=count, max_size=count).map(tuple)
    range_list = st.lists(st.floats(-1e30, 1e30), min_size=count, max_size=count).map(tuple)
    quality = st.none() | st.floats()
    time = st.builds(
        TimeAxis, values=st.just((0.0, 6.0)), units=names, index=st.integers(0, 1), name=names
    )
    whole = tuple(slice(0, n) for n in geometry.dims)
    lows, highs = draw(range_list), draw(range_list)
    return dataclasses.replace(
        small_index(dims=geometry.dims, geometry=geometry, network=network),
        name=draw(names),
        components=draw(text_list),
        units=draw(text_list),
        value_minimum=tuple(map(min, lows, highs)),
        value_maximum=tuple(map(max, lows, highs)),
        bricks=(BrickRecord(whole, whole, psnr=draw(quality), max_error=draw(quality)),),
        missing=draw(st.none() | st.builds(MissingValues, names, st.none() | st.floats())),
        time=draw(st.none() | time),
        storage=StorageConfig(dtype=draw(st.sampled_from(["float32", "float16"]))),
    )


@REUSED_FOLDER
@given(index=indices(), seed=st.integers(0, 100), mask=st.booleans())
def test_any_model_survives_the_round_trip(tmp_path, index, seed, mask):
    path = tmp_path / "model.amgsrn"
    brick = small_brick(index, seed, mask)
    write_archive(path, index, [brick])
    read = verify_archive(path)
    # As text, because a NaN is not equal to itself.
    expected = index.replace(bricks=read.bricks)
    assert json.dumps(read.to_json()) == json.dumps(expected.to_json())
    assert read.geometry == index.geometry
    loaded = load_brick(path, 0)
    tolerance = 0 if index.storage.dtype == "float32" else 1e-3
    for name in parameter_shapes(index.network, len(index.components)):
        np.testing.assert_allclose(loaded[name], brick[name], rtol=tolerance, atol=1e-6 * tolerance)
    everything = np.ones(index.dims, bool)
    np.testing.assert_array_equal(loaded.get("mask", everything), brick.get("mask", everything))


@given(
    dims=st.tuples(*[st.integers(1, 9)] * 3),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=50)
def test_a_mask_survives_packing(dims, seed):
    valid = np.random.default_rng(seed).random(dims) > 0.5
    np.testing.assert_array_equal(unpack_mask(pack_mask(valid), dims), valid)


def test_float16_halves_the_file_but_keeps_maps_and_history(tmp_path):
    network = NetworkConfig(grids=4, features=2, grid_shape=(12, 12, 12))
    single, half = tmp_path / "single.amgsrn", tmp_path / "half.amgsrn"
    brick = small_brick(small_index(network=network))
    brick["transforms"] = np.random.default_rng(0).normal(size=(4, 3, 4)).astype("f4")
    for path, dtype in ((single, "float32"), (half, "float16")):
        write_archive(path, small_index(network=network, dtype=dtype), [brick])
    assert half.stat().st_size < 0.6 * single.stat().st_size
    ours, theirs = load_brick(half, 0, verify=True), load_brick(single, 0)
    assert ours["feature_grids"].dtype == np.float32
    np.testing.assert_allclose(ours["feature_grids"], theirs["feature_grids"], rtol=1e-3, atol=1e-6)
    for name in ("transforms", "history"):
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_float16_keeps_a_tensor_whole_that_it_cannot_hold(tmp_path):
    path = tmp_path / "model.amgsrn"
    index = small_index(dtype="float16")
    brick = small_brick(index)
    brick["decoder.0.weight"] = brick["decoder.0.weight"] * 1e6
    write_archive(path, index, [brick])
    np.testing.assert_array_equal(
        load_brick(path, 0)["decoder.0.weight"], brick["decoder.0.weight"]
    )


def test_each_brick_is_loaded_alone(tmp_path):
    path = tmp_path / "model.amgsrn"
    z, y = slice(0, 6), slice(0, 7)
    records = (
        BrickRecord((z, y, slice(0, 4)), (z, y, slice(0, 5))),
        BrickRecord((z, y, slice(4, 8)), (z, y, slice(3, 8))),
    )
    index = small_index().replace(bricks=records)
    bricks = [small_brick(index, seed) for seed in (1, 2)]
    written = write_archive(path, index, bricks)
    assert written.bricks[0].sha256 != written.bricks[1].sha256
    with Archive(path) as archive:
        for number, brick in enumerate(bricks):
            loaded = archive.load_brick(number, verify=True)
            np.testing.assert_array_equal(loaded["feature_grids"], brick["feature_grids"])


def test_an_open_archive_outlives_its_path(tmp_path):
    path = tmp_path / "model.amgsrn"
    write_small_model(path, seed=1)
    expected = load_brick(path, 0)["feature_grids"]
    with Archive(path) as archive:
        write_small_model(path, seed=2)
        path.unlink()
        np.testing.assert_array_equal(archive.load_brick(0, True)["feature_grids"], expected)


def test_equal_models_are_equal_files_and_have_one_checksum(tmp_path):
    a, b, c = (tmp_path / f"{name}.amgsrn" for name in "abc")
    for path, seed in ((a, 1), (b, 1), (c, 2)):
        write_small_model(path, seed=seed)
    with Archive(a) as first, Archive(b) as second, Archive(c) as third:
        assert first.checksum == second.checksum != third.checksum


def test_a_mask_without_gaps_is_not_stored(tmp_path):
    path = tmp_path / "model.amgsrn"
    index = small_index()
    brick = {**small_brick(index), "mask": np.ones(index.dims, bool)}
    assert not write_archive(path, index, [brick]).bricks[0].masked
    assert "mask" not in load_brick(path, 0)


def test_arrays_in_any_memory_layout_are_stored_right(tmp_path):
    path = tmp_path / "model.amgsrn"
    index = small_index()
    brick = small_brick(index)
    matrix = brick["decoder.1.weight"]
    brick["decoder.1.weight"] = np.asfortranarray(matrix).astype(">f8")
    write_archive(path, index, [brick])
    np.testing.assert_array_equal(load_brick(path, 0)["decoder.1.weight"], matrix)


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("feature_grids", np.zeros((2, 2, 3, 4, 4), "f4"), "feature_grids"),
        ("history", np.zeros((4, 3)), "history"),
        ("mask", np.zeros((6, 7, 7), bool), "mask"),
    ],
)
def test_tensors_that_contradict_the_index_are_not_written(tmp_path, name, tensor, words):
    path = tmp_path / "model.amgsrn"
    index = small_index()
    with pytest.raises(ArchiveError, match=words):
        write_archive(path, index, [{**small_brick(index), name: tensor}])
    assert not path.exists()


def test_a_missing_tensor_is_not_written(tmp_path):
    index = small_index()
    brick = small_brick(index)
    del brick["transforms"]
    with pytest.raises(ArchiveError, match="transforms"):
        write_archive(tmp_path / "model.amgsrn", index, [brick])


def test_the_index_of_a_volume_names_its_source():
    values = np.arange(60, dtype="<i2").reshape(3, 4, 5)
    volume = volume_from_array(values, name="ct", units="HU", spacing=(1, 2, 3))
    index = ModelIndex.of_volume(volume, [0.0], [59.0], SMALL_NETWORK)
    assert index.components == volume.components
    assert index.units == ("HU",)
    assert index.dims == (3, 4, 5)
    assert index.source.bytes == 120
    assert index.bricks[0].extent == (slice(0, 3), slice(0, 4), slice(0, 5))


def test_a_model_replaces_the_target_of_a_link_and_keeps_the_link(tmp_path):
    target, link = tmp_path / "target.amgsrn", tmp_path / "link.amgsrn"
    write_small_model(target, seed=1)
    before = hashlib.sha256(target.read_bytes()).digest()
    link.symlink_to(target)
    write_small_model(link, seed=2)
    assert link.is_symlink()
    assert hashlib.sha256(target.read_bytes()).digest() != before


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    model, other = tmp_path / "model.amgsrn", tmp_path / "other"
    write_small_model(model)
    other.touch()
    assert stat.S_IMODE(model.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["model.amgsrn", "other"]


@pytest.mark.parametrize("name", ["missing/model.amgsrn", ".", "file/model.amgsrn"])
def test_an_impossible_place_is_named(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Cannot write"):
        write_small_model(tmp_path / name)


def test_reading_a_model_needs_no_torch(tmp_path):
    path = tmp_path / "model.amgsrn"
    write_small_model(path, mask=True)
    program = (
        "import sys; from amgsrn_core.model import verify_archive;"
        "verify_archive(sys.argv[1]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)


def test_the_file_is_laid_out_as_the_safetensors_library_does_it(tmp_path):
    """The same tensors at the same places, whatever brick they are of."""
    ours, theirs = tmp_path / "model.amgsrn", tmp_path / "library.safetensors"
    index = many_bricks(3, dtype="float16")
    write_archive(ours, index, [small_brick(index, seed, mask=True) for seed in range(3)])
    with safe_open(str(ours), framework="numpy") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        save_file(tensors, theirs, file.metadata())
    (first, data), (second, wanted) = map(header_and_data, (ours, theirs))
    assert first == second
    assert data == wanted


def header_and_data(path):
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    assert end % 8 == 0
    return json.loads(content[8:end]), content[end:]


def many_bricks(count, **options):
    index = small_index(**options)
    steps = tuple(range(count))
    axis = TimeAxis(tuple(map(float, steps)), steps=steps)
    return index.replace(bricks=index.bricks * count, time=axis)


def test_writing_many_bricks_needs_memory_for_few(tmp_path, monkeypatch):
    monkeypatch.setattr("amgsrn_core.model.writing._KEPT_BYTES", 1 << 20)
    network = NetworkConfig(grids=8, grid_shape=(16, 16, 16))
    index = many_bricks(32, network=network)
    size = sum(tensor.nbytes for tensor in small_brick(index).values())
    bricks = OnDemand(32, lambda number: small_brick(index, number))
    path = tmp_path / "many.amgsrn"
    tracemalloc.start()
    try:
        write_archive(path, index, bricks)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 32 * size
    assert peak < (1 << 20) + 8 * size  # making one takes a multiple of it, too
    np.testing.assert_array_equal(
        load_brick(path, 31, verify=True)["feature_grids"], bricks[31]["feature_grids"]
    )


def test_each_brick_is_asked_for_once(tmp_path):
    asked = []

    def load(number):
        asked.append(number)
        return small_brick(index, number)

    index = many_bricks(5)
    write_archive(tmp_path / "model.amgsrn", index, OnDemand(5, load))
    assert asked == [0, 1, 2, 3, 4]
    assert [path.name for path in tmp_path.iterdir()] == ["model.amgsrn"]


def test_a_model_that_memory_does_not_hold_is_asked_for_again(tmp_path, monkeypatch):
    index, asked = many_bricks(4), []
    sizes = sum(value.nbytes for value in small_brick(index).values())
    monkeypatch.setattr("amgsrn_core.model.writing._KEPT_BYTES", 2 * sizes)

    def load(number):
        asked.append(number)
        return small_brick(index, number)

    write_archive(tmp_path / "model.amgsrn", index, OnDemand(4, load))
    assert asked == [0, 1, 2, 3, 2, 3]
    assert len(load_brick(tmp_path / "model.amgsrn", 3, verify=True)) == len(small_brick(index))


def test_a_brick_that_changes_while_it_is_written_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr("amgsrn_core.model.writing._KEPT_BYTES", 0)
    index = small_index()
    histories = [np.zeros((2, 2)), np.zeros((3, 2))]

    def load(number):
        return {**small_brick(index), "history": histories.pop(0)}

    with pytest.raises(ArchiveError, match="has changed while it was written"):
        write_archive(tmp_path / "model.amgsrn", index, OnDemand(1, load))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_model_whose_bricks_cannot_be_had(tmp_path):
    def load(number):
        if number:
            raise ArchiveError("This brick is gone.")
        return small_brick(index)

    index = many_bricks(3)
    with pytest.raises(ArchiveError, match="is gone"):
        write_archive(tmp_path / "model.amgsrn", index, OnDemand(3, load))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", None])
def test_a_file_overwritten_in_place_is_refused(tmp_path, content):
    """As ``cp other.amgsrn model.amgsrn`` does it; the pages behind its new end are gone."""
    path = tmp_path / "model.amgsrn"
    write_small_model(path)
    # A process of its own: to read such a page is the end of one.
    program = f"""
from pathlib import Path
from amgsrn_core.errors import ArchiveError
from amgsrn_core.model.store import Archive

path = Path({str(path)!r})
with Archive(path) as archive:
    path.write_bytes({content!r} if {content is not None} else path.read_bytes() + b"!")
    try:
        archive.load_brick(0)
    except ArchiveError as error:
        print(error)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "overwritten since it was opened" in ended.stdout


def test_a_file_replaced_or_removed_is_read_on(tmp_path):
    path, other = tmp_path / "model.amgsrn", tmp_path / "other.amgsrn"
    write_small_model(path)
    other.write_bytes(b"something else")
    with Archive(path) as archive:
        before = archive.load_brick(0)
        os.replace(other, path)
        replaced = archive.load_brick(0)
        path.unlink()
        removed = archive.load_brick(0)
    for after in (replaced, removed):
        assert all(np.array_equal(before[name], after[name]) for name in before)
