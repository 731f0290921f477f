"""The kernels' library is found or done without, and wrong arguments never reach it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from support.kernel_cases import arrays, needs_kernels, network, points

from amgsrn_core.cli import main
from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.kernels import KernelLibrary, load, loader
from amgsrn_core.kernels.backend import backend_name, native_library
from amgsrn_core.kernels.inference import KernelNetwork
from amgsrn_core.kernels.nodes import inside, nodes_from_grids
from amgsrn_core.kernels.training import GradientKernel, draw

SIZE = NetworkConfig(grids=2, grid_shape=(4, 5, 6), width=16)


@pytest.fixture
def fresh(monkeypatch):
    """Lets a test load the library anew, whatever the environment said before."""
    monkeypatch.delenv("AMGSRN_KERNELS", raising=False)
    monkeypatch.delenv("AMGSRN_ISA", raising=False)
    load.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    load.cache_clear()
    load()


def test_without_the_library_torch_computes_and_the_log_says_so_once(fresh, tmp_path, caplog):
    fresh.setenv("AMGSRN_KERNELS", str(tmp_path / "nothing.so"))
    with caplog.at_level(logging.INFO, logger="amgsrn_core"):
        assert native_library("auto", "cpu") is None
        assert backend_name("cpu") == "torch"
    assert len(caplog.records) == 1
    with pytest.raises(ConfigurationError, match="not built"):
        native_library("native", "cpu")


@pytest.mark.parametrize("content", [b"", b"not a library"])
def test_a_damaged_library_is_done_without(fresh, tmp_path, caplog, content):
    path = tmp_path / "damaged.so"
    path.write_bytes(content)
    fresh.setenv("AMGSRN_KERNELS", str(path))
    with caplog.at_level(logging.INFO, logger="amgsrn_core"):
        assert load() is None
    assert str(path) in caplog.text


def test_a_foreign_library_is_refused():
    import ctypes.util

    name = ctypes.util.find_library("m")
    if name is None:
        pytest.skip("no mathematics library here")
    with pytest.raises(OSError, match="not this package's"):
        KernelLibrary(name)


def test_the_kernels_can_be_switched_off(fresh):
    fresh.setenv("AMGSRN_KERNELS", "")
    assert load() is None


def test_impossible_backends_are_refused():
    with pytest.raises(ConfigurationError, match="one of auto, torch, native"):
        native_library("fast", "cpu")
    with pytest.raises(ConfigurationError, match="CPU only"):
        native_library("native", "cuda:0")
    assert native_library("auto", "cuda:0") is None


@needs_kernels
def test_another_version_of_the_interface_is_refused(monkeypatch):
    monkeypatch.setattr(loader, "ABI", -1)
    with pytest.raises(OSError, match="another version"):
        KernelLibrary(load().path)


@needs_kernels
def test_fields_in_another_order_than_the_library_has_them_are_refused(monkeypatch):
    swapped = {"low": "high", "high": "low"}
    fields = [(swapped.get(name, name), kind) for name, kind in loader.Appearance._fields_]
    Appearance = type("Appearance", (loader.Struct,), {"_fields_": fields})
    structs = [Appearance if struct is loader.Appearance else struct for struct in loader._STRUCTS]
    monkeypatch.setattr(loader, "_STRUCTS", structs)
    swap = r"AmgsrnAppearance\.low 40 8 f instead of AmgsrnAppearance\.high 40 8 f"
    with pytest.raises(OSError, match=swap):
        KernelLibrary(load().path)


def test_structs_are_filled_by_the_names_of_their_fields():
    assert loader.Network(width=3, grids=2).width == 3
    with pytest.raises(TypeError, match="Network has no field breadth"):
        loader.Network(breadth=3)
    with pytest.raises(TypeError):
        loader.Network(2, 3)


@needs_kernels
def test_the_environment_chooses_the_instruction_set(fresh):
    slowest = load().isas[-1]
    fresh.setenv("AMGSRN_ISA", slowest)
    load.cache_clear()
    try:
        assert load().isa == slowest
        fresh.setenv("AMGSRN_ISA", "abacus")
        load.cache_clear()
        with pytest.raises(ConfigurationError, match=f"abacus.*{slowest}"):
            load()
    finally:
        fresh.delenv("AMGSRN_ISA")
        load.cache_clear()
        load().use_isa(None)


def zeros(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def test_the_layer_of_zeros_is_round_every_grid():
    grids = np.random.default_rng(0).random((2, 3, 4, 5, 6), dtype=np.float32) + 1
    nodes = nodes_from_grids(grids)
    assert (inside(nodes, grids.shape) == grids).all()
    assert (nodes != 0).sum() == grids.size


@needs_kernels
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"points": zeros(5, 3, dtype=np.float64)}, TypeError, "points.*float32"),
        ({"points": zeros(5, 2)}, ValueError, r"points.*\[5, 3\]"),
        ({"points": zeros(3, 5).T}, ValueError, "points must be contiguous"),
        ({"transforms": zeros(3, 3, 4)}, ValueError, r"transforms.*\[2, 3, 4\]"),
        ({"weights": [zeros(16, 4)]}, ValueError, "two matrices"),
        ({"weights": [zeros(16, 5), zeros(1, 16)]}, ValueError, r"weights\[0\]"),
        ({"weights": [zeros(16, 4), zeros(1, 17)]}, ValueError, r"weights\[1\]"),
        ({"feature_grids": zeros(2, 2, 4, 5)}, ValueError, r"\[G, F, D, H, W\]"),
        ({"feature_grids": zeros(2, 2, 4, 5, 6, dtype=np.float16)}, TypeError, "feature_grids"),
    ],
)
def test_wrong_arguments_are_errors_not_crashes(change, error, words):
    net = network(SIZE).requires_grad_(False)
    grids, transforms, *weights = arrays(net.feature_grids, net.transforms, *net.weights)
    arguments = {
        "feature_grids": grids,
        "transforms": transforms,
        "weights": weights[:1] + weights[2:],
        **change,
    }
    at = arguments.pop("points", points(5).numpy())
    with pytest.raises(error, match=words):
        KernelNetwork(load(), **arguments).normalised(at)


@needs_kernels
def test_wrong_training_arguments_are_errors_not_crashes():
    net = network(SIZE).requires_grad_(False)
    kernel = GradientKernel(load(), net.feature_grids.shape, 1)
    grids, transforms, *weights = arrays(net.feature_grids, net.transforms, *net.weights)
    nodes = nodes_from_grids(grids)
    fixed = (nodes, transforms, weights)
    with pytest.raises(ValueError, match="targets"):
        kernel.gradients(*fixed, points(5).numpy(), zeros(4, 1), moving=False)
    with pytest.raises(ValueError, match="at least one point"):
        kernel.gradients(*fixed, points(0).numpy(), zeros(0, 1), moving=False)
    with pytest.raises(ValueError, match="nodes"):
        kernel.gradients(nodes[1:], *fixed[1:], points(5).numpy(), zeros(5, 1), moving=False)
    with pytest.raises(ValueError, match="uniform"):
        draw(load(), zeros(1, 2, 2, 2), None, zeros(5, 3), cubic=True)
    with pytest.raises(TypeError, match="cells"):
        draw(load(), zeros(1, 2, 2, 2), zeros(5), zeros(5, 4), cubic=True)
    with pytest.raises(ValueError, match="values"):
        draw(load(), zeros(1, 2, 2, 1), None, zeros(5, 4), cubic=True)
    with pytest.raises(ValueError, match="mean"):
        kernel.update(
            nodes,
            zeros(1),
            zeros(1),
            rate=0.1,
            betas=(0.9, 0.9),
            epsilon=1e-8,
            step=1,
        )


@needs_kernels
def test_several_threads_may_evaluate_at_once():
    net = network(SIZE).requires_grad_(False)
    net.use_backend("native")
    at = points(20000)
    with torch.inference_mode():
        expected = net(at)
    wrong = []

    def work():
        with torch.inference_mode():
            for _ in range(20):
                if not torch.equal(net(at), expected):
                    wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@needs_kernels
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_gets_threads_of_its_own():
    program = """
import os, sys, torch
from support.kernel_cases import SIZES, kernel_network, network, points
from amgsrn_core.kernels import load

torch.set_num_threads(3)
net = network(SIZES[0]).requires_grad_(False)
evaluator, at = kernel_network(load(), net), points(5000).numpy()
values = lambda: evaluator.normalised(at)
expected = values().tobytes()
child = os.fork()
same = values().tobytes() == expected
if not child:
    os._exit(0 if same else 1)
assert same and os.waitpid(child, 0)[1] == 0
"""
    subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        timeout=60,
    )


def test_bench_measures_both_backends(tmp_path, capsys):
    import json

    target = tmp_path / "bench.json"
    size = ["--grids", "2", "--grid-shape", "4,4,4", "--width", "16"]
    options = ["--points", "500", "--repetitions", "1", "--threads", "1", "--json", str(target)]
    threads_before = torch.get_num_threads()
    try:
        for what in ("inference", "training"):
            assert main(["bench", what, *size, *options]) == 0
            results = json.loads(target.read_text())
            backends = {row["backend"] for row in results["results"]}
            assert backends == ({"torch", "native"} if load() else {"torch"})
            assert all(row["points_per_second"] > 0 for row in results["results"])
            assert all(ratio["ratio"] > 0 for ratio in results["ratio"])
            assert "M points/s" in capsys.readouterr().out
    finally:
        torch.set_num_threads(threads_before)
    assert main(["bench", "inference", "--threads", "0"]) == 1
