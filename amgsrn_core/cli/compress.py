"""``amgsrn compress``: a model file becomes a smaller one."""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable, Iterator

from amgsrn_core.cli.options import configuration, variables
from amgsrn_core.cli.progress import display
from amgsrn_core.cli.reference import reference_volume
from amgsrn_core.cli.report import decibels, figure, print_rows, size
from amgsrn_core.config import StorageConfig
from amgsrn_core.model import ModelIndex, archive_bytes, read_index
from amgsrn_core.system.extras import expect
from amgsrn_core.system.output import ensure_writable
from amgsrn_core.volume import Volume


def run(arguments: argparse.Namespace) -> int:
    """Compress a model, then say what it costs."""
    expect("torch", "Compressing a model")
    storage = configuration(StorageConfig, arguments, compress=True, dtype="float32")
    ensure_writable(arguments.output)
    before = read_index(arguments.model)
    reference = None
    if arguments.against:
        reference = _reference(arguments, before)
        reference(0)  # fails at once if it does

    from amgsrn_core.runs.recompression import compress_model

    with display("compressing") as shown:
        after = compress_model(
            arguments.model,
            arguments.output,
            storage,
            reference=reference,
            device=arguments.device,
            backend=arguments.backend,
            observer=lambda done, total: shown.update(
                done / total, [f"{int(done)}/{total} bricks"]
            ),
            force=arguments.force,
        )
    print_rows(_rows(arguments, before, after))
    return 0


def _reference(arguments: argparse.Namespace, index: ModelIndex) -> Callable[[int], Volume]:
    """Return what opens the data of a time step."""
    chosen = variables(arguments.variable, arguments.against)

    @functools.lru_cache(maxsize=1)
    def volume(step: int) -> Volume:
        return reference_volume(arguments.against, chosen, index.at(step))

    return volume


def _rows(
    arguments: argparse.Namespace, before: ModelIndex, after: ModelIndex
) -> Iterator[tuple[str, str]]:
    large, small = archive_bytes(arguments.model), os.path.getsize(arguments.output)
    yield "model", arguments.output
    yield "size", f"{size(small)}, {figure(large / small, digits=3)} : 1 of the model's"
    yield "compression", f"{figure(after.source.bytes / small, digits=3)} : 1 of the data"
    if not arguments.against:
        yield "fine-tuning", "none without the data; --against names them, for a smaller file"
    yield "PSNR when trained", decibels(before.psnr)
    yield "PSNR now" + ("" if arguments.against else ", about"), decibels(after.psnr)
