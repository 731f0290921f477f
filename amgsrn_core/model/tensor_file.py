"""A safetensors file that is written tensor by tensor, so that never all are in memory."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from amgsrn_core.errors import ArchiveError

_KINDS = {"<f8": "F64", "<f4": "F32", "<f2": "F16", "|u1": "U8"}


class TensorFile:
    """Room for tensors in a file.

    The layout is that of the safetensors library: an 8-byte length, a header in JSON, and the
    tensors behind it without gaps, those of the largest numbers first so that all are aligned.

    Parameters
    ----------
    file : binary file, open for writing
    shapes : mapping of str to (dtype, shape)
        What is going to be written: float64, float32, float16 or uint8, little-endian.
    metadata : mapping of str to str
        As long as what is given to :meth:`finish`, for which it keeps the place.
    """

    def __init__(
        self,
        file: BinaryIO,
        shapes: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]],
        metadata: Mapping[str, str],
    ) -> None:
        self._file = file
        self._entries: dict[str, dict[str, Any]] = {}
        end = 0
        for name in sorted(shapes, key=lambda name: (-shapes[name][0].itemsize, name)):
            dtype, shape = shapes[name]
            start, end = end, end + dtype.itemsize * math.prod(shape)
            self._entries[name] = {
                "dtype": _KINDS[dtype.str],
                "shape": list(shape),
                "data_offsets": [start, end],
            }
        self._first = len(self._header(metadata))

    def write(self, name: str, tensor: np.ndarray) -> None:
        """Write a tensor at its place.

        Raises
        ------
        ArchiveError
            Its type or shape is another than was said before.
        """
        entry = self._entries[name]
        if [_KINDS.get(tensor.dtype.str), list(tensor.shape)] != [entry["dtype"], entry["shape"]]:
            raise ArchiveError(f"The tensor '{name}' has changed while it was written.")
        self._file.seek(self._first + entry["data_offsets"][0])
        self._file.write(np.ascontiguousarray(tensor).data)

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Write the header, when all tensors are written."""
        header = self._header(metadata)
        assert len(header) == self._first
        self._file.seek(0)
        self._file.write(header)

    def _header(self, metadata: Mapping[str, str]) -> bytes:
        content = {"__metadata__": dict(metadata), **self._entries}
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text
