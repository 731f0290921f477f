"""A stand-in for CUDA graphs on the CPU: operators are recorded, and repeated on the same memory.

As in a graph, whatever Python says between the operators happens once. Unlike there, the work is
done while it is recorded; what it changed is put back afterwards.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten

from support.operators import Operators

Work = Callable[[], None]


class RecordedGraphs:
    """See `amgsrn_core.training.graph_step.Graphs`.

    Attributes
    ----------
    warmed, captured, replayed : int
        How often what was done.
    kernels : int
        How many operators that are not views the last graph has.
    """

    def __init__(self) -> None:
        self.warmed = self.captured = self.replayed = self.kernels = 0

    def warm_up(self, work: Work) -> None:
        self.warmed += 1
        work()

    def capture(self, work: Work) -> Work:
        self.captured += 1
        recording, operators = _Recording(), Operators()
        with recording, operators:
            work()
        self.kernels = operators.kernels
        recording.put_back()

        def replay() -> None:
            self.replayed += 1
            with _disable_current_modes():  # who watches PyTorch sees nothing of a graph either
                recording.replay()

        return replay


class _Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple] = []
        self._before: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function.name().startswith("aten::_local_scalar_dense"):
            raise RuntimeError("operation not permitted when stream is capturing")
        if torch.Tag.inplace_view in function.tags:  # of a tensor's shape, once for all
            return function(*args, **kwargs)
        for argument, given in zip(function._schema.arguments, args):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._before += [(t, t.detach().clone()) for t in tensors(given)]
        result = function(*args, **kwargs)
        # Results are kept: their memory is the graph's as long as it lives.
        self._calls.append((function, args, kwargs, result))
        return result

    def put_back(self) -> None:
        with torch.no_grad():
            for tensor, value in reversed(self._before):
                tensor.copy_(value)

    def replay(self) -> None:
        with torch.no_grad():
            for function, args, kwargs, result in self._calls:
                again = function(*args, **kwargs)
                for old, new in zip(tensors(result), tensors(again)):
                    if old.data_ptr() != new.data_ptr():
                        old.copy_(new.reshape(old.shape))


def tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]
