"""What a training is going to write: known before it starts, and watched while it goes on.

What surely does not fit is refused at once; what may not fit is warned about.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from amgsrn_core.config import NetworkConfig, StorageConfig, TrainingConfig, to_json
from amgsrn_core.errors import NoRoomError
from amgsrn_core.model import BrickRecord, parameter_shapes
from amgsrn_core.model.cell_codes import cell_shape
from amgsrn_core.system.output import size
from amgsrn_core.training.automatic import MOST_BLOCKS, foreseen
from amgsrn_core.training.history import COLUMNS, row_interval
from amgsrn_core.volume.volume import Volume

_log = logging.getLogger(__name__)

# Of a file's header: the index without bricks, what is written of each brick, and of each number
# of a list; of a checkpoint's the names of its tensors.
_INDEX, _BRICK, _NUMBER = 4096, 1200, 24
# Of a brick's errors, beside a share of its numbers; of each voxel's correction, mostly far less.
_ERRORS, _CORRECTION = 256, 2
_ROW_OF_TEXT = 25 * len(COLUMNS)
# Copies of a network's numbers: in a checkpoint those of the network and two of the optimiser; of
# fine-tuning two candidates more.
_CHECKPOINT, _FINETUNING = 3, 5
# A model of this share of its data is worth while.
_SHARE = 0.25


def network_bytes(network: NetworkConfig, components: int, storage: StorageConfig) -> int:
    """Return the bytes of a network's numbers in a model file."""
    count = sum(math.prod(shape) for shape in parameter_shapes(network, components).values())
    return count * (4 if storage.compress else np.dtype(storage.dtype).itemsize)


class Bytes(NamedTuple):
    """How many bytes something surely has, and how many at most."""

    least: int
    most: int

    def plus(self, *others: Bytes) -> Bytes:
        """Return the sum."""
        each = (self, *others)
        return Bytes(sum(one.least for one in each), sum(one.most for one in each))

    def times(self, count: int) -> Bytes:
        """Return a multiple."""
        return Bytes(count * self.least, count * self.most)


def model_bytes(
    volume: Volume,
    bricks: Sequence[tuple[BrickRecord, NetworkConfig]],
    training: TrainingConfig,
    storage: StorageConfig,
) -> Bytes:
    """Return the bytes of the model file of these bricks with their networks, without masks.

    A compressed network may be of any size up to that of its numbers.
    """
    count = volume.n_components
    numbers = sum(network_bytes(network, count, storage) for _, network in bricks)
    uneven = (axis.size for axis in volume.geometry.axes if not axis.is_uniform)
    header = _INDEX + _NUMBER * sum(uneven) + _BRICK * len(bricks)
    header += 0 if volume.time is None else _NUMBER * len(volume.time.values)
    rows = max(_rows(training, network) for network in {network for _, network in bricks})
    history = 8 * len(COLUMNS) * rows
    cells = sum(2 * count * math.prod(cell_shape(record, volume.dims)) for record, _ in bricks)
    errors = numbers // 50 + _ERRORS * len(bricks)
    voxels = sum(math.prod(record.ghosted_dims) for record, _ in bricks)
    corrections = _CORRECTION * count * voxels if storage.is_bounded else 0
    most = numbers + header + history + cells + cells // 100 + errors + corrections
    return Bytes(0 if storage.compress else numbers, most)


def checkpoint_bytes(
    volume: Volume, network: NetworkConfig, training: TrainingConfig, storage: StorageConfig
) -> Bytes:
    """Return the bytes of a brick's checkpoints: of one, and of all with the one being written."""
    numbers = network_bytes(network, volume.n_components, StorageConfig())
    rows = _ROW_OF_TEXT * _rows(training, network)
    fitted = (_CHECKPOINT + training.averages) * numbers + _INDEX + 8 * MOST_BLOCKS + rows
    most = 2 * fitted
    if storage.finetuning:
        most = fitted + 2 * (_FINETUNING * numbers + _INDEX)
    return Bytes(_CHECKPOINT * numbers, most)


def mask_bytes(bricks: Iterable[BrickRecord]) -> int:
    """Return the bytes of the bricks' masks if voxels are missing without any order."""
    return sum(math.prod(brick.ghosted_dims) // 8 + 64 for brick in bricks)


def exported_bytes(volume: Volume) -> Bytes:
    """Return the bytes of a volume that is written to a folder for other processes."""
    values = volume.dtype.itemsize * volume.n_components * volume.geometry.n_points
    return Bytes(values, values + volume.geometry.n_points + _INDEX)


def warn_of_size(
    volume: Volume, network: NetworkConfig, count: int, storage: StorageConfig
) -> None:
    """Warn if the networks' numbers are more bytes than the data, and name a size that would fit.

    Nothing is said of networks that are going to be compressed: how far is not known yet.

    Parameters
    ----------
    volume : Volume
        The data of one time step.
    network : NetworkConfig
    count : int
        How many networks of this size stand for the step.
    storage : StorageConfig
    """
    components, data = volume.n_components, volume.source_nbytes
    numbers = count * network_bytes(network, components, storage)
    if storage.compress or numbers <= data:
        return
    fitting = (
        (found, count * network_bytes(found, components, storage)) for found in _smaller(network)
    )
    found, bytes_ = next((pair for pair in fitting if pair[1] <= _SHARE * data), (None, 0))
    advice = "it is too small to be worth a model"
    if found is not None:
        advice = f"{_changes(network, found)} would make it {size(bytes_)}"
    _log.warning(
        "The model is going to be larger (%s) than its data (%s); %s.",
        *(size(numbers), size(data), advice),
    )


def _smaller(network: NetworkConfig) -> Iterator[NetworkConfig]:
    """Yield smaller networks, those first that keep the decoder, then the number of grids."""
    widths = sorted({network.width, min(network.width, 32), min(network.width, 16)}, reverse=True)
    halvings = range(network.grids.bit_length())
    for width, halving in itertools.product(widths, halvings):
        base = dataclasses.replace(network, width=width, grids=network.grids >> halving)
        if network.encoder == "hash":
            for log2_size in range(network.hash_log2_size, 7, -1):
                yield dataclasses.replace(base, hash_log2_size=log2_size)
            continue
        longest = max(network.grid_shape)
        for edge in range(longest, 3, -1):
            z, y, x = (max(2, n * edge // longest) for n in network.grid_shape)
            yield dataclasses.replace(base, grid_shape=(z, y, x))


def _changes(network: NetworkConfig, other: NetworkConfig) -> str:
    """Return the options in which two networks differ, as the command line has them."""
    old, new = to_json(network), to_json(other)
    texts = {
        name: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in new.items()
        if value != old[name]
    }
    return " ".join(f"--{name.replace('_', '-')} {text}" for name, text in texts.items())


class Room:
    """The room for a training on the disks that it writes to.

    Parameters
    ----------
    output : path
        The model file.
    folder : path
        Of parts.
    model : Bytes
        Of the model file.
    parts : Bytes
        What the folder is going to hold; what it holds already counts.
    masks : int, default: 0
        Bytes more that the model and the parts may need each.
    """

    def __init__(
        self, output: Path, folder: Path, model: Bytes, parts: Bytes, masks: int = 0
    ) -> None:
        self._output, self._folder = output, folder
        self._place = Path(os.path.realpath(output)).parent
        self._model = model.plus(Bytes(0, masks))
        self._parts = parts.plus(Bytes(0, masks))
        self._has_warned = False

    def require(self, *, is_new: bool) -> None:
        """Raise :class:`NoRoomError` if the training surely does not fit.

        Of one that goes on only the model is looked at: its parts may be complete.
        """
        for place, free, needed in self._needs():
            least = needed.least if is_new else self._model.least
            if free < least and (is_new or place == self._place):
                raise NoRoomError(
                    f"Cannot write {self._output}: the training needs {size(least)} in {place}, "
                    f"whose disk has {size(free)} left; make room there, or name another output."
                )
        self.watch()

    def watch(self) -> None:
        """Warn, once, if what is still to be written may not fit; called at each checkpoint."""
        for place, free, needed in [] if self._has_warned else self._needs():
            if free < needed.most:
                self._has_warned = True
                _log.warning(
                    "The disk of %s has %s left, and the training may need %s more; make room "
                    "before it is full.",
                    place,
                    size(free),
                    size(needed.most),
                )

    def _needs(self) -> list[tuple[Path, int, Bytes]]:
        """Return for each disk: a folder on it, the bytes that are free, and those needed."""
        try:
            free, free_of_parts = (
                shutil.disk_usage(place).free for place in (self._place, self._folder)
            )
            same = os.stat(self._place).st_dev == os.stat(self._folder).st_dev
        except OSError:
            return []  # whoever writes will complain
        held = _held(self._folder)
        parts = Bytes(max(0, self._parts.least - held), max(0, self._parts.most - held))
        if same:
            return [(self._place, free, self._model.plus(parts))]
        return [(self._place, free, self._model), (self._folder, free_of_parts, parts)]


def _rows(training: TrainingConfig, network: NetworkConfig) -> int:
    iterations = foreseen(training, network).iterations
    return iterations // row_interval(iterations) + 1


def _held(folder: Path) -> int:
    """Return the bytes of the files in a folder of parts."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except OSError:
                continue  # it has just been replaced
    return total
