"""Adam is PyTorch's, without what PyTorch's loads."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from amgsrn_core.training.optimisers import EPSILON, Adam


def steps(optimiser, parameters) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    for number in range(5):
        optimiser.zero_grad()
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=random)
        if number == 1:  # a parameter without a gradient stays
            parameters[1].grad = None
        optimiser.param_groups[0]["lr"], optimiser.param_groups[1]["lr"] = 0.1 / (number + 1), 0.02
        optimiser.step()
    return [parameter.detach().clone() for parameter in parameters]


def parameters() -> list[torch.nn.Parameter]:
    random = torch.Generator().manual_seed(1)
    return [
        torch.nn.Parameter(torch.randn(*shape, generator=random)) for shape in ((3, 4), (5,), (2,))
    ]


@pytest.mark.parametrize("fused", [True, False])
def test_the_steps_are_those_of_pytorch(monkeypatch, fused):
    if not fused:

        def missing(*_arguments, **_options):
            raise NotImplementedError("no such kernel")

        monkeypatch.setattr(torch, "_fused_adam_", missing)
    mine, theirs = parameters(), parameters()
    groups = [[{"params": p[:2]}, {"params": p[2:]}] for p in (mine, theirs)]
    ours = Adam(groups[0], (0.9, 0.95))
    reference = torch.optim.Adam(groups[1], lr=0.0, betas=(0.9, 0.95), eps=EPSILON, fused=fused)
    results = steps(ours, mine)
    for result, expected in zip(results, steps(reference, theirs)):
        assert torch.equal(result, expected) if fused else torch.allclose(result, expected)
    for parameter, other in zip(mine, theirs):
        for name, value in reference.state[other].items():
            assert torch.allclose(ours.state[parameter][name], value)


def test_training_does_not_load_the_compiler(tmp_path):
    program = """
import sys
import numpy as np
from amgsrn_core import train, volume_from_array
from amgsrn_core.config import NetworkConfig, TrainingConfig
train(
    volume_from_array(np.random.rand(4, 5, 6)),
    sys.argv[1] + "/m.amgsrn",
    NetworkConfig(grids=1, grid_shape=(2, 2, 2), width=4),
    TrainingConfig(iterations=2, batch=16, device="cpu"),
)
assert "torch" in sys.modules and "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
