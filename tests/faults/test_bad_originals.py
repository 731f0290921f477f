"""Folders of the original that cannot be imported: a sentence that says why, and nothing runs."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from support.original_models import (
    OPTIONS,
    adaptive_tensors,
    write_ensemble,
    write_options,
    write_original,
)

from amgsrn_core.cli import main
from amgsrn_core.errors import ArchiveError
from amgsrn_core.original import import_model
from amgsrn_core.original.checkpoint import read_checkpoint


def complaint(folder, capsys) -> str:
    """Import a folder in vain and return the sentence."""
    output = folder.parent / "out.amgsrn"
    assert main(["import", str(folder), "-o", str(output)]) == 1
    assert not output.exists()
    text = capsys.readouterr().err
    assert (
        text.count("\n") == 1 and "Traceback" not in text and "mistake in the program" not in text
    )
    return text


def repacked(path, pickled: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    """Put another pickle into a checkpoint."""
    with zipfile.ZipFile(path) as file:
        content = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in content.items():
            file.writestr(name, pickled if name.endswith("/data.pkl") else data)


class Command:
    """Unpickling this makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_malicious_checkpoint_runs_nothing(tmp_path, capsys, protocol):
    folder = write_original(tmp_path / "a", adaptive_tensors(OPTIONS))
    mark = tmp_path / "executed"
    attack = pickle.dumps({"state_dict": Command(mark)}, protocol)
    repacked(folder / "model.ckpt.tar", attack)
    assert "mkdir" in complaint(folder, capsys)
    assert not mark.exists()
    pickle.loads(attack)  # it would have worked
    assert mark.exists()


class Getter:
    """Unpickling this reaches for an attribute of an admitted class."""

    def __reduce__(self):
        return getattr, (OrderedDict, "fromkeys")


@pytest.mark.parametrize("name", ["OrderedDict.fromkeys", "_sys", "namedtuple"])
def test_nothing_is_reached_through_admitted_modules(tmp_path, name):
    folder = write_original(tmp_path / "a", adaptive_tensors(OPTIONS))
    text = name.encode()
    attack = b"\x80\x04\x8c\x0bcollections\x8c" + bytes([len(text)]) + text + b"\x93."
    repacked(folder / "model.ckpt.tar", attack)
    with pytest.raises(ArchiveError, match="only tensors"):
        read_checkpoint(folder / "model.ckpt.tar")


def test_objects_are_refused(tmp_path):
    folder = write_original(tmp_path / "a", adaptive_tensors(OPTIONS))
    repacked(folder / "model.ckpt.tar", pickle.dumps({"state_dict": Getter()}, 4))
    with pytest.raises(ArchiveError, match="only tensors"):
        read_checkpoint(folder / "model.ckpt.tar")


def test_a_view_cannot_reach_beyond_its_storage(tmp_path):
    path = tmp_path / "a" / "model.ckpt.tar"
    write_original(tmp_path / "a", {"x": torch.arange(6.0)})
    with zipfile.ZipFile(path) as file:
        (name,) = [n for n in file.namelist() if n.endswith("/data.pkl")]
        text = file.read(name)
    # The shape and the stride of a tensor: (6,) and (1,).
    assert text.count(b"K\x06\x85") == 1
    for shape in (b"K\x07\x85", b"J\xff\xff\xff\x7f\x85"):
        repacked(path, text.replace(b"K\x06\x85", shape))
        with pytest.raises(ArchiveError):
            read_checkpoint(path)


def test_what_unfolds_on_reading_is_refused(tmp_path, capsys):
    folder = write_original(tmp_path / "a", adaptive_tensors(OPTIONS))
    path = folder / "model.ckpt.tar"
    with zipfile.ZipFile(path) as file:
        (name,) = [n for n in file.namelist() if n.endswith("/data.pkl")]
        text = file.read(name)
    repacked(path, text, zipfile.ZIP_DEFLATED)
    assert "not as PyTorch writes it" in complaint(folder, capsys)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_checkpoint(tmp_path, capsys, share):
    folder = write_original(tmp_path / "a", adaptive_tensors(OPTIONS))
    path = folder / "model.ckpt.tar"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "damaged" in complaint(folder, capsys)


def test_garbage_instead_of_a_pickle(tmp_path, capsys):
    folder = write_original(tmp_path / "a", adaptive_tensors(OPTIONS))
    random = np.random.default_rng(0)
    for _ in range(20):
        repacked(folder / "model.ckpt.tar", random.bytes(60))
        complaint(folder, capsys)


def test_a_missing_folder_and_a_missing_checkpoint(tmp_path, capsys):
    assert "options.json" in complaint(tmp_path / "none", capsys)
    write_options(tmp_path / "a")
    assert "model.ckpt.tar" in complaint(tmp_path / "a", capsys)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data_min": ...}, "data_min"),
        ({"full_shape": ...}, "full_shape"),
        ({"full_shape": [6, 7]}, "full_shape"),
        ({"full_shape": [6, 7, 1]}, "full_shape"),
        ({"full_shape": [6, 7, 10**12]}, "full_shape"),
        ({"data_min": 7.0}, "data_min"),
        ({"data_min": float("nan")}, "data_min"),
        ({"data_max": "high"}, "data_max"),
        ({"feature_grid_shape": "3,4"}, "feature_grid_shape"),
        ({"feature_grid_shape": "3,4,__import__('os')"}, "feature_grid_shape"),
        ({"feature_grid_shape": "3,4,6"}, "[3, 2, 3, 4, 6]"),
        ({"n_grids": 4}, "8 inputs"),
        ({"n_grids": 10**9}, "grids"),
        ({"n_layers": 3}, "decoder.2.linear.weight"),
        ({"nodes_per_layer": 32}, "decoder.0.weight"),
        ({"n_features": True}, "n_features"),
        ({"use_bias": True}, "use_bias"),
        ({"n_dims": 2}, "n_dims"),
        ({"align_corners": False}, "align_corners"),
        ({"n_timesteps": 5}, "n_timesteps"),
    ],
    ids=str,
)
def test_options_that_contradict_the_checkpoint(tmp_path, capsys, change, words):
    folder = write_original(tmp_path / "a", adaptive_tensors(OPTIONS), **change)
    assert words in complaint(folder, capsys)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder.feature_grids": None}, "not supported"),
        ({"encoder.transformation_matrices": None}, "transformation_matrices"),
        ({"decoder.2.weight": None}, "decoder.2.weight"),
        ({"decoder.0.linear.bias": torch.zeros(16)}, "decoder.0.linear.bias"),
        ({"time_grids": torch.zeros(3)}, "time_grids"),
        ({"decoder.2.weight": torch.full((1, 16), torch.nan)}, "not finite"),
        ({"encoder.transformation_matrices": torch.zeros(3, 2, 2)}, "4 x 4"),
    ],
    ids=lambda value: str(list(value)) if isinstance(value, dict) else "",
)
def test_tensors_that_are_missing_or_unknown(tmp_path, capsys, change, words):
    tensors = {**adaptive_tensors(OPTIONS), **change}
    tensors = {name: value for name, value in tensors.items() if value is not None}
    assert words in complaint(write_original(tmp_path / "a", tensors), capsys)


def test_hash_tables_of_another_size(tmp_path, capsys):
    folder = write_original(tmp_path / "a", {"model.params": torch.zeros(1000)}, model="NGP")
    assert "'model.params' has 1000" in complaint(folder, capsys)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1', "\udcff"])
def test_options_that_are_not_json(tmp_path, capsys, text):
    folder = write_original(tmp_path / "a", adaptive_tensors(OPTIONS))
    (folder / "options.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "options.json" in complaint(folder, capsys)


@pytest.mark.parametrize(
    ("extents", "words"),
    [
        ([], "no folder of a brick"),
        ([(0, 5, 0, 7, 0, 8)], "reach from 0 to 5"),
        ([(0, 3, 0, 7, 0, 8), (4, 6, 0, 7, 0, 8)], "gap"),
        ([(0, 6, 0, 7, 0, 8), (2, 5, 0, 7, 0, 8)], "contain each other"),
        ([(0, 4, 0, 4, 0, 8), (0, 4, 3, 7, 0, 8), (3, 6, 0, 4, 0, 8)], "3,6,3,7,0,8"),
        ([(0, 7, 0, 7, 0, 8)], "reach from 0 to 7"),
    ],
    ids=str,
)
def test_bricks_that_do_not_tile_the_volume(tmp_path, capsys, extents, words):
    assert words in complaint(write_ensemble(tmp_path / "e", extents, (6, 7, 8)), capsys)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"extents": None}, "extents"),
        ({"extents": "0,5,0,7"}, "extents"),
        ({"extents": "1,6,0,7,0,8"}, "same extents"),
        ({"full_shape": [4, 7, 8]}, "full_shape"),
        ({"n_features": 1}, "shape"),
    ],
    ids=str,
)
def test_bricks_with_wrong_options(tmp_path, capsys, change, words):
    folder = write_ensemble(tmp_path / "e", [(0, 5, 0, 7, 0, 8), (1, 6, 0, 7, 0, 8)], (6, 7, 8))
    path = folder / "0,5,0,7,0,8" / "options.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert words in complaint(folder, capsys)


def test_bricks_of_different_sizes(tmp_path):
    folder = write_ensemble(tmp_path / "e", [(0, 5, 0, 7, 0, 8), (1, 6, 0, 7, 0, 8)], (6, 7, 8))
    brick = folder / "0,5,0,7,0,8"
    options = {"n_grids": 2, "extents": "0,5,0,7,0,8", "full_shape": [5, 7, 8]}
    write_original(brick, adaptive_tensors({**OPTIONS, "n_grids": 2}), **options)
    with pytest.raises(ArchiveError, match="differs between its bricks"):
        import_model(folder)


def test_a_volume_option_without_a_volume(tmp_path, capsys):
    folder = write_original(tmp_path / "a", adaptive_tensors(OPTIONS))
    arguments = ["import", str(folder), "-o", str(tmp_path / "o.amgsrn"), "--variable", "u"]
    assert main(arguments) == 1
    assert "--volume" in capsys.readouterr().err
