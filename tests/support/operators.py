"""What PyTorch is asked to do: operators, counted, and what makes the host wait for a device."""

from __future__ import annotations

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

# Their results have a size or a value that the host must read from the device.
_SYNCS = (
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::masked_select",
    "aten::equal",
    "aten::unique_dim",
    "aten::_unique2",
    "aten::unique_consecutive",
    "aten::bincount",
    "aten::is_nonzero",
)


class Operators(TorchDispatchMode):
    """Counts operators by name while it is entered.

    Attributes
    ----------
    count : Counter
        All of them.
    kernels : int
        Those that are not views: what a GPU is asked to start, at the least.
    waits : Counter
        Those that make the host wait for a device.
    mixed : Counter
        Those that were given tensors of several devices, other than copies.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.mixed: Counter[str] = Counter()
        self.kernels = 0
        self._sizes: list[int] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.name().split(".")[0]
        self.count[name] += 1
        given = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
        # A boolean index is looked for, one by one, before it is used.
        masks = name.startswith("aten::index") and any(t.dtype == torch.bool for t in given[1:])
        copies = name in ("aten::_to_copy", "aten::copy_") and _blocks(name, given, kwargs)
        if name in _SYNCS or masks or copies:
            self.waits[name] += 1
        if len({t.device.type for t in given}) > 1 and name != "aten::copy_":
            self.mixed[name] += 1
        result = function(*args, **kwargs)
        if not _is_view(function):
            self.kernels += name not in ("aten::empty", "aten::empty_like", "aten::empty_strided")
            made = [t for t in tree_flatten(result)[0] if isinstance(t, torch.Tensor)]
            self._sizes += [t.numel() for t in made]
        return result

    def outputs_of_size(self, numel: int) -> int:
        """Return how many results had so many numbers."""
        return self._sizes.count(numel)


def _is_view(function) -> bool:
    results = function._schema.returns
    return any(r.alias_info is not None and not r.alias_info.is_write for r in results)


def _blocks(name: str, given: list[torch.Tensor], kwargs: dict) -> bool:
    if kwargs.get("non_blocking"):
        return False
    if name == "aten::copy_":
        return given[0].device.type != given[1].device.type
    return torch.device(kwargs.get("device") or given[0].device).type != given[0].device.type
