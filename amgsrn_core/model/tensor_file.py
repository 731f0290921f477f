"""A safetensors file that is written tensor by tensor, so that never all are in memory."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

_KINDS = {"<f8": "F64", "<f4": "F32", "<f2": "F16", "|u1": "U8"}

_CHUNK = 1 << 20


class TensorFile:
    """Tensors on their way into a file, which is written when all are known.

    The layout is that of the safetensors library: an 8-byte length, a header in JSON, and the
    tensors behind it without gaps, those of the largest numbers first so that all are aligned.
    Until then they lie in a file without a name in the same folder.

    Parameters
    ----------
    path : Path
        A file that is there, and is written over.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 - closed by __exit__
        # Of each tensor: its numbers' type and shape, and where it lies among those that are kept.
        self._tensors: dict[str, tuple[np.dtype[Any], tuple[int, ...], int, int]] = {}

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._kept.close()

    def add(self, name: str, tensor: np.ndarray) -> None:
        """Keep a tensor: float64, float32, float16 or uint8, little-endian."""
        start = self._kept.tell()
        self._kept.write(np.ascontiguousarray(tensor).data)
        self._tensors[name] = tensor.dtype, tensor.shape, start, tensor.nbytes

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Write the file."""
        content: dict[str, Any] = {"__metadata__": dict(metadata)}
        names = sorted(self._tensors, key=lambda name: (-self._tensors[name][0].itemsize, name))
        end = 0
        for name in names:
            dtype, shape, _, size = self._tensors[name]
            offsets = [end, end := end + size]
            content[name] = {
                "dtype": _KINDS[dtype.str],
                "shape": list(shape),
                "data_offsets": offsets,
            }
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with open(self._path, "r+b") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in names:
                _, _, start, size = self._tensors[name]
                for first in range(start, start + size, _CHUNK):
                    self._kept.seek(first)
                    file.write(self._kept.read(min(_CHUNK, start + size - first)))
