"""Tensors of a PyTorch checkpoint, read without trusting it.

A checkpoint is a zip archive whose `data.pkl` says how its raw numbers make tensors. Unpickling
may call anything that the file names, so only the few names of tensors and plain containers are
admitted, and stand for functions of this module. PyTorch's own safe loader does not read the
pickle protocol of these files.
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from amgsrn_core.errors import ArchiveError, ArchiveNotFoundError

_DTYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "BoolStorage": "?",
}

# A description of tensors is a few kilobytes long.
_LONGEST_PICKLE = 16 << 20


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the tensors of a checkpoint's `state_dict` by name.

    Raises
    ------
    ArchiveNotFoundError
        There is no such file.
    ArchiveError
        The file is not a checkpoint, is damaged, or holds more than tensors.
    """
    if not os.path.isfile(path):
        raise ArchiveNotFoundError(f"There is no checkpoint {path}; check the folder.")
    try:
        with zipfile.ZipFile(path) as file:
            content = _Reader(file).read()
    except ArchiveError as error:
        raise ArchiveError(f"The checkpoint {path} cannot be used: {error}.") from error
    except zipfile.BadZipFile as error:
        raise ArchiveError(
            f"The checkpoint {path} is damaged, or older than PyTorch 1.6; copy it again, or save "
            "it again with a newer PyTorch."
        ) from error
    except Exception as error:  # a pickle that was tampered with raises whatever it likes
        raise ArchiveError(f"The checkpoint {path} is damaged ({error}); copy it again.") from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise ArchiveError(f"The checkpoint {path} has no 'state_dict'.")
    tensors = {}
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray):
            raise ArchiveError(f"The checkpoint {path} holds {name!r}, which is not a tensor.")
        tensors[name] = value
    return tensors


@dataclass(frozen=True)
class _Kind:
    """Stands for a class of storages: the type of its numbers."""

    dtype: str


class _Reader:
    """Reads one checkpoint."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        described = [name for name in file.namelist() if name.endswith("/data.pkl")]
        if len(described) != 1:
            raise ArchiveError("it is not a PyTorch checkpoint")
        self._folder = described[0][: -len("data.pkl")]
        self._order = "<"
        if self._folder + "byteorder" in file.namelist():
            self._order = ">" if self._member("byteorder", 16) == b"big" else "<"

    def read(self) -> Any:
        return _Unpickler(self._member("data.pkl", _LONGEST_PICKLE), self._storage).load()

    def _member(self, name: str, longest: int | None = None) -> bytes:
        about = self._file.getinfo(self._folder + name)
        # PyTorch never compresses; a few kilobytes that unfold into terabytes are an attack.
        if about.compress_type != zipfile.ZIP_STORED or (longest and about.file_size > longest):
            raise ArchiveError("it is not as PyTorch writes it")
        return self._file.read(about)

    def _storage(self, kind: str, key: str) -> np.ndarray:
        return np.frombuffer(self._member(f"data/{key}"), dtype=self._order + kind)


class _Unpickler(pickle.Unpickler):
    """Admits tensors, ordered dictionaries and what pickle itself knows: numbers, texts, lists."""

    def __init__(self, text: bytes, storage: Callable[[str, str], np.ndarray]) -> None:
        super().__init__(io.BytesIO(text))
        self._open = storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _DTYPES:
            return _Kind(_DTYPES[name])
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *more: tensor
        raise ArchiveError(
            f"it asks for {module}.{name}, and only tensors are read from a foreign file"
        )

    def persistent_load(self, pid: Any) -> np.ndarray:
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise ArchiveError("it refers to something else than tensors")
        _, kind, key, _, count = pid
        if not isinstance(kind, _Kind) or not isinstance(key, str):
            raise ArchiveError("it refers to something else than tensors")
        storage = self._open(kind.dtype, key)
        if len(storage) != count:
            raise ArchiveError(f"its storage {key} has not the length that it claims")
        return storage


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *more: Any) -> np.ndarray:
    """Return a tensor as an array of its own; a view may not reach beyond its storage."""
    if not isinstance(storage, np.ndarray) or len(shape) != len(strides):
        raise ArchiveError("a tensor is not described as PyTorch does it")
    if any(not isinstance(n, int) or n < 0 for n in (offset, *shape, *strides)):
        raise ArchiveError("a tensor has an impossible shape")
    count = int(np.prod(shape, dtype=object)) if shape else 1
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides))
    if count > len(storage) or (count and last >= len(storage)):
        raise ArchiveError("a tensor reaches beyond its storage")
    size = storage.itemsize
    view = as_strided(storage[offset:], shape, [stride * size for stride in strides])
    return view.astype(storage.dtype.newbyteorder("="))
