"""`amgsrn bench` reports what it measured, in words and as JSON with stable keys."""

from __future__ import annotations

import json

import pytest
import torch
from support.kernel_cases import needs_kernels, threads

from amgsrn_core.cli import main
from amgsrn_core.cli.bench.networks import multiplications
from amgsrn_core.config import NetworkConfig
from amgsrn_core.kernels import load
from amgsrn_core.networks import initial_network

__all__ = ["threads"]

SMALL = ["--grids", "2", "--grid-shape", "4,4,4", "--width", "16", "--repetitions", "1"]


@pytest.mark.parametrize(
    "size", [NetworkConfig(), NetworkConfig(grids=3, features=4, layers=1, width=20)]
)
def test_the_multiplications_of_a_point_are_the_decoders_weights(size):
    net = initial_network(size, torch.zeros(1), torch.ones(1), seed=0)
    assert multiplications(size) == sum(weight.numel() for weight in net.weights)


@needs_kernels
@pytest.mark.parametrize("what", ["inference", "training"])
def test_scaling_and_roofline_are_reported(what, threads, tmp_path, capsys):
    target = tmp_path / "bench.json"
    options = ["--points", "2000", "--threads", "1,2", "--json", str(target)]
    assert main(["bench", what, *SMALL, *options]) == 0
    results = json.loads(target.read_text())
    assert results["isa"] == load().isa and results["precision"] == "float32"
    tasks = {row["task"] for row in results["results"]}
    assert len(tasks) == {"inference": 1, "training": 2}[what]
    assert {(row["task"], row["threads"]) for row in results["roofline"]} == {
        (task, number) for task in tasks for number in (1, 2)
    }
    speeds = {(r["task"], r["threads"], r["backend"]): r for r in results["results"]}
    for row in results["roofline"]:
        native = speeds[row["task"], row["threads"], "native"]["points_per_second"]
        assert row["share"] == pytest.approx(native / row["points_per_second"])
        passes = {"inference": 1, "training": 3}[what]
        work = passes * multiplications(NetworkConfig(grids=2, grid_shape=(4, 4, 4), width=16))
        products = 2000 * work / row["peak_multiply_adds_per_second"]
        assert row["share_of_peak"] == pytest.approx(products * native / 2000)
        seconds = row["seconds_without_decoder"] + products
        assert row["points_per_second"] == pytest.approx(2000 / seconds)
    for row in results["scaling"]:
        assert row["threads"] == [1, 2]
        one, two = (
            speeds[row["task"], number, row["backend"]]["points_per_second"] for number in (1, 2)
        )
        assert row["ratio"] == pytest.approx(two / one)
    printed = capsys.readouterr().out
    assert "roofline, 1 thread " in printed and "1 to 2 threads" in printed


@needs_kernels
def test_the_peak_counts_what_it_multiplies():
    kernels = load()
    one, more = kernels.multiply_adds(1000, 1), kernels.multiply_adds(3000, 2)
    assert one > 0 and more == 6 * one


def test_fast_is_measured_only_where_it_is_fast(monkeypatch, capsys):
    assert main(["bench", "inference", *SMALL, "--precision", "fast"]) == 1
    assert "is for training" in capsys.readouterr().err
    kernels = load()
    if kernels is not None:
        monkeypatch.setattr(type(kernels), "has_fast", False)
    assert main(["bench", "training", *SMALL, "--precision", "fast"]) == 1
    assert "bfloat16" in capsys.readouterr().err
