"""Look at this machine and say what the suite will use, what is missing and how to repair it."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import amgsrn_core
from amgsrn_core.cli.doctor.devices import check_torch
from amgsrn_core.cli.doctor.findings import NOTE, OK, PROBLEM, Finding
from amgsrn_core.cli.doctor.machine import machine, processor
from amgsrn_core.cli.doctor.opengl import check_opengl
from amgsrn_core.cli.doctor.packages import check_packages
from amgsrn_core.cli.doctor.paraview import begin_probe, check_paraview
from amgsrn_core.cli.report import prepare_report, write_report
from amgsrn_core.system.cores import available_cores
from amgsrn_core.system.extras import expect

_MARKS = {OK: "  ", NOTE: "! ", PROBLEM: "X "}


def run(arguments: argparse.Namespace) -> int:
    """Report what was found; return 1 if any of it stops the suite from working, else 0.

    Raises
    ------
    ConfigurationError
        nerfacc's CUDA operators are to be built first, and cannot be.
    """
    prepare_report(arguments.json)
    if arguments.build:
        expect("torch", "Building nerfacc's operators")
        from amgsrn_core.rendering import nerfacc_operators

        print("Building nerfacc's operators, which takes some minutes ...", file=sys.stderr)
        nerfacc_operators.build()
    findings = list(examine())
    healthy = all(finding.state != PROBLEM for finding in findings)
    pictures, rows = _pictures(findings)
    results = {
        "healthy": healthy,
        "machine": machine(_paraview_version(findings)),
        "findings": [asdict(finding) for finding in findings],
        "pictures": pictures,
    }
    write_report(results, [*_rows(findings), *rows, _last_row(healthy)], arguments.json)
    return 0 if healthy else 1


def _pictures(findings: list[Finding]) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Return a table of pictures by all marchers, for programs and for people.

    None without PyTorch, which makes the picture that the others are compared with.
    """
    states = {finding.name: finding.state for finding in findings}
    if states.get("torch") != OK or PROBLEM in (states.get("numpy"), states.get("backend")):
        return [], []
    try:
        from amgsrn_core.cli.doctor import rendering
    except ImportError as error:
        return [], [(_MARKS[NOTE] + "pictures", f"cannot be made ({error})")]
    found = list(rendering.pictures())
    return rendering.as_json(found), list(rendering.table(found))


def examine() -> Iterator[Finding]:
    """Yield one finding after the other, in the order in which they depend on each other."""
    probe = begin_probe()  # ParaView starts while the rest is looked at
    yield Finding("amgsrn", OK, f"{amgsrn_core.__version__} in {Path(amgsrn_core.__file__).parent}")
    yield Finding("machine", OK, f"{processor()}, {available_cores()} cores for this process")
    yield Finding("python", OK, f"{platform.python_version()} ({sys.executable})")
    yield from check_packages()
    yield from check_torch()
    yield from check_opengl()
    yield from check_paraview(probe)


def _paraview_version(findings: list[Finding]) -> str | None:
    """Return what was found, for it takes ParaView a second to say it again."""
    detail = next((each.detail for each in findings if each.name == "paraview"), "")
    version = detail.partition(" ")[0]
    return version if version[:1].isdigit() else None


def _rows(findings: list[Finding]) -> Iterator[tuple[str, str]]:
    for finding in findings:
        yield _MARKS[finding.state] + finding.name, finding.detail
        if finding.remedy:
            yield "", f"-> {finding.remedy}"


def _last_row(healthy: bool) -> tuple[str, str]:
    return "", "The suite can work here." if healthy else "The suite cannot work here yet."
