"""Measures what the command line asks for."""

from __future__ import annotations

import argparse

from amgsrn_core.cli.report import prepare_report
from amgsrn_core.system.extras import expect


def run(arguments: argparse.Namespace) -> int:
    """Measure, and report medians and ratios."""
    expect("torch", "A comparison with PyTorch's speed")
    prepare_report(arguments.json)
    if arguments.what == "render":
        from amgsrn_core.cli.bench import render

        return render.run(arguments)
    from amgsrn_core.cli.bench import networks

    return networks.run(arguments)
