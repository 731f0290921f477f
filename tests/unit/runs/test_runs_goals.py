"""Goals: a PSNR, bytes, a ratio and seconds, and what the size of networks is without any."""

from __future__ import annotations

import dataclasses
import importlib
import logging
import math
from pathlib import Path

import numpy as np
import pytest

from amgsrn_core import volume_from_array
from amgsrn_core.config import (
    BrickConfig,
    DispatchConfig,
    GoalConfig,
    NetworkConfig,
    StorageConfig,
    TrainingConfig,
)
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.model import load_brick, read_index
from amgsrn_core.runs import TrainingOutcome, train, train_series
from amgsrn_core.runs.plan import Cutter, plan
from amgsrn_core.runs.settings import Settings
from amgsrn_core.training import Command, Progress
from amgsrn_core.training.checkpoint import CheckpointFile
from amgsrn_core.volume.volume import Volume

FIT = importlib.import_module("amgsrn_core.training.fit")
SMALL = NetworkConfig(width=16, layers=1)
BRIEF = TrainingConfig(iterations=100, batch=1024, device="cpu", checkpoint_seconds=0.0)
PACKED = StorageConfig(compress=True, compress_finetune=24, compress_loss=3.0)


def waves(n: int = 24, shift: float = 0.0) -> np.ndarray:
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n)] * 3, indexing="ij")
    return (np.sin(9 * x + 3 * y + shift) * np.cos(5 * z) + 0.3 * x).astype(np.float32)


def volume(values: np.ndarray | None = None) -> Volume:
    return volume_from_array(waves() if values is None else values, name="w")


def goal(**options: object) -> GoalConfig:
    return GoalConfig(network_size="chosen", **options)  # type: ignore[arg-type]


def holed() -> np.ndarray:
    values = waves(32)
    values[(values > 0.2) & (values < 0.4)] = np.nan
    return values


def vectors() -> np.ndarray:
    return np.stack([waves(), waves(shift=1.0)])


def assert_size(path: Path, target: int) -> None:
    assert 0.97 * target <= path.stat().st_size <= target


@pytest.mark.parametrize("storage", [StorageConfig(), StorageConfig(dtype="float16"), PACKED])
def test_a_file_has_the_size_that_is_asked_for(tmp_path: Path, storage: StorageConfig) -> None:
    target = "20kB" if storage.compress else "90kB"
    asked = goal(target_size=target)
    outcome = train(volume(), tmp_path / "m.amgsrn", SMALL, BRIEF, storage, goal=asked)
    assert outcome.completed and outcome.shortfall == ""
    assert_size(outcome.path, asked.target_bytes)


@pytest.mark.parametrize("storage", [StorageConfig(), PACKED])
@pytest.mark.parametrize("values", [holed, vectors])
def test_masks_and_components_count(tmp_path: Path, values: object, storage: StorageConfig) -> None:
    data = volume_from_array(values(), name="w")  # type: ignore[operator]
    target = 24_000 if storage.compress else 80_000
    asked = goal(target_size=target)
    outcome = train(data, tmp_path / "m.amgsrn", SMALL, BRIEF, storage, goal=asked)
    assert_size(outcome.path, target)


def test_a_ratio_is_that_of_the_data_in_their_file(tmp_path: Path) -> None:
    data = volume(waves(48))
    outcome = train(data, tmp_path / "m.amgsrn", SMALL, BRIEF, goal=goal(target_ratio=5.0))
    assert_size(outcome.path, data.source_nbytes // 5)


@pytest.mark.parametrize("storage", [StorageConfig(), PACKED])
def test_bricks_share_the_bytes_by_what_happens_in_them(
    tmp_path: Path, storage: StorageConfig
) -> None:
    values = waves(32)
    values[:, :, 16:] *= 0.05
    values[:16, :, 16:] = values[0, 0, 16]
    target = 40_000 if storage.compress else 120_000
    outcome = train(
        *(volume(values), tmp_path / "m.amgsrn", SMALL, BRIEF, storage),
        bricks=BrickConfig(bricks=(2, 1, 2)),
        dispatch=DispatchConfig(workers=2),
        goal=goal(target_size=target),
    )
    assert outcome.completed
    assert_size(outcome.path, target)
    index = read_index(outcome.path)
    nodes = [math.prod(index.network_of(brick).grid_shape) for brick in index.bricks]
    assert nodes[0] > nodes[3]


def psnr_goal() -> GoalConfig:
    return goal(target_psnr=33.0)


# A pilot has an eighth of these.
TRIED = dataclasses.replace(BRIEF, iterations=320, batch=2048)


class Stopper:
    """Stops a run when something that it does has been done so many times."""

    def __init__(self, after: int) -> None:
        self.left, self.heard = after, list[Progress]()

    def __call__(self, progress: Progress) -> Command:
        self.heard.append(progress)
        self.left -= progress.iteration > 0
        return Command.STOP if self.left == 0 else Command.CONTINUE


def test_a_psnr_is_met_by_a_network_that_is_chosen(tmp_path: Path) -> None:
    outcome = train(volume(), tmp_path / "m.amgsrn", SMALL, TRIED, goal=psnr_goal())
    index = read_index(outcome.path)
    assert outcome.psnr >= 33.0 and outcome.shortfall == ""
    assert index.network.grid_shape != NetworkConfig().grid_shape
    assert index.training.iterations_done < 320  # it ended when it was met


@pytest.mark.parametrize("after", [10, 60])
def test_a_run_that_was_stopped_in_a_pilot_ends_like_another(
    tmp_path: Path, after: int, every_iteration: None
) -> None:
    stopper, output = Stopper(after), tmp_path / "m.amgsrn"
    first = train(volume(), output, SMALL, TRIED, goal=psnr_goal(), observer=stopper)
    assert not first.completed
    assert_like_one_that_was_not(tmp_path, train(volume(), output, SMALL, TRIED, goal=psnr_goal()))


def test_a_size_that_was_chosen_is_not_chosen_again(tmp_path: Path, every_iteration: None) -> None:
    output, after = tmp_path / "m.amgsrn", list[Progress]()
    checkpoint = CheckpointFile(tmp_path / "m.amgsrn.parts/brick-0000/checkpoint.safetensors", "")
    choice = checkpoint.of_choice().path

    def stop(progress: Progress) -> Command:
        after.extend([progress] if choice.exists() else [])
        return Command.STOP if len(after) > 3 else Command.CONTINUE

    assert not train(volume(), output, SMALL, TRIED, goal=psnr_goal(), observer=stop).completed
    written, seen = choice.read_bytes(), set[bytes]()

    def watch(progress: Progress) -> Command:
        seen.update([choice.read_bytes()] if progress.phase == "training" else [])
        return Command.CONTINUE

    again = train(volume(), output, SMALL, TRIED, goal=psnr_goal(), observer=watch)
    assert seen == {written}
    assert_like_one_that_was_not(tmp_path, again)


def assert_like_one_that_was_not(tmp_path: Path, outcome: TrainingOutcome) -> None:
    whole = train(volume(), tmp_path / "whole.amgsrn", SMALL, TRIED, goal=psnr_goal())
    ours, theirs = load_brick(outcome.path, 0), load_brick(whole.path, 0)
    assert outcome.completed
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


@pytest.fixture
def every_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the observer before every iteration."""
    monkeypatch.setattr(FIT, "_PATIENCE_SECONDS", 0.0)


def test_a_psnr_that_is_not_met_keeps_the_model_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = dataclasses.replace(TRIED, iterations=30)
    with caplog.at_level(logging.WARNING):
        outcome = train(
            *(volume(), tmp_path / "m.amgsrn", NetworkConfig(grids=2, grid_shape=(4, 4, 4)), short),
            goal=GoalConfig(target_psnr=90.0),
        )
    assert outcome.completed and outcome.path.exists()
    assert "90 dB is not met" in outcome.shortfall and "iterations" in outcome.shortfall
    assert outcome.shortfall in caplog.text
    assert read_index(outcome.path).network.grid_shape == (4, 4, 4)


def test_a_compressed_model_has_the_psnr(tmp_path: Path) -> None:
    size = dataclasses.replace(SMALL, grid_shape=(8, 8, 8))
    outcome = train(volume(), tmp_path / "m.amgsrn", size, TRIED, PACKED, goal=psnr_goal_given())
    assert outcome.psnr >= 33.0 - 0.05 and outcome.shortfall == ""


def psnr_goal_given() -> GoalConfig:
    return GoalConfig(target_psnr=33.0)


def test_bricks_have_the_psnr_together(tmp_path: Path) -> None:
    values = waves(32)
    values[:, :, 16:] *= 0.3
    outcome = train(
        *(volume(values), tmp_path / "m.amgsrn", SMALL, TRIED),
        bricks=BrickConfig(bricks=(1, 1, 2)),
        dispatch=DispatchConfig(workers=2),
        goal=psnr_goal(),
    )
    assert outcome.psnr >= 33.0 and outcome.shortfall == ""


def test_bricks_that_have_it_not_say_so(tmp_path: Path) -> None:
    outcome = train(
        *(volume(), tmp_path / "m.amgsrn", dataclasses.replace(SMALL, grid_shape=(4, 4, 4))),
        training=dataclasses.replace(TRIED, iterations=20),
        bricks=BrickConfig(bricks=(1, 1, 2)),
        dispatch=DispatchConfig(workers=2),
        goal=GoalConfig(target_psnr=90.0),
    )
    assert outcome.completed and "90 dB is not met" in outcome.shortfall


def test_a_series_keeps_the_psnr_and_the_size_of_its_first_step(tmp_path: Path) -> None:
    steps = [volume(waves(shift=0.1 * step)) for step in range(2)]
    outcome = train_series(steps, tmp_path / "m.amgsrn", SMALL, TRIED, goal=psnr_goal())
    index = read_index(outcome.path)
    assert outcome.completed and len({index.network_of(brick) for brick in index.bricks}) == 1
    assert all(about["psnr"] >= 33.0 for about in index.training.config["steps"])


def test_seconds_end_a_training(tmp_path: Path) -> None:
    asked = goal(max_seconds=1.0)
    endless = dataclasses.replace(BRIEF, iterations=0)
    outcome = train(volume(waves(48)), tmp_path / "m.amgsrn", SMALL, endless, goal=asked)
    assert outcome.completed and outcome.seconds >= 1.0
    assert read_index(outcome.path).training.config["schedule"] == "cosine"


def test_a_bound_chooses_the_size_with_the_fewest_bytes(tmp_path: Path) -> None:
    data = volume(waves(40))
    longer = dataclasses.replace(BRIEF, iterations=400)

    def bytes_of(share: float, side: int = 0) -> int:
        storage = StorageConfig(compress=True, compress_finetune=24, max_relative_error=share)
        shape = (side,) * 3 if side else SMALL.grid_shape
        network = dataclasses.replace(SMALL, grid_shape=shape)
        size = GoalConfig(network_size="given" if side else "chosen")
        path = tmp_path / f"{share}-{side}.amgsrn"
        assert train(data, path, network, longer, storage, goal=size).completed
        return path.stat().st_size

    assert bytes_of(0.2) < bytes_of(0.2, 8)
    assert bytes_of(0.001) < min(bytes_of(0.001, side) for side in (4, 12))


def test_without_a_goal_a_network_is_a_tenth_of_the_data_and_not_larger_than_the_default() -> None:
    def numbers(n: int) -> int:
        planned = plan(Settings.of(None), Cutter(volume(np.zeros((n, n, n), np.float32))))
        shape = planned.settings.network.grid_shape
        assert planned.aims[0].pays and len(set(shape)) == 1
        return 32 * math.prod(shape)

    assert 0.03 < numbers(96) / 96**3 < 0.1
    assert numbers(320) == 32**4


def test_a_run_of_an_earlier_version_with_its_default_size_is_known(tmp_path: Path) -> None:
    given = train(volume(), tmp_path / "m.amgsrn", NetworkConfig(), BRIEF)
    written = given.path.stat().st_mtime_ns
    again = train(volume(), tmp_path / "m.amgsrn", None, BRIEF)
    assert again.completed and given.path.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("network", "options", "words"),
    [
        (SMALL, {"target_size": "5kB"}, "too small: the smallest model"),
        (NetworkConfig(encoder="hash"), {"target_psnr": 40.0}, "adaptive grids"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, network: NetworkConfig, options: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        train(volume(), tmp_path / "m.amgsrn", network, BRIEF, goal=goal(**options))
    assert not list(tmp_path.iterdir())


def test_a_network_that_is_given_must_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="network that is asked for takes about"):
        train(volume(), tmp_path / "m", NetworkConfig(), goal=GoalConfig(target_size="100kB"))
