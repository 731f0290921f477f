"""Neural Volume in a ParaView in which nothing was compiled: what Python alone draws."""

from __future__ import annotations

import dataclasses

import pytest
from conftest import missing
from support.kernel_cases import needs_kernels
from support.sample_models import small_brick, small_index
from test_neural_volume import difference, picture, write_bricks, write_model
from test_paraview_window import window  # noqa: F401

from amgsrn_core.cli.paraview_launcher import neural_volume, plugin_folder
from amgsrn_core.model import write_archive
from amgsrn_core.volume.times import TimeAxis

pytestmark = needs_kernels

DIMS = (23, 27, 29)
# Windows of 8 bits round and truncate: mean and maximum in levels of 255. What is lit may differ by
# more.
MEAN, MOST, MOST_LIT = 0.15, 2.0, 3.0


# Of the program hook_pictures.py: what it compares with the native marcher; what is as before;
# what is something else.
COMPARED = (
    *(
        "first",
        "other opacity",
        "other colours",
        "logarithmic",
        "lit",
        "moved",
        "parallel",
        "larger",
        "trained",
        "replaced",
    ),
    *("magnitude", "component", "step 0", "step 1", "step 2"),
)
SAME = (
    *("linear again", "calculated", "network again"),
    *("back", "again", "shown", "volume", "neural again", "as before", "file gone", "put back"),
    *("second view", "first view", "deleted", "restored"),
)
OTHERS = ("turned", "hidden", "outline", "translucent", "both", "own array")


def write_series(path):
    """Write a model of three time steps."""
    index = small_index(dims=DIMS)
    time = TimeAxis((0.0, 1.0, 2.0), steps=(0, 1, 2))
    index = index.replace(bricks=index.bricks * 3, time=time)
    bricks = [small_brick(index, seed) for seed in (7, 8, 9)]
    for brick in bricks:
        brick["feature_grids"] *= 6.0
    write_archive(path, dataclasses.replace(index, name="density"), bricks)


@pytest.fixture
def models(tmp_path):
    write_model(tmp_path / "even.amgsrn")
    write_model(tmp_path / "other.amgsrn", seed=5)
    write_model(tmp_path / "vector.amgsrn", components=("u", "v", "w"), name="u_v_w")
    write_series(tmp_path / "series.amgsrn")
    return tmp_path


def test_pictures_are_those_of_the_native_marcher(paraview, models):
    run = paraview.run("pvpython", "hook_pictures.py", models)
    seen = run.results
    assert run.messages == []
    assert seen["default"] == "Neural Volume"
    assert seen["coloured_by"] == ["POINTS", "density"]
    assert seen["menu"].count("Neural Volume") == 1
    compared = {name: value for name, value in seen.items() if name in COMPARED}
    assert len(compared) == len(COMPARED)
    for name, (mean, most, contrast) in compared.items():
        assert contrast > 5, f"{name}: nothing is to be seen"
        assert mean <= MEAN and most <= (MOST_LIT if name == "lit" else MOST), (name, mean, most)
    for name in SAME:
        assert seen[name] == 0, name
    for name in OTHERS:
        assert seen[name] > 20, name
    # Translucent geometry switches depth peeling on; the view gets its setting back.
    assert seen["peeling"] == [1, 1]
    assert seen["steps"][0] > 20 and seen["steps"][1] == 0
    # The preview stays where the network is damaged, and says why, once.
    assert seen["damaged"] > 5
    assert run.stdout.count("the network that the data carry is damaged") == 1
    assert run.stdout.count("The model has no array Result") == 1
    assert run.stdout.count("network, drawn by") == 1
    assert run.stdout.count("paraview-setup --build") == 1  # on a CPU that is faster
    assert "AMGSRNReader" in seen["trace"] and "Hook" not in seen["trace"]


@pytest.mark.mpi
def test_ranks_draw_one_picture_together_here_and_on_a_server(paraview, models, free_port):
    one = drawn_by(paraview, models, 1)
    compare_ranks(one, drawn_by(paraview, models, 2))
    with paraview.served(free_port, 2) as served:
        compare_ranks(one, drawn_by(paraview, models, 2, free_port))
    assert "ERROR" not in served.stdout + served.stderr
    assert served.stdout.count("network, drawn by") == 2


def drawn_by(paraview, models, ranks, port=0):
    """Return the folder with the pictures of a number of ranks."""
    folder = models / f"ranks-{ranks}-{port}"
    folder.mkdir()
    write_bricks(folder / "bricks.amgsrn")
    program = "pvpython" if port else "pvbatch"
    run = paraview.run(
        program, "hook_ranks.py", folder, port, ranks, ranks=0 if port or ranks == 1 else ranks
    )
    assert run.messages == []
    parts = run.results["points_by_rank"]
    assert all(0 < part < 0.8 * sum(parts) or ranks == 1 for part in parts)
    return folder


def compare_ranks(one, more):
    for name in ("front", "back", "above", "later"):
        mean, _ = difference(one / f"{name}.png", more / f"{name}.png")
        assert mean <= 0.2, name
        assert picture(more / f"{name}.png").std() > 5.0
    assert difference(more / "front.png", more / "later.png") == (0.0, 0.0)


@pytest.mark.parametrize("order", ["before", "after"])
def test_the_compiled_plugin_draws_where_it_is_loaded(paraview, models, order):
    if neural_volume() is None:
        missing("The compiled plugin (Debian, Ubuntu: paraview-dev)")
    run = paraview.run("pvpython", "hook_compiled.py", models / "even.amgsrn", order)
    seen = run.results
    assert run.messages == [] and "WARN|" not in run.stderr
    assert seen["both"]["class"] == "vtkNeuralVolumeRepresentation"
    assert seen["both"]["menu"].count("Neural Volume") == 1
    assert seen["both"]["ours"] == 0
    assert not seen["carried"]
    if order == "after":
        assert seen["alone"]["class"] == "vtkImageVolumeRepresentation"
        assert seen["alone"]["menu"].count("Neural Volume") == 1
        assert seen["alone"]["ours"] == 1


@pytest.mark.gui
def test_the_window_drags_hides_and_undoes(paraview, window, models):  # noqa: F811
    paraview.plugin_path = str(plugin_folder())  # not the compiled one's
    outcome = window("gui_hook.py", timeout=180)
    seen = outcome.results
    assert outcome.messages == []
    assert seen["representation"] == "'Neural Volume'"
    # Fewer rays while the mouse moves, all of them afterwards.
    assert max(seen["rates"]) > 1 == seen["still"][0]
    assert min(seen["turned"], seen["hidden"]) > 3
    assert seen["shown"] == 0
    assert seen["deleted"] < 1
    for name in ("undone", "brought back"):
        assert seen[name] < 0.5 * seen["turned"], name
