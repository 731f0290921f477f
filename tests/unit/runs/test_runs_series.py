"""Time series: one model of many steps, each of which starts from the step before."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest
from support.brick_runs import same
from support.sample_models import small_brick, small_index
from support.sample_volumes import coordinate, write_netcdf

from amgsrn_core import NeuralVolume, open_series, open_volume, volume_from_array
from amgsrn_core.cli import main
from amgsrn_core.config import (
    BrickConfig,
    DispatchConfig,
    NetworkConfig,
    SeriesConfig,
    StorageConfig,
    TrainingConfig,
)
from amgsrn_core.errors import ArchiveError, ConfigurationError, ResumeError, VolumeError
from amgsrn_core.model import (
    Archive,
    BrickRecord,
    ModelIndex,
    load_brick,
    read_index,
    store,
    verify_archive,
    write_archive,
)
from amgsrn_core.model.codec import COMPRESSED, DIFFERENCES
from amgsrn_core.rendering.occupancy import MacroCells
from amgsrn_core.runs import series as series_module
from amgsrn_core.runs import train, train_series
from amgsrn_core.training import Command, Progress
from amgsrn_core.training.warm_start import WarmStart
from amgsrn_core.volume.volume import TimeAxis

WIND = NetworkConfig(grids=2, features=2, grid_shape=(5, 5, 5), layers=1, width=16)
QUICK = TrainingConfig(iterations=120, batch=2048, device="cpu")
STEPS = 4


def moving(shape: tuple[int, int, int] = (10, 12, 14), steps: int = STEPS) -> np.ndarray:
    """Return a wave that moves and grows, [t, z, y, x]."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    return np.stack([(1 + 0.2 * t) * np.sin(3 * x + y - 0.7 * t) + z for t in range(steps)]).astype(
        "f4"
    )


def write_moving(path: Path, values: np.ndarray, **attributes: float) -> Path:
    hours = coordinate("time", 6.0 * np.arange(len(values)), units="hours since 2000-01-01")
    wind = (("time", "z", "y", "x"), values, attributes)
    return write_netcdf(path, {"time": hours, "wind": wind})


def psnr(model: NeuralVolume, values: np.ndarray) -> float:
    error = model.reconstruct_block().values[0] - values
    return float(10 * np.log10(np.ptp(values) ** 2 / np.mean(error**2)))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_moving(tmp_path_factory.mktemp("data") / "wind.nc", moving())


@pytest.fixture(scope="module")
def trained(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "wind.amgsrn"
    outcome = train_series(open_series(source), path, WIND, QUICK)
    assert outcome.completed and outcome.path == path
    return path


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three steps in two bricks each, one of them a hole."""
    path = tmp_path_factory.mktemp("model") / "untrained.amgsrn"
    index = small_index()
    z, y, _ = index.bricks[0].extent
    pair = (
        BrickRecord((z, y, slice(0, 4)), (z, y, slice(0, 6))),
        BrickRecord(
            (z, y, slice(4, 8)), (z, y, slice(2, 8)), value_minimum=(1.0,), value_maximum=(9.0,)
        ),
    )
    hole = dataclasses.replace(pair[1], state="missing", value_minimum=(), value_maximum=())
    axis = TimeAxis((0.0, 6.0, 12.0, 18.0), "hours", index=0, steps=(0, 2, 3))
    index = index.replace(bricks=(*pair, pair[0], hole, *pair), time=axis)
    states = [small_brick(index, seed=i) for i in range(6)]
    write_archive(path, index, [state if i != 3 else {} for i, state in enumerate(states)])
    return path


# --- The file -------------------------------------------------------------------------------------


def test_a_step_is_a_model_of_its_own(untrained):
    """Whatever is asked of a step is what a model of its bricks alone answers."""
    series = NeuralVolume.open(untrained, "cpu")
    assert (series.series.steps, series.series.times) == (3, (0.0, 12.0, 18.0))
    points = np.random.default_rng(0).uniform(0, 5, (50, 3))
    for step in (2, 0, 1):
        field = series.at(step)
        index = read_index(untrained).at(step)
        alone = NeuralVolume(
            index, [load_brick(untrained, 2 * step + i) for i in range(2)], device="cpu"
        )
        assert field.step == step and field.index.time.value == series.series.times[step]
        for answer in ("sample", "sample_index"):
            np.testing.assert_array_equal(
                getattr(field, answer)(points), getattr(alone, answer)(points)
            )
        for a, b in zip(field.sample_with_gradient(points), alone.sample_with_gradient(points)):
            np.testing.assert_array_equal(a, b)
        for block in ("reconstruct_block", "density_block"):
            a, b = (getattr(model, block)() for model in (field, alone))
            np.testing.assert_array_equal(a.values, b.values)
            np.testing.assert_array_equal(a.valid, b.valid)
        np.testing.assert_array_equal(field.feature_corners(), alone.feature_corners())
        a, b = MacroCells.of_volume(field), MacroCells.of_volume(alone)
        np.testing.assert_array_equal(a.minima, b.minima)
        np.testing.assert_array_equal(a.maxima, b.maxima)
        assert field.n_parameters == alone.n_parameters
        assert field.index.holes == ((1,) if step == 1 else ())
        near = field.near((0, 1, 0, 1, 0, 1))
        np.testing.assert_array_equal(near.sample(points / 5), alone.sample(points / 5))


def test_steps_share_the_bricks_in_memory(untrained):
    model = NeuralVolume.open(untrained, "cpu")
    model.at(2).reconstruct_block()
    model.at(2).reconstruct_block()
    assert model.content._bricks.held == (4, 5)


def test_a_step_that_is_not_there_is_refused(untrained):
    model = NeuralVolume.open(untrained, "cpu")
    for step in (-1, 3, 1.5, 1.0, "1"):
        with pytest.raises(ConfigurationError, match="time steps 0 to 2, but no step"):
            model.at(step)
    with Archive(untrained) as archive, pytest.raises(ArchiveError, match="has no brick 1"):
        archive.load_brick(1.0)


def test_the_nearest_step_answers_for_a_time(untrained):
    index = read_index(untrained)
    assert [index.step_near(time) for time in (-9.0, 5.9, 6.1, 12.0, 99.0)] == [0, 0, 1, 1, 2]
    assert index.at(1).step_near(0.0) == 0


def test_an_index_keeps_its_steps(untrained):
    index = read_index(untrained)
    values = json.loads(json.dumps(index.to_json()))
    assert "index" not in values["time"]  # or a reader of version 1.1 would mix the steps
    assert ModelIndex.from_json(values).time == index.time
    assert "steps" not in index.at(1).to_json()["time"]


@pytest.mark.parametrize(
    ("steps", "complaint"),
    [
        ([0, 2], "equally many"),
        ([0, 1, 1, 2, 3, 3], "ascending"),
        ([0, 2, 4], "beyond"),
        ("all", "not a list"),
    ],
)
def test_steps_that_make_no_sense_are_refused(untrained, steps, complaint):
    values = read_index(untrained).to_json()
    values["bricks"] = values["bricks"][:3] if complaint == "equally many" else values["bricks"]
    values["time"]["steps"] = steps
    with pytest.raises(ArchiveError, match=complaint):
        ModelIndex.from_json(values)


# --- Training -------------------------------------------------------------------------------------


def test_every_step_learns_its_own_data(trained):
    model = NeuralVolume.open(trained, "cpu")
    values = moving()
    index = model.series
    assert index.times == (0.0, 6.0, 12.0, 18.0) and len(index.bricks) == STEPS
    assert index.training.iterations_done == 120 + 3 * 60
    assert index.source.bytes == values.nbytes
    assert index.value_minimum == (values.min(),) and index.value_maximum == (values.max(),)
    for step in range(STEPS):
        found = [psnr(model.at(step), other) for other in values]
        assert np.argmax(found) == step and found[step] > 25
        assert model.at(step).index.training.config["psnr"] == pytest.approx(found[step], abs=0.02)
        assert model.at(step).index.bricks[0].psnr == pytest.approx(found[step], abs=0.02)
    known = [about["psnr"] for about in index.training.config["steps"]]
    assert index.training.config["psnr"] == pytest.approx(np.mean(known))


def test_a_step_starts_where_the_last_one_ended(tmp_path):
    """One iteration keeps what was learned, also where the range of the values grows."""
    values = moving(steps=1)[0]
    steps = [volume_from_array(np.array(v)) for v in (values, 1.1 * values, 3 * values)]
    path = tmp_path / "same.amgsrn"
    train_series(steps, path, WIND, QUICK, series=SeriesConfig(warm_iterations=1))
    first, second, third = read_index(path).training.config["steps"]
    assert first["psnr"] > 25 and second["psnr"] > 23
    low, high = values.min(), values.max()
    ranges = [(*brick.value_minimum, *brick.value_maximum) for brick in read_index(path).bricks]
    assert ranges[0] == ranges[1] == pytest.approx((low, high))
    assert ranges[2] == pytest.approx((3 * low, 3 * high))
    # What the network knows, the height above the minimum, is a third of what it is to learn.
    error = np.mean((2 * (values - low)) ** 2) / (3 * np.ptp(values)) ** 2
    assert third["psnr"] == pytest.approx(-10 * np.log10(error), abs=3.0)
    assert first["iterations_done"] == 120 and second["iterations_done"] == 1


class Interrupter:
    """Stops a run in the middle of a step, and notes what it was told."""

    def __init__(self, step: int) -> None:
        self.step, self.heard = step, list[Progress]()

    def __call__(self, progress: Progress) -> Command:
        self.heard.append(progress)
        there = progress.step == self.step and progress.phase == "training"
        return Command.STOP if there else Command.CONTINUE


def test_a_stopped_series_continues_and_becomes_the_same(source, trained, tmp_path):
    path = tmp_path / "stopped.amgsrn"
    steps = open_series(source)
    outcome = train_series(steps, path, WIND, QUICK, observer=Interrupter(2))
    assert not outcome.completed and outcome.path == path and not path.exists()
    rest = Interrupter(-1)
    outcome = train_series(steps, path, WIND, QUICK, observer=rest)
    assert outcome.completed
    trainings = {p.step for p in rest.heard if p.phase == "training"}
    assert trainings == {2, 3} and all(p.steps == STEPS for p in rest.heard)
    assert same(path, trained)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    again = Interrupter(-1)
    assert train_series(steps, path, WIND, QUICK, observer=again).completed and not again.heard


def test_other_work_is_not_replaced(source, trained, tmp_path):
    path = tmp_path / "stopped.amgsrn"
    steps = open_series(source)
    train_series(steps, path, WIND, QUICK, observer=Interrupter(1))
    for other in (
        lambda: train_series(steps[:3], path, WIND, QUICK),
        lambda: train(steps[0], path, WIND, QUICK),
    ):
        with pytest.raises(ResumeError, match="interrupted run with"):
            other()
    with pytest.raises(ResumeError, match="trained with the same options but other data"):
        train_series(steps[:3], trained, WIND, QUICK)
    assert train_series(steps[:2], path, WIND, QUICK, restart=True).completed
    assert read_index(path).steps == 2
    # What a restart began goes on without another one.
    train_series(steps[:3], path, WIND, QUICK, restart=True, observer=Interrupter(1))
    assert read_index(path).steps == 2
    assert train_series(steps[:3], path, WIND, QUICK).completed
    assert read_index(path).steps == 3 and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_constant_empty_and_masked_steps(tmp_path):
    values = moving(steps=5)
    values[1] = 0.5
    values[2] = -99.0
    values[3, :, :4] = -99.0
    path = write_moving(tmp_path / "rain.nc", values, _FillValue=np.float32(-99.0))
    output = tmp_path / "rain.amgsrn"
    assert train_series(open_series(path), output, WIND, QUICK).completed
    model = NeuralVolume.open(output, "cpu")
    assert [b.state for b in model.series.bricks] == [
        "network",
        "constant",
        "empty",
        "network",
        "network",
    ]
    assert [a["iterations_done"] for a in model.series.training.config["steps"]] == [
        120,
        0,
        0,
        60,
        60,
    ]
    assert np.all(model.at(1).reconstruct_block().values == 0.5)
    assert not model.at(2).reconstruct_block().valid.any()
    masked = model.at(3).reconstruct_block().valid
    assert not masked[:, :4].any() and masked[:, 4:].all()
    assert psnr(model.at(4), values[4]) > 25
    assert model.series.value_minimum == (values[values > -99].min(),)


@pytest.mark.parametrize("bricks", [(1, 1, 1), (1, 1, 2)])
def test_a_series_without_any_value_is_refused(tmp_path, bricks):
    values = np.full_like(moving(steps=2), -99.0)
    path = write_moving(tmp_path / "rain.nc", values, _FillValue=np.float32(-99.0))
    output = tmp_path / "rain.amgsrn"
    with pytest.raises(VolumeError, match=r"no valid value in any of the 2 time steps.*Fill"):
        train_series(
            open_series(path),
            output,
            WIND,
            QUICK,
            bricks=BrickConfig(bricks=bricks, ghost=1),
            dispatch=DispatchConfig(workers=1),
        )
    assert not output.exists()


def test_a_series_has_the_options_of_a_single_training(source, trained, tmp_path):
    output = tmp_path / "small.amgsrn"
    network = dataclasses.replace(WIND, grid_shape=(8, 8, 8))
    training = dataclasses.replace(QUICK, match_aspect=True, iterations=40)
    storage = StorageConfig(compress=True, compress_finetune=20)
    train_series(open_series(source, times="0:2"), output, network, training, storage)
    index = verify_archive(output)
    depth, height, width = index.network.grid_shape
    assert depth < height < width
    assert output.stat().st_size < trained.stat().st_size / 2
    for step in range(2):
        assert psnr(NeuralVolume.open(output, device="cpu").at(step), moving()[step]) > 15


def test_bricks_start_from_their_own_bricks(source, tmp_path):
    path = tmp_path / "bricks.amgsrn"
    outcome = train_series(
        open_series(source, times="0:2"),
        path,
        WIND,
        QUICK,
        bricks=BrickConfig(bricks=(1, 1, 2), ghost=1),
        dispatch=DispatchConfig(workers=2),
        series=SeriesConfig(warm_iterations=1),
    )
    assert outcome.completed
    index = read_index(path)
    assert index.steps == 2 and len(index.bricks) == 4
    assert index.training.iterations_done == 2 * 120 + 2
    grids = [load_brick(path, number)["feature_grids"] for number in range(4)]
    # One iteration moves nothing far: which network it was is plain to see.
    for number in (2, 3):
        distances = [np.abs(grids[number] - grids[i]).max() for i in (0, 1)]
        assert np.argmin(distances) == number - 2 and min(distances) < 0.05 < max(distances)


def test_a_training_starts_from_any_model_of_its_kind(source, trained, tmp_path):
    series = SeriesConfig(warm_iterations=1)
    volume = open_volume(source, time=3)
    path = tmp_path / "next.amgsrn"
    train(volume, path, WIND, QUICK, series=series, start=trained)
    assert read_index(path).training.iterations_done == 1
    assert psnr(NeuralVolume.open(path, "cpu"), moving()[3]) > 25  # from the last step
    assert train(volume, path, WIND, QUICK, series=series, start=trained).completed
    with pytest.raises(ResumeError):
        train(volume, path, WIND, QUICK)
    other = dataclasses.replace(WIND, width=32)
    with pytest.raises(ConfigurationError, match="networks of another kind or size"):
        train(volume, tmp_path / "other.amgsrn", other, QUICK, start=trained)


# --- Steps as differences -------------------------------------------------------------------------

DIFFERENT = SeriesConfig(series_differences=True)
PACKED = StorageConfig(compress=True, compress_finetune=40)


def stored_as(path: Path) -> list[str]:
    """Return the name of the packed parameters of each brick."""
    with Archive(path) as archive:
        names = [archive.load_brick(i, decode=False) for i in range(len(archive.index.bricks))]
    return [name for found in names for name in (COMPRESSED, DIFFERENCES) if name in found]


@pytest.fixture(scope="module")
def differing(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series whose later steps are differences, and beside it its steps' own models."""
    folder = tmp_path_factory.mktemp("differences")
    path = folder / "wind.amgsrn"

    def keep(progress: Progress) -> Command:
        if progress.phase == "saving" and progress.step == STEPS - 1:
            for parts in folder.glob("wind.amgsrn.*/step-*/step.amgsrn"):
                (folder / f"{parts.parent.name}.amgsrn").write_bytes(parts.read_bytes())
        return Command.CONTINUE

    steps = open_series(source)
    assert train_series(steps, path, WIND, QUICK, PACKED, series=DIFFERENT, observer=keep).completed
    return path


def test_steps_stored_as_differences_are_those_that_were_trained(differing):
    assert stored_as(differing) == [COMPRESSED, *[DIFFERENCES] * (STEPS - 1)]
    verify_archive(differing)
    for step in reversed(range(STEPS)):
        found = load_brick(differing, step)
        alone = load_brick(differing.parent / f"step-{step:04d}.amgsrn", 0)
        assert found.keys() == alone.keys()
        for name, value in alone.items():
            np.testing.assert_array_equal(found[name], value)
    field = NeuralVolume.open(differing, "cpu").at(3)
    assert psnr(field, moving()[3]) == pytest.approx(field.index.psnr, abs=0.05)


def test_a_stopped_series_of_differences_becomes_the_same(source, differing, tmp_path):
    path = tmp_path / "stopped.amgsrn"
    run = functools.partial(
        train_series, open_series(source), path, WIND, QUICK, PACKED, series=DIFFERENT
    )
    assert not run(observer=Interrupter(2)).completed
    assert run().completed
    assert stored_as(path) == stored_as(differing)
    for step in range(STEPS):
        found, expected = load_brick(path, step), load_brick(differing, step)
        for name in ("feature_grids", "decoder.0.weight", "transforms"):
            np.testing.assert_array_equal(found[name], expected[name])


def train_alike(path: Path, values: np.ndarray, bricks: BrickConfig | None = None) -> None:
    """Train a series whose steps have one iteration each, but for the first."""
    train_series(
        [volume_from_array(np.array(step)) for step in values],
        path,
        WIND,
        QUICK,
        StorageConfig(compress=True, compress_finetune=0),
        bricks=bricks,
        dispatch=DispatchConfig(workers=2),
        series=SeriesConfig(warm_iterations=1, series_differences=True),
    )
    verify_archive(path)


def test_bricks_are_stored_as_differences_from_their_own(tmp_path):
    """A brick that was constant is nothing to differ from."""
    values = np.repeat(moving(steps=1), 3, axis=0)
    values[1, :, :, 7:] = 0.5
    path = tmp_path / "bricks.amgsrn"
    train_alike(path, values, BrickConfig(bricks=(1, 1, 2), ghost=0))
    # The constant brick of the second step has no parameters at all.
    assert stored_as(path) == [COMPRESSED, COMPRESSED, DIFFERENCES, DIFFERENCES, COMPRESSED]


def test_a_step_now_and_then_is_stored_whole(tmp_path):
    path = tmp_path / "long.amgsrn"
    train_alike(path, np.repeat(moving(steps=1), 9, axis=0))
    assert stored_as(path) == [COMPRESSED, *[DIFFERENCES] * 7, COMPRESSED]


def test_damage_to_a_step_is_told_of_those_that_build_on_it(differing, tmp_path):
    path = tmp_path / "damaged.amgsrn"
    packed = load_brick(differing, 1, decode=False)[DIFFERENCES].tobytes()
    text = differing.read_bytes()
    at = text.index(packed) + len(packed) // 2
    path.write_bytes(text[:at] + bytes(100) + text[at + 100 :])
    load_brick(path, 0, verify=True)
    for number in (1, 3):
        with pytest.raises(ArchiveError, match=r"cannot be used: .*brick 1 differ.*\.$"):
            load_brick(path, number, verify=True)
    with Archive(differing) as archive:  # all that is left are differences
        index = archive.index.replace(time=None, bricks=archive.index.bricks[2:3])
        write_archive(path, index, [archive.load_brick(2, decode=False)])
    with pytest.raises(ArchiveError, match="lacks the network that another one's differences"):
        load_brick(path, 0)


def test_only_compressed_steps_are_stored_as_differences(source, tmp_path, capsys):
    with pytest.raises(ConfigurationError, match="Only compressed networks are stored as"):
        train_series(open_series(source), tmp_path / "a.amgsrn", WIND, series=DIFFERENT)
    output = str(tmp_path / "a.amgsrn")
    assert main(["train", str(source), "--time", "all", "-o", output, "--series-differences"])
    assert "give compress (--compress)" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_steps_have_to_fit_together():
    a, b = moving((6, 7, 8), 2)
    at = [TimeAxis((0.0, 1.0), index=i) for i in (0, 1)]
    with pytest.raises(VolumeError, match="in the order of their times"):
        train_series([volume_from_array(v, time=t) for v, t in zip((a, b), at[::-1])], "x.amgsrn")
    with pytest.raises(VolumeError, match="another field or on another grid"):
        train_series([volume_from_array(a), volume_from_array(b[1:])], "x.amgsrn")
    with pytest.raises(VolumeError, match="at least one"):
        train_series([], "x.amgsrn")


def test_a_file_for_each_step_makes_one_time_axis(tmp_path):
    values = moving((6, 7, 8), 2)
    steps = [volume_from_array(v, time=TimeAxis((t,), "days")) for v, t in zip(values, (3.0, 7.5))]
    path = tmp_path / "files.amgsrn"
    few = dataclasses.replace(QUICK, iterations=2)
    train_series(steps, path, WIND, few)
    assert read_index(path).times == (3.0, 7.5) and read_index(path).time.units == "days"


def test_other_times_are_another_series(tmp_path):
    path, few = tmp_path / "m.amgsrn", dataclasses.replace(QUICK, iterations=2)
    for end in (1.0, 2.0):
        steps = [
            volume_from_array(v, time=TimeAxis((0.0, end), index=i))
            for i, v in enumerate(moving((6, 7, 8), 2))
        ]
        if end == 1.0:
            train_series(steps, path, WIND, few)
        with contextlib.nullcontext() if end == 1.0 else pytest.raises(ResumeError):
            assert train_series(steps, path, WIND, few).completed


# --- The command line -----------------------------------------------------------------------------


OPTIONS = "--grids 2 --grid-shape 5,5,5 --layers 1 --width 16 --iterations 120 --batch 2048"


def test_a_series_on_the_command_line(source, trained, tmp_path, capsys):
    path = tmp_path / "cli.amgsrn"
    train_it = ["train", str(source), "--time", "all", "-o", str(path), *OPTIONS.split()]
    assert main([*train_it, "--device", "cpu"]) == 0
    assert same(path, trained)
    assert "mean PSNR of 4 steps" in capsys.readouterr().out
    assert main(["info", str(path), "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert (about["steps"], about["times"], about["bricks"]) == (4, [0.0, 6.0, 12.0, 18.0], 4)
    found = []
    for step in ("0", "2", "2000-01-01T18"):
        tests = ["test", str(path), "--against", str(source), "--time", step, "--json"]
        assert main([*tests, "--tests", "psnr"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    each = about["training"]["config"]["steps"]
    for step, result in zip((0, 2, 3), found):
        assert result["time"] == 6.0 * step
        assert result["psnr"] == pytest.approx(each[step]["psnr"], abs=0.02)


def test_reconstruct_writes_a_step_or_all(trained, tmp_path, capsys):
    model = NeuralVolume.open(trained, "cpu")
    every, one = tmp_path / "every.nc", tmp_path / "one.nc"
    assert main(["reconstruct", str(trained), "-o", str(every), "--time", "all"]) == 0
    assert main(["reconstruct", str(trained), "-o", str(one), "--time", "12.0"]) == 0
    steps = open_series(every)
    assert steps[0].time.values == model.series.times
    for step, volume in enumerate(steps):
        wanted = model.at(step).reconstruct_block().values
        np.testing.assert_array_equal(volume.read().values, wanted)
    alone = open_volume(one)
    assert alone.time.values == (12.0,)
    np.testing.assert_array_equal(alone.read().values, steps[2].read().values)
    image = tmp_path / "every.vti"
    assert main(["reconstruct", str(trained), "-o", str(image), "--time", "all"]) != 0
    assert "holds one time step, not 4" in capsys.readouterr().err
    assert main(["reconstruct", str(trained), "-o", str(one), "--time", "7"]) != 0
    assert "is no time step" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [("all", [0, 1, 2, 3]), ("1:", [1, 2, 3]), (":-1", [0, 1, 2]), ("0:4:2", [0, 2]),
     ("3,0", [0, 3]), ("2000-01-01T06,-1", [1, 3])],
)  # fmt: skip
def test_several_steps_are_chosen(source, wanted, chosen):
    assert [volume.time.index for volume in open_series(source, times=wanted)] == chosen


@pytest.mark.parametrize(
    ("wanted", "complaint"), [("4:", "is no time step"), ("0,9", "9 is no"), ("::0", "stride 0")]
)
def test_steps_that_are_not_there(source, wanted, complaint):
    with pytest.raises(VolumeError, match=complaint):
        open_series(source, times=wanted)


@pytest.fixture
def opened(monkeypatch) -> list[int]:
    """A list to which every reading of an index adds its number of bricks."""
    counts: list[int] = []
    read = store._read_index

    def counting(file):
        index = read(file)
        counts.append(len(index.bricks))
        return index

    monkeypatch.setattr(store, "_read_index", counting)
    return counts


def write_bricks(path: Path, count: int) -> ModelIndex:
    """Write an untrained model of bricks side by side."""
    index = small_index(dims=(4, 4, 4 * count))
    z, y, _ = index.bricks[0].extent
    cuts = [slice(4 * i, 4 * i + 4) for i in range(count)]
    index = index.replace(bricks=tuple(BrickRecord((z, y, x), (z, y, x)) for x in cuts))
    return write_archive(path, index, [small_brick(index, seed) for seed in range(count)])


@pytest.mark.parametrize("count", [2, 6])
def test_a_model_is_opened_once_for_all_bricks_that_start_from_it(tmp_path, opened, count):
    path = tmp_path / "start.amgsrn"
    index = write_bricks(path, count)
    start = WarmStart(str(path))
    for number in range(count):
        found = start.network(number, index.network)
        expected = small_brick(index, number)["feature_grids"]
        np.testing.assert_array_equal(found.state["feature_grids"], expected)
    assert opened == [count]
    write_bricks(path, count + 1)  # another model there is another one
    assert start.network(count, index.network) is not None
    assert opened == [count, count + 1]


@pytest.mark.parametrize("count", [2, 6])
def test_the_file_of_a_step_is_opened_once_for_all_its_bricks(tmp_path, opened, count):
    volumes = [volume_from_array(np.zeros((4, 4, 4), np.float32))] * 3
    run = series_module._Run(volumes, tmp_path, None, DIFFERENT, lambda _: Command.CONTINUE)
    for path in run.paths:
        path.parent.mkdir()
        write_bricks(path, count)
    with run.bricks(count) as bricks:
        assert all(len(bricks[number]) for number in range(len(bricks)))
        assert opened == [count] * 3
