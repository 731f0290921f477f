"""Training from a volume to a model file."""

from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from amgsrn_core import NeuralVolume, open_volume, volume_from_array
from amgsrn_core.config import NetworkConfig, StorageConfig, TrainingConfig
from amgsrn_core.errors import (
    ConfigurationError,
    OutputError,
    ResumeError,
    TrainingError,
    VolumeError,
)
from amgsrn_core.evaluation.metrics import compare
from amgsrn_core.model import load_brick, read_index
from amgsrn_core.runs import train
from amgsrn_core.training import COLUMNS, Command, Progress
from amgsrn_core.volume.volume import Volume

# The package offers a function of the same name.
FIT = importlib.import_module("amgsrn_core.training.fit")
SIZE = NetworkConfig(grids=4, grid_shape=(8, 8, 8), width=16)
FAST = TrainingConfig(iterations=120, batch=2048, device="cpu")


def waves(n: int = 20) -> np.ndarray:
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n)] * 3, indexing="ij")
    return (np.sin(3 * x + y) * np.cos(2 * z) + 0.3 * x).astype(np.float32)


def stop_at(iteration: int) -> Stopper:
    return Stopper(iteration)


class Stopper:
    """Stops a run at the first question after an iteration, and keeps what it was told."""

    def __init__(self, iteration: int) -> None:
        self.iteration, self.heard = iteration, list[Progress]()

    def __call__(self, progress: Progress) -> Command:
        self.heard.append(progress)
        return Command.STOP if progress.iteration >= self.iteration else Command.CONTINUE


@pytest.fixture
def every_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the observer before every iteration, so that a run stops where the test says."""
    monkeypatch.setattr(FIT, "_PATIENCE_SECONDS", 0.0)


def brick(path: Path) -> dict[str, np.ndarray]:
    return load_brick(path, 0)


def test_a_field_is_learned_and_the_archive_says_so(tmp_path: Path) -> None:
    volume = volume_from_array(waves(), name="w", units="m")
    outcome = train(volume, tmp_path / "m.amgsrn", SIZE, FAST)
    assert outcome.completed and outcome.psnr > 30
    model = NeuralVolume.open(outcome.path)
    measured = compare(volume, lambda extent: model.reconstruct_block(None, extent))
    assert measured.psnr == pytest.approx(outcome.psnr, abs=0.01)
    index = read_index(outcome.path)
    assert index.bricks[0].max_error == pytest.approx(measured.max_error, rel=1e-3)
    assert index.training.iterations_done == 120 and index.name == "w"
    history = brick(outcome.path)["history"]
    assert index.history_columns == COLUMNS and history.shape[1] == len(COLUMNS)
    assert history[-1, 0] == 120 and history[-1, 1] < history[0, 1]
    assert not (tmp_path / "m.amgsrn.parts").exists()


def test_the_default_recipe_beats_the_originals(tmp_path: Path) -> None:
    budget = {"iterations": 250, "batch": 4096, "device": "cpu"}
    original = TrainingConfig(
        **budget,
        learning_rate=0.01,
        decoder_rate=1.0,
        schedule="constant",
        targets="linear",
        placement="global",
        motion="density",
    )
    volume = volume_from_array(waves(32))
    before = train(volume, tmp_path / "a.amgsrn", SIZE, original).psnr
    after = train(volume, tmp_path / "b.amgsrn", SIZE, TrainingConfig(**budget)).psnr
    assert after > before + 2


def test_the_same_seed_gives_the_same_model_and_another_another(tmp_path: Path) -> None:
    volume = volume_from_array(waves())
    paths = [tmp_path / f"{i}.amgsrn" for i in range(3)]
    for path, seed in zip(paths, (1, 1, 2)):
        config = TrainingConfig(iterations=30, batch=512, seed=seed, device="cpu")
        train(volume, path, SIZE, config)
    first, same, other = (brick(p) for p in paths)
    assert all(np.array_equal(first[k], same[k]) for k in first)
    assert not np.array_equal(first["feature_grids"], other["feature_grids"])


@pytest.mark.parametrize("motion", ["gradient", "density", "none"])
@pytest.mark.parametrize("at", [7, 40])
def test_an_interrupted_run_continues_to_the_same_model(
    tmp_path: Path, every_iteration: None, motion: str, at: int
) -> None:
    config = TrainingConfig(iterations=60, batch=256, device="cpu", motion=motion)
    volume = volume_from_array(waves(10))
    whole = train(volume, tmp_path / "whole.amgsrn", SIZE, config)
    path = tmp_path / "parts.amgsrn"
    stopped = train(volume, path, SIZE, config, observer=stop_at(at))
    assert not stopped.completed and not path.exists()
    assert (tmp_path / "parts.amgsrn.parts").exists()
    heard = stop_at(10**9)
    again = train(volume, path, SIZE, config, observer=heard)
    assert again.completed
    assert min(p.iteration for p in heard.heard if p.phase == "training") >= at
    first, second = brick(whole.path), brick(path)
    assert all(np.array_equal(first[k], second[k]) for k in first)


def test_pausing_waits_and_costs_no_training_time(tmp_path: Path, every_iteration: None) -> None:
    phases: list[str] = []

    def observer(progress: Progress) -> Command:
        phases.append(progress.phase)
        is_early = progress.iteration == 5 and phases.count("paused") < 3
        return Command.PAUSE if is_early else Command.CONTINUE

    config = TrainingConfig(iterations=10, batch=64, device="cpu")
    volume = volume_from_array(waves(8))
    assert train(volume, tmp_path / "m.amgsrn", SIZE, config, observer=observer).completed
    assert phases.count("paused") == 3


def test_a_finished_model_is_not_trained_again(tmp_path: Path) -> None:
    volume = volume_from_array(waves(8))
    config = TrainingConfig(iterations=10, batch=64, device="cpu")
    first = train(volume, tmp_path / "m.amgsrn", SIZE, config)
    written = first.path.stat().st_mtime_ns
    again = train(volume, first.path, SIZE, config)
    assert again.completed and again.psnr == pytest.approx(first.psnr)
    assert first.path.stat().st_mtime_ns == written


@pytest.mark.parametrize("change", ["options", "network", "data", "foreign"])
def test_other_work_is_replaced_only_on_request(tmp_path: Path, change: str) -> None:
    path = tmp_path / "m.amgsrn"
    data, config, size = waves(8), TrainingConfig(iterations=5, batch=64, device="cpu"), SIZE
    train(volume_from_array(data), path, size, config)
    if change == "options":
        config = TrainingConfig(iterations=6, batch=64, device="cpu")
    elif change == "network":
        size = NetworkConfig(grids=2, grid_shape=(4, 4, 4), width=16)
    elif change == "data":
        data = data + waves(8).T
    else:
        path.write_text("my thesis")
    before = path.read_bytes()
    with pytest.raises(ResumeError, match="restart"):
        train(volume_from_array(data), path, size, config)
    assert path.read_bytes() == before
    assert train(volume_from_array(data), path, size, config, restart=True).completed
    assert path.read_bytes() != before


def test_an_interrupted_run_is_not_lost_to_other_options(
    tmp_path: Path, every_iteration: None
) -> None:
    volume = volume_from_array(waves(8))
    path = tmp_path / "m.amgsrn"
    config = TrainingConfig(iterations=50, batch=64, device="cpu")
    train(volume, path, SIZE, config, observer=stop_at(20))
    other = TrainingConfig(iterations=50, batch=65, device="cpu")
    with pytest.raises(ResumeError, match="interrupted run"):
        train(volume, path, SIZE, other)
    heard = stop_at(10**9)
    assert train(volume, path, SIZE, config, observer=heard).completed
    assert min(p.iteration for p in heard.heard if p.phase == "training") >= 20


def test_an_interrupted_restart_continues_over_the_old_model(
    tmp_path: Path, every_iteration: None
) -> None:
    volume = volume_from_array(waves(8))
    path = tmp_path / "m.amgsrn"
    old = TrainingConfig(iterations=5, batch=64, device="cpu")
    new = TrainingConfig(iterations=50, batch=64, device="cpu")
    train(volume, path, SIZE, old)
    before = path.read_bytes()
    assert not train(volume, path, SIZE, new, restart=True, observer=stop_at(20)).completed
    assert path.read_bytes() == before
    # Asking for the old model again is answered from its file and does not cost the new work.
    assert train(volume, path, SIZE, old).completed
    heard = stop_at(10**9)
    assert train(volume, path, SIZE, new, observer=heard).completed
    assert min(p.iteration for p in heard.heard if p.phase == "training") >= 20
    assert read_index(path).training.iterations_done == 50


def test_memory_that_runs_out_is_one_clear_sentence(tmp_path: Path) -> None:
    config = TrainingConfig(iterations=2, batch=1 << 28, device="cpu")
    huge = NetworkConfig(grids=4096, features=64, grid_shape=(64, 64, 64))
    with pytest.raises(TrainingError, match="not enough memory on cpu"):
        train(volume_from_array(waves(8)), tmp_path / "m.amgsrn", huge, config)


def test_circumstances_do_not_make_another_run(tmp_path: Path, every_iteration: None) -> None:
    volume = volume_from_array(waves(8))
    path = tmp_path / "m.amgsrn"
    config = TrainingConfig(iterations=50, batch=64, device="cpu", checkpoint_seconds=30)
    train(volume, path, SIZE, config, observer=stop_at(20))
    config = TrainingConfig(iterations=50, batch=64, device="auto", checkpoint_seconds=1)
    assert train(volume, path, SIZE, config).completed


def test_several_components_are_learned_together(tmp_path: Path) -> None:
    values = np.stack([waves(), 100 + 50 * waves().transpose(2, 1, 0)])
    volume = volume_from_array(values, name="wind", components=("u", "v"))
    outcome = train(volume, tmp_path / "m.amgsrn", SIZE, FAST)
    block = NeuralVolume.open(outcome.path).reconstruct_block()
    assert block.values.shape == values.shape
    for component, truth in zip(block.values, values):
        assert np.abs(component - truth).mean() < 0.03 * np.ptp(truth)


def masked() -> Volume:
    values = waves(16).astype(np.float64)
    values[:, :6, :5] = np.nan
    return volume_from_array(values)


def test_missing_voxels_are_neither_learned_nor_measured_nor_invented(tmp_path: Path) -> None:
    outcome = train(masked(), tmp_path / "m.amgsrn", SIZE, FAST)
    assert outcome.psnr > 30
    block = NeuralVolume.open(outcome.path).reconstruct_block()
    assert block.valid is not None
    assert np.array_equal(block.valid, ~np.isnan(masked_values()))


def masked_values() -> np.ndarray:
    values = waves(16).astype(np.float64)
    values[:, :6, :5] = np.nan
    return values


def test_half_precision_halves_the_file(tmp_path: Path) -> None:
    volume = volume_from_array(waves())
    full = train(volume, tmp_path / "a.amgsrn", SIZE, FAST)
    half = train(volume, tmp_path / "b.amgsrn", SIZE, FAST, StorageConfig(dtype="float16"))
    assert half.path.stat().st_size < 0.6 * full.path.stat().st_size + 8000
    values = NeuralVolume.open(half.path).reconstruct_block().values
    assert np.abs(values - waves()).mean() < 0.05


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((4, 4, 4), 3.0), "constant"),
        (np.full((4, 4, 4), np.nan), "no valid value"),
        (np.where(np.arange(64).reshape(4, 4, 4) == 9, np.inf, 1.0), "infinite"),
    ],
)
def test_unusable_data_are_refused_in_a_sentence(
    tmp_path: Path, values: np.ndarray, words: str
) -> None:
    with pytest.raises(VolumeError, match=words):
        train(volume_from_array(values), tmp_path / "m.amgsrn", SIZE, FAST)
    assert not list(tmp_path.iterdir())


def test_an_unwritable_output_is_refused_before_the_data_are_read(tmp_path: Path) -> None:
    volume = volume_from_array(waves(8))
    volume.read = volume.check = None  # type: ignore[assignment,method-assign]
    with pytest.raises(OutputError, match="does not exist"):
        train(volume, tmp_path / "nowhere" / "m.amgsrn", SIZE, FAST)


def test_an_unknown_device_is_named(tmp_path: Path) -> None:
    config = TrainingConfig(device="abacus")
    with pytest.raises(ConfigurationError, match="abacus"):
        train(volume_from_array(waves(8)), tmp_path / "m.amgsrn", SIZE, config)


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_divergence_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    import torch

    module = importlib.import_module("amgsrn_core.training.brick")
    make = module.initial_network

    def broken(*arguments: object) -> torch.nn.Module:
        network = make(*arguments)
        with torch.no_grad():
            network.feature_grids[:] = float("nan")
        return network

    monkeypatch.setattr(module, "initial_network", broken)
    config = dataclasses.replace(FAST, backend=backend, device="cpu")
    with pytest.raises(TrainingError, match="diverged"):
        train(volume_from_array(waves(8)), tmp_path / "m.amgsrn", SIZE, config)


@pytest.mark.parametrize("missing", [False, True])
def test_training_needs_the_brick_and_less_than_a_gigabyte(tmp_path: Path, missing: bool) -> None:
    program = """
import resource, sys
import numpy as np
import torch
torch.set_num_threads(1)
from amgsrn_core import train, volume_from_array
from amgsrn_core.config import NetworkConfig, TrainingConfig
values = np.random.default_rng(0).random((256, 256, 256), dtype=np.float32)
if sys.argv[2] == "True":
    values[:100] = np.nan
volume = volume_from_array(values)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
train(volume, sys.argv[1], NetworkConfig(grids=2, grid_shape=(4, 4, 4), width=16),
      TrainingConfig(iterations=3, batch=65536, device="cpu"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, values.nbytes // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "m.amgsrn"), str(missing)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    grown, brick_size = map(int, done.stdout.split())
    assert grown < brick_size + 1024 * 1024


def test_a_netcdf_volume_trains_like_the_array_it_holds(tmp_path: Path) -> None:
    from support.sample_volumes import write_netcdf

    values = waves(10)
    path = write_netcdf(tmp_path / "w.nc", {"w": (("z", "y", "x"), values, {})})
    config = TrainingConfig(iterations=10, batch=64, device="cpu")
    a = train(open_volume(path), tmp_path / "a.amgsrn", SIZE, config)
    b = train(volume_from_array(values), tmp_path / "b.amgsrn", SIZE, config)
    assert np.array_equal(brick(a.path)["feature_grids"], brick(b.path)["feature_grids"])


def test_data_may_be_elsewhere_than_the_network() -> None:
    from amgsrn_core.networks import initial_network
    from amgsrn_core.training.sampling import prepare
    from amgsrn_core.training.schedule import rates
    from amgsrn_core.training.step import make_step
    from amgsrn_core.volume import Block

    # Torch's device without memory stands for a GPU: it refuses whatever is not moved there.
    config = TrainingConfig(iterations=10, batch=64, backend="torch", data_device="cpu")
    network = initial_network(SIZE, torch.zeros(1), torch.ones(1), seed=1).to("meta")
    values = np.random.default_rng(0).random((1, 5, 6, 7)).astype(np.float32)
    data = prepare(Block(values), np.zeros(1), np.ones(1), torch.device("cpu"))
    for targets in ("cubic", "linear"):
        step = make_step(network, data, dataclasses.replace(config, targets=targets))
        assert step.descend(0, rates(config, 0)).device.type == "meta"


def test_data_in_memory_make_the_same_model(tmp_path: Path) -> None:
    outcomes = [
        train(
            volume_from_array(np.random.default_rng(0).random((6, 7, 8))),
            tmp_path / f"{where}.amgsrn",
            SIZE,
            TrainingConfig(iterations=5, batch=64, device="cpu", data_device=where),
        )
        for where in ("auto", "cpu")
    ]
    first, second = (load_brick(outcome.path, 0) for outcome in outcomes)
    assert all(np.array_equal(first[name], second[name]) for name in first)
