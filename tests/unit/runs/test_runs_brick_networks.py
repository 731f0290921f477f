"""Training over several bricks makes one good model, whatever the bricks hold."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from support.brick_runs import content, same, source, train_waves, waves, whole, write_waves

from amgsrn_core import NeuralVolume, open_volume, volume_from_array
from amgsrn_core.config import BrickConfig, DispatchConfig, TrainingConfig
from amgsrn_core.errors import ConfigurationError, ResumeError, TrainingError
from amgsrn_core.model import read_index
from amgsrn_core.runs import train
from amgsrn_core.training import Command, Progress
from amgsrn_core.volume.partition import brick_counts, partition

__all__ = ["source", "whole"]


def test_the_model_is_the_volume(whole, source):
    index = read_index(whole)
    bricks = partition(open_volume(source).dims, (1, 2, 2), 1)
    assert [b.extent for b in index.bricks] == [b.extent for b in bricks]
    assert [b.ghosted for b in index.bricks] == [b.ghosted for b in bricks]
    assert index.training.iterations_done == 4 * 600
    decoded = NeuralVolume.open(whole, device="cpu").reconstruct_block().values[0]
    values = waves()
    psnr = -10 * math.log10(np.mean((decoded - values) ** 2) / np.ptp(values) ** 2)
    assert psnr > 25
    # With one ghost cell the bricks do not mix at voxels: the file's figures are exact.
    assert index.training.config["psnr"] == pytest.approx(psnr, abs=0.02)
    for brick in index.bricks:
        error = decoded[brick.extent] - values[brick.extent]
        expected = -10 * math.log10(np.mean(error**2) / np.ptp(values) ** 2)
        assert brick.psnr == pytest.approx(expected, abs=0.02)
        assert brick.max_error == pytest.approx(np.abs(error).max(), rel=1e-3)
        assert brick.value_minimum == (pytest.approx(values[brick.ghosted].min()),)
    assert (index.value_minimum, index.value_maximum) == (
        (pytest.approx(values.min()),),
        (pytest.approx(values.max()),),
    )


def test_one_history_stands_for_all_bricks(whole):
    histories = [key for key in content(whole) if key.endswith("history")]
    assert histories == ["0/history"]
    history = content(whole)["0/history"]
    assert history[-1, 0] == 600 and history[-1, 1] < history[0, 1]
    np.testing.assert_allclose(history[:, 2], -10 * np.log10(history[:, 1]))


def test_nothing_is_left_beside_the_model(whole):
    assert [p.name for p in whole.parent.iterdir()] == [whole.name]


def test_the_same_call_again_returns_at_once(whole, source):
    before = whole.stat().st_mtime_ns
    outcome = train_waves(source, whole)
    assert outcome.completed and whole.stat().st_mtime_ns == before
    assert outcome.psnr == pytest.approx(read_index(whole).training.config["psnr"])


@pytest.mark.parametrize("change", [{"iterations": 201}, {"bricks": (1, 1, 2)}, {"ghost": 2}])
def test_other_options_are_refused(whole, source, change):
    with pytest.raises(ResumeError, match="restart"):
        train_waves(source, whole, **change)


def test_a_volume_in_memory_trains_like_its_file(whole, tmp_path):
    from support.brick_runs import BRICKS, DISPATCH, NETWORK, TRAINING

    volume = volume_from_array(waves(), name="wave")
    output = tmp_path / "memory.amgsrn"
    assert train(volume, output, NETWORK, TRAINING, None, BRICKS, DISPATCH).completed
    assert same(output, whole)


def test_a_stopped_run_goes_on_to_the_same_model(whole, source, tmp_path):
    output = tmp_path / "m.amgsrn"
    seen: list[int] = []

    def stop(progress: Progress) -> Command:
        if progress.bricks is not None:
            seen.append(progress.iteration)
        # In the middle of a brick, with others done or not begun.
        return Command.STOP if progress.iteration > 100 else Command.CONTINUE

    outcome = train_waves(source, output, observer=stop)
    assert not outcome.completed and not output.exists() and not outcome.missing
    assert seen == sorted(seen)
    with pytest.raises(ResumeError, match="interrupted run"):
        train_waves(source, output, iterations=300)
    with pytest.raises(ResumeError, match="interrupted run"):
        train_waves(source, output, bricks=(1, 1, 1))
    starts: list[int] = []

    def listen(progress: Progress) -> Command:
        if progress.bricks is not None:
            starts.append(progress.iteration)
        return Command.CONTINUE

    assert train_waves(source, output, observer=listen).completed
    assert starts[0] >= 50  # nothing was trained again
    assert same(output, whole)


def test_restart_discards_interrupted_work(source, tmp_path):
    output = tmp_path / "m.amgsrn"

    def stop(progress: Progress) -> Command:
        return Command.STOP if progress.iteration > 50 else Command.CONTINUE

    train_waves(source, output, observer=stop)
    outcome = train_waves(source, output, iterations=60, restart=True)
    assert outcome.completed and read_index(output).training.iterations_done == 240
    # Interrupted over an older model, a restart goes on without being told to begin anew.
    assert not train_waves(source, output, restart=True, observer=stop).completed
    assert read_index(output).training.iterations_done == 240
    assert train_waves(source, output).completed
    assert read_index(output).training.iterations_done == 2400


@pytest.mark.parametrize("while_paused", [False, True])
def test_a_stop_file_ends_the_run_and_not_the_next(source, tmp_path, while_paused):
    output, stop = tmp_path / "m.amgsrn", tmp_path / "m.amgsrn.parts" / "stop"

    def touch(progress: Progress) -> Command:
        if progress.iteration > 50 and (not while_paused or progress.phase == "paused"):
            stop.touch()
        return Command.PAUSE if while_paused and progress.iteration > 50 else Command.CONTINUE

    assert not train_waves(source, output, observer=touch).completed
    assert not stop.exists()
    assert train_waves(source, output).completed


def test_a_paused_run_rests(source, tmp_path):
    output = tmp_path / "m.amgsrn"
    seen: list[tuple[str, int]] = []

    def pause(progress: Progress) -> Command:
        if progress.bricks is None:
            return Command.CONTINUE
        seen.append((progress.phase, progress.iteration))
        paused = sum(phase == "paused" for phase, _ in seen)
        if progress.iteration > 20 and paused < 12:
            return Command.PAUSE
        return Command.CONTINUE

    # Enough work that the pause comes before its end.
    assert train_waves(source, output, observer=pause, iterations=1000).completed
    resting = [iteration for phase, iteration in seen if phase == "paused"]
    assert len(resting) == 12 and resting[-1] == resting[-4] < 4000


def test_bricks_without_values_or_with_one_value_are_never_trained(tmp_path):
    values = waves((8, 16, 18))
    values[:, :9, :10] = np.nan  # brick 0 and its ghost cells
    values[:, :9, 8:] = np.where(np.isnan(values[:, :9, 8:]), np.nan, 2.5)  # brick 1
    values[:, 9:, :10] = -1.25  # brick 2
    values[2:4, 12, 3] = np.nan
    source = write_waves(tmp_path / "mixed.nc", values)
    log = tmp_path / "log.jsonl"
    outcome = train_waves(source, tmp_path / "m.amgsrn", log=str(log), iterations=150)
    index = read_index(outcome.path)
    states = [brick.state for brick in index.bricks]
    assert states == ["empty", "constant", "constant", "network"]
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert {e["state"] for e in events if e["event"] == "brick"} >= {"empty", "constant"}
    block = NeuralVolume.open(outcome.path, device="cpu").reconstruct_block()
    np.testing.assert_array_equal(block.valid, np.isfinite(values))
    inside = block.values[0, :, 9:, :8]
    np.testing.assert_array_equal(inside[block.valid[:, 9:, :8]], -1.25)
    assert index.training.iterations_done == 150


def test_brick_voxels_choose_the_grid(source, tmp_path):
    outcome = train_waves(
        source, tmp_path / "m.amgsrn", bricks=(1, 1, 1), brick_voxels=2100, iterations=20
    )
    index = read_index(outcome.path)
    assert len(index.bricks) == 2 and max(b.own_voxels for b in index.bricks) <= 2100


def test_a_brick_that_fails_is_a_hole_until_it_is_trained(tmp_path):
    values = waves()
    values[3, 12, 14] = np.inf  # in brick 3 alone
    source = write_waves(tmp_path / "wave.nc", values)
    output = tmp_path / "m.amgsrn"
    outcome = train_waves(source, output, retries=0, iterations=60)
    assert not outcome.completed and list(outcome.missing) == [3]
    assert "infinite" in outcome.missing[3]
    model = NeuralVolume.open(output, device="cpu")
    assert model.index.holes == (3,)
    block = model.reconstruct_block()
    assert not block.valid[model.index.bricks[3].extent].any()
    assert block.valid.sum() == values.size - model.index.bricks[3].own_voxels
    # The same run again trains what is missing and nothing else.
    log = tmp_path / "log"
    again = train_waves(source, output, retries=0, iterations=60, log=str(log))
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert events[0]["left"] == 1 and list(again.missing) == [3]


def test_when_every_brick_fails_there_is_no_model(tmp_path):
    source = write_waves(tmp_path / "wave.nc", np.full((14, 16, 18), np.inf, np.float32))
    with pytest.raises(TrainingError, match="None of the 4 bricks"):
        train_waves(source, tmp_path / "m.amgsrn", retries=0)
    assert not (tmp_path / "m.amgsrn").exists()


def test_impossible_bricks_are_refused_before_anything_happens(source, tmp_path):
    for change, words in (
        ({"bricks": (15, 1, 1)}, "from 1 to its 14 voxels"),
        ({"brick_voxels": 100}, "not both"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            train_waves(source, tmp_path / "m.amgsrn", **change)
    assert not list(tmp_path.iterdir())


def test_a_volume_that_does_not_fit_into_memory_is_cut(monkeypatch):
    monkeypatch.setattr("amgsrn_core.volume.partition.physical_memory", lambda: 16 << 30)
    assert brick_counts(BrickConfig(), (512, 512, 512)) == (1, 1, 1)
    assert math.prod(brick_counts(BrickConfig(), (2048, 2048, 2048))) >= 8
    assert brick_counts(BrickConfig(bricks=(1, 1, 2)), (2048, 2048, 2048)) == (1, 1, 2)


def test_two_bricks_have_random_numbers_of_their_own(whole):
    numbers = content(whole)
    assert not np.array_equal(numbers["0/transforms"], numbers["1/transforms"])
    assert TrainingConfig().seed == 0 and DispatchConfig().workers == 0


def test_what_is_done_so_far_can_be_looked_at(source, tmp_path):
    from amgsrn_core.jobs import previews

    seen = []

    def look(progress: Progress) -> Command:
        bricks = progress.bricks
        if bricks is not None and 0 < bricks.done < bricks.total:
            seen.append(previews.of_partial(bricks.partial(), progress.iteration))
            return Command.STOP
        return Command.CONTINUE

    assert not train_waves(source, tmp_path / "m.amgsrn", observer=look, workers=1).completed
    (live,) = seen
    values, valid = waves(), live.preview.valid
    assert live.preview.values.shape[1:] == values.shape
    # Holes where the other bricks will be, and the field where the first ones are.
    assert valid is not None and 0.1 < valid.mean() < 0.9
    error = (live.preview.values[0] - values)[valid]
    assert np.abs(error).max() < 0.3 * np.ptp(values)
    assert live.corners.shape == (4 * 2, 8, 3)
    assert len(live.densities) == 8 and 0 < np.isnan(live.densities).sum() < 8
