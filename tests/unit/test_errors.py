"""Errors of libraries are told apart: memory that ran out, a GPU that is lost, anything else."""

from __future__ import annotations

import pytest
import torch

from amgsrn_core.errors import first_sentence, is_device_lost, is_out_of_memory

Accelerator = getattr(torch, "AcceleratorError", RuntimeError)

# In the words of PyTorch's allocators, of cuBLAS, of tiny-cuda-nn and of MPS.
MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:98] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("gpu_memory.h:590 cuMemCreate(...) failed with error CUDA_ERROR_OUT_OF_MEMORY"),
    Accelerator("CUDA error: out of memory\nCUDA kernel errors might be asynchronously"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
]
LOST = [
    Accelerator("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("HIP error: the launch timed out and was terminated"),
]
OTHER = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ValueError("out of memory"),
    KeyError("CUDA error: x"),
]


@pytest.mark.parametrize("error", MEMORY, ids=lambda error: str(error)[:40])
def test_memory_that_ran_out(error):
    assert is_out_of_memory(error) and not is_device_lost(error)


@pytest.mark.parametrize("error", LOST, ids=lambda error: str(error)[:40])
def test_a_lost_gpu(error):
    assert is_device_lost(error) and not is_out_of_memory(error)


@pytest.mark.parametrize("error", OTHER, ids=str)
def test_anything_else(error):
    assert not is_out_of_memory(error) and not is_device_lost(error)


def test_the_first_sentence_of_a_long_error():
    error = RuntimeError("CUDA error: illegal access\nFor debugging consider. See more.")
    assert first_sentence(error) == "CUDA error: illegal access"
    assert first_sentence(RuntimeError("One thing. Another thing.")) == "One thing"
    assert first_sentence(RuntimeError()) == "RuntimeError"
