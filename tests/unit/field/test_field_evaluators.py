"""Models are read without PyTorch: the values and pictures are those that there are with it."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from support.kernel_cases import CASES, NAMES, needs_kernels, network, points
from support.paths import ROOT
from support.sample_models import SMALL_NETWORK, small_brick, small_index, write_two_bricks

from amgsrn_core import NeuralVolume
from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.field.devices import chosen_device
from amgsrn_core.field.evaluators import KernelEvaluator, TorchEvaluator
from amgsrn_core.kernels import load
from amgsrn_core.model import write_archive
from amgsrn_core.system import devices

PROGRAM = ROOT / "tests" / "support" / "without_torch.py"

ROOMS = ("model", "field", "kernels", "volume", "evaluation", "rendering")


def run(*arguments: object) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, *map(str, arguments)], check=True, env=environment, timeout=120)


def write_in_double(path) -> None:
    """A model whose values float32 does not tell apart."""
    index = small_index().replace(value_minimum=(1e8,), value_maximum=(1e8 + 10.0,))
    assert index.is_scaled_in_double
    write_archive(path, index, [small_brick(index, mask=True)])


MODELS = {
    "bricks": lambda path: write_two_bricks(path, mask=True),
    "vectors": lambda path: write_two_bricks(path, components=("u", "v")),
    "float16": lambda path: write_two_bricks(path, dtype="float16"),
    "double": write_in_double,
}


@needs_kernels
@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_the_same_without_pytorch(tmp_path, name):
    path = tmp_path / "model.amgsrn"
    MODELS[name](path)
    found = {}
    for torch_is in ("blocked", "present"):
        target = tmp_path / f"{torch_is}.npz"
        run(PROGRAM, path, target, torch_is)
        with np.load(target) as results:
            found[torch_is] = dict(results)
    assert found["blocked"]["plain"].any()
    for key, expected in found["present"].items():
        np.testing.assert_array_equal(found["blocked"][key], expected, err_msg=key)


@needs_kernels
def test_nothing_that_reads_models_loads_pytorch(tmp_path):
    path = tmp_path / "model.amgsrn"
    write_two_bricks(path)
    run(PROGRAM, path, tmp_path / "absent.npz", "absent")


def test_rooms_that_read_models_do_not_import_pytorch():
    program = (
        "import importlib, pkgutil, sys\n"
        f"for room in {ROOMS}:\n"
        "    package = importlib.import_module('amgsrn_core.' + room)\n"
        "    importlib.import_module('amgsrn_core.rendering.native')\n"
        "    importlib.import_module('amgsrn_core.field.neural_volume')\n"
        "    if room == 'kernels':\n"
        "        for module in pkgutil.iter_modules(package.__path__, package.__name__ + '.'):\n"
        "            importlib.import_module(module.name)\n"
        "assert 'torch' not in sys.modules"
    )
    run("-c", program)


@needs_kernels
@pytest.mark.parametrize(("size", "outputs"), CASES, ids=NAMES)
def test_values_and_gradients_are_the_same_numbers(size, outputs):
    net = network(size, outputs).requires_grad_(False)
    low, high = np.linspace(-3, 7, outputs), np.linspace(8, 9, outputs)
    net = net.with_range(low, high)
    net.use_backend("native")
    kernels = KernelEvaluator(load(), size, net.state_arrays(), low, high)
    by_torch, at = TorchEvaluator(net), points(3001).numpy()
    assert np.array_equal(kernels.values(at), by_torch.values(at))
    for ours, theirs in zip(kernels.with_gradient(at), by_torch.with_gradient(at)):
        assert np.array_equal(ours, theirs)
    density = by_torch.density(at)
    # PyTorch's is rounded to float32 before the power of 20.
    np.testing.assert_allclose(kernels.density(at), density, rtol=2e-4, atol=1e-6 * density.max())
    again = TorchEvaluator(kernels.network)
    assert np.array_equal(again.values(at), kernels.values(at))


def test_what_needs_pytorch_says_so_where_it_is_missing(monkeypatch):
    dense = NetworkConfig(encoder="dense", grids=1, features=2, grid_shape=(3, 3, 3), width=8)
    index = small_index(network=dense)
    brick = small_brick(index)
    brick["transforms"] = np.eye(3, 4, dtype="f4")[None]
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigurationError, match=r"encoder.* needs PyTorch, .*amgsrn\[train\]"):
        NeuralVolume(index, [brick])
    with pytest.raises(ConfigurationError, match=r"device cuda:1 needs PyTorch"):
        chosen_device("cuda:1")
    index = small_index(network=SMALL_NETWORK)
    with pytest.raises(ConfigurationError, match=r"backend \(torch\).* needs PyTorch"):
        NeuralVolume(index, [small_brick(index)], backend="torch")


def test_a_gpu_is_looked_for_where_there_may_be_one(monkeypatch, tmp_path):
    sign = tmp_path / "nvidiactl"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(devices, "_GPU_SIGNS", (str(sign),))
    assert not devices.may_have_gpu()
    sign.touch()
    assert devices.may_have_gpu()
    assert devices.can_have_gpu()
    monkeypatch.setitem(sys.modules, "torch", None)
    assert not devices.can_have_gpu()
    assert chosen_device("auto") == "cpu"


def test_a_device_is_a_name_that_pytorch_takes():
    device = devices.Device("cuda:1")
    assert (device, device.type) == ("cuda:1", "cuda")
    assert (
        torch.device(devices.Device("cpu")) == torch.zeros(1, device=devices.Device("cpu")).device
    )
