"""Devices that cannot do what models need are refused, and the sentence names the operator."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from amgsrn_core.errors import ConfigurationError, DeviceError
from amgsrn_core.networks import devices
from amgsrn_core.networks.devices import (
    cuda_devices,
    has_code_for,
    missing_operator,
    require_operators,
    select_device,
)


class Without(TorchDispatchMode):
    """Refuses one operator in the words of PyTorch's MPS backend."""

    def __init__(self, operator: str) -> None:
        super().__init__()
        self._operator = operator

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.name().split(".")[0] == self._operator:
            raise NotImplementedError(
                f"The operator '{self._operator}' is not currently implemented for the MPS device."
            )
        return function(*args, **(kwargs or {}))


@pytest.fixture
def every_device_is_tried(monkeypatch):
    monkeypatch.setattr(devices, "_COMPLETE", ())


def test_the_cpu_has_everything(every_device_is_tried):
    for training in (False, True):
        assert missing_operator(torch.device("cpu"), training=training) == ""


@pytest.mark.parametrize(
    ("operator", "evaluates"),
    [("aten::grid_sampler_3d", False), ("aten::grid_sampler_3d_backward", True)],
)
def test_the_missing_operator_is_named(every_device_is_tried, operator, evaluates):
    with Without(operator):
        assert missing_operator(torch.device("cpu"), training=True) == operator
        assert (missing_operator(torch.device("cpu"), training=False) == "") == evaluates
        with pytest.raises(ConfigurationError, match=rf"lacks {operator} on the device cpu.*MPS_F"):
            select_device("cpu", training=True)


def test_a_backend_that_torch_was_built_without_is_missing_altogether():
    # PyTorch's own complaint, whose wording differs from that about a single operator.
    with pytest.raises(ConfigurationError, match=r"lacks aten::empty\.memory_format"):
        require_operators(torch.device("vulkan"), training=False)


# What PyTorch says on a GPU that it has no machine code for, at the first kernel and not before.
NO_KERNEL = (
    "CUDA error: no kernel image is available for execution on the device\n"
    "CUDA kernel errors might be asynchronously reported at some other API call."
)


class FailingKernels(TorchDispatchMode):
    """Lets memory be had on a device, but every arithmetic fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.name().split(".")[0] == "aten::add":
            raise self._error
        return function(*args, **(kwargs or {}))


def test_a_device_that_has_memory_but_computes_nothing_is_refused_with_the_reason():
    accelerator = getattr(torch, "AcceleratorError", RuntimeError)
    with (
        FailingKernels(accelerator(NO_KERNEL)),
        pytest.raises(DeviceError, match=r"no device 'cpu'.*\(CUDA error: no kernel image"),
    ):
        select_device("cpu")


def test_a_full_device_is_not_said_to_be_missing():
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB. GPU 0 has")
    with (
        FailingKernels(full),
        pytest.raises(DeviceError, match=r"no memory left \(CUDA out of memory\)"),
    ):
        select_device("cpu")


@pytest.mark.parametrize(
    ("capability", "built", "runs"),
    [
        ((8, 6), ["sm_80", "sm_90"], True),
        ((7, 5), ["sm_80", "sm_90"], False),
        ((12, 0), ["sm_80", "sm_90"], False),
        ((12, 0), ["sm_80", "sm_90", "compute_90"], True),
        ((8, 0), ["sm_86"], False),
        ((10, 3), ["sm_100a"], True),
        ((9, 0), ["gfx942"], True),
        ((9, 0), [], True),
    ],
)
def test_code_for_an_architecture(capability, built, runs):
    assert has_code_for(capability, built) == runs


@pytest.fixture
def four_gpus(monkeypatch):
    """A computer with four GPUs, of which PyTorch has no code for the second."""
    capabilities = [(9, 0), (5, 2), (9, 0), (9, 0)]
    cuda = devices.torch.cuda
    monkeypatch.setattr(cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "device_count", lambda: 4)
    monkeypatch.setattr(cuda, "get_arch_list", lambda: ["sm_80", "sm_90"])
    monkeypatch.setattr(cuda, "get_device_capability", lambda n: capabilities[n])
    monkeypatch.setattr(cuda, "get_device_name", lambda n: f"GPU {n}")
    broken: list[str] = []

    def usable(name):
        if str(name) in broken:
            raise DeviceError(f"There is no device {name}.")
        return torch.device(name)

    monkeypatch.setattr(devices, "_usable", usable)
    return broken


def test_each_rank_takes_a_gpu_of_its_own(four_gpus, monkeypatch, caplog):
    assert [d.index for d in cuda_devices()] == [0, 2, 3]
    assert "cuda:1 (GPU 1) is left out" in caplog.text and "5.2" in caplog.text
    taken = []
    for rank in range(5):
        monkeypatch.setattr(devices, "local_rank", lambda rank=rank: rank)
        taken.append(str(select_device("auto")))
    assert taken == ["cuda:0", "cuda:2", "cuda:3", "cuda:0", "cuda:2"]


def test_a_process_that_is_no_rank_takes_the_first_gpu_that_works(four_gpus, monkeypatch, caplog):
    monkeypatch.setattr(devices, "local_rank", lambda: None)
    four_gpus.append("cuda:0")
    assert str(select_device("auto")) == "cuda:2"
    assert "There is no device cuda:0." in caplog.text
    four_gpus.extend(["cuda:2", "cuda:3"])
    assert str(select_device("auto")) == "cpu"
