"""Model files in ParaView: the reader, the reconstruction, and what they say of bad files."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
from support.original_models import write_ensemble
from support.sample_models import write_small_model

from amgsrn_core import NeuralVolume
from amgsrn_core.evaluation.error_cells import ErrorCells
from amgsrn_core.model import Archive, write_archive
from amgsrn_core.original import import_model
from amgsrn_core.volume import Axis, GridGeometry
from amgsrn_core.volume.preview import preview_geometry

UNEVEN = GridGeometry(
    (
        Axis("depth", np.array([-150.0, -70.0, -30.0, -10.0, -5.0, 0.0])),
        Axis.uniform("latitude", 7, 40.0, 0.5),
        Axis.uniform("longitude", 8, -10.0, 0.25),
    )
)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
EVEN = GridGeometry.uniform((6, 7, 8), origin=(1.0, 2.0, 3.0), spacing=(0.5, 1.0, 2.0))


@pytest.fixture
def model(tmp_path):
    def make(name="model.amgsrn", **options):
        path = tmp_path / name
        write_small_model(path, **options)
        return path

    return make


def read(paraview, steps, **options):
    run = paraview.run("pvpython", "read_models.py", json.dumps(steps), **options)
    arrays = {}
    if run.results:
        (saved,) = paraview.folder.glob("read_models-*.json.npz")
        with np.load(saved) as file:
            arrays = dict(file)
    return run, arrays


def expected(path, geometry, preview=False):
    model = NeuralVolume.open(path, device="cpu")
    block = model.reconstruct_block(geometry)
    values = block.values.copy()
    if block.valid is not None:
        values[:, ~block.valid] = np.nan
    values = np.moveaxis(values, 0, -1)
    return within_range(values, model.index) if preview else values


def within_range(values, index):
    """Return values [z, y, x, component] as a preview shows them: within the data's range."""
    return values.clip(index.value_minimum, index.value_maximum)


def test_a_model_of_the_original_opens_by_its_options(paraview, tmp_path):
    extents = [(0, 5, 0, 7, 0, 8), (1, 6, 0, 7, 0, 8)]
    folder = write_ensemble(tmp_path / "wind", extents, (6, 7, 8))
    options = str(folder / "options.json")
    steps = [{"proxy": "open", "file": options}, {"proxy": "filter", "file": options}]
    cache = tmp_path / "cache"
    run, arrays = read(paraview, steps, environment={"XDG_CACHE_HOME": str(cache)})
    index, bricks = import_model(folder)
    model = NeuralVolume(index, bricks, backend="torch")
    values = np.moveaxis(model.reconstruct_block().values, 0, -1)
    assert run.results["steps"][0]["proxy"] == "AMGSRNReader"
    for number, wanted in enumerate((within_range(values, index), values)):
        assert np.allclose(arrays[f"{number}/wind"].reshape(values.shape), wanted, **CLOSE)
    assert len(list(cache.rglob("wind-*.amgsrn"))) == 1


def test_reader_and_reconstruction_agree_with_the_library(paraview, model):
    even = model("even.amgsrn", geometry=EVEN, components=("u", "v", "w"))
    uneven = model("uneven.amgsrn", geometry=UNEVEN, mask=True)
    both = model("both.amgsrn", components=("temperature", "salinity"))
    rename(both, "temperature_salinity")
    steps = [
        {"proxy": "open", "file": str(uneven)},
        {"proxy": "AMGSRNReconstructionSource", "file": str(uneven)},
        {
            "proxy": "AMGSRNReconstructionSource",
            "file": str(uneven),
            "properties": {"Dimensions": [9, 0, 11]},
        },
        {
            "proxy": "filter",
            "file": str(even),
            "properties": {
                "ScaleFactor": 2,
                "Region": "World Bounds",
                "WorldBounds": [2, 3.1, 0, 4, 5, 9],
            },
        },
        {
            "proxy": "AMGSRNReconstructionSource",
            "file": str(even),
            "properties": {"Region": "Index Extent", "IndexExtent": [1, 4, 0, 6, 2, 3]},
        },
    ]
    steps.append({"proxy": "AMGSRNReconstructionSource", "file": str(both)})
    run, arrays = read(paraview, steps)
    assert run.messages == []
    assert not run.results["torch_at_load"]
    opened, whole, finer, region, extent, several = run.results["steps"]

    assert opened["proxy"] == "AMGSRNReader"
    assert opened["type"] == "vtkImageData"
    preview = preview_geometry(UNEVEN)
    np.testing.assert_allclose(opened["bounds"], preview.bounds)
    np.testing.assert_allclose(arrays["0/density"], expected(uneven, preview, True), **CLOSE)
    assert np.isnan(arrays["0/density"]).any()
    assert opened["model"] == [str(uneven), NeuralVolume.open(uneven).checksum]

    assert whole["type"] == "vtkRectilinearGrid"
    assert whole["model"] == opened["model"]
    np.testing.assert_allclose(whole["bounds"], UNEVEN.bounds)
    np.testing.assert_allclose(arrays["1/density"], expected(uneven, UNEVEN), **CLOSE)

    grid = UNEVEN.resampled((11, 7, 9))
    assert finer["extent"] == [0, 8, 0, 6, 0, 10]
    np.testing.assert_allclose(arrays["2/density"], expected(uneven, grid), **CLOSE)

    # The box grows to the samples around it: x 2 to 3.5, y 2 to 4, z 5 to 9; twice as many of each.
    assert region["type"] == "vtkImageData"
    np.testing.assert_allclose(region["bounds"], [2, 3.5, 2, 4, 5, 9])
    grid = EVEN.window((slice(1, 4), slice(0, 3), slice(2, 6))).resampled((6, 6, 8))
    assert region["extent"] == [0, 7, 0, 5, 0, 5]
    assert region["arrays"] == {"density": 3}
    np.testing.assert_allclose(arrays["3/density"], expected(even, grid), **CLOSE)

    grid = EVEN.window((slice(2, 4), slice(0, 7), slice(1, 5)))
    np.testing.assert_allclose(extent["bounds"], grid.bounds)
    np.testing.assert_allclose(arrays["4/density"], expected(even, grid), **CLOSE)

    # Scalars that were trained together are arrays of their own again.
    assert several["arrays"] == {"temperature": 1, "salinity": 1}
    values = np.concatenate([arrays[f"5/{name}"] for name in several["arrays"]], axis=-1)
    grid = GridGeometry.uniform((6, 7, 8))
    there = expected(both, grid)[
        ..., [("temperature", "salinity").index(n) for n in several["arrays"]]
    ]
    np.testing.assert_allclose(values, there, **CLOSE)


def test_a_file_that_has_changed_is_reloaded(paraview, model):
    proxies = ("AMGSRNReader", "AMGSRNReconstructionSource")
    files = [model(f"model{i}.amgsrn", seed=0) for i, _ in enumerate(proxies)]
    news = [model(f"new{i}.amgsrn", seed=1) for i, _ in enumerate(proxies)]
    named = {"proxy": proxies, "file": map(str, files), "replacement": map(str, news)}
    steps = [dict(zip(named, step)) for step in zip(*named.values())]
    run, arrays = read(paraview, steps)
    assert run.messages == []
    grid = GridGeometry.uniform((6, 7, 8))
    wanted = expected(files[0], preview_geometry(grid), True)
    np.testing.assert_allclose(arrays["0/density"], wanted, **CLOSE)
    np.testing.assert_allclose(arrays["1/density"], expected(files[1], grid), **CLOSE)


def test_bad_files_are_explained_in_one_sentence(paraview, model, tmp_path):
    good = model()
    model("other.amgsrn", seed=1)
    cut = tmp_path / "cut.amgsrn"
    cut.write_bytes(good.read_bytes()[:-100])
    foreign = tmp_path / "foreign.amgsrn"
    foreign.write_text("hello")
    run = paraview.run("pvpython", "bad_models.py", good, cut, foreign)
    parts = re.split(r"\n<<(\w+)>>\n", run.stderr)
    said = {name: text.strip() for name, text in zip(parts[1::2], parts[2::2])}
    assert list(said) == run.results["asked"]
    assert "There is no model file" in said["missing"]
    assert "Choose a model file" in said["unnamed"]
    assert "not a model file, or only a part of one" in said["cut"]
    assert "not a model file" in said["foreign"]
    assert "carries no model" in said["no_model"]
    assert "outside the model along x" in said["outside"]
    assert "the model has samples 0 to 7" in said["extent"]
    assert "There is no model file" in said["moved"]
    assert "was replaced by another model" in said["replaced"]
    # Making a proxy is no reason to complain yet: in the window its panel is only now shown.
    assert said.pop("created") == ""
    for text in said.values():
        # One sentence, once, although every pipeline was updated twice; and nothing else.
        assert text.startswith("ERROR: AMGSRN")
        assert len(text.splitlines()) == 1


def with_errors(path):
    """Give a model errors of its cells, as training does."""
    with Archive(path) as archive:
        index, brick = archive.index, archive.load_brick(0)
    extent, random = index.bricks[0].extent, np.random.default_rng(0)
    cells = ErrorCells(extent, len(index.components))
    cells.add(extent, random.random((len(index.components), *index.dims)), brick.get("mask"))
    brick["error_cells"] = cells.packed(np.ones(len(index.components)), np.zeros(1), 10_000)
    write_archive(path, index, [brick])
    return path


def test_errors_of_a_models_parts_are_arrays(paraview, model):
    large = {"geometry": GridGeometry.uniform((20, 7, 18)), "dims": (20, 7, 18)}
    one = with_errors(model("one.amgsrn", mask=True, **large))
    wind = with_errors(model("wind.amgsrn", components=("u", "v"), **large))
    pair = with_errors(model("pair.amgsrn", components=("t", "s"), **large))
    rename(pair, "t_s")
    wanted = {"properties": {"ErrorArrays": 1}}
    steps = [{"proxy": "AMGSRNReader", "file": str(one), **wanted}]
    steps += [{"proxy": "filter", "file": str(path), **wanted} for path in (one, wind, pair)]
    without = model("without.amgsrn")
    run, arrays = read(paraview, steps)
    assert run.messages == []
    for number, path in ((1, one), (2, wind)):
        for suffix, rms in (("max", False), ("rms", True)):
            block = NeuralVolume.open(path, "cpu").error_block(rms=rms)
            there = arrays[f"{number}/density_error_{suffix}"]
            np.testing.assert_array_equal(there, np.moveaxis(block.with_nan(), 0, -1))
    assert set(run.results["steps"][0]["arrays"]) == set(run.results["steps"][1]["arrays"])
    assert run.results["steps"][2]["arrays"]["density_error_max"] == 2
    assert set(run.results["steps"][3]["arrays"]) == {
        f"{name}{suffix}" for name in "ts" for suffix in ("", "_error_max", "_error_rms")
    }
    steps = [{"proxy": "AMGSRNReconstructionSource", "file": str(without), **wanted}]
    run = paraview.run("pvpython", "read_models.py", json.dumps(steps))
    assert "does not tell the errors of its parts" in run.stderr


def rename(path, name):
    with Archive(path) as archive:
        index, brick = archive.index, archive.load_brick(0)
    write_archive(path, dataclasses.replace(index, name=name), [brick])
