"""A training step by the kernels does what the torch reference does, and can be interrupted."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from support.kernel_cases import (
    CASES,
    NAMES,
    arrays,
    library,
    needs_kernels,
    network,
    points,
    threads,
)

from amgsrn_core import volume_from_array
from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.kernels import load
from amgsrn_core.kernels.nodes import inside, nodes_from_grids
from amgsrn_core.kernels.training import GradientKernel, draw
from amgsrn_core.networks import decode, encode, initial_network
from amgsrn_core.networks.interpolation import cubic_targets, linear_targets
from amgsrn_core.runs import train
from amgsrn_core.training import Command
from amgsrn_core.training.native_step import NativeStep
from amgsrn_core.training.sampling import PointSampler, TrainingData
from amgsrn_core.training.schedule import Rates
from amgsrn_core.training.torch_step import TorchStep

pytestmark = needs_kernels
__all__ = ["library", "threads"]

SIZE = NetworkConfig(grids=3, grid_shape=(5, 6, 7), width=24)


def some_targets(count: int, outputs: int) -> torch.Tensor:
    return torch.rand(count, outputs, generator=torch.Generator().manual_seed(1))


def parameters(net) -> list[torch.Tensor]:
    return [net.feature_grids, net.transforms, *net.weights]


def native_gradients(kernels, net, at, targets, parts: int = 3):
    """Return the loss, the errors and the gradients of all parameters."""
    shape = net.feature_grids.shape
    kernel = GradientKernel(kernels, shape, parts)
    grids, transforms, *weights = arrays(*parameters(net))
    loss, errors, decoder, maps = kernel.gradients(
        nodes_from_grids(grids), transforms, weights, at.numpy(), targets.numpy(), moving=True
    )
    gradients = [inside(kernel.node_gradients(), shape), maps, *decoder]
    return loss, torch.from_numpy(errors), [torch.from_numpy(g) for g in gradients]


def double_loss(values: list[torch.Tensor], at, targets) -> torch.Tensor:
    errors = decode(encode(at.double(), values[0], values[1]), values[2:]) - targets.double()
    return errors.square().mean(1)


@pytest.mark.parametrize(("size", "outputs"), CASES, ids=NAMES)
def test_gradients_are_autograds(library, size, outputs):
    net = network(size, outputs)
    at, targets = (
        points(1501),
        some_targets(1501, outputs),
    )
    values = [p.detach().double().requires_grad_() for p in parameters(net)]
    errors = double_loss(values, at, targets)
    errors.mean().backward()
    loss, got_errors, gradients = native_gradients(library, net, at, targets)
    assert loss == pytest.approx(errors.mean().item(), rel=1e-5)
    torch.testing.assert_close(got_errors.double(), errors.detach(), atol=1e-5, rtol=1e-4)
    for gradient, value in zip(gradients, values):
        # A neuron may be on at a point in float64 and off in float32: norms, not single numbers.
        assert (gradient - value.grad).norm() <= 2e-3 * value.grad.norm()


def test_gradients_are_finite_differences(library):
    net = network(SIZE)
    at, targets = points(700), some_targets(700, 1)
    _, _, gradients = native_gradients(library, net, at, targets)
    values = [p.detach().double() for p in parameters(net)]
    random = torch.Generator().manual_seed(5)
    step = 1e-6
    for number, gradient in enumerate(gradients):
        direction = torch.randn(gradient.shape, generator=random).double()
        losses = []
        for sign in (-1, 1):
            moved = list(values)
            moved[number] = values[number] + sign * step * direction
            losses.append(double_loss(moved, at, targets).mean().item())
        slope = (losses[1] - losses[0]) / (2 * step)
        scale = gradient.double().norm().item() * direction.norm().item()
        assert (gradient.double() * direction).sum().item() == pytest.approx(
            slope, abs=2e-4 * scale
        )


def test_maps_feel_no_pull_where_a_grid_is_out_of_reach(library):
    net = network(SIZE)
    far = torch.tensor([[30.0, 0, 0], [0, 1e30, 0], [0, -40, 1e20]])
    _, _, gradients = native_gradients(library, net, far, torch.ones(3, 1))
    for gradient in gradients:
        assert (gradient == 0).all()


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_gradients_do_not_depend_on_how_the_work_is_divided(library, threads, parts):
    net = network(SIZE, 2)
    at, targets = points(1000), some_targets(1000, 2)
    _, _, alone = native_gradients(library, net, at, targets, parts=1)
    first = native_gradients(library, net, at, targets, parts=parts)
    again = native_gradients(library, net, at, targets, parts=parts)
    for a, b, c in zip(alone, first[2], again[2]):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
        assert torch.equal(b, c)


def test_points_that_count_differently_pull_by_what_they_count(library):
    net = network(SIZE, 2)
    at, targets = points(1000), some_targets(1000, 2)
    counts = torch.rand(1000, generator=torch.Generator().manual_seed(3)) + 0.5
    shape = net.feature_grids.shape
    kernel = GradientKernel(library, shape, 3)
    grids, transforms, *weights = arrays(*parameters(net))
    loss, errors, decoder, maps = kernel.gradients(
        *(nodes_from_grids(grids), transforms, weights, at.numpy(), targets.numpy()),
        moving=True,
        counts=counts.numpy(),
    )
    values = [p.detach().double().requires_grad_() for p in parameters(net)]
    squares = double_loss(values, at, targets)
    expected = (squares * counts).mean()
    torch.testing.assert_close(
        torch.from_numpy(errors).double(), squares.detach(), atol=1e-5, rtol=1e-4
    )
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    found = [inside(kernel.node_gradients(), shape), maps, *decoder]
    for mine, theirs in zip(found, torch.autograd.grad(expected, values)):
        assert (torch.from_numpy(mine) - theirs).norm() <= 0.01 * theirs.norm()


@pytest.mark.parametrize("cubic", [True, False])
@pytest.mark.parametrize("shape", [(2, 6, 7, 8), (1, 3, 2, 3), (1, 2, 4, 5), (3, 4, 4, 4)])
@pytest.mark.parametrize("kind", [None, torch.int32, torch.int64])
def test_points_and_targets_are_the_references(library, shape, cubic, kind):
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    cells = None if kind is None else torch.tensor([0, 1], dtype=kind)
    sampler = PointSampler(TrainingData(values, cells), 777, seed=1)
    index, local = sampler.draw(5)
    numbers = None if cells is None else cells.numpy()
    drawn = draw(library, values.numpy(), numbers, sampler.uniform(5).numpy(), cubic=cubic)
    at, targets = map(torch.from_numpy, drawn)
    expected = cubic_targets(values, index) if cubic else linear_targets(values, local)
    torch.testing.assert_close(at, local, atol=1e-6, rtol=0)
    torch.testing.assert_close(targets, expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("motion", "sampling"),
    [(m, "uniform") for m in ("gradient", "density", "none")] + [("gradient", "importance")],
)
def test_steps_follow_the_reference(library, motion, sampling):
    data = TrainingData(blob()[None], None)
    config = TrainingConfig(batch=3000, motion=motion, sampling=sampling, device="cpu")
    runs = []
    for step_of in (TorchStep, lambda *a: NativeStep(library, *a)):
        net = initial_network(SIZE, torch.zeros(1), torch.ones(1), seed=2)
        start = [p.detach().clone() for p in parameters(net)]
        step = step_of(net, data, config)
        losses = [
            float(step.descend(i, Rates(3e-3, 1e-3, 0.0 if motion == "none" else 1e-3)))
            for i in range(6)
        ]
        step.publish()
        changes = [p.detach() - s for p, s in zip(parameters(net), start)]
        runs.append((losses, changes))
    np.testing.assert_allclose(runs[0][0], runs[1][0], rtol=1e-4)
    for reference, native in zip(runs[0][1], runs[1][1]):
        assert (reference - native).norm() <= 0.03 * reference.norm()
    assert (runs[1][1][1] != 0).any() == (motion != "none")


@pytest.mark.parametrize("sampling", ["uniform", "importance"])
def test_a_states_meaning_does_not_depend_on_the_backend(sampling):
    data = TrainingData(blob()[None], None)
    config = TrainingConfig(batch=3000, sampling=sampling, device="cpu")
    kinds = {"torch": TorchStep, "native": lambda *a: NativeStep(load(), *a)}
    ends = {}
    for first in kinds:
        for second in kinds:
            net = initial_network(SIZE, torch.zeros(1), torch.ones(1), seed=2)
            step = kinds[first](net, data, config)
            for i in range(3):
                step.descend(i, Rates(3e-3, 1e-3, 1e-3))
            step.publish()
            state = {k: v.clone() for k, v in step.state().items()}
            step = kinds[second](net, data, config)
            step.restore(state)
            ends[first, second] = [float(step.descend(i, Rates(3e-3, 1e-3, 1e-3))) for i in (3, 4)]
    for losses in ends.values():
        np.testing.assert_allclose(losses, ends["torch", "torch"], rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [{}, {"sampling": "importance"}, {"averaging": True, "schedule": "constant"}],
    ids=["uniform", "importance", "averaging"],
)
def test_an_interrupted_run_ends_like_one_that_was_not(tmp_path, monkeypatch, options):
    volume = volume_from_array(blob(16).numpy())
    config = TrainingConfig(
        iterations=40, batch=2000, backend="native", device="cpu", checkpoint_seconds=0, **options
    )

    class StopAt:
        """Stops the run once, as soon as it has done some iterations."""

        stopped = False

        def __call__(self, progress):
            if progress.phase == "training" and progress.iteration >= 30 and not self.stopped:
                self.stopped = True
                return Command.STOP
            return Command.CONTINUE

    whole = train(volume, tmp_path / "whole.amgsrn", SIZE, config)
    monkeypatch.setattr(importlib.import_module("amgsrn_core.training.fit"), "_PATIENCE_SECONDS", 0)
    observer = StopAt()
    stopped = train(volume, tmp_path / "parts.amgsrn", SIZE, config, observer=observer)
    assert observer.stopped and not stopped.completed
    train(volume, tmp_path / "parts.amgsrn", SIZE, config)
    a, b = (load_file(tmp_path / f"{name}.amgsrn") for name in ("whole", "parts"))
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    assert whole.completed


def test_training_reaches_what_the_reference_reaches(tmp_path):
    volume = volume_from_array(blob(24).numpy())
    psnr = {
        backend: train(
            volume,
            tmp_path / f"{backend}.amgsrn",
            SIZE,
            TrainingConfig(iterations=150, batch=3000, backend=backend, device="cpu"),
        ).psnr
        for backend in ("torch", "native")
    }
    assert psnr["native"] > 30
    assert psnr["native"] == pytest.approx(psnr["torch"], abs=1.5)


def blob(n: int = 20) -> torch.Tensor:
    z, y, x = torch.meshgrid(*[torch.linspace(-1, 1, n)] * 3, indexing="ij")
    return torch.exp(-3 * (x * x + 2 * y * y + (z - 0.2) ** 2))
