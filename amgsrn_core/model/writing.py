"""Writing model files, completely or not at all."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from amgsrn_core.errors import ArchiveError
from amgsrn_core.model.brick_tensors import StoredBrick
from amgsrn_core.model.index import ModelIndex
from amgsrn_core.model.step_files import STEPS_KEY, StepFile, steps_to_text
from amgsrn_core.model.store import CHECKSUM_KEY, INDEX_KEY, checksum_of, sha256_of_text
from amgsrn_core.model.tensor_file import TensorFile
from amgsrn_core.system.output import json_text, replacing

_NO_SHA256 = "0" * 64  # as long as any
# Tensors that are kept while a file is written, so that few models are read twice.
_KEPT_BYTES = 256 << 20


def write_archive(
    path: str | os.PathLike[str], index: ModelIndex, bricks: Sequence[Mapping[str, np.ndarray]]
) -> ModelIndex:
    """Write a model file, completely or not at all.

    Bricks are asked for one by one, and not all have to be in memory, see :class:`OnDemand`: the
    first 256 MiB are kept from when their sizes are found out until they are written, the others
    are asked for again.

    Parameters
    ----------
    path : path
        The file to write; a file that is there is replaced only when everything is on the disk.
    index : ModelIndex
        Describes the model. Checksums and `masked` of its bricks are filled in here.
    bricks : sequence of dict
        For each brick of the index: the network's parameters by name (see
        :func:`~amgsrn_core.model.parameter_shapes`), or instead of them what
        :func:`amgsrn_core.model.codec.pack` made of them; `mask` (bool [z, y, x] over the
        ghosted extent, True where there is a value; leave it out when nothing is missing),
        `macro_cells` (uint8 [2, C, z, y, x], see :mod:`amgsrn_core.model.cell_codes`) and `history`
        (float64 [rows, columns], one column for each of the index's `history_columns`);
        `error_cells` and `corrections` (uint8 [n]) as :mod:`amgsrn_core.model.error_codes` and
        :mod:`amgsrn_core.model.correction_codes` pack them.

    Returns
    -------
    ModelIndex
        The index as written.

    Raises
    ------
    ArchiveError
        When the tensors contradict the index.
    OutputError
        When the file cannot be written; a file that was there is untouched.
    """
    if len(bricks) != len(index.bricks):
        raise ArchiveError(
            f"The index describes {len(index.bricks)} brick(s), but {len(bricks)} were given."
        )
    records, shapes, sizes = [], {}, 0
    kept: dict[int, dict[str, np.ndarray]] = {}
    for i, record in enumerate(index.bricks):
        stored = StoredBrick(index, i).pack(bricks[i])
        shapes.update({_key(i, name): (t.dtype, t.shape) for name, t in stored.items()})
        records.append(dataclasses.replace(record, sha256=_NO_SHA256, masked="mask" in stored))
        sizes += sum(tensor.nbytes for tensor in stored.values())
        if sizes <= _KEPT_BYTES:
            kept[i] = stored
    with replacing(path) as temporary, open(temporary, "r+b") as file:
        index = index.replace(bricks=tuple(records))
        tensors = TensorFile(file, shapes, _metadata(index))
        for i, record in enumerate(index.bricks):
            stored = kept.pop(i) if i in kept else StoredBrick(index, i).pack(bricks[i])
            for name, tensor in stored.items():
                tensors.write(_key(i, name), tensor)
            records[i] = dataclasses.replace(record, sha256=checksum_of(stored))
        index = index.replace(bricks=tuple(records))
        tensors.finish(_metadata(index))
    return index


def write_index(path: str | os.PathLike[str], index: ModelIndex, files: Sequence[StepFile]) -> None:
    """Write the file of a series whose tensors are in files beside it, completely or not at all.

    Raises
    ------
    OutputError
        When the file cannot be written; a file that was there is untouched.
    """
    metadata = {**_metadata(index), STEPS_KEY: steps_to_text(files)}
    with replacing(path) as temporary, open(temporary, "r+b") as file:
        TensorFile(file, {}, metadata).finish(metadata)


class OnDemand(Sequence[Mapping[str, np.ndarray]]):
    """Bricks for :func:`write_archive` that are loaded, each anew, when they are asked for.

    Parameters
    ----------
    count : int
    load : callable
        Returns the tensors of a brick by its number.
    """

    def __init__(self, count: int, load: Callable[[int], Mapping[str, np.ndarray]]) -> None:
        self._count, self._load = count, load

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: Any) -> Any:
        return self._load(range(self._count)[number])


def _key(number: int, name: str) -> str:
    return f"bricks/{number}/{name}"


def _metadata(index: ModelIndex) -> dict[str, str]:
    text = json_text(index.to_json())
    return {INDEX_KEY: text, CHECKSUM_KEY: sha256_of_text(text)}
