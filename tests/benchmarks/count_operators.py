"""Count what an iteration of training asks a GPU to do, and how often the host would wait for it.

python tests/benchmarks/count_operators.py

Counted on the CPU, where PyTorch is asked for the same operators: "kernels" are those that are not
views, the fewest that a GPU has to start. "launched" is what the host starts per iteration: all of
them without a graph; with one, the graph and what is written beside it. Nothing is timed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.operators import Operators

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.networks import initial_network
from amgsrn_core.training.sampling import TrainingData
from amgsrn_core.training.schedule import Rates
from amgsrn_core.training.torch_step import TorchStep

KINDS = {
    "adaptive, grids moving": ({}, {}, 1e-3),
    "adaptive, grids at rest": ({}, {}, 0.0),
    "adaptive, density rule": ({}, {"motion": "density"}, 1e-3),
    "adaptive, tv and l1": ({}, {"tv": 1e-3, "l1": 1e-3}, 0.0),
    "dense": ({"encoder": "dense"}, {}, 0.0),
    "hash": ({"encoder": "hash", "hash_log2_size": 14}, {}, 0.0),
}


def operators_of(step: TorchStep, motion: float) -> Operators:
    for iteration in range(5):
        step.descend(iteration, Rates(1e-3, 1e-3, motion))
    with Operators() as operators:
        step.descend(5, Rates(1e-3, 1e-3, motion))
    return operators


def main() -> None:
    data = TrainingData(torch.rand(1, 16, 16, 16), None)
    for name, (network, training, motion) in KINDS.items():
        size = NetworkConfig(grid_shape=(8, 8, 8), **network)
        config = TrainingConfig(batch=2048, device="cpu", backend="torch", **training)

        def made(kind, *more, size=size, config=config):
            net = initial_network(size, torch.zeros(1), torch.ones(1), seed=0)
            return kind(net, data, config, *more)

        plain = operators_of(made(TorchStep), motion)
        print(f"{name}: kernels {plain.kernels}, waits {plain.waits.total()}", end="")
        try:
            from support.graphs_on_cpu import RecordedGraphs

            from amgsrn_core.training.graph_step import GraphStep
        except ImportError:  # of an earlier state, for comparison
            print()
            continue
        graphs = RecordedGraphs()
        beside = operators_of(made(GraphStep, graphs), motion).kernels
        print(f"; with a graph: in it {graphs.kernels}, launched {beside + 1}")


if __name__ == "__main__":
    main()
