"""The CUDA paths against the CPU; run them with ``pytest -m cuda`` on a machine that has a GPU."""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from support.rendering_cases import camera_at, models, transfer_for

from amgsrn_core import NeuralVolume, volume_from_array
from amgsrn_core.cli.doctor import rendering as doctor_rendering
from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.errors import TrainingError
from amgsrn_core.networks import encode, feature_density, initial_network
from amgsrn_core.networks.interpolation import cubic_targets
from amgsrn_core.rendering import RenderSettings, nerfacc_operators, render
from amgsrn_core.runs import train
from amgsrn_core.system.devices import give_back_memory
from amgsrn_core.training import Command, Progress
from amgsrn_core.training.draws import HashedNumbers
from amgsrn_core.training.graph_step import GraphStep
from amgsrn_core.training.sampling import TrainingData
from amgsrn_core.training.schedule import Rates
from amgsrn_core.training.step import make_step

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
SIZE = NetworkConfig(grids=4, grid_shape=(8, 8, 8), width=32)


def blob(n: int = 24) -> np.ndarray:
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n)] * 3, indexing="ij")
    return np.exp(-3 * (x * x + 2 * y * y + (z - 0.2) ** 2)).astype(np.float32)


def test_reference_agrees_with_the_cpu() -> None:
    network = initial_network(SIZE, torch.zeros(1), torch.ones(1), seed=1)
    points = torch.rand(5000, 3) * 2.4 - 1.2
    moved = {k: v.cuda() for k, v in network.state_dict().items()}
    args = (moved["feature_grids"], moved["transforms"])
    features = encode(points.cuda(), *args).cpu()
    expected = encode(points, network.feature_grids, network.transforms)
    assert torch.allclose(features, expected, atol=1e-6)
    density = feature_density(points.cuda(), args[1]).cpu()
    assert torch.allclose(density, feature_density(points, network.transforms), atol=1e-4)


def test_cubic_targets_agree_with_the_cpu() -> None:
    values = torch.rand(2, 6, 7, 8)
    index = torch.rand(4000, 3) * torch.tensor([7.0, 6.0, 5.0])
    on_gpu = cubic_targets(values.cuda(), index.cuda()).cpu()
    assert torch.allclose(on_gpu, cubic_targets(values, index), atol=1e-5)


def test_data_in_host_memory_train_as_well(tmp_path: Path) -> None:
    config = TrainingConfig(iterations=400, batch=4096, device="cuda", data_device="cpu")
    outcome = train(volume_from_array(blob()), tmp_path / "m.amgsrn", SIZE, config)
    assert outcome.psnr > 35


def test_training_fits_and_the_model_reads_everywhere(tmp_path: Path) -> None:
    config = TrainingConfig(iterations=400, batch=4096, device="cuda")
    outcome = train(volume_from_array(blob()), tmp_path / "m.amgsrn", SIZE, config)
    assert outcome.psnr > 35
    blocks = [
        NeuralVolume.open(outcome.path, device).reconstruct_block(None, None)
        for device in ("cuda", "cpu")
    ]
    assert np.abs(blocks[0].values - blocks[1].values).max() < 1e-4


def test_an_interrupted_run_continues(tmp_path: Path) -> None:
    config = TrainingConfig(iterations=3000, batch=2048, device="cuda")

    def until(progress: Progress) -> Command:
        return Command.STOP if progress.iteration > 0 else Command.CONTINUE

    first = train(volume_from_array(blob()), tmp_path / "m.amgsrn", SIZE, config, observer=until)
    assert not first.completed
    second = train(volume_from_array(blob()), tmp_path / "m.amgsrn", SIZE, config)
    assert second.completed and len(second.history) >= len(first.history)


def test_too_large_a_batch_is_one_clear_sentence(tmp_path: Path) -> None:
    config = TrainingConfig(iterations=2, batch=1 << 28, device="cuda")
    with pytest.raises(TrainingError, match="smaller batch"):
        train(volume_from_array(blob()), tmp_path / "m.amgsrn", NetworkConfig(), config)


def test_hashed_numbers_are_those_of_the_cpu() -> None:
    on_gpu, on_cpu = (
        HashedNumbers(5, 1000, torch.device(kind)).batch(torch.tensor(77, device=kind)).cpu()
        for kind in ("cuda", "cpu")
    )
    assert torch.equal(on_gpu, on_cpu)


@pytest.mark.parametrize("motion", ["gradient", "density", "none"])
@pytest.mark.parametrize("encoder", ["adaptive", "dense", "hash"])
@pytest.mark.parametrize("where", ["cuda", "cpu"])
def test_an_iteration_is_captured_and_repeated(encoder: str, motion: str, where: str) -> None:
    class WithoutGraphs:
        def warm_up(self, work) -> None:
            work()

        def capture(self, work):
            return work

    losses = []
    for graphs in (None, WithoutGraphs()):
        size = dataclasses.replace(SIZE, encoder=encoder, hash_log2_size=10)
        network = initial_network(size, torch.zeros(1), torch.ones(1), seed=1).cuda()
        data = TrainingData(torch.from_numpy(blob())[None].to(where), None)
        config = TrainingConfig(batch=4096, motion=motion, device="cuda")
        step = GraphStep(network, data, config, graphs)
        found = []
        for iteration in range(40):
            moving = 1e-3 if motion != "none" and iteration < 20 else 0.0
            found.append(step.descend(iteration, Rates(1e-2, 3e-3, moving)))
        losses.append(torch.stack(found).cpu())
        assert not step.failure
    assert losses[0][-1] < 0.5 * losses[0][0]
    torch.testing.assert_close(*losses, rtol=0.02, atol=1e-5)


def test_an_iteration_with_a_graph_never_waits() -> None:
    network = initial_network(SIZE, torch.zeros(1), torch.ones(1), seed=1).cuda()
    data = TrainingData(torch.from_numpy(blob())[None].cuda(), None)
    step = make_step(network, data, TrainingConfig(batch=4096, device="cuda"))
    for iteration in range(6):
        step.descend(iteration, Rates(1e-2, 3e-3, 1e-3))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for iteration in range(6, 12):
            step.descend(iteration, Rates(1e-2 / iteration, 3e-3, 1e-3))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("backend", ["torch", "blocks", "nerfacc"])
@pytest.mark.parametrize("shade", [False, True])
def test_marchers_agree_with_the_cpu(tmp_path: Path, backend: str, shade: bool) -> None:
    if backend == "nerfacc" and (reason := nerfacc_operators.failure()):
        pytest.skip(f"nerfacc: {reason}; `amgsrn doctor --build` builds them")
    for name, model in models(tmp_path).items():
        on_gpu = NeuralVolume.open(tmp_path / f"{name}.amgsrn", "cuda")
        transfer, camera = transfer_for(model), camera_at(model)
        settings = RenderSettings(samples_per_voxel=3.0, shade=shade)
        image = render(on_gpu, camera, transfer, settings, backend=backend)
        expected = render(model, camera, transfer, settings, backend="torch")
        assert np.quantile(np.abs(image - expected), 0.99) < 2e-3


def test_pictures_do_not_depend_on_the_unit_of_length() -> None:
    for picture in doctor_rendering.pictures(["cuda"]):
        assert picture.is_right, picture


@pytest.mark.parametrize("name", ["plain", "uneven", "turned", "masked", "vectors", "bricks"])
def test_samples_and_grids_agree_with_the_cpu(tmp_path: Path, name: str) -> None:
    model = models(tmp_path)[name]
    on_gpu = NeuralVolume.open(tmp_path / f"{name}.amgsrn", "cuda")
    block, expected = (m.reconstruct_block() for m in (on_gpu, model))
    np.testing.assert_allclose(block.values, expected.values, atol=1e-4)
    assert (block.valid is None) == (expected.valid is None)
    points = np.random.default_rng(0).uniform(0, 7, (5000, 3))
    values, slopes = on_gpu.sample_with_gradient(points)
    there, expected_slopes = model.sample_with_gradient(points)
    np.testing.assert_allclose(on_gpu.sample(points), model.sample(points), atol=1e-4)
    np.testing.assert_allclose(values, there, atol=1e-4)
    apart = np.abs(slopes - expected_slopes)
    assert np.nanquantile(apart, 0.95) < 1e-2  # a few lie where feature grids have kinks


def test_memory_is_given_back(tmp_path: Path) -> None:
    models(tmp_path)
    on_gpu = NeuralVolume.open(tmp_path / "plain.amgsrn", "cuda")
    on_gpu.reconstruct_block()
    del on_gpu
    gc.collect()
    kept = torch.cuda.memory_reserved()
    give_back_memory()
    assert torch.cuda.memory_reserved() <= kept
    assert torch.cuda.memory_reserved() - torch.cuda.memory_allocated() < 64 << 20
