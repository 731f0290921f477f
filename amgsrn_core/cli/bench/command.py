"""Measures what the command line asks for."""

from __future__ import annotations

import argparse

from amgsrn_core.cli.report import prepare_report
from amgsrn_core.kernels import load
from amgsrn_core.system.extras import expect, is_there


def run(arguments: argparse.Namespace) -> int:
    """Measure, and report medians and ratios."""
    if arguments.what == "training":
        expect("torch", "A measurement of training")
    elif arguments.what == "render" and arguments.model is None:
        expect("torch", "A picture of no model that you name (--model)")
    elif load() is None:
        expect("torch", "A measurement without the kernels")
    if not is_there("torch"):
        print("Without PyTorch, which is not installed here, only the kernels are measured.")
    prepare_report(arguments.json)
    if arguments.what == "render":
        from amgsrn_core.cli.bench import render

        return render.run(arguments)
    from amgsrn_core.cli.bench import networks

    return networks.run(arguments)
