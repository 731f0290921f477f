"""``amgsrn export-web``: a model file becomes a page that any browser draws."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from amgsrn_core.cli.options import model_step
from amgsrn_core.cli.report import print_rows
from amgsrn_core.field.open_models import open_model
from amgsrn_core.model.open_archives import open_archive
from amgsrn_core.model.replacement import mark_of
from amgsrn_core.shader.page import page
from amgsrn_core.system.output import ensure_writable, replacing, size
from amgsrn_core.system.spare import write_or_keep
from amgsrn_core.volume.replacement import PAGE, comment, guard


def run(arguments: argparse.Namespace) -> int:
    """Write the page."""
    ensure_writable(arguments.output)
    model, archive = open_model(arguments.model, "cpu"), open_archive(arguments.model)
    steps = None if arguments.time is None else [model_step(model.series, arguments.time)]
    text = page(model, steps, archive.load_quantised)
    head, line, rest = text.partition("\n")
    text = head + line + comment(mark_of(arguments.command, arguments.model)) + line + rest

    def write(path: Path) -> None:
        guard(path, PAGE, by=arguments.command, force=arguments.force)
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    write_or_keep(arguments.output, write, "The page")
    rows = [("page", arguments.output), ("size", size(os.path.getsize(arguments.output)))]
    print_rows(rows)
    return 0
