"""Damaged, foreign and newer model files end in one clear sentence, never in a wrong model."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from support.sample_models import small_brick, small_index, write_small_model
from support.small_disk import mounted

from amgsrn_core.errors import (
    ArchiveError,
    ArchiveNotFoundError,
    ArchiveVersionError,
    ChecksumError,
    OutputError,
)
from amgsrn_core.model import Archive, load_brick, read_index, verify_archive, write_archive
from amgsrn_core.model.store import sha256_of_text

THOROUGH = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def intact(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "model.amgsrn"
    write_small_model(path, mask=True)
    return path.read_bytes()


def assert_clear(error: Exception, path: Path) -> None:
    text = str(error)
    assert str(path) in text
    assert text.endswith(".")
    assert "\n" not in text
    assert "Traceback" not in text


@THOROUGH
@given(data=st.data())
def test_a_truncated_file_is_refused_on_opening(tmp_path, intact, data):
    path = tmp_path / "model.amgsrn"
    path.write_bytes(intact[: data.draw(st.integers(0, len(intact) - 1))])
    with pytest.raises(ArchiveError) as caught:
        read_index(path)
    assert_clear(caught.value, path)


@THOROUGH
@given(data=st.data())
def test_any_changed_byte_is_noticed(tmp_path, intact, data):
    path = tmp_path / "model.amgsrn"
    position = data.draw(st.integers(0, len(intact) - 1))
    mask = data.draw(st.integers(1, 255))
    damaged = bytearray(intact)
    damaged[position] ^= mask
    path.write_bytes(damaged)
    with pytest.raises(ArchiveError) as caught:
        verify_archive(path)
    assert_clear(caught.value, path)


@THOROUGH
@given(position=st.integers(0, 5000), junk=st.binary(min_size=1, max_size=40))
@example(position=0, junk=b"\xff" * 8)
def test_overwritten_stretches_never_crash_the_reader(tmp_path, intact, position, junk):
    path = tmp_path / "model.amgsrn"
    damaged = bytearray(intact)
    damaged[position : position + len(junk)] = junk
    path.write_bytes(damaged)
    if bytes(damaged) == intact:
        return
    with pytest.raises(ArchiveError):
        verify_archive(path)


@pytest.mark.parametrize("name", ["a" * n for n in range(1, 9)])
def test_a_change_in_the_headers_padding_is_noticed(tmp_path, name):
    path = tmp_path / "model.amgsrn"
    index = small_index().replace(name=name)
    write_archive(path, index, [small_brick(index)])
    intact = path.read_bytes()
    end = 8 + struct.unpack("<Q", intact[:8])[0]
    for position in range(end - 8, end):
        for replacement in (b" ", b"\t", b"\n"):
            damaged = intact[:position] + replacement + intact[position + 1 :]
            if damaged == intact:
                continue
            path.write_bytes(damaged)
            with pytest.raises(ArchiveError):
                verify_archive(path)


def test_appended_bytes_are_noticed(tmp_path, intact):
    path = tmp_path / "model.amgsrn"
    path.write_bytes(intact + b"\0")
    with pytest.raises(ArchiveError, match="only a part"):
        read_index(path)


def test_a_changed_weight_is_a_checksum_error(tmp_path, intact):
    path = tmp_path / "model.amgsrn"
    header = struct.unpack("<Q", intact[:8])[0]
    damaged = bytearray(intact)
    damaged[8 + header + 100] ^= 1
    path.write_bytes(damaged)
    assert load_brick(path, 0)  # not noticed without being asked: reading stays quick
    with pytest.raises(ChecksumError, match="brick 0"):
        load_brick(path, 0, verify=True)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"PK\x03\x04" + b"\0" * 200, b"CDF\x01" + b"\0" * 4000, b"<VTKFile>" * 50],
    ids=["empty", "one byte", "zip", "netcdf", "xml"],
)
def test_foreign_files_are_refused(tmp_path, content):
    path = tmp_path / "model.amgsrn"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="not a model file") as caught:
        read_index(path)
    assert_clear(caught.value, path)


def test_another_programs_safetensors_are_refused(tmp_path):
    path = tmp_path / "model.amgsrn"
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": np.zeros((2, 2), "f4")}, str(path), metadata=metadata)
        with pytest.raises(ArchiveError, match="not one that amgsrn wrote") as caught:
            read_index(path)
        assert_clear(caught.value, path)


def test_a_missing_file_is_a_file_not_found_error(tmp_path):
    path = tmp_path / "model.amgsrn"
    with pytest.raises(FileNotFoundError) as caught:
        read_index(path)
    assert isinstance(caught.value, ArchiveNotFoundError)
    assert_clear(caught.value, path)


def test_folders_and_pipes_are_refused_without_waiting(tmp_path):
    pipe = tmp_path / "pipe.amgsrn"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe):
        with pytest.raises(ArchiveError, match="not a file"):
            read_index(path)


def rewrite(path: Path, change, *, tensors=None) -> None:
    """Write a model whose index was changed by somebody who can compute checksums."""
    index = small_index()
    brick = small_brick(index)
    written = write_archive(path, index, [brick])
    values = written.to_json()
    change(values)
    text = json.dumps(values)
    stored = {f"bricks/0/{name}": tensor for name, tensor in (tensors or brick).items()}
    metadata = {"amgsrn": text, "amgsrn_sha256": sha256_of_text(text)}
    save_file(stored, str(path), metadata=metadata)


def test_a_newer_major_version_is_refused_and_says_what_to_do(tmp_path):
    path = tmp_path / "model.amgsrn"
    rewrite(path, lambda values: values.update(version=[2, 0], network={"new": 1}))
    with pytest.raises(ArchiveVersionError, match=r"version 2\.0.*newer amgsrn") as caught:
        read_index(path)
    assert_clear(caught.value, path)


def test_a_newer_minor_version_is_read(tmp_path):
    path = tmp_path / "model.amgsrn"

    def change(values):
        values.update(version=[1, 7], novelty={"a": 1})
        values["bricks"][0]["novelty"] = 2

    rewrite(path, change)
    assert verify_archive(path).version == (1, 7)


def set_in(*keys, value):
    def change(values):
        for key in keys[:-1]:
            values = values[key]
        values[keys[-1]] = value

    return change


CONTRADICTIONS = {
    "no name": lambda values: values.pop("name"),
    "name is a number": set_in("name", value=3),
    "no components": set_in("components", value=[]),
    "too many units": set_in("units", value=["a", "b"]),
    "range is upside down": set_in("value_minimum", value=[11.0]),
    "range is infinite": set_in("value_maximum", value=["inf"]),
    "no bricks": set_in("bricks", value=[]),
    "bricks is a text": set_in("bricks", value="abc"),
    "brick outside the volume": set_in("bricks", 0, "extent", value=[0, 6, 0, 7, 0, 9]),
    "brick inside out": set_in("bricks", 0, "extent", value=[6, 0, 0, 7, 0, 8]),
    "core outside ghosted": set_in("bricks", 0, "ghosted", value=[1, 6, 0, 7, 0, 8]),
    "domain outside the volume": set_in("bricks", 0, "domain", value=[0, 5, 0, 6, 0, 7.5]),
    "domain inside out": set_in("bricks", 0, "domain", value=[0, 5, 6, 0, 0, 7]),
    "domain of five": set_in("bricks", 0, "domain", value=[0, 5, 0, 6, 0]),
    "extent of five": set_in("bricks", 0, "extent", value=[0, 6, 0, 7, 0]),
    "two bricks of one": lambda values: values["bricks"].append(values["bricks"][0]),
    "mask promised": set_in("bricks", 0, "masked", value=True),
    "huge axis": set_in("geometry", "axes", 0, "size", value=2**31),
    "endless axis": set_in("geometry", "axes", 0, "size", value=10**400),
    "axis without size": lambda values: values["geometry"]["axes"][0].pop("size"),
    "two axes": lambda values: values["geometry"]["axes"].pop(),
    "no geometry": set_in("geometry", value=None),
    "singular direction": set_in("geometry", "direction", value=[[0, 0, 0]] * 3),
    "other grids": set_in("network", "grids", value=3),
    "huge grids": set_in("network", "grid_shape", value=[1024, 1024, 1024]),
    "fractional layers": set_in("network", "layers", value=2.5),
    "flat grid": set_in("network", "grid_shape", value=[3, 4]),
    "unknown network option": set_in("network", "kind", value="hash"),
    "other network width": set_in("network", "width", value=9),
    "unknown storage": set_in("storage", "dtype", value="int4"),
    "history of three columns": set_in("history_columns", value=["a", "b", "c"]),
    "not an object": set_in("source", value=[]),
    "time beyond its axis": set_in(
        "time", value={"values": [0.0], "units": "", "calendar": "", "index": 1, "name": "t"}
    ),
}


@pytest.mark.parametrize("change", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_an_index_that_contradicts_itself_or_the_tensors_is_refused(tmp_path, change):
    path = tmp_path / "model.amgsrn"
    rewrite(path, change)
    with pytest.raises(ArchiveError) as caught, Archive(path) as archive:
        for number in range(len(archive.index.bricks)):
            archive.load_brick(number)
    assert_clear(caught.value, path)


def test_a_deeply_nested_index_is_refused(tmp_path):
    path = tmp_path / "model.amgsrn"
    text = "[" * 100_000
    metadata = {"amgsrn": text, "amgsrn_sha256": sha256_of_text(text)}
    save_file({"a": np.zeros(1)}, str(path), metadata=metadata)
    with pytest.raises(ArchiveError, match="not JSON"):
        read_index(path)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    path = tmp_path / "model.amgsrn"
    brick = small_brick(small_index())
    brick["decoder.1.weight"][0, 0] = np.nan
    rewrite(path, lambda values: None, tensors=brick)
    with pytest.raises(ArchiveError, match="not finite"):
        load_brick(path, 0)


def test_a_mask_that_unpacks_to_too_much_is_refused(tmp_path):
    import zlib

    path = tmp_path / "model.amgsrn"
    bomb = np.frombuffer(zlib.compress(b"\0" * 10_000_000), np.uint8)
    tensors = {**small_brick(small_index()), "mask": bomb}
    rewrite(path, set_in("bricks", 0, "masked", value=True), tensors=tensors)
    with pytest.raises(ArchiveError, match="wrong number of voxels in its mask"):
        load_brick(path, 0)


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of 64 KiB, where the super-user may."""
    with mounted(tmp_path / "disk", "64k") as folder:
        yield folder


def test_a_full_disk_is_reported_and_the_old_model_survives(small_disk):
    path = small_disk / "model.amgsrn"
    write_small_model(path)
    before = path.read_bytes()
    index = small_index()
    brick = {**small_brick(index), "history": np.zeros((20_000, 2))}
    with pytest.raises(OutputError, match="disk is full") as caught:
        write_archive(path, index, [brick])
    assert isinstance(caught.value, OSError)
    assert path.read_bytes() == before
    assert os.listdir(small_disk) == ["model.amgsrn"]


def test_a_pipe_is_not_replaced(tmp_path):
    path = tmp_path / "pipe.amgsrn"
    os.mkfifo(path)
    with pytest.raises(OutputError, match="not a file"):
        write_small_model(path)
    assert path.is_fifo()
