"""The command line: options from the configurations, stable JSON keys, volumes that are right."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from support.sample_models import small_brick, small_index, write_small_model

from amgsrn_core import NeuralVolume
from amgsrn_core.cli import main, options, parser
from amgsrn_core.cli.failures import UsageError
from amgsrn_core.cli.progress import Lines
from amgsrn_core.cli.reconstruct import grid
from amgsrn_core.config import (
    SIZES,
    GoalConfig,
    NetworkConfig,
    StorageConfig,
    TrainingConfig,
)
from amgsrn_core.config import options as option_fields
from amgsrn_core.errors import VolumeError
from amgsrn_core.model import SourceRecord, write_archive
from amgsrn_core.volume import (
    Attributes,
    Axis,
    GridGeometry,
    MissingValues,
    TimeAxis,
    open_volume,
    write_volume,
)
from amgsrn_core.volume.curvilinear import Coordinates
from amgsrn_core.volume.times import Nearest

CONFIGURATIONS = (GoalConfig, NetworkConfig, TrainingConfig, StorageConfig)
FIELDS = [field for kind in CONFIGURATIONS for field in option_fields(kind)]


@pytest.fixture
def ocean(tmp_path):
    """Return a model with a mask, uneven depths and two components, and the data behind it."""
    geometry = GridGeometry(
        (
            Axis("depth", np.array([-400.0, -150, -50, -20, -5, 0]), "m", True, True),
            Axis.uniform("lat", 7, -30.0, 10.0, "degrees_north"),
            Axis.uniform("lon", 8, 100.0, 2.0, "degrees_east"),
        )
    )
    index = small_index(geometry=geometry, components=("u", "v"))
    data = tmp_path / "ocean.nc"
    index = index.replace(
        name="current",
        units=("m/s", "m/s"),
        missing=MissingValues("_FillValue", -999.0),
        time=TimeAxis((0.0, 6.0), "hours since 2000-01-01", index=1),
        source=SourceRecord("ocean.nc", "float32", 4 * 2 * 336, ("u", "v")),
    )
    state = small_brick(index, mask=True)
    path = tmp_path / "ocean.amgsrn"
    write_archive(path, index, [state])
    model = NeuralVolume.open(path, "cpu")
    block = model.reconstruct_block()
    noise = np.random.default_rng(0).normal(0, 0.01, block.values.shape).astype("f4")
    write_volume(
        data,
        block.values + noise,
        geometry,
        components=("u", "v"),
        units="m/s",
        valid=block.valid,
        missing=index.missing,
    )
    return path, data, model


def run_json(capsys, *arguments: object) -> dict:
    """Run a command whose JSON goes to standard output."""
    assert main([str(argument) for argument in arguments]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_configuration_field_is_an_option_of_train(field):
    arguments = parser.parse(["train", "v.nc", "-o", "m.amgsrn"])
    is_size = field.name in SIZES  # which nobody has given
    assert hasattr(arguments, field.name) is not is_size
    kind = next(kind for kind in CONFIGURATIONS if field in option_fields(kind))
    assert getattr(options.configuration(kind, arguments), field.name) == field.default
    text = parser.build_parser()._subparsers._group_actions[0].choices["train"].format_help()
    assert f"--{field.name.replace('_', '-')}" in text
    assert " ".join(field.metadata["help"].split()[:3]) in " ".join(text.split())


def test_a_size_that_is_typed_is_given_though_it_is_the_default():
    for words, given in (
        ([], False),
        (["--width", "32"], False),
        (["--grid-shape", "32,32,32"], True),
    ):
        arguments = parser.parse(["train", "v.nc", "-o", "m.amgsrn", *words])
        assert options.gives_size(arguments) is given


def test_options_become_configurations():
    line = "train v.nc -o m.amgsrn --grid-shape 3,4,5 --grids 2 --lr 0.5 --devices cpu"
    arguments = parser.parse(f"{line} --dtype float16 --iterations 7 --seed 3".split())
    assert options.configuration(NetworkConfig, arguments) == NetworkConfig(
        grids=2, grid_shape=(3, 4, 5)
    )
    training = options.configuration(TrainingConfig, arguments)
    assert (training.iterations, training.learning_rate) == (7, 0.5)
    assert (training.seed, training.device) == (3, "cpu")
    assert options.configuration(StorageConfig, arguments) == StorageConfig("float16")


@pytest.mark.parametrize("text", ["3", "-1", "t=12", "2001-02-03"])
def test_a_time_step_is_an_index_a_value_or_a_date(text):
    command = ["train", "v.nc", "-o", "m", "--time", text]
    assert parser.parse(command).time == text
    assert parser.parse([*command, "--time-method", "nearest"]).time == Nearest(text)


def test_the_nearest_is_one_step():
    with pytest.raises(UsageError, match="one time step"):
        parser.parse(["train", "v.nc", "-o", "m", "--time", "0:3", "--time-method", "nearest"])


def test_variables_are_repeated_or_listed():
    assert options.names(["u,v", "w"]) == ("u", "v", "w")
    assert options.names(None) is None
    assert options.names([""]) is None


def test_light_commands_import_no_torch(tmp_path):
    path = tmp_path / "model.amgsrn"
    write_small_model(path, mask=True)
    program = (
        "import sys\n"
        "from amgsrn_core.cli import main\n"
        "assert main(['info', sys.argv[1], '--verify']) == 0\n"
        "assert main(['info', sys.argv[1], '--json']) == 0\n"
        "assert main(['train', 'missing.nc', '-o', sys.argv[1]]) == 1\n"
        "assert main(['reconstruct', sys.argv[1] + 'x', '-o', 'r.nc']) == 1\n"
        "for help in (['--help'], ['train', '--help'], ['--version']):\n"
        "    try: main(help)\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'rich', 'vtkmodules', 'netCDF4'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, capture_output=True)


def test_the_module_is_the_command():
    result = subprocess.run(
        [sys.executable, "-m", "amgsrn_core.cli", "--version"], capture_output=True, text=True
    )
    assert result.returncode == 0
    assert result.stdout.strip()


def test_info_has_stable_keys(capsys, ocean):
    path, _, model = ocean
    info = run_json(capsys, "info", path, "--json", "--verify")
    assert info["dims"] == [6, 7, 8]
    assert info["bricks"] == 1
    assert info["variable"] == "current"
    assert info["components"] == ["u", "v"]
    assert info["parameters"] == model.n_parameters
    assert info["bytes"] == path.stat().st_size
    assert info["backend_default"] in ("torch", "native")
    assert info["verified"] is True
    assert info["uniform"] is False
    assert info["time"]["index"] == 1
    assert info["psnr"] == pytest.approx(40.0)


def test_info_reads_well(capsys, ocean):
    assert main(["info", str(ocean[0])]) == 0
    text = capsys.readouterr().out
    for words in (
        "6 x 7 x 8",
        "current (u, v)",
        "uneven axes",
        "depth",
        "1 of 2: 2000-01-01T06:00:00 (6 hours",
    ):
        assert words in text


def test_a_training_history_is_a_table(tmp_path, capsys, ocean):
    assert main(["info", str(ocean[0]), "--history", str(tmp_path / "history.csv")]) == 0
    text = (tmp_path / "history.csv").read_text()
    assert list(csv.reader(text.splitlines())) == [
        ["iteration", "loss"],
        ["0", "1"],
        ["10", "0.25"],
    ]
    index = small_index()
    state = small_brick(index)
    del state["history"]
    write_archive(tmp_path / "imported.amgsrn", index, [state])
    table = str(tmp_path / "none.csv")
    assert main(["info", str(tmp_path / "imported.amgsrn"), "--history", table]) == 1
    assert "no training history" in capsys.readouterr().err


def test_info_tells_far_times_and_coordinates_apart(capsys, tmp_path):
    index = small_index((6, 7, 8))
    geometry = GridGeometry.uniform((6, 7, 8), (4651234.0, 0.0, 0.0), (0.5, 1.0, 1.0))
    time = TimeAxis((20000101.0, 20000102.0), "day as %Y%m%d.%f", index=1)
    path = tmp_path / "far.amgsrn"
    write_archive(path, index.replace(geometry=geometry, time=time), [small_brick(index)])
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "x 4651234 to 4651237.5, y 0 to 6" in out
    assert "index 1 of 2: 20000102 day as" in out


def test_models_of_curvilinear_grids_and_of_meshes_are_told(capsys, caplog, tmp_path):
    index = small_index((4, 5, 6))
    z, y, x = np.meshgrid(*(np.arange(n, dtype=float) for n in index.dims), indexing="ij")
    places = Coordinates.of_points(np.stack([x + y, 2 * y, z + 7], axis=-1))
    about = Attributes({"amgsrn_sampling": "Sampled on a lattice."}, ({},))
    path = tmp_path / "curved.amgsrn"
    index = index.replace(coordinates=places, attributes=about)
    write_archive(path, index, [small_brick(index)])
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "in index space; in the world x 0 to 9, y 0 to 8, z 7 to 10" in out
    assert "Sampled on a lattice." in out
    assert run_json(capsys, "info", path, "--json")["sampling"] == "Sampled on a lattice."
    assert main(["reconstruct", str(path), "-o", str(tmp_path / "back.nc")]) == 0
    assert "index space of a curvilinear grid" in capsys.readouterr().err + caplog.text
    grid = NeuralVolume.open(path, device="cpu").to_vtk()
    assert grid.GetClassName() == "vtkStructuredGrid"
    assert grid.GetPoint(1 + 6 * (2 + 5 * 3)) == (3.0, 4.0, 10.0)


def test_test_measures_what_it_should(capsys, ocean):
    path, data, model = ocean
    result = run_json(capsys, "test", path, "--against", data, "--json", "-", "--device", "cpu")
    assert {
        "psnr",
        "ssim",
        "rmse",
        "max_error",
        "nrmse",
        "value_range",
        "compressed_bytes",
        "ratio",
        "per_component",
        "per_brick",
    } <= set(result)
    reference = open_volume(data, ["u", "v"]).read()
    decoded = model.reconstruct_block()
    error = (reference.values - decoded.values)[:, decoded.valid].astype("f8")
    assert result["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    assert result["max_error"] == pytest.approx(np.abs(error).max(), rel=1e-5)
    assert result["voxels"] == decoded.valid.sum()
    assert result["missing_voxels"] == 0
    assert result["compressed_bytes"] == path.stat().st_size
    assert result["ratio"] == pytest.approx(4 * 2 * 336 / path.stat().st_size)
    assert [part["name"] for part in result["per_component"]] == ["u", "v"]
    assert len(result["per_brick"]) == 1
    assert result["ssim"] is None  # no window without a missing voxel here


def test_test_writes_json_to_a_file_and_text_to_the_terminal(capsys, tmp_path, ocean):
    path, data, _ = ocean
    report = tmp_path / "report.json"
    arguments = ["test", str(path), "--against", str(data), "--json", str(report)]
    assert main(arguments) == 0
    assert "PSNR" in capsys.readouterr().out
    assert json.loads(report.read_text())["psnr"] > 30


def test_test_takes_another_variable(capsys, ocean):
    path, data, _ = ocean
    same = run_json(capsys, "test", path, "--against", data, "--json", "--variable", "u,v")
    swapped = run_json(
        capsys, "test", path, "--against", data, "--json", "--variable", "v", "--variable", "u"
    )
    assert same["psnr"] > 30 > swapped["psnr"]


def test_every_other_test_leaves_its_result(capsys, tmp_path, ocean):
    path, data, model = ocean
    folder = tmp_path / "results"
    tests = "error,histogram,throughput,feature-density,feature-locations"
    result = run_json(
        capsys, "test", path, "--against", data, "--tests", tests, "--output-dir", folder, "--json"
    )
    assert sorted(p.name for p in folder.iterdir()) == [
        "error.nc",
        "feature-density.nc",
        "feature-locations.csv",
        "histogram.csv",
    ]
    assert len(result["files"]) == 4
    assert result["throughput"]["points_per_second"] > 0
    reference = open_volume(data, ["u", "v"]).read()
    decoded = model.reconstruct_block()
    error = open_volume(folder / "error.nc", ["u_error", "v_error"]).read()
    np.testing.assert_array_equal(error.valid, decoded.valid)
    np.testing.assert_allclose(
        error.values[:, error.valid],
        (decoded.values - reference.values)[:, error.valid],
        atol=1e-6,
    )
    counts = result["histogram"]["u"]
    for key in ("reference", "model", "error"):
        assert sum(counts[key]) == decoded.valid.sum()
    density = open_volume(folder / "feature-density.nc").read()
    np.testing.assert_allclose(density.with_nan(), model.density_block().values)
    with open(folder / "feature-locations.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 8
    assert float(rows[0]["x"]) == 100.0  # the grids' maps are the identity


def test_a_model_is_tested_against_its_own_time_step(capsys, tmp_path):
    import netCDF4

    path, data = tmp_path / "model.amgsrn", tmp_path / "steps.nc"
    steps = TimeAxis((0.0, 6.0, 12.0), "hours since 2000-01-01", index=1)
    index = small_index().replace(time=steps)
    write_archive(path, index, [small_brick(index)])
    values = NeuralVolume.open(path, "cpu").reconstruct_block().values[0]
    with netCDF4.Dataset(data, "w") as file:
        for name, size in (("time", 3), ("z", 6), ("y", 7), ("x", 8)):
            file.createDimension(name, size)
        time = file.createVariable("time", "f8", ("time",))
        time.units = steps.units
        time[:] = steps.values
        variable = file.createVariable("density", "f4", ("time", "z", "y", "x"))
        variable[:] = np.stack([values + 1, values, values + 2])
    errors = [
        run_json(capsys, "test", path, "--against", data, "--json", *more)["max_error"]
        for more in ([], ["--time", "0"], ["--time", "12.0"], ["--time", "2000-01-01T06:00"])
    ]
    assert errors == pytest.approx([0, 1, 2, 0], abs=1e-5)
    alone = tmp_path / "step.nc"
    assert main(["reconstruct", str(path), "-o", str(alone)]) == 0
    capsys.readouterr()
    assert run_json(capsys, "test", path, "--against", alone, "--json")["max_error"] < 1e-5


def test_a_reference_with_another_name_for_its_only_variable_will_do(capsys, tmp_path):
    path, data = tmp_path / "model.amgsrn", tmp_path / "data.nc"
    write_small_model(path)
    block = NeuralVolume.open(path, "cpu").reconstruct_block()
    write_volume(data, block.values, GridGeometry.uniform((6, 7, 8)), name="other")
    assert run_json(capsys, "test", path, "--against", data, "--json")["max_error"] < 1e-5


def test_a_volume_that_is_not_the_models_is_refused_unless_asked_for_anyway(capsys, tmp_path):
    path, data, report = (tmp_path / name for name in ("m.amgsrn", "d.nc", "r.json"))
    write_small_model(path, dims=(10, 12, 14))
    values = np.random.default_rng(0).random((10, 12, 14)).astype("f4")
    write_volume(data, values, GridGeometry.uniform((10, 12, 14), (0.0, 0.0, 0.0), (7.0, 9.0, 1.0)))
    command = ["test", str(path), "--against", str(data), "--json", str(report)]
    folder = tmp_path / "results"
    assert main([*command, "--tests", "psnr,error", "--output-dir", str(folder)]) == 1
    told = capsys.readouterr().err
    assert "for 40 of the 1,680 voxels" in told and "x 0 to 91" in told and "--anyway" in told
    assert told.count("\n") == 1
    assert not report.exists() and not list(folder.iterdir())
    assert main([*command, "--anyway"]) == 0
    assert json.loads(report.read_text())["voxels"] == 40


def test_a_coarser_and_a_finer_volume_of_the_same_box_are_measured(capsys, tmp_path):
    path, data = tmp_path / "m.amgsrn", tmp_path / "d.nc"
    write_small_model(path, dims=(10, 12, 14))
    model = NeuralVolume.open(path, "cpu")
    for shape in ((5, 7, 6), (19, 23, 27)):
        geometry = model.geometry.resampled(shape)
        write_volume(data, model.reconstruct_block(geometry).values, geometry)
        result = run_json(capsys, "test", path, "--against", data, "--json")
        assert result["voxels"] == np.prod(shape)
        assert result["max_error"] < 1e-4


def test_reconstruction_comes_back_on_the_axes_of_the_data(capsys, tmp_path, ocean):
    path, data, model = ocean
    output = tmp_path / "out.nc"
    assert main(["reconstruct", str(path), "-o", str(output)]) == 0
    back, source = open_volume(output, ["u", "v"]), open_volume(data, ["u", "v"])
    assert back.geometry == source.geometry
    assert back.units == ("m/s", "m/s")
    block = back.read()
    np.testing.assert_array_equal(block.valid, model.reconstruct_block().valid)
    np.testing.assert_allclose(block.with_nan(), model.reconstruct_block().values, atol=1e-5)
    assert "6 x 7 x 8" in capsys.readouterr().out


def test_reconstruction_at_another_shape_and_region(tmp_path, ocean):
    path, _, model = ocean
    output = tmp_path / "out.nc"
    box = ["--region", "-1e3,106,-10,1e3,-50,-5"]
    assert main(["reconstruct", str(path), "-o", str(output), *box]) == 0
    back = open_volume(output, ["u", "v"])
    assert back.dims == (3, 5, 4)
    assert back.geometry.bounds == (100, 106, -10, 30, -50, -5)
    part = model.reconstruct_block(extent=(slice(2, 5), slice(2, 7), slice(0, 4)))
    np.testing.assert_allclose(back.read().with_nan(), part.values, atol=1e-5)
    assert main(["reconstruct", str(path), "-o", str(output), *box, "--shape", "4,5,6"]) == 0
    fine = open_volume(output, ["u", "v"])
    assert fine.dims == (4, 5, 6)
    np.testing.assert_allclose(fine.geometry.bounds, (100, 106, -10, 30, -50, -5))


def test_a_region_of_an_uneven_axis_goes_by_the_world():
    geometry = GridGeometry.uniform((5, 5, 5), spacing=(1, 1, 1))
    uneven = GridGeometry((Axis("z", np.array([0.0, 1, 10, 100, 1000])), *geometry.axes[1:]))
    region = (0.0, 4.0, 0.0, 4.0, 5.5, 550.0)
    assert grid(uneven, None, region).axes[0].coordinates.tolist() == [10, 100]
    fine = grid(uneven, (3, 5, 5), region).axes[0].coordinates
    assert fine[[0, -1]] == pytest.approx([5.5, 550])
    assert fine[1] == pytest.approx(55)  # index 2.5, half-way between those of 5.5 and 550


@pytest.mark.parametrize(
    "region",
    [
        (9, 9.5, 0, 4, 0, 4),
        (3, 2, 0, 4, 0, 4),
        (0, float("nan"), 0, 4, 0, 4),
        (1.2, 1.8, 0, 4, 0, 4),
    ],
)
def test_impossible_regions_are_refused(region):
    with pytest.raises(VolumeError, match="region"):
        grid(GridGeometry.uniform((5, 5, 5)), None, region)


def test_paraviews_programs_get_their_arguments_untouched(monkeypatch):
    calls = []

    def fake(program, arguments):
        calls.append((program, list(arguments)))
        return 7

    monkeypatch.setattr("amgsrn_core.cli.paraview_launcher.run_paraview", fake)
    assert main(["pvpython", "--help", "-c", "print(1)", "--debug", "--", "x"]) == 7
    assert main(["--debug", "pvbatch", "script.py", "-o", "x"]) == 7
    assert main(["paraview"]) == 7
    assert calls == [
        ("pvpython", ["--help", "-c", "print(1)", "--debug", "--", "x"]),
        ("pvbatch", ["script.py", "-o", "x"]),
        ("paraview", []),
    ]


def test_the_doctor_is_asked(monkeypatch):
    calls = []
    asked = "amgsrn_core.cli.doctor.command.run"
    monkeypatch.setattr(asked, lambda given: calls.append((given.json, given.build)) or 1)
    assert main(["doctor"]) == 1
    assert main(["doctor", "--json"]) == 1
    assert main(["doctor", "--build"]) == 1
    assert calls == [(None, False), ("-", False), (None, True)]


TINY = "--grids 2 --features 1 --grid-shape 4,4,4 --layers 1 --width 8 --batch 256"


@pytest.fixture
def blob(tmp_path):
    """Return a file with a smooth blob."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in (9, 10, 11)], indexing="ij")
    path = tmp_path / "blob.nc"
    values = np.exp(-2 * (x**2 + y**2 + z**2)).astype("f4")
    write_volume(path, values, GridGeometry.uniform(values.shape), name="blob", units="K")
    return path


def test_a_plan_is_printed_and_nothing_is_written(capsys, tmp_path, blob):
    before = sorted(tmp_path.iterdir())
    path = tmp_path / "blob.amgsrn"
    brief = ["--iterations", "80", "--batch", "256", "--dry-run"]
    assert main(["train", str(blob), "-o", str(path), *brief]) == 0
    rows = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert "16 grids of 4 x 4 x 4 x 2" in rows["network"] and "80 of 256" in rows["iterations"]
    assert set(rows) == {"network", "iterations", "size", "time", "memory", "PSNR"}
    # 9 x 10 x 11 float32 are 3960 bytes, and the smallest decoder takes more.
    assert "kB" in rows["size"] and "0." in rows["size"]
    goal = ["--target-psnr", "20", "--width", "8", "--grid-shape", "4,4,4"]
    assert main(["train", str(blob), "-o", str(path), *brief, *goal]) == 0
    said = capsys.readouterr().out
    assert "20.00 dB" in said and "corrections" not in said
    assert main(["train", str(blob), "-o", str(path), *brief, "--max-error", "0.01"]) == 0
    rows = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert "without corrections" in rows["size"]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        ("--target-size 1MB --target-ratio 10", "either target-size or target-ratio"),
        ("--target-size 100", "too small"),
        ("--target-size many", "such as 500000, 500kB or 2MiB"),
        ("--target-psnr nan", "must be a number"),
        ("--target-psnr -3", "at least 0"),
        ("--max-seconds nan", "must be a number"),
        ("--target-psnr 30 --encoder hash --network-size chosen", "adaptive grids"),
    ],
)
def test_a_goal_that_cannot_be_is_one_sentence(capsys, tmp_path, blob, goal, words):
    path = tmp_path / "blob.amgsrn"
    assert main(["train", str(blob), "-o", str(path), *goal.split()]) != 0
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error and not path.exists()


def test_train_then_test_then_reconstruct(capsys, tmp_path, blob):
    path = tmp_path / "blob.amgsrn"
    arguments = ["train", str(blob), "-o", str(path), "--iterations", "60", *TINY.split()]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "PSNR" in captured.out
    assert "60/60" in captured.err
    assert not (tmp_path / "blob.amgsrn.parts").exists()
    info = run_json(capsys, "info", path, "--json", "--verify")
    assert info["training"]["iterations_done"] == 60
    result = run_json(capsys, "test", path, "--against", blob, "--json")
    assert result["psnr"] == pytest.approx(info["psnr"], abs=1e-3)
    assert result["psnr"] > 10
    output = tmp_path / "out.nc"
    assert main(["reconstruct", str(path), "-o", str(output)]) == 0
    error = open_volume(output).read().values - open_volume(blob).read().values
    assert np.sqrt((error.astype("f8") ** 2).mean()) == pytest.approx(result["rmse"], rel=1e-3)


def test_a_finished_model_is_not_replaced_unasked(capsys, tmp_path, blob):
    path = tmp_path / "blob.amgsrn"
    train = ["train", str(blob), "-o", str(path), *TINY.split()]
    assert main([*train, "--iterations", "5"]) == 0
    before = path.read_bytes()
    capsys.readouterr()
    assert main([*train, "--iterations", "5"]) == 0  # nothing left to do
    assert f"{path} is complete already; --restart trains anew.\n" in capsys.readouterr().out
    assert main([*train, "--iterations", "6"]) == 1
    assert "other options (iterations 5, now 6); restart" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert main([*train, "--iterations", "6", "--restart"]) == 0
    assert path.read_bytes() != before


@pytest.mark.parametrize("arguments", [[], ["--bricks", "1,1,2", "--workers", "1"]])
def test_progress_fits_a_terminal_of_80_columns(tmp_path, blob, arguments):
    termios, pty = pytest.importorskip("termios"), pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    command = [sys.executable, "-m", "amgsrn_core.cli", "train", str(blob), "-o"]
    process = subprocess.Popen(
        [*command, str(tmp_path / "out.amgsrn"), "--iterations", "6000", *TINY.split(), *arguments],
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    text = b""
    with contextlib.suppress(OSError):  # the end of a pseudo-terminal
        while block := os.read(ours, 100_000):
            text += block
    os.close(ours)
    assert process.wait() == 0
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.decode()))
    assert max(len(line.rstrip()) for line in lines if line.startswith("training")) <= 80
    assert any(line.rstrip().endswith("left") for line in lines)  # nothing is cut off
    assert not any("\u2026" in line for line in lines)


def test_lines_of_progress_fit_80_columns(capsys):
    shown = Lines("training", seconds=0)
    details = ["step 11/12  10000/11200", "loss 1.23e-05", "1.23e+03 it/s", "PSNR ~ 45.23 dB"]
    shown.update(0.5, [*details, "3 min 20 s left"])
    shown.update(0.6, ["", "reading"])
    assert capsys.readouterr().err.splitlines() == [
        "training  50 %  step 11/12  10000/11200  PSNR ~ 45.23 dB  3 min 20 s left",
        "training  60 %  reading",
    ]


def test_lines_of_progress_are_some_seconds_apart(capsys):
    shown = Lines("training", seconds=1000)
    for number in range(50):
        shown.update(number / 49, [f"{number}/49"])
    assert len(capsys.readouterr().err.splitlines()) == 2  # the first and the last


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ("trian x.nc -o y.amgsrn", "train"),
        ("train x.nc -o y.amgsrn --iteratons 3", "--iterations"),
        ("train x.nc --outptu y.amgsrn", "--output"),
        ("train x.nc -o y.amgsrn --encoder adaptve", "adaptive"),
        ("train x.nc -o y.amgsrn --brick=1,1,2 --wdith=3", "--width"),
        ("info --verfy", "--verify"),
    ],
)
def test_what_is_mistyped_gets_a_suggestion(capsys, arguments, meant):
    assert main(arguments.split()) == 2
    assert f"; did you mean {meant}? See `amgsrn" in capsys.readouterr().err


def test_what_is_nothing_like_anything_gets_none(capsys):
    assert main(["train", "x.nc", "-o", "y.amgsrn", "--qqqqq"]) == 2
    assert "unrecognized arguments: --qqqqq; see `amgsrn" in capsys.readouterr().err


def test_a_mistyped_variable_gets_a_suggestion(capsys, blob, tmp_path):
    assert main(["train", str(blob), "-o", str(tmp_path / "m.amgsrn"), "--variable", "Blop"]) == 1
    assert "; did you mean blob?" in capsys.readouterr().err


def test_a_terminal_gets_a_bar(tmp_path):
    pty = pytest.importorskip("pty")
    model = tmp_path / "model.amgsrn"
    write_small_model(model)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "amgsrn_core.cli", "reconstruct", str(model)]
    subprocess.run(
        [*command, "-o", str(tmp_path / "out.nc")],
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm"},
        check=True,
    )
    text = os.read(ours, 100_000).decode()
    os.close(theirs)
    os.close(ours)
    assert "reconstructing" in text
    assert "100%" in text
    assert "\x1b[" in text
