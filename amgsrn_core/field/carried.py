"""A time step of a model as bytes, which travel with data to whoever draws them.

The bytes are a model file of that step alone, so they are checked as one and nothing in them is
ever run.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from amgsrn_core.errors import ArchiveError, ConfigurationError
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.model import Archive, parameter_shapes, write_archive
from amgsrn_core.system.output import size

MOST_BYTES = 64 << 20
"""What a time step takes at most, as float32: each process that draws has it several times."""

# What no picture needs.
_LEFT_OUT = ("history", "corrections", "error_cells")


def carried(archive: Archive, step: int) -> bytes:
    """Return a time step of an open model file as bytes.

    Raises
    ------
    ConfigurationError
        It is larger than :data:`MOST_BYTES`.
    ArchiveError
        The file is damaged.
    """
    index = archive.index.at(step)
    outputs = len(index.components)
    trained = [record for record in index.bricks if record.state == "network"]
    shapes = [parameter_shapes(index.network_of(record), outputs).values() for record in trained]
    needed = 4 * sum(math.prod(shape) for network in shapes for shape in network)
    if needed > MOST_BYTES:
        raise ConfigurationError(
            f"the networks of a time step take {size(needed)}, and data carry up to "
            f"{size(MOST_BYTES)}; the compiled plugin NeuralVolume draws them."
        )
    bricks = [archive.load_brick(number) for number in archive.index.bricks_of(step)]
    bricks = [{k: v for k, v in brick.items() if k not in _LEFT_OUT} for brick in bricks]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "carried.amgsrn"
        write_archive(path, index, bricks)
        return path.read_bytes()


def unpacked(data: bytes) -> NeuralVolume:
    """Return the model that :func:`carried` made bytes of.

    Raises
    ------
    ArchiveError
        They are damaged, cut, or something else.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "carried.amgsrn"
        path.write_bytes(data)
        try:
            with Archive(path) as archive:
                archive.verify()
                states = [archive.load_brick(i) for i in range(len(archive.index.bricks))]
                return NeuralVolume(archive.index, states, checksum=archive.checksum)
        except ArchiveError as error:
            raise ArchiveError(
                "the network that the data carry is damaged; update the source of the data."
            ) from error
