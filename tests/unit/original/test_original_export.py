"""Exported models come back exactly as they were."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from support.original_models import write_ensemble
from support.paths import SHARED
from support.sample_models import small_brick, small_index, write_small_model

from amgsrn_core.cli import main
from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import ArchiveError, OutputError
from amgsrn_core.model import BrickRecord, ModelIndex, load_brick, read_index, write_archive
from amgsrn_core.original import export_model, import_model
from amgsrn_core.original.checkpoint import read_checkpoint

REFERENCE = SHARED / "reference" / "upstream_models"

needs_reference = pytest.mark.skipif(
    not REFERENCE.exists(), reason="the original's trained models are not here"
)

NETWORKS = [
    NetworkConfig(grids=2, grid_shape=(3, 4, 5), layers=1, width=8),
    NetworkConfig(encoder="dense", grids=1, grid_shape=(3, 4, 5), positional_terms=3, width=16),
    NetworkConfig(
        encoder="hash",
        grids=3,
        features=4,
        width=16,
        hash_log2_size=6,
        hash_base_resolution=3,
        hash_max_resolution=9,
    ),
]


def assert_same(
    first: tuple[ModelIndex, list], second: tuple[ModelIndex, list], names: tuple[str, ...] = ()
) -> None:
    """Compare what two models compute, and the fields `names` of their indices."""
    for name in ("dims", "value_minimum", "value_maximum", *names):
        assert getattr(first[0], name) == getattr(second[0], name)
    for a, b in zip(first[0].bricks, second[0].bricks):
        assert (a.extent, a.ghosted) == (b.extent, b.ghosted)
        assert first[0].value_range(a) == second[0].value_range(b)
    assert len(first[1]) == len(second[1])
    for a, b in zip(*(bricks for _, bricks in (first, second))):
        assert {"feature_grids", "transforms", "decoder.0.weight"} <= b.keys()
        for parameter, value in b.items():
            assert np.array_equal(a[parameter], value), parameter


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.encoder)
@pytest.mark.parametrize("components", [("p",), ("u", "v", "w")], ids=len)
def test_a_model_comes_back(tmp_path, network, components):
    index = small_index(network=network, components=components)
    low, high = (-1.5, 0.1, 2.0)[: len(components)], (1 / 3, 7.0, 8.0)[: len(components)]
    index = index.replace(value_minimum=low, value_maximum=high)
    state = small_brick(index)
    if network.encoder != "adaptive":
        state["transforms"] = state["transforms"][:1]
    write_archive(tmp_path / "m.amgsrn", index, [state])
    assert main(["export", str(tmp_path / "m.amgsrn"), str(tmp_path / "m")]) == 0
    back = import_model(tmp_path / "m")
    assert_same((index, [state]), back)
    assert back[0].network == network


@needs_reference
@pytest.mark.parametrize("name", ["apm_s64_small", "fvsrn_s64", "apm_ens221"])
def test_the_originals_models_come_back_with_all_their_tensors_and_options(name, tmp_path):
    first = import_model(REFERENCE / name)
    write_archive(tmp_path / "m.amgsrn", *first)
    export_model(tmp_path / "m.amgsrn", tmp_path / name)
    assert_same(first, import_model(tmp_path / name), ("network", "name", "source"))
    folders = [path.parent for path in (REFERENCE / name).rglob("model.ckpt.tar")]
    assert len(folders) in (1, 4)
    for folder in folders:
        mine = tmp_path / name / folder.relative_to(REFERENCE / name)
        expected = read_checkpoint(folder / "model.ckpt.tar")
        found = read_checkpoint(mine / "model.ckpt.tar")
        assert list(found) == list(expected)
        assert all(np.array_equal(found[key], expected[key]) for key in expected)
        # PyTorch's own safe loader reads it, too.
        torch.load(mine / "model.ckpt.tar", weights_only=True)
        options = [json.loads((where / "options.json").read_text()) for where in (folder, mine)]
        changed = {key for key in options[0] if options[0][key] != options[1].get(key)}
        # The devices are those of the ensemble as a whole; a dense grid is one.
        assert changed <= {"device", "data_device", "n_grids"}


def test_bricks_come_back(tmp_path):
    extents = [(*z, *y, 0, 8) for z in ((0, 5), (1, 6)) for y in ((0, 4), (1, 6), (4, 7))]
    first = import_model(write_ensemble(tmp_path / "e", extents, (6, 7, 8)))
    write_archive(tmp_path / "e.amgsrn", *first)
    export_model(tmp_path / "e.amgsrn", tmp_path / "again")
    assert_same(first, import_model(tmp_path / "again"))
    options = json.loads((tmp_path / "again" / "1,6,4,7,0,8" / "options.json").read_text())
    assert options["grid_index"] == "1,2,0"
    parent = json.loads((tmp_path / "again" / "options.json").read_text())
    assert (parent["ensemble_grid"], parent["ensemble"]) == ("2,3,1", True)


def two_bricks(**changes) -> ModelIndex:
    y, x = slice(0, 7), slice(0, 8)
    other = {"state": "network", **changes}
    bricks = (
        BrickRecord((slice(0, 3), y, x), (slice(0, 5), y, x)),
        BrickRecord((slice(3, 6), y, x), (slice(1, 6), y, x), **other),
    )
    return small_index().replace(bricks=bricks)


def test_a_constant_brick_becomes_a_network_that_says_so(tmp_path):
    index = two_bricks(state="constant", value_minimum=(3.0,), value_maximum=(3.0,))
    write_archive(tmp_path / "m.amgsrn", index, [small_brick(index), {}])
    export_model(tmp_path / "m.amgsrn", tmp_path / "m")
    back, states = import_model(tmp_path / "m")
    assert back.value_range(back.bricks[1]) == ((3.0,), (3.0,))
    assert not states[1]["decoder.0.weight"].any()


def test_a_hole_is_not_exported(tmp_path):
    index = two_bricks(state="missing")
    write_archive(tmp_path / "m.amgsrn", index, [small_brick(index), {}])
    with pytest.raises(ArchiveError, match="Brick 1"):
        export_model(tmp_path / "m.amgsrn", tmp_path / "m")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.amgsrn"]


def test_bricks_that_are_no_grid_are_not_exported(tmp_path):
    index = two_bricks()
    y, x = slice(0, 7), slice(0, 8)
    halves = [
        BrickRecord((slice(3, 6), part, x), (slice(1, 6), y, x))
        for part in (slice(0, 3), slice(3, 7))
    ]
    index = index.replace(bricks=(index.bricks[0], *halves))
    write_archive(tmp_path / "m.amgsrn", index, [small_brick(index)] * 3)
    with pytest.raises(ArchiveError, match="no grid"):
        export_model(tmp_path / "m.amgsrn", tmp_path / "m")


def test_nothing_is_overwritten(tmp_path):
    write_small_model(tmp_path / "m.amgsrn")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "mine").write_text("1")
    with pytest.raises(OutputError, match="there already"):
        export_model(tmp_path / "m.amgsrn", tmp_path / "m")
    with pytest.raises(OutputError):
        export_model(tmp_path / "m.amgsrn", tmp_path / "m" / "mine" / "under a file")
    assert (tmp_path / "m" / "mine").read_text() == "1"


def test_the_folder_is_made_with_those_above_it(tmp_path):
    write_small_model(tmp_path / "m.amgsrn")
    export_model(tmp_path / "m.amgsrn", tmp_path / "new" / "er" / "m")
    assert (tmp_path / "new" / "er" / "m" / "options.json").is_file()


def test_what_is_stored_is_what_is_exported(tmp_path):
    write_small_model(tmp_path / "m.amgsrn", dtype="float16")
    export_model(tmp_path / "m.amgsrn", tmp_path / "m")
    stored = read_index(tmp_path / "m.amgsrn"), [load_brick(tmp_path / "m.amgsrn", 0)]
    assert_same(stored, import_model(tmp_path / "m"))
