"""A series that grows has all its steps at any moment, and none of them is written twice."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from support.sample_models import small_brick, small_index

from amgsrn_core.errors import ArchiveError, OutputError
from amgsrn_core.model import (
    Archive,
    ModelIndex,
    add_step,
    archive_bytes,
    make_whole,
    read_index,
    verify_archive,
    write_archive,
)
from amgsrn_core.model.step_files import StepFile, steps_folder
from amgsrn_core.model.writing import write_index
from amgsrn_core.volume import TimeAxis

BRICKS = 2


def brick(step: int, number: int) -> dict[str, np.ndarray]:
    tensors = small_brick(small_index(), mask=number == 1)
    return {name: t + step if name == "feature_grids" else t for name, t in tensors.items()}


def index_of(path: Path, steps: int) -> ModelIndex:
    """Return the index of a series of so many steps, those that are there as they are."""
    index = small_index()
    one = index.bricks * BRICKS
    known = read_index(path).bricks if steps > 1 else ()
    time = TimeAxis(tuple(map(float, range(steps))), steps=tuple(range(steps)))
    return index.replace(bricks=(*known, *one), time=time)


def grow(path: Path, steps: int) -> int:
    """Put the last of so many steps into a series."""
    bricks = [brick(steps - 1, number) for number in range(BRICKS)]
    return add_step(path, index_of(path, steps), bricks)


def check(archive: Archive, steps: int) -> None:
    assert archive.index.steps == steps
    archive.verify()
    for number in range(BRICKS * steps):
        step, each = divmod(number, BRICKS)
        found = archive.load_brick(number)
        for name, tensor in brick(step, each).items():
            np.testing.assert_array_equal(found[name], tensor)


def inodes(folder: Path) -> dict[int, int]:
    """Return the sizes of all files below a folder, by what tells them from others."""
    about = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return {each.st_ino: each.st_size for each in about}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.amgsrn"


def test_each_step_is_written_once_and_every_reader_keeps_what_it_has(path):
    with contextlib.ExitStack() as stack:
        readers, written = [], []
        for steps in range(1, 7):
            before = inodes(path.parent)
            size = grow(path, steps)
            after = inodes(path.parent)
            written.append(sum(after[each] for each in after.keys() - before.keys()))
            assert size < written[-1] or steps == 1
            readers.append(stack.enter_context(Archive(path)))
            for number, reader in enumerate(readers, start=1):
                check(reader, number)
        # A step's own bytes, and an index that grows by two records.
        assert max(written) < 1.5 * written[1] < sum(after.values()) / 2
        assert archive_bytes(path) == sum(after.values())
        make_whole(path)
        assert list(path.parent.iterdir()) == [path]
        assert archive_bytes(path) == path.stat().st_size
        for number, reader in enumerate(readers, start=1):
            check(reader, number)  # from the file that took their place
        assert verify_archive(path).steps == 6
        # And it grows again.
        grow(path, 7)
        for number, reader in enumerate([*readers, stack.enter_context(Archive(path))], start=1):
            check(reader, number)


def test_whenever_it_is_killed_all_steps_before_are_there(path, monkeypatch):
    """Each rename and link, and the making of each file, fails once."""
    real = {name: getattr(os, name) for name in ("replace", "link", "fsync")}
    left = 0

    def limited(name):
        def call(*arguments, **options):
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return real[name](*arguments, **options)

        return call

    for name in real:
        monkeypatch.setattr(os, name, limited(name))
    moments = 0
    for steps in range(1, 4):
        for left_at_first in range(100):
            left = left_at_first
            with contextlib.suppress(KeyboardInterrupt):
                grow(path, steps)
                break
            moments += 1
            if steps > 1:
                with Archive(path) as archive:
                    known = archive.index.steps
                    check(archive, known)
                    assert known in (steps - 1, steps)
                if known == steps:
                    break
            elif path.exists():
                check(Archive(path), 1)
                break
    for left_at_first in range(100):
        left = left_at_first
        with contextlib.suppress(KeyboardInterrupt):
            make_whole(path)
            break
        moments += 1
        with Archive(path) as archive:
            check(archive, 3)
    assert moments > 8
    assert list(path.parent.iterdir()) == [path]


def test_a_disk_without_links_has_a_copy(path, monkeypatch):
    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", refused)
    for steps in (1, 2, 3):
        grow(path, steps)
    with Archive(path) as archive:
        check(archive, 3)


def test_a_series_without_what_is_beside_it_is_refused(path):
    for steps in (1, 2, 3):
        grow(path, steps)
    folder = steps_folder(path)
    last = sorted(folder.iterdir())[0]
    content = last.read_bytes()
    other = small_index().replace(bricks=small_index().bricks * BRICKS)
    write_archive(last, other, [brick(9, number) for number in range(BRICKS)])
    for _ in range(2):
        with Archive(path) as archive:
            archive.load_brick(0)
            with pytest.raises(ArchiveError, match=r"that grows, and .*step-000001"):
                archive.load_brick(BRICKS)
        last.unlink(missing_ok=True)
    with pytest.raises(OutputError, match="Cannot write"):
        steps_folder(path).rename(path.with_name("elsewhere"))
        grow(path, 4)
    path.with_name("elsewhere").rename(folder)
    last.write_bytes(content)
    with Archive(path) as archive:
        check(archive, 3)


@pytest.mark.parametrize(
    "files",
    [
        [["../run.amgsrn", 1]],
        [["a.steps/../../b.amgsrn", 1]],
        [["/tmp/a.steps/b.amgsrn", 1]],
        [["a.steps/b.amgsrn", 2]],
        [["a.steps/b.amgsrn", True]],
        [["a.steps/b.amgsrn"]],
        {"a": 1},
        "text",
    ],
)
def test_damaged_lists_of_files_are_refused(path, files, monkeypatch):
    index = small_index()
    monkeypatch.setattr("amgsrn_core.model.writing.steps_to_text", lambda _: json.dumps(files))
    write_index(path, index, [StepFile("a.steps/b.amgsrn", 1)])
    with pytest.raises(ArchiveError, match="its list of files"):
        Archive(path)
