"""Reading model files: the index at once, a brick when it is asked for.

The file is in the safetensors format. Its metadata hold the index as JSON (`amgsrn`) and that
text's checksum (`amgsrn_sha256`). Tensors are named `bricks/<number>/<parameter>`; beside the
network's parameters a brick may have `mask` and `history`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from amgsrn_core.errors import ArchiveError, ArchiveNotFoundError, ChecksumError
from amgsrn_core.model.brick_tensors import PACKED, StoredBrick
from amgsrn_core.model.codec import COMPRESSED, Quantised, unpack_differences, unpack_quantised
from amgsrn_core.model.index import ModelIndex
from amgsrn_core.model.step_files import steps_from
from amgsrn_core.system.files import file_version
from amgsrn_core.system.output import reason

INDEX_KEY = "amgsrn"
CHECKSUM_KEY = "amgsrn_sha256"
_DTYPES = ("F64", "F32", "F16", "U8")
# Files beside a series that are held open.
_OPEN_FILES = 16
# What all numbers beyond double precision have.
_LONG_NUMBER = re.compile(r"[eE]\+?\d{3}|\d{300}")


def read_index(path: str | os.PathLike[str]) -> ModelIndex:
    """Return the index of a model file without reading any tensor.

    Raises
    ------
    ArchiveNotFoundError, ArchiveVersionError, ArchiveError
        When the file is missing, of a newer major version, or damaged or foreign.
    """
    with Archive(path) as archive:
        return archive.index


def archive_bytes(path: str | os.PathLike[str]) -> int:
    """Return the bytes of a model file; of a series that grows, with those of files beside it."""
    with Archive(path) as archive:
        return archive.nbytes


def load_brick(
    path: str | os.PathLike[str], number: int, verify: bool = False, decode: bool = True
) -> dict[str, np.ndarray]:
    """Return one brick of a model file; see :meth:`Archive.load_brick`."""
    with Archive(path) as archive:
        return archive.load_brick(number, verify, decode)


def verify_archive(path: str | os.PathLike[str]) -> ModelIndex:
    """Check every byte of a model file that has a meaning, and return its index.

    Raises
    ------
    ChecksumError
        When a brick's bytes are not those that were written.
    ArchiveError
        When anything else about the file is wrong.
    """
    with Archive(path) as archive:
        for number in range(len(archive.index.bricks)):
            archive.load_brick(number, verify=True)
        archive.check_header()
        return archive.index


class Archive:
    """An open model file: its index now, its bricks when asked for.

    The file is held open, so that index and bricks belong together even if the path is replaced
    or removed meanwhile. A file that is overwritten in place is refused from then on.

    Attributes
    ----------
    step_files : tuple of StepFile
        Of a series that grows: the files beside it that hold its tensors.

    Examples
    --------
    >>> with Archive("model.amgsrn") as archive:  # doctest: +SKIP
    ...     parameters = archive.load_brick(0)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._verified = False
        self._file = _open(self.path)
        self._version = file_version(self.path)
        self._beside: dict[str, Archive] = {}
        try:
            with self._complaints():
                self.index = _read_index(self._file)
                metadata = self._file.metadata()
                # SHA-256 of the index, which holds the bricks' checksums: the model's identity.
                self.checksum = str(metadata[CHECKSUM_KEY])
                self.step_files = steps_from(metadata, self.index.steps)
        except BaseException:
            self.close()
            raise

    @functools.cached_property
    def _names(self) -> dict[str, dict[str, str]]:
        """For each brick's number, its tensors' short names and their names in the file."""
        names: dict[str, dict[str, str]] = {}
        keys = self._file.keys()
        for key in keys:
            folder, _, rest = key.partition("/")
            number, _, name = rest.partition("/")
            if folder == "bricks" and name:
                names.setdefault(number, {})[name] = key
        return names

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; safe to call twice."""
        file, self._file = self._file, None
        if file is not None:
            file.__exit__(None, None, None)
        while self._beside:
            self._beside.popitem()[1].close()

    @property
    def nbytes(self) -> int:
        """Bytes of the file, with those beside it."""
        folder = os.path.dirname(self.path)
        paths = [os.path.join(folder, file.name) for file in self.step_files]
        return sum(map(os.path.getsize, [self.path, *paths]))

    def load_brick(
        self, number: int, verify: bool = False, decode: bool = True
    ) -> dict[str, np.ndarray]:
        """Return one brick's tensors by name, and read nothing else of the file.

        Parameters
        ----------
        number : int
            Position in the index's `bricks`.
        verify : bool, default: False
            Compare the bytes with their checksum.
        decode : bool, default: True
            False leaves compressed parameters as they are, for :func:`write_archive`.

        Returns
        -------
        dict
            The network's parameters as float32 (none unless the brick's state is "network"), `mask`
            (bool [z, y, x] over the ghosted extent) where voxels are missing, and `macro_cells`
            (uint8 [2, C, z, y, x]), `history` (float64 [rows, columns]), `error_cells` and
            `corrections` (uint8 [n]) where the file has them.

        Raises
        ------
        ChecksumError
            With `verify`, when the bytes are not those that were written.
        ArchiveError
            When tensors are missing, or contradict the index.
        """
        with self._complaints():
            stored = self._read_brick(number, verify)
            usable = StoredBrick(self.index, number).unpack(stored)
            packed = [usable.pop(name) for name in PACKED if decode and name in stored]
            if packed:
                usable.update(self._quantised(number, stored, verify).restored())
            return usable

    def verify(self) -> None:
        """Compare the bytes of all bricks with their checksums; nothing is decoded.

        Only the first call does it, unless that fails.

        Raises
        ------
        ChecksumError
            When a brick's bytes are not those that were written.
        ArchiveError
            When tensors are missing, or contradict the index.
        """
        if not self._verified:
            with self._complaints():
                for number in range(len(self.index.bricks)):
                    self._read_brick(number, verify=True)
            self._verified = True

    def load_quantised(self, number: int) -> Quantised | None:
        """Return what the compressed parameters of a brick consist of; None if it has none."""
        with self._complaints():
            stored = self._read_brick(number)
            packed = any(name in stored for name in PACKED)
            return self._quantised(number, stored, verify=False) if packed else None

    def check_header(self) -> None:
        """Raise :class:`ChecksumError` unless the header is as the format prescribes.

        Names, shapes and offsets are covered by the checksums already; this leaves the blanks
        that pad the header, where another white space would change no meaning.
        """
        with self._complaints(), open(self.path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not file.read(size).rstrip(b" ").endswith(b"}"):
                raise ChecksumError("its header was changed; copy the file again")

    def _quantised(self, number: int, stored: Mapping[str, np.ndarray], verify: bool) -> Quantised:
        """Return the numbers of a brick, which may be differences from the step before's."""
        network = self.index.network_of(self.index.bricks[number])
        shapes = StoredBrick(self.index, number).parameters
        chain = [stored]
        while COMPRESSED not in chain[-1]:
            number -= len(self.index.bricks) // self.index.steps
            before = self._read_brick(number, verify) if number >= 0 else {}
            same = bool(before) and self.index.network_of(self.index.bricks[number]) == network
            if not same or not any(name in before for name in PACKED):
                raise ArchiveError("it lacks the network that another one's differences are from")
            chain.append(before)
        numbers = unpack_quantised(chain.pop(), shapes)
        for differences in reversed(chain):
            numbers = unpack_differences(differences, numbers, shapes)
        return numbers

    def _read_brick(self, number: int, verify: bool = False) -> dict[str, np.ndarray]:
        if not (isinstance(number, Integral) and 0 <= number < len(self.index.bricks)):
            raise ArchiveError(f"it has no brick {number}")
        file, names = self._tensors(number)
        shapes = {}
        for name, key in names.items():
            view = file.get_slice(key)
            if view.get_dtype() not in _DTYPES:
                raise ArchiveError(f"tensor '{key}' has the unknown type {view.get_dtype()}")
            shapes[name] = tuple(view.get_shape())
        StoredBrick(self.index, number).check(shapes)  # before any tensor takes memory
        if self.index.bricks[number].masked != ("mask" in names):
            raise ArchiveError(f"the index contradicts itself about the mask of brick {number}")
        stored = {name: file.get_tensor(key) for name, key in names.items()}
        if verify and checksum_of(stored) != self.index.bricks[number].sha256:
            raise ChecksumError(f"the bytes of brick {number} differ from their checksum")
        return stored

    def _tensors(self, number: int) -> tuple[Any, dict[str, str]]:
        """Return the open file that has a brick's tensors, and their names there."""
        if self.step_files:
            holder, there = self._holder(number)
            return holder._tensors(there)
        now, then = file_version(self.path), self._version
        # Its pages are mapped: behind the end of a file cut meanwhile they end the process.
        if now != then and now and then and now[:2] == then[:2]:
            raise ArchiveError("it was overwritten since it was opened; open it again")
        return self._file, self._names.get(str(number), {})

    def _holder(self, number: int) -> tuple[Archive, int]:
        """Return the model beside this one that has a brick, and the brick's number there."""
        each = len(self.index.bricks) // self.index.steps
        there = number
        for file in self.step_files:
            if there < file.steps * each:
                break
            there -= file.steps * each
        wanted = self.index.bricks[number].sha256
        with contextlib.suppress(ArchiveNotFoundError):
            holder = self._opened(os.path.join(os.path.dirname(self.path), file.name))
            known = holder.index.bricks
            if there < len(known) and known[there].sha256 == wanted:
                return holder, there
        # The series may have become one file since.
        again = self._opened(self.path)
        known = again.index.bricks
        is_other = again.checksum != self.checksum and number < len(known)
        if is_other and known[number].sha256 == wanted:
            return again, number
        raise ArchiveError(
            f"it is of a series that grows, and {file.name} beside it is missing or another's; "
            "copy its folder as well, or wait until the simulation has ended"
        )

    def _opened(self, path: str) -> Archive:
        """Return a file with tensors of this series, which is closed with this one at last."""
        archive = self._beside.pop(path, None)
        if archive is not None and path == self.path and archive._version != file_version(path):
            archive.close()
            archive = None
        self._beside[path] = archive = archive or Archive(path)
        if len(self._beside) > _OPEN_FILES:
            self._beside.pop(next(iter(self._beside))).close()
        return archive

    @contextlib.contextmanager
    def _complaints(self) -> Iterator[None]:
        """Turn a complaint about the content into a sentence that names the file."""
        try:
            yield
        except ArchiveError as error:
            text = str(error).rstrip(".")
            raise type(error)(f"The model file {self.path} cannot be used: {text}.") from error
        except (SafetensorError, OSError) as error:
            raise ArchiveError(
                f"The model file {self.path} cannot be read: {reason(error)}."
            ) from error


def _open(path: str) -> Any:
    if not os.path.exists(path):
        raise ArchiveNotFoundError(
            f"There is no model file {path}; check the name, or whether it was moved."
        )
    if not os.path.isfile(path):
        raise ArchiveError(f"{path} is not a file; name a model file (.amgsrn).")
    try:
        return safe_open(path, framework="numpy").__enter__()
    except SafetensorError as error:
        raise ArchiveError(
            f"{path} is not a model file, or only a part of one ({error}); copy it again, or "
            "train again."
        ) from error
    except OSError as error:
        raise ArchiveError(f"The model file {path} cannot be read: {reason(error)}.") from error


def _read_index(file: Any) -> ModelIndex:
    metadata = file.metadata() or {}
    text = metadata.get(INDEX_KEY)
    if text is None:
        raise ArchiveError("it is a safetensors file, but not one that amgsrn wrote")
    try:
        # To look at each number takes as long as all the rest.
        look = _finite if _LONG_NUMBER.search(text) else None
        values = json.loads(text, parse_float=look, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise ArchiveError("its index is not JSON") from error
    index = ModelIndex.from_json(values)  # first, because a newer version explains itself
    if metadata.get(CHECKSUM_KEY) != sha256_of_text(text):
        raise ChecksumError("its index differs from its checksum; copy the file again")
    return index


def _finite(text: str) -> float:
    """Return a number of the index; one that is not finite is spelled as a text there."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def checksum_of(tensors: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of a brick's tensors as they lie in the file, hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()


def sha256_of_text(text: str) -> str:
    """Return the SHA-256 of an index, hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
