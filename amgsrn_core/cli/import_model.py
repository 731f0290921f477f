"""``amgsrn import``: a model of the original code becomes a model file."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

from amgsrn_core.cli.options import configuration, variables
from amgsrn_core.cli.report import print_rows, size
from amgsrn_core.config import ImportConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.model import ModelIndex, write_archive
from amgsrn_core.original import import_model
from amgsrn_core.system.output import ensure_writable
from amgsrn_core.volume import open_volume


def run(arguments: argparse.Namespace) -> int:
    """Read the original's folder and write the model."""
    ensure_writable(arguments.output)
    volume = None
    if arguments.volume is not None:
        volume = open_volume(
            arguments.volume, variables(arguments.variable, arguments.volume), arguments.time
        )
    elif arguments.variable or arguments.time is not None:
        raise ConfigurationError("--variable and --time choose from a --volume; name that, too.")
    index, bricks = import_model(arguments.folder, volume, configuration(ImportConfig, arguments))
    index = write_archive(arguments.output, index, bricks)
    print_rows(_rows(index, arguments.output))
    return 0


def _rows(index: ModelIndex, path: str) -> Iterator[tuple[str, str]]:
    yield "model", path
    yield "variable", index.name
    yield "dims (z, y, x)", " x ".join(map(str, index.dims))
    yield "bricks", str(len(index.bricks))
    yield "size", size(os.path.getsize(path))
