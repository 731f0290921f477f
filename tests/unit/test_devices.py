"""Devices that cannot do what models need are refused, and the sentence names the operator."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from amgsrn_core import devices
from amgsrn_core.devices import missing_operator, require_operators, select_device
from amgsrn_core.errors import ConfigurationError


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
