"""One copy of each open model in a process: shared, closed when unused, and never out of date."""

from __future__ import annotations

import gc
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support.sample_models import small_brick, small_index, write_small_model, write_two_bricks

from amgsrn_core.errors import ArchiveNotFoundError, ChecksumError
from amgsrn_core.field import open_models
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.field.open_models import open_model
from amgsrn_core.kernels import load
from amgsrn_core.model import Archive, open_archive, write_archive
from amgsrn_core.rendering.occupancy import MacroCells
from amgsrn_core.system.devices import Device
from amgsrn_core.volume.volume import TimeAxis

POINTS = np.random.default_rng(0).random((50, 3)) * 5.0


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "model.amgsrn"
    write_two_bricks(path)
    return path


@pytest.fixture
def series(tmp_path) -> Path:
    path = tmp_path / "series.amgsrn"
    index = small_index()
    time = TimeAxis((0.0, 1.0, 2.0), steps=(0, 1, 2))
    index = index.replace(bricks=index.bricks * 3, time=time)
    write_archive(path, index, [small_brick(index, seed=seed) for seed in range(3)])
    return path


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Return the paths that archives are opened at, from now on."""
    paths: list[str] = []
    original = Archive.__init__

    def told(self, path):
        paths.append(os.fspath(path))
        original(self, path)

    monkeypatch.setattr(Archive, "__init__", told)
    return paths


def mapped(path: Path) -> bool:
    """Tell whether this process has a file open or in its address space."""
    names = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            names.append(os.readlink(link))
        except OSError:  # the handle of the listing itself
            continue
    return str(path) in Path("/proc/self/maps").read_text() or str(path) in names


def test_all_who_open_a_file_share_one_copy(path, tmp_path, opened):
    link = tmp_path / "link.amgsrn"
    link.symlink_to(path)
    models = [open_model(path, "cpu"), open_model(link, "cpu"), open_model(str(path), "cpu")]
    assert len({id(model.content) for model in models}) == 1
    assert open_archive(path) is open_archive(link)
    assert len(opened) == 1
    models[0].sample_index(POINTS)
    assert models[1]._bricks[0] is models[0]._bricks[0]


def test_another_backend_shares_the_file_alone(path, opened):
    one, other = open_model(path, "cpu"), open_model(path, "cpu", backend="torch", memory_limit=1)
    assert one.content is not other.content
    assert len(opened) == 1
    np.testing.assert_allclose(one.sample_index(POINTS), other.sample_index(POINTS), atol=1e-5)


def test_a_model_is_closed_with_its_last_field(path):
    gc.disable()
    try:
        model = open_model(path, "cpu")
        step = model.at(0)
        part = step.near((0, 2, 0, 2, 0, 2))
        units = part.in_units(np.zeros(1), np.ones(1))
        MacroCells.of_volume(part)
        expected = model.sample_index(POINTS)
        del model, step, part
        assert mapped(path)
        np.testing.assert_allclose(units.sample_index(POINTS), expected, atol=1e-5)
        del units
        assert not mapped(path)
    finally:
        gc.enable()


def test_a_model_opened_alone_is_closed_without_the_garbage_collector(path):
    gc.disable()
    try:
        model = NeuralVolume.open(path, "cpu")
        model.sample_index(POINTS)
        assert mapped(path)
        del model
        assert not mapped(path)
    finally:
        gc.enable()


def test_a_changed_file_is_opened_anew_and_the_old_model_stays(path, tmp_path):
    old = open_model(path, "cpu")
    other = tmp_path / "other.amgsrn"
    write_small_model(other)
    other.replace(path)
    new = open_model(path, "cpu")
    assert new.checksum != old.checksum
    assert len(new.index.bricks) == 1
    assert np.isfinite(old.sample_index(POINTS)).any()  # its bricks are read only now


def test_a_changed_time_alone_is_another_version(path):
    old = open_archive(path)
    os.utime(path, ns=(1, 1))
    assert open_archive(path) is not old


def test_a_file_that_was_removed_is_told(path):
    model = open_model(path, "cpu")
    path.unlink()
    with pytest.raises(ArchiveNotFoundError):
        open_model(path, "cpu")
    assert np.isfinite(model.sample_index(POINTS)).any()


def test_threads_that_open_at_once_get_one_copy(path, opened):
    barrier = threading.Barrier(8)

    def task(_):
        barrier.wait()
        model = open_model(path, "cpu", verify=True)
        return model, model.sample_index(POINTS)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(task, range(8)))
    assert len({id(model.content) for model, _ in results}) == 1
    assert len(opened) == 1
    for _, values in results[1:]:
        np.testing.assert_array_equal(values, results[0][1])


def test_a_step_keeps_what_was_made_of_it(series):
    model = open_model(series, "cpu")
    step = model.at(2)
    assert model.at(2)._field is step._field
    assert model.at(0)._field is not step._field
    cells = MacroCells.of_volume(step)
    assert MacroCells.of_volume(open_model(series, "cpu").at(2)) is cells
    assert MacroCells.of_volume(model.at(1)) is not cells
    box = (0, 2, 0, 2, 0, 2)
    assert step.near(box)._field is model.at(2).near(box)._field


def test_steps_that_nobody_looks_at_are_let_go_of(series):
    model = open_model(series, "cpu")
    made = []
    for step in (0, 1, 2):
        model.at(step).derived("key", lambda step=step: made.append(step))
    model.at(1).derived("key", lambda: made.append("again"))
    model.at(2).derived("key", lambda: made.append("again"))
    assert made == [0, 1, 2]  # two are kept


def test_verifying_reads_a_version_of_a_file_once(path, monkeypatch):
    read = []
    original = Archive._read_brick
    monkeypatch.setattr(
        Archive,
        "_read_brick",
        lambda self, number, verify=False: read.append(verify) or original(self, number, verify),
    )
    models = [open_model(path, "cpu", verify=True) for _ in range(3)]
    assert read == [True, True]
    assert models[0].content._bricks.held == ()


def test_verifying_finds_each_flipped_byte_and_decodes_nothing(path, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("decoded")

    monkeypatch.setattr("amgsrn_core.model.store.StoredBrick.unpack", refuse)
    with Archive(path) as archive:
        archive.verify()
    intact = path.read_bytes()
    first = 8 + int.from_bytes(intact[:8], "little")
    copy = tmp_path / "copy.amgsrn"
    shutil.copy(path, copy)
    for position in range(first, len(intact), 7):
        damaged = bytearray(intact)
        damaged[position] ^= 1 << position % 8
        copy.write_bytes(damaged)
        with Archive(copy) as archive, pytest.raises(ChecksumError, match=r"the bytes of brick \d"):
            archive.verify()


@pytest.mark.parametrize(
    ("asked", "device"),
    [
        ({"sampling": "cached"}, "cpu"),
        ({"sampling": "exact"}, "meta"),
        ({"sampling": "cached", "device": "meta"}, "meta"),
        ({"sampling": "cached", "backend": "torch"}, "meta"),
    ],
)
def test_decoded_blocks_are_made_by_the_kernels_beside_a_gpu(path, monkeypatch, asked, device):
    def chosen(name):
        return Device("meta" if str(name) == "auto" else str(name))

    monkeypatch.setattr(open_models, "chosen_device", chosen)
    if load() is None:
        pytest.skip("the kernels are not built")
    assert str(open_model(path, **asked).device) == device
