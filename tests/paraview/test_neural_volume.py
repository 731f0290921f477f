"""Neural Volume: the network itself in the render view, beside ParaView's own volume of it."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
from conftest import PROGRAMS, missing
from support.sample_models import small_brick, small_index
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOImage import vtkPNGReader

from amgsrn_core.cli.paraview_launcher import neural_volume
from amgsrn_core.model import BrickRecord, write_archive
from amgsrn_core.rendering.colormap import load_colormap
from amgsrn_core.volume import Axis, GridGeometry

ROOT = PROGRAMS.parents[2]
DIMS, BRICKS = (23, 27, 29), 8
# As the original renderer's files are: colours, and here opacities, at places from 0 to 1.
PRESET = {
    "ColorSpace": "RGB",
    "Name": "Of the original",
    "Points": [0, 0, 0.5, 0, 0.3, 0, 0.5, 0, 0.4, 0.6, 0.5, 0, 1, 1, 0.5, 0],
    "RGBPoints": [0, 0.28, 0.28, 0.86, 0.3, 0, 1, 1, 0.7, 1, 0.4, 0, 1, 0.9, 0.3, 0.3],
}
UNEVEN = GridGeometry(
    (
        Axis("z", np.cumsum(np.linspace(0.5, 1.5, DIMS[0])) - 0.5),
        Axis.uniform("y", DIMS[1]),
        Axis.uniform("x", DIMS[2]),
    )
)


@pytest.fixture(autouse=True)
def _plugin():
    if neural_volume() is None:
        missing("The compiled plugin (Debian, Ubuntu: paraview-dev)")


@pytest.fixture
def models(tmp_path):
    """Models whose values cover [0, 10]: scalar, vector, two scalars, on uneven axes."""
    write_model(tmp_path / "even.amgsrn")
    write_model(tmp_path / "vector.amgsrn", components=("u", "v", "w"))
    write_model(
        tmp_path / "both.amgsrn",
        name="temperature_salinity",
        components=("temperature", "salinity"),
    )
    write_model(tmp_path / "uneven.amgsrn", geometry=UNEVEN)
    write_model(tmp_path / "other.amgsrn", seed=5)
    write_bricks(tmp_path / "bricks.amgsrn")
    return tmp_path


def write_model(path, *, seed=1, name="density", **options):
    geometry = options.pop("geometry", GridGeometry.uniform(DIMS))
    index = small_index(dims=DIMS, geometry=geometry, **options)
    brick = small_brick(index, seed)
    brick["feature_grids"] *= 6.0  # more contrast than a model has that nobody trained
    write_archive(path, dataclasses.replace(index, name=name), [brick])


def write_bricks(path):
    """Write a model of BRICKS bricks along x, with a ghost cell on either side."""
    index = small_index(dims=DIMS)
    z, y, x = index.bricks[0].extent
    cuts = np.linspace(0, x.stop, BRICKS + 1).astype(int).tolist()
    records = [
        BrickRecord((z, y, slice(a, b)), (z, y, slice(max(a - 1, 0), min(b + 1, x.stop))))
        for a, b in zip(cuts, cuts[1:])
    ]
    bricks = [small_brick(index, seed) for seed in range(BRICKS)]
    for brick in bricks:
        brick["feature_grids"] *= 6.0
    write_archive(path, index.replace(bricks=tuple(records)), bricks)


def picture(path):
    """Return a PNG file's pixels, float64 [height, width, 3 or 4], 0 to 255."""
    reader = vtkPNGReader()
    reader.SetFileName(str(path))
    reader.Update()
    width, height, _ = reader.GetOutput().GetDimensions()
    values = vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars())
    return values.reshape(height, width, -1).astype(float)


def difference(first, second):
    """Return the mean and the 99th percentile of the difference of two pictures, of 255."""
    apart = np.abs(picture(first) - picture(second))
    return apart.mean(), np.percentile(apart, 99)


# Mean and 99th percentile of the difference from ParaView's own volume of the same field, sampled
# twice as finely; of 255.
ALIKE = (1.0, 6.0)
# Light is the same but for the normals, which VTK takes from voxels.
LIT_ALIKE = 8.0


def test_pictures_are_those_of_paraview_s_own_volumes(paraview, models):
    run = paraview.run("pvpython", "neural_pictures.py", models)
    seen = run.results
    assert run.messages == []
    for name in (
        *("perspective", "single", "parallel", "tiled", "inside", "opaque", "cropped", "clipped"),
        *("occluded", "maximum", "empty", "hidden"),
        *("vector", "component", "both", "uneven"),
    ):
        mean, most = difference(models / f"{name}-neural.png", models / f"{name}-volume.png")
        assert mean <= ALIKE[0], name
        assert most <= ALIKE[1], name
    for name in ("shaded", "lamp", "isosurface"):
        mean, most = difference(models / f"{name}-neural.png", models / f"{name}-volume.png")
        assert mean <= ALIKE[0], name
        assert most <= LIT_ALIKE, name
    # An isosurface beside its triangles, whose edges are smoother.
    assert difference(models / "contour-neural.png", models / "contour-volume.png")[0] <= 1.0

    neural, volume = (picture(models / f"transparent-{kind}.png") for kind in ("neural", "volume"))
    assert neural[..., 3].min() == 0 < neural[..., 3].max() < 255
    for image in (neural, volume):
        image[..., :3] *= image[..., 3:] / 255.0
    assert np.abs(neural - volume).mean() <= ALIKE[0]

    # What is compared above is not nothing.
    shots = [
        picture(path) for path in sorted(models.glob("*-neural.png")) if "empty" not in str(path)
    ]
    assert all(shot.std() > 2.0 for shot in shots)
    assert difference(models / "perspective-neural.png", models / "empty-neural.png")[0] > 3.0
    for name in ("cropped", "clipped", "maximum", "shaded", "isosurface"):
        assert difference(models / f"{name}-neural.png", models / "perspective-neural.png")[0] > 1.0
    assert difference(models / "lamp-neural.png", models / "shaded-neural.png")[0] > 1.0
    assert difference(models / "occluded-neural.png", models / "perspective-neural.png")[0] > 1.0

    # ParaView's own volumes are black with a logarithmic colour map.
    logarithmic, resampled = (
        models / f"{name}-neural.png" for name in ("logarithmic", "resampled")
    )
    assert difference(logarithmic, resampled)[0] <= 0.2
    assert difference(logarithmic, models / "perspective-neural.png")[0] > 0.5
    # Where nothing can be seen no ray is marched.
    assert seen["kernel_calls"][0] > 0 == seen["kernel_calls"][1]
    # Translucent geometry switches depth peeling on; the view gets its setting back.
    assert seen["peeling"] == [True, True]
    # A picture that was seen before comes back the same.
    again = models / "again-neural.png"
    assert difference(again, models / "perspective-neural.png") == (0.0, 0.0)
    assert "3 x 1 rays" in seen["status"]
    assert "100% refined" in seen["status"]


def test_faults_and_changes(paraview, models):
    (models / "preset.json").write_text(json.dumps([PRESET]))
    run = paraview.run("pvpython", "neural_events.py", models)
    seen = run.results
    parts = re.split(r"\n<<(\w+)>>\n", run.stderr)
    said = {name: text.strip() for name, text in zip(parts[1::2], parts[2::2])}

    def same(first, second):
        return difference(models / f"{first}.png", models / f"{second}.png")[0] == 0.0

    assert seen["default"] == ["'Neural Volume'", "density"]
    # ParaView reads the original renderer's colour maps as `amgsrn render` does.
    expected = load_colormap(models / "preset.json", 2.0, 8.0)(np.array(seen["preset"])[:, 0])
    assert np.abs(np.array(seen["preset"])[:, 1:] - expected).max() < 0.01
    assert said["default"] == ""
    # The reason is told once, however often is rendered; ParaView's own volume stands in.
    for name, words in (
        ("import", "cannot be imported"),
        ("other_data", "carry no neural model"),
        ("array", "has no array twice; colour by density"),
        ("backend", "backend must be one of"),
    ):
        assert said[name].count("ERROR: Neural Volume: ") == 1, said[name]
        assert words in said[name]
        assert len(said[name].splitlines()) <= 2
    assert not same("broken", "mended")
    assert difference(models / "broken.png", models / "mended.png")[0] < 2.0
    assert same("mended", "before")
    assert same("other-neural", "other-volume")

    # A model is shown until its reader runs again, then the one that took its place.
    assert same("before", "still")
    assert not same("before", "replaced")
    assert same("replaced", "fresh")
    assert same("replaced", "selected")
    assert not same("replaced", "coarse")
    # The window uses decoded blocks, and pictures that are made in one go are exact.
    for name, is_cached in (("interactive", 1), ("cached", 1), ("exact", 0), ("automatic", 0)):
        assert seen[name].count("% decoded") == is_cached, seen[name]
    assert same("automatic", "selected") and not same("cached", "selected")
    assert difference(models / "cached.png", models / "selected.png")[0] < 2.0
    cubic, linear = (
        difference(models / f"{n}.png", models / "selected.png") for n in ("cubic", "cached")
    )
    assert 0 < cubic[0] < 0.9 * linear[0], (cubic, linear)
    assert "torch on cpu, 40 x 30 rays, 0.5 samples per voxel" in seen["torch"]
    for name in ("quiet", "state", "end"):
        assert said[name] == "", name

    # One property per line, or since ParaView 5.13 several of them in a call of Set().
    assert re.search(r"\bNeuralSamplesPerVoxel ?= ?0\.5\b", seen["script"])
    assert re.search(r"\bNeuralJitter ?= ?1\b", seen["script"])
    assert re.search(r"\bRepresentation ?= ?'Neural Volume'", seen["trace"])
    assert seen["frames"] == 2
    assert seen["restored"] == 1
    assert same("saved", "restored")


@pytest.mark.mpi
def test_ranks_draw_one_picture_together_here_and_on_a_server(paraview, models, free_port):
    one = drawn_by(paraview, models, 1)
    compare_ranks(one, drawn_by(paraview, models, 3))

    with paraview.served(free_port, 2) as served:
        compare_ranks(one, drawn_by(paraview, models, 2, free_port))
    assert "ERROR" not in served.stdout + served.stderr


@pytest.mark.mpi
def test_ranks_draw_decoded_blocks_of_their_own_pieces(paraview, models):
    one, two = (drawn_by(paraview, models, ranks, sampling="cached") for ranks in (1, 2))
    compare_ranks(one, two)
    exact = drawn_by(paraview, models, 2)
    for name in ("front", "cropped"):
        assert 0 < difference(two / f"{name}.png", exact / f"{name}.png")[0] < 2.0
    # The status tells of all ranks.
    counts = [json.loads((two / f"rank-{rank}.json").read_text())["blocks"] for rank in range(2)]
    status = json.loads((two / "seen.json").read_text())
    for words in status.values():
        assert re.search(rf"1 cell per voxel, {sum(counts)} blocks, \S+ MB, .* on 2 ranks", words)
    assert min(counts) > 0 and "100% refined" in status["status"]
    assert "on 1 ranks" not in (one / "seen.json").read_text()


def drawn_by(paraview, models, ranks, port=0, backend="auto", sampling="auto"):
    """Return the folder with the pictures of a number of ranks."""
    folder = models / f"ranks-{ranks}-{backend}-{sampling}"
    folder.mkdir()
    (folder / "bricks.amgsrn").write_bytes((models / "bricks.amgsrn").read_bytes())
    where = ("neural_ranks.py", folder, port, ranks, backend, sampling)
    if port:
        # The client has the plugins, but not what they need to draw a model.
        run = paraview.run("pvpython", *where, environment={"PYTHONPATH": f"{PROGRAMS}:{ROOT}"})
    else:
        run = paraview.run("pvbatch", *where, ranks=ranks)
    assert run.messages == []
    (folder / "seen.json").write_text(json.dumps({"status": run.results["status"]}))
    assert backend == "auto" or f"{backend} on" in run.results["status"]
    assert ("% decoded" in run.results["status"]) == (sampling == "cached")
    parts = run.results["points_by_rank"]
    assert all(0 < part < 0.8 * sum(parts) or ranks == 1 for part in parts)
    # Each has read the bricks in its piece, and those that reach into it, but no others. (Three
    # ranks have a third along x, and the two halves along y of what is left.)
    told = [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(ranks)]
    held = [each["held"] for each in told]
    assert set().union(*held) == set(range(BRICKS))
    assert ranks == 1 or max(map(len, held)) <= 0.75 * BRICKS, held
    assert min(map(len, held)) <= BRICKS / ranks + 2, held
    return folder


def compare_ranks(one, more):
    for name in ("front", "back", "above", "cropped"):
        mean, _ = difference(one / f"{name}.png", more / f"{name}.png")
        assert mean <= 0.5, name
        assert picture(more / f"{name}.png").std() > 5.0


def test_reader_reconstruction_and_picture_share_one_open_file(paraview, models):
    seen = paraview.run("pvpython", "shared_model.py", models).results
    assert seen["opened"] == 1
    assert seen["mapped"]
