"""The doctor's short trainings, on the CPU: stand-ins for CUDA graphs and tiny-cuda-nn."""

from __future__ import annotations

import sys

import pytest
import torch
from support import tcnn_on_cpu
from support.graphs_on_cpu import RecordedGraphs

from amgsrn_core.cli.doctor import training as gpu_training
from amgsrn_core.cli.doctor.findings import NOTE, OK
from amgsrn_core.cli.doctor.training import check_graph, check_tcnn
from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.training.automatic import resolved

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(gpu_training, "_STEPS", 12)


@pytest.fixture
def small_batch(monkeypatch):
    def config(iterations, device):
        return gpu_config(iterations=iterations, device=device, batch=500)

    gpu_config = gpu_training.TrainingConfig
    monkeypatch.setattr(gpu_training, "TrainingConfig", config)


def test_a_graph_that_works_is_compared_and_timed(small_batch):
    finding = check_graph(CPU, RecordedGraphs())
    assert finding.state == OK and "ms, without it" in finding.detail


def test_a_graph_that_cannot_be_made_is_noted_with_its_reason(small_batch):
    class Failing(RecordedGraphs):
        def capture(self, work):
            raise RuntimeError("operation not permitted")

    finding = check_graph(CPU, Failing())
    assert finding.state == NOTE and "operation not permitted" in finding.detail


def test_a_graph_that_computes_something_else_is_noted(small_batch):
    class Idle(RecordedGraphs):
        def capture(self, work):
            return lambda: None

    finding = check_graph(CPU, Idle())
    assert finding.state == NOTE and "--backend torch" in finding.remedy


def test_tiny_cuda_nn_is_tried_at_the_default_batch():
    default = resolved(TrainingConfig(), NetworkConfig(), "cuda")
    assert gpu_training._training(CPU)[2].batch == default.batch


def test_tiny_cuda_nn_that_diverges_is_noted(small_batch, monkeypatch):
    monkeypatch.setitem(sys.modules, "tinycudann", tcnn_on_cpu.module())
    assert check_tcnn(CPU).state == OK
    # Gradients that are not scaled for the sum over the batch, as they once were.
    monkeypatch.setattr("amgsrn_core.networks.fused._SUM", 65536.0)
    finding = check_tcnn(CPU)
    assert finding.state == NOTE and "nan" in finding.detail
