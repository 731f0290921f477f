"""In which precision a GPU multiplies float32 matrices.

NVIDIA's can round them to TF32 (10 bits) first, and whole processes are told to do so, by
containers for instance. In coordinates or training targets such errors are larger than those of a
good model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def products(*, fast: bool = False) -> Iterator[None]:
    """Multiply float32 matrices in float32, or in TF32 if `fast`, and then as before again.

    Backward passes count where they run. Without effect on other processors.
    """
    switch, name = torch.backends.cuda.matmul, "allow_tf32"
    wanted: bool | str = fast
    try:
        before = switch.allow_tf32
    except RuntimeError:  # The process uses the newer name, which shuts out the other.
        name, wanted = "fp32_precision", "tf32" if fast else "ieee"
        before = switch.fp32_precision
    if before == wanted:
        yield
        return
    setattr(switch, name, wanted)
    try:
        yield
    finally:
        setattr(switch, name, before)
