"""``amgsrn export``: a model file becomes a folder that the original code opens."""

from __future__ import annotations

import argparse

from amgsrn_core.cli.options import model_step
from amgsrn_core.cli.report import print_rows
from amgsrn_core.model import read_index
from amgsrn_core.original import export_model


def run(arguments: argparse.Namespace) -> int:
    """Write the original's folder."""
    index = read_index(arguments.model)
    export_model(arguments.model, arguments.folder, model_step(index, arguments.time))
    print_rows([("written", arguments.folder)])
    return 0
