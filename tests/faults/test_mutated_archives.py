"""Damaged model files of every kind are used or refused in a sentence, whatever the damage.

`fuzz_archives.py` beside this does the same with any number of files, in processes of their own.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.archive_mutations import _Parts as Parts
from support.archive_mutations import intact_models, mutation, use

from amgsrn_core import NeuralVolume
from amgsrn_core.errors import ArchiveError
from amgsrn_core.model import read_index

FUZZ = Path(__file__).with_name("fuzz_archives.py")


@pytest.fixture(scope="module")
def intact(tmp_path_factory) -> dict[str, bytes]:
    return intact_models(tmp_path_factory.mktemp("models"))


def test_intact_files_are_used_without_complaint(tmp_path, intact):
    path = tmp_path / "model.amgsrn"
    for kind, data in intact.items():
        path.write_bytes(data)
        assert not use(path), kind
        path.write_bytes(Parts.of(data).bytes())  # taken apart and put together
        assert not use(path), kind


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numbers that overflow are none
def test_damaged_files_are_used_or_refused(tmp_path, intact):
    path = tmp_path / "model.amgsrn"
    used = 0
    for number in range(400):
        kind, data = mutation(intact, 20, number)
        path.write_bytes(data)
        try:
            used += not use(path)
        except Exception as error:
            raise AssertionError(f"mutation {number} of seed 20, {kind}") from error
    assert 10 < used < 200  # damage that changes no meaning, or only a value


def changed(data: bytes, change) -> bytes:
    parts = Parts.of(data)
    parts.index = copy.deepcopy(parts.index)
    change(parts.index)
    return parts.bytes()


def axis(**values):
    return lambda index: index["geometry"]["axes"][0].update(values)


def direction(value):
    return lambda index: index["geometry"]["direction"][0].__setitem__(0, value)


CLAIMS = {
    "an endless axis": (axis(coordinates=[-1.7e308, 0, 1, 2, 3, 1.7e308]), "finite size"),
    "a number of 400 digits in the direction": (direction(10**400), "damaged"),
    "an endless direction": (direction(1e308), "finite size"),
    "a number of 400 digits in the network": (
        lambda index: index["network"].update(width=10**400),
        "width must be at most 1024, not a number of hundreds of digits",
    ),
    "a range whose squares are endless": (
        lambda index: index.update(value_maximum=[1e155]),
        "finite range",
    ),
    "a range that is too long": (
        lambda index: index.update(value_minimum=[-1.7e308], value_maximum=[1.7e308]),
        "finite range",
    ),
    "a volume that its bricks do not fill": (axis(size=1_000_000), "336 voxels, .* 56,000,000"),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("change", "words"), CLAIMS.values(), ids=CLAIMS)
def test_impossible_claims_are_refused(tmp_path, intact, change, words):
    path = tmp_path / "model.amgsrn"
    path.write_bytes(changed(intact["plain"], change))
    with pytest.raises(ArchiveError, match=words) as caught:
        NeuralVolume.open(path, "cpu")
    assert str(path) in str(caught.value) and str(caught.value).endswith(".")
    assert use(path)


@pytest.mark.parametrize("limit", [1e39, 1e139])
def test_ranges_beyond_float32_are_used(tmp_path, intact, limit):
    path = tmp_path / "model.amgsrn"
    for kind in ("plain", "imported"):
        change = {"value_minimum": [-limit], "value_maximum": [limit]}
        path.write_bytes(changed(intact[kind], lambda index: index.update(change)))  # noqa: B023
        assert use(path) == []


def stretched(index):
    index["geometry"]["direction"][2] = [2.0**32] * 3


def test_a_direction_that_stretches_a_volume_is_drawn(tmp_path, intact):
    path = tmp_path / "model.amgsrn"
    for kind in ("plain", "imported"):  # drawn by the kernels, where they are built, and by PyTorch
        path.write_bytes(changed(intact[kind], stretched))
        assert use(path) == []  # a ray's step follows the voxels along it


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_numbers_that_are_not_finite_are_no_json(tmp_path, intact, text):
    parts = Parts.of(intact["plain"])
    parts.index["training"]["config"]["loss"] = "HERE"
    parts.literal = json.dumps(parts.index).replace('"HERE"', text)
    path = tmp_path / "model.amgsrn"
    path.write_bytes(parts.bytes())
    with pytest.raises(ArchiveError, match="not JSON"):
        read_index(path)


def test_files_are_damaged_in_processes_of_their_own(tmp_path):
    command = [sys.executable, FUZZ, "--count", "12", "--processes", "2", "--keep", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("12 files in")
    assert not list(tmp_path.iterdir())


def test_what_takes_too_much_memory_is_kept_and_named(tmp_path):
    # None at all: whatever the first file is, it takes too much.
    command = [sys.executable, FUZZ, "--count", "1", "--memory", "0", "--keep", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "1 failures" in done.stdout
    (note,) = tmp_path.glob("*.txt")
    assert note.with_suffix(".amgsrn").exists() and str(note) in done.stdout
