"""Errors in ParaView's words: one sentence that says what to do."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("amgsrn_paraview", reason="the ParaView package is not installed")

from amgsrn_paraview.explanation import explain

from amgsrn_core.errors import VolumeError


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (VolumeError("It is empty."), "It is empty."),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "There is not enough memory; wait."),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
            "There is not enough memory; wait.",
        ),
        (
            RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel"),
            "The GPU failed (CUDA error: an illegal memory access was encountered); restart "
            "ParaView, or its server, before you use it again.",
        ),
    ],
)
def test_what_can_happen_is_no_internal_error(error, sentence):
    assert explain(error, "Trainer", "wait") == sentence


def test_what_nobody_thought_of_is_to_be_reported():
    assert "please report it" in explain(RuntimeError("shapes differ"), "Trainer", "wait")
